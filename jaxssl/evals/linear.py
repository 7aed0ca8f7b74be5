"""Trains linear classifiers on frozen features with four solvers."""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.config.schema import LinearConfig
from jaxssl.core.metric import Measurement, Scalar, accuracy_metric
from jaxssl.core.types import Array
from jaxssl.evals import crops
from jaxssl.evals.features import FeatureExtractor, accuracies, evaluation, labeled_test

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # each fit starts from the one before
MIDDLE = 1e-2  # if each class has one image, so that none can be held out
HELD_OUT = 5  # one image in five selects the penalty or the learning rate
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = 200  # of L-BFGS at most
TOLERANCE = 1e-5  # of the objective, in nats: L-BFGS stops once a step gains less
HELD_OUT_FIFTH = "best accuracy on a held-out fifth"
PROTOCOLS: Mapping[str, Mapping[str, Scalar]] = {
  "lbfgs": {"classifier": "logistic regression", "features": "standardized", "penalty": HELD_OUT_FIFTH},
  "sgd": {"classifier": "SGD, momentum 0.9, cosine", "features": "standardized", "learning_rate": HELD_OUT_FIFTH},
  "augmented": {"classifier": "SGD, momentum 0.9, cosine", "features": "random crops", "learning_rate": HELD_OUT_FIFTH},
  # ReSA on CIFAR
  "adam": {"classifier": "Adam", "features": "raw", "learning_rate": "1e-2 to 1e-6", "epochs": 500, "batch_size": 1000},
}


@evaluation("linear", labels=True, test_set=True, random=True)
def measure(extractor: FeatureExtractor) -> list[Measurement]:
  """Measures top-1 accuracy in percent on the test set for each of `evals.linear.solvers`, trained on the reference set."""
  config, reference, test = extractor.config.evals.linear, extractor.reference, labeled_test(extractor)
  labels, classes, seed = reference.labels, len(extractor.classes), extractor.config.train.seed
  standard = standardized(reference.x, test.x)
  measured = []
  for solver in config.solvers:
    if solver == "augmented" and extractor.variables is None:
      continue  # raw pixels have no network to pass crops through
    x, queries = standard if PROTOCOLS[solver]["features"] == "standardized" else (reference.x, test.x)
    length: dict[str, Scalar] = {"epochs": config.epochs, "batch_size": config.batch_size}
    if solver == "lbfgs":
      kernel, chosen, length = *logistic(x, labels, classes, seed), {}
    elif solver == "adam":
      kernel, chosen, length = adam(x, labels, classes, seed), {}, {}
    elif solver == "sgd":
      kernel, chosen = descend(x, labels, classes, seed, config)
    else:
      kernel, chosen = augmented(extractor)
    protocol = {**PROTOCOLS[solver], **length, **reference.protocol, **test.protocol}
    about = "Accuracy of a linear classifier trained on the frozen features."
    metric = accuracy_metric(f"linear_{solver}", f"Linear classifier ({solver})", about)
    measured += accuracies(extractor, metric, classify(kernel, queries), protocol, **chosen)
  return measured


def classify(kernel: Array | np.ndarray, x: Array | np.ndarray) -> np.ndarray:
  """Returns the classes, int [n], of features float32 [n, f] by a classifier [f + 1, c], whose last row is the bias."""
  return np.asarray(_product(jnp.asarray(x), jnp.asarray(kernel))).argmax(1)


