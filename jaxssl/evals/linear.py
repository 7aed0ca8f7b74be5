"""Linear classifiers on frozen features, by four solvers."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.core.metric import Measurement, Metric, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals import heads
from jaxssl.evals.features import FeatureExtractor, by_group, labeled_test
from jaxssl.evals.finetune import Tuning
from jaxssl.evals.registry import evaluation

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # each fit starts from the one before
MIDDLE = 1e-2  # if each class has one image, so that none can be held out
HELD_OUT = 5  # one image in five selects the penalty or the learning rate
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = 200  # of L-BFGS at most
TOLERANCE = 1e-5  # of the objective, in nats: L-BFGS stops once a step gains less


class Linear(NamedTuple):
  """A classifier of features x: argmax of (x - mean) / scale @ kernel + bias."""

  mean: Array  # [f]
  scale: Array  # [f]
  kernel: Array  # [f, c]
  bias: Array  # [c]


def metric(solver: str) -> Metric:
  """Returns the metric of a solver, one of PROTOCOLS."""
  return accuracy_metric(
    f"linear_{solver}", f"Linear classifier ({solver})", "Accuracy of a linear classifier trained on the frozen features."
  )


HELD_OUT_FIFTH = "best accuracy on a held-out fifth"
PROTOCOLS: Mapping[str, Mapping[str, Scalar]] = {
  "lbfgs": {"classifier": "logistic regression", "features": "standardized", "penalty": HELD_OUT_FIFTH},
  "sgd": {"classifier": "SGD, momentum 0.9, cosine", "features": "standardized", "learning_rate": HELD_OUT_FIFTH},
  "augmented": {"classifier": "SGD, momentum 0.9, cosine", "features": "random crops", "learning_rate": HELD_OUT_FIFTH},
  # ReSA on CIFAR
  "adam": {"classifier": "Adam", "features": "raw", "learning_rate": "1e-2 to 1e-6", "epochs": 500, "batch_size": 1000},
}


@evaluation("linear", labels=True, test_set=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent on the test set for each of `evals.linear.solvers`, trained on the reference set."""
  config, reference, test = extractor.config.evals.linear, extractor.reference, labeled_test(extractor, "linear")
  num_classes, seed = len(extractor.classes), extractor.config.train.seed
  found = []
  for solver in config.solvers:
    chosen: dict[str, Scalar] = {}
    if solver == "augmented":
      if extractor.variables is None:
        continue  # raw pixels have no network to pass crops through
      guesses, chosen["learning_rate"] = augmented(extractor)
    else:
      if solver == "lbfgs":
        weights, chosen["penalty"] = logistic(reference.x, reference.labels, num_classes, seed)
      elif solver == "sgd":
        epochs, batch_size = config.epochs, config.batch_size
        weights, chosen["learning_rate"] = descend(reference.x, reference.labels, num_classes, seed, epochs, batch_size)
      else:
        weights = adam(reference.x, reference.labels, num_classes, seed)
      guesses = classify(weights, test.x)
    length: dict[str, Scalar] = {"epochs": config.epochs, "batch_size": config.batch_size}
    fields = {**PROTOCOLS[solver], **(length if solver in ("sgd", "augmented") else {}), **reference.protocol, **test.protocol}
    for of_group, value, more in by_group(metric(solver), guesses == test.labels, test.labels, extractor.class_groups):
      protocol = {**fields, **more}
      found.append(Measurement(metric=of_group, value=value, subject=extractor.subject, protocol=protocol, chosen=chosen))
  return found


def augmented(extractor: FeatureExtractor) -> tuple[np.ndarray, float]:
  """Trains classifiers on the frozen network with new crops in each epoch: (classes of the test set int [m], learning rate).

  One classifier for each of RATES, side by side, without the held-out fifth of the reference set that selects the best.
  """
  assert extractor.splits.test is not None
  config, labels, seed = extractor.config.evals.linear, extractor.reference.labels, extractor.config.train.seed
  out = held_out(labels, seed)
  tuning = Tuning(extractor, RATES, 0.0, config.epochs, config.batch_size)
  tuned = tuning.fit(np.flatnonzero(~out), seed)
  right = tuning.logits(tuned, extractor.splits.reference)[out].argmax(2) == labels[out][:, None]
  best = int(right.sum(0).argmax())
  return tuning.logits(tuned, extractor.splits.test)[:, best].argmax(1), RATES[best]


def classify(weights: Linear, x: np.ndarray) -> np.ndarray:
  """Returns the most likely classes, int [n], of features float32 [n, f]."""
  return np.asarray(_logits(weights, jnp.asarray(x))).argmax(1)


@jax.jit
def _logits(weights: Linear, x: Array) -> Array:
  standardized = (x - weights.mean[None]) / weights.scale[None]
  return jnp.dot(standardized, weights.kernel, precision=jax.lax.Precision.HIGHEST) + weights.bias[None]


def standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of each feature; a floor keeps nearly constant features from being scaled up."""
  deviation = x.std(0)
  return x.mean(0), np.maximum(deviation, 1e-3 * deviation.max() + 1e-12)


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
  """Draws bool [n], True for one image in five of each class, but never for all of a class."""
  order = np.random.default_rng(seed).permutation(len(labels))
  out = np.zeros(len(labels), bool)
  for c in np.unique(labels):
    of_class = order[labels[order] == c]
    out[of_class[: len(of_class) // HELD_OUT or len(of_class) > 1]] = True
  return out


def logistic(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> tuple[Linear, float]:
  """Fits multinomial logistic regression: mean cross-entropy + penalty / 2 |kernel|^2, to convergence.

  x: float32 [n, f]; labels int32 [n]. The penalty with the best accuracy on a held-out fifth (the largest of equals) is
  fitted again on all images. Returns the classifier and the penalty.
  """
  mean, scale = standard(x)
  standardized = jnp.asarray((x - mean) / scale)
  rotation = jnp.linalg.eigh(jnp.dot(standardized.T, standardized, precision=jax.lax.Precision.HIGHEST))[1]
  z = jnp.dot(standardized, rotation, precision=jax.lax.Precision.HIGHEST)  # the penalty is the same in either basis
  y, out = jnp.asarray(labels), held_out(labels, seed)
  penalty, kernel = MIDDLE, jnp.zeros((x.shape[1] + 1, num_classes))
  if out.any():
    share = jnp.asarray(~out, jnp.float32)  # held-out rows get weight zero, so the features are not copied
    kernels, scores = [kernel], []
    for tried in PENALTIES:
      kernels.append(_fit(z, y, share, jnp.float32(tried), kernels[-1]))
      scores.append(int((np.asarray(_product(z, kernels[-1])).argmax(1) == labels)[out].sum()))
    best = int(np.argmax(scores))
    penalty, kernel = PENALTIES[best], kernels[best + 1]
  kernel = _fit(z, y, jnp.ones(len(z)), jnp.float32(penalty), kernel)
  return Linear(jnp.asarray(mean), jnp.asarray(scale), rotation @ kernel[:-1], kernel[-1]), penalty


@jax.jit
def _product(z: Array, kernel: Array) -> Array:
  return jnp.dot(z, kernel[:-1], precision=jax.lax.Precision.HIGHEST) + kernel[-1:]


@jax.jit
def _fit(z: Array, y: Array, share: Array, penalty: Array, start: Array) -> Array:
  """Minimizes the mean over rows by their share [n], from `start` [f + 1, c]; the last row is the bias, which is not penalized.

  `z` are principal components, so that the second derivatives are nearly diagonal, at most half of their variances (Boehning,
  1992): scaled by that bound, L-BFGS needs tens of steps instead of hundreds.
  """
  weight = share / share.sum()
  scale = 1 / jnp.sqrt(jnp.append(0.5 * (weight @ z**2), 0.5) + penalty)[:, None]

  def objective(scaled: Array) -> Array:
    kernel = scaled * scale
    losses = optax.softmax_cross_entropy_with_integer_labels(_product(z, kernel), y)
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


def descend(
  x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, epochs: int, batch_size: int
) -> tuple[Linear, float]:
  """Trains a classifier for each of RATES; the best rate on a held-out fifth trains one on all images: (classifier, rate)."""
  mean, scale = standard(x)
  z, out = (x - mean) / scale, held_out(labels, seed)

  def train(rates: tuple[float, ...], rows: np.ndarray) -> Array:
    steps = epochs * max(len(rows) // batch_size, 1)
    each = jnp.asarray(rates)[:, None, None]
    start = jnp.zeros((len(rates), x.shape[1] + 1, num_classes))
    return _epochs(
      optax.trace(0.9), lambda step: each * heads.cosine(step, steps), start, z, labels, rows, seed, epochs, batch_size
    )

  rate = RATES[len(RATES) // 2]
  if out.any():
    queries = jnp.asarray(z[out])
    right = [
      (np.asarray(_product(queries, kernel)).argmax(1) == labels[out]).sum() for kernel in train(RATES, np.flatnonzero(~out))
    ]
    rate = RATES[int(np.argmax(right))]
  kernel = train((rate,), np.arange(len(x)))[0]
  return Linear(jnp.asarray(mean), jnp.asarray(scale), kernel[:-1], kernel[-1]), rate


def adam(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, epochs: int = 500, batch_size: int = 1000) -> Linear:
  """Trains as ReSA does on CIFAR: Adam with L2 decay 5e-6 and a learning rate that falls geometrically each epoch."""
  optimizer = optax.chain(optax.add_decayed_weights(5e-6), optax.scale_by_adam())
  steps = max(len(x) // batch_size, 1)
  bound = 1 / np.sqrt(x.shape[1])  # the initialization of torch.nn.Linear
  start = np.random.default_rng(seed).uniform(-bound, bound, (1, x.shape[1] + 1, num_classes)).astype(np.float32)
  kernel = _epochs(
    optimizer, lambda step: 1e-2 * 1e-4 ** ((step // steps) / epochs), jnp.asarray(start),
    x, labels, np.arange(len(x)), seed, epochs, batch_size,
  )[0]  # fmt: skip
  return Linear(jnp.zeros(x.shape[1]), jnp.ones(x.shape[1]), kernel[:-1], kernel[-1])


def _epochs(
  optimizer: optax.GradientTransformation,
  rate: Callable[[Array], Array],
  kernels: Array,
  z: np.ndarray,
  labels: np.ndarray,
  used: np.ndarray,
  seed: int,
  epochs: int,
  batch_size: int,
) -> Array:
  """Trains kernels [g, f + 1, c] on the rows `used`, with rate(step) [g, 1, 1]; an incomplete last batch is dropped."""
  batch_size = min(batch_size, len(used))
  steps = len(used) // batch_size
  x, y = jnp.asarray(z), jnp.asarray(labels)

  def step(carry: tuple, rows: Array) -> tuple[tuple, None]:
    kernels, state, number = carry

    updates, state = optimizer.update(jax.grad(heads.loss)(kernels, x[rows], y[rows]), state, kernels)
    return (kernels - rate(number) * jnp.asarray(updates), state, number + 1), None

  epoch = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0])
  carry = (kernels, optimizer.init(kernels), jnp.int32(0))
  shuffle = np.random.default_rng(seed)
  for _ in range(epochs):
    carry = epoch(carry, shuffle.permutation(used)[: steps * batch_size].reshape(steps, batch_size))
  return carry[0]
