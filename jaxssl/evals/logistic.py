"""Multinomial logistic regression to convergence, with a penalty that is chosen on a held-out fifth."""

from collections.abc import Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.core.metric import Scalar
from jaxssl.core.types import Array
from jaxssl.evals.classifier import folded, logits

PROTOCOL: Mapping[str, Scalar] = {
  "classifier": "logistic regression",
  "features": "standardized",
  "penalty": "best accuracy on a held-out fifth",
}
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # each fit starts from the one before
MIDDLE = 1e-2  # if each class has one image, so that none can be held out
HELD_OUT = 5  # one image in five selects the penalty or the learning rate
STEPS = 200  # of L-BFGS at most
TOLERANCE = 1e-5  # of the objective, in nats: L-BFGS stops once a step gains less


def standardization(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the mean of each feature in x and its deviation, [f]; the latter is bounded so that noise is not scaled up."""
  deviation = x.std(0)
  return x.mean(0), np.maximum(deviation, 1e-3 * deviation.max() + 1e-12)


def by_class(labels: np.ndarray, seed: int) -> list[np.ndarray]:
  """Shuffles the rows of each class, int [n] each."""
  order = np.random.default_rng(seed).permutation(len(labels))
  return [order[labels[order] == c] for c in np.unique(labels)]


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
  """Draws bool [n], True for one image in five of each class, but never for all of a class."""
  out = np.zeros(len(labels), bool)
  for rows in by_class(labels, seed):
    out[rows[: len(rows) // HELD_OUT or len(rows) > 1]] = True
  return out


def fit_raw(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> tuple[np.ndarray, dict[str, Scalar]]:
  """Fits `logistic` on features float32 [n, f], standardized; its classifier [f + 1, c] takes features that are not."""
  mean, scale = standardization(x)
  kernel, chosen = logistic((x - mean) / scale, labels, num_classes, seed)
  return folded(kernel, mean, scale), chosen


def logistic(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> tuple[Array, dict[str, Scalar]]:
  """Fits multinomial logistic regression: mean cross-entropy + penalty / 2 |kernel|^2, to convergence.

  x: float32 [n, f], see `standardization`; labels int32 [n]. The penalty with the best accuracy on a held-out fifth (the
  largest of equals) is fitted again on all images. Returns the classifier, see `classify`, and what was chosen.
  """
  standard = jnp.asarray(x)
  rotation = jnp.linalg.eigh(jnp.dot(standard.T, standard, precision=jax.lax.Precision.HIGHEST))[1]
  z = jnp.dot(standard, rotation, precision=jax.lax.Precision.HIGHEST)  # the penalty is the same in either basis
  y, out = jnp.asarray(labels), held_out(labels, seed)
  penalty, kernel = MIDDLE, jnp.zeros((x.shape[1] + 1, num_classes))
  if out.any():
    share = jnp.asarray(~out, jnp.float32)  # held-out rows get weight zero, so the features are not copied
    kernels = [kernel]
    for tried in PENALTIES:
      kernels.append(_fit(z, y, share, jnp.float32(tried), kernels[-1]))
    best = best_of(kernels[1:], z[out], labels[out])
    penalty, kernel = PENALTIES[best], kernels[best + 1]
  kernel = _fit(z, y, jnp.ones(len(z)), jnp.float32(penalty), kernel)
  weights = jnp.dot(rotation, kernel[:-1], precision=jax.lax.Precision.HIGHEST)
  return jnp.concatenate([weights, kernel[-1:]]), {"penalty": penalty}


@jax.jit
def _fit(z: Array, y: Array, share: Array, penalty: Array, start: Array) -> Array:
  """Minimizes the mean over rows, weighted by share [n], from `start` [f + 1, c]; the bias, the last row, is not penalized."""
  # `z` are principal components, so that the second derivatives are nearly diagonal, at most half of their variances (Boehning,
  # 1992): scaled by that bound, L-BFGS needs tens of steps instead of hundreds.
  weight = share / share.sum()
  scale = 1 / jnp.sqrt(jnp.append(0.5 * (weight @ z**2), 0.5) + penalty)[:, None]

  def objective(scaled: Array) -> Array:
    kernel = scaled * scale
    losses = optax.softmax_cross_entropy_with_integer_labels(logits(z, kernel), y)
    return jnp.dot(weight, losses) + 0.5 * penalty * jnp.sum(kernel[:-1] ** 2)

  optimizer = optax.lbfgs(linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=8, initial_guess_strategy="one"))
  value_and_grad = optax.value_and_grad_from_state(objective)

  def more(carry: tuple) -> Array:
    _, _, step, gained = carry
    return (step < STEPS) & (gained > TOLERANCE)

  def improve(carry: tuple) -> tuple:
    scaled, state, step, _ = carry
    before, gradient = value_and_grad(scaled, state=state)
    updates, state = optimizer.update(gradient, state, scaled, value=before, grad=gradient, value_fn=objective)
    return optax.apply_updates(scaled, updates), state, step + 1, before - optax.tree.get(state, "value")

  scaled = start / scale
  return jax.lax.while_loop(more, improve, (scaled, optimizer.init(scaled), 0, jnp.float32(1)))[0] * scale


def best_of(kernels: Iterable[Array | np.ndarray], x: Array | np.ndarray, labels: np.ndarray) -> int:
  """Returns the position of the classifier with the best accuracy, the first of equals; one that diverged is the worst."""

  def right(kernel: Array | np.ndarray) -> int:
    values = np.asarray(logits(jnp.asarray(x), jnp.asarray(kernel)))
    return int((values.argmax(1) == labels).sum()) if np.isfinite(values).all() else -1

  return int(np.argmax([right(kernel) for kernel in kernels]))