def standardized(x: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
  """Scales each feature by its mean and deviation in x; a lower bound keeps nearly constant ones from being scaled up."""
  mean, deviation = x.mean(0), x.std(0)
  scale = np.maximum(deviation, 1e-3 * deviation.max() + 1e-12)
  return [(features - mean) / scale for features in (x, *others)]


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


def logistic(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> tuple[Array, dict[str, Scalar]]:
  """Fits multinomial logistic regression: mean cross-entropy + penalty / 2 |kernel|^2, to convergence.

  x: float32 [n, f], `standardized`; labels int32 [n]. The penalty with the best accuracy on a held-out fifth (the largest of
  equals) is fitted again on all images. Returns the classifier, see `classify`, and what was chosen.
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
    best = _best(kernels[1:], z[out], labels[out])
    penalty, kernel = PENALTIES[best], kernels[best + 1]
  kernel = _fit(z, y, jnp.ones(len(z)), jnp.float32(penalty), kernel)
  return jnp.concatenate([rotation @ kernel[:-1], kernel[-1:]]), {"penalty": penalty}


@jax.jit
def _product(z: Array, kernel: Array) -> Array:
  return jnp.dot(z, kernel[:-1], precision=jax.lax.Precision.HIGHEST) + kernel[-1:]


@jax.jit
def _fit(z: Array, y: Array, share: Array, penalty: Array, start: Array) -> Array:
  """Minimizes the mean over rows, weighted by share [n], from `start` [f + 1, c]; the bias, the last row, is not penalized."""
  # `z` are principal components, so that the second derivatives are nearly diagonal, at most half of their variances (Boehning,
  # 1992): scaled by that bound, L-BFGS needs tens of steps instead of hundreds.
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
  x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, config: LinearConfig
) -> tuple[Array, dict[str, Scalar]]:
  """Trains a classifier on all images with the one of RATES that is best on a held-out fifth. Returns (classifier, chosen)."""
  out = held_out(labels, seed)

  def train(rates: tuple[float, ...], used: np.ndarray) -> Array:
    start, data = jnp.zeros((len(rates), x.shape[1] + 1, num_classes)), (x[used], labels[used])
    return _epochs(lambda steps: crops.cosine(steps, *rates), start, data, seed, config.epochs, config.batch_size)

  rate = RATES[_best(train(RATES, ~out), x[out], labels[out])] if out.any() else RATES[len(RATES) // 2]
  return train((rate,), np.ones_like(out))[0], {"learning_rate": rate}


def augmented(extractor: FeatureExtractor) -> tuple[np.ndarray, dict[str, Scalar]]:
  """Trains classifiers on the frozen network with new crops in each epoch. Returns (classifier, chosen).

  One classifier is trained for each of RATES, side by side; a held-out fifth of the reference set selects the best.
  """
  config, reference, seed = extractor.config.evals.linear, extractor.reference, extractor.config.train.seed
  out = held_out(reference.labels, seed)
  used = np.flatnonzero(~out)
  heads, _ = crops.trainer(extractor, config, len(used), lambda steps: crops.cosine(steps, *RATES), len(RATES))(used, seed)
  best = _best(heads, reference.x[out], reference.labels[out])
  return heads[best], {"learning_rate": RATES[best]}


def _best(kernels: Iterable[Array | np.ndarray], x: Array | np.ndarray, labels: np.ndarray) -> int:
  return int(np.argmax([(classify(kernel, x) == labels).sum() for kernel in kernels]))


def adam(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, epochs: int = 500, batch_size: int = 1000) -> Array:
  """Trains as ReSA does on CIFAR: Adam with L2 decay 5e-6 and a learning rate that falls geometrically each epoch."""

  def optimizer(steps: int) -> optax.GradientTransformation:
    rate = optax.exponential_decay(1e-2, steps // epochs, 1e-4 ** (1 / epochs), staircase=True)
    return optax.chain(optax.add_decayed_weights(5e-6), optax.adam(rate))

  bound = 1 / np.sqrt(x.shape[1])  # the initialization of torch.nn.Linear
  start = np.random.default_rng(seed).uniform(-bound, bound, (1, x.shape[1] + 1, num_classes)).astype(np.float32)
  return _epochs(optimizer, jnp.asarray(start), (x, labels), seed, epochs, batch_size)[0]


def _epochs(
  optimizer: Callable[[int], optax.GradientTransformation], start: Array, data: tuple, seed: int, epochs: int, batch_size: int
) -> Array:
  """Trains classifiers [g, f + 1, c] by optimizer(steps) on features [n, f] and labels [n]; drops an incomplete batch."""
  count, shuffle = len(data[0]), np.random.default_rng(seed)
  batch_size = min(batch_size, count)
  steps = count // batch_size
  batches = (rows for _ in range(epochs) for rows in shuffle.permutation(count)[: steps * batch_size].reshape(steps, -1))

  def loss(heads: Array, stats: None, rows: Array, data: tuple[Array, Array]) -> tuple[Array, None]:
    return crops.cross_entropy(heads, data[0][rows], data[1][rows]), stats

  return crops.descent(loss, optimizer(epochs * steps))(start, batches, jax.tree.map(jnp.asarray, data))[0]
