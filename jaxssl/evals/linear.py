"""A linear classifier on frozen features: how much of the classes a hyperplane can read from them."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxssl.core.types import Array
from jaxssl.evals.features import FeatureExtractor, by_group, labeled_test, mean_of
from jaxssl.evals.finetune import Tuning
from jaxssl.workdir.results import Measurement

LOGISTIC = "logistic regression by L-BFGS on standardized features, penalty"
ADAM = "linear by Adam (ReSA on CIFAR), raw features, 500 epochs of batches of 1000, learning rate 1e-2 to 1e-6, decay 5e-6"
PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)  # each starts where the one before ended
MIDDLE = 1e-2  # where a class has one image, so that none can be held out
HELD_OUT = 5  # one image of so many chooses the penalty or the learning rate
RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
STEPS = 200  # of L-BFGS at most
TOLERANCE = 1e-5  # of the objective, in nats: it stops once a step gains less


class Linear(NamedTuple):
  """A classifier of features x: argmax of (x - mean) / scale @ kernel + bias."""

  mean: Array  # [f]
  scale: Array  # [f]
  kernel: Array  # [f, c]
  bias: Array  # [c]


def measure(subject: FeatureExtractor) -> list[Measurement]:
  """Top-1 accuracy in percent on the test split of a classifier that the bank has taught, by each of `evals.linear.solvers`."""
  config, bank, queries = subject.config.evals.linear, subject.bank, labeled_test(subject, "linear")
  num_classes, seed, groups = subject.num_classes, subject.config.train.seed, subject.splits.class_groups
  found = []
  for solver in config.solvers:
    if solver == "augmented":
      if subject.variables is None:
        continue  # raw pixels have no network to pass fresh crops through
      guesses, how = augmented(subject)
    else:
      if solver == "lbfgs":
        weights, penalty = logistic(bank.x, bank.labels, num_classes, seed)
        how = f"{LOGISTIC} {penalty:g} chosen on a held-out fifth"
      elif solver == "sgd":
        weights, rate = descend(bank.x, bank.labels, num_classes, seed, config.epochs, config.batch_size)
        how = f"linear by SGD on standardized features, momentum 0.9, cosine, {config.epochs} epochs of batches of "
        how += f"{config.batch_size}, learning rate {rate:g} chosen on a held-out fifth"
      else:
        weights, how = adam(bank.x, bank.labels, num_classes, seed), ADAM
      guesses, how = classify(weights, queries.x), f"{how}, without augmentation"
    for name, value in by_group(f"linear_{solver}", guesses == queries.labels, queries.labels, groups).items():
      protocol = f"{how}, taught by {bank.says}, queries: {queries.says}, {mean_of(name, groups)}{subject.says}"
      found.append(Measurement(name=name, value=value, protocol=protocol))
  return found


def augmented(subject: FeatureExtractor) -> tuple[np.ndarray, str]:
  """Trains classifiers on the frozen network with fresh crops in each epoch: (classes of the test split int [m], protocol).

  One for each of RATES side by side; the best on a held-out fifth of the bank counts.
  """
  assert subject.splits.test is not None
  config, bank, seed = subject.config.evals.linear, subject.bank, subject.config.train.seed
  out = held_out(bank.labels, seed)
  tuning = Tuning(subject, RATES, 0.0, config.epochs, config.batch_size)
  tuned = tuning.fit(np.flatnonzero(~out), seed)
  right = tuning.logits(tuned, subject.splits.reference)[out].argmax(2) == bank.labels[out][:, None]
  best = int(right.sum(0).argmax())
  how = f"linear by SGD, momentum 0.9, cosine, {config.epochs} epochs of batches of {config.batch_size}, the run's crops, "
  how += f"learning rate {RATES[best]:g} chosen on a held-out fifth, which it is not taught"
  return tuning.logits(tuned, subject.splits.test)[:, best].argmax(1), how


def classify(weights: Linear, x: np.ndarray) -> np.ndarray:
  """Gives the most likely class of features float32 [n, f]: int [n]."""
  return np.asarray(_logits(weights, jnp.asarray(x))).argmax(1)


@jax.jit
def _logits(weights: Linear, x: Array) -> Array:
  standardized = (x - weights.mean[None]) / weights.scale[None]
  return jnp.dot(standardized, weights.kernel, precision=jax.lax.Precision.HIGHEST) + weights.bias[None]


def standard(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Gives the mean and the deviation of every feature; one that hardly varies is not blown up."""
  deviation = x.std(0)
  return x.mean(0), np.maximum(deviation, 1e-3 * deviation.max() + 1e-12)


def held_out(labels: np.ndarray, seed: int) -> np.ndarray:
  """Draws bool [n], True for one image in five of each class, but never for all of one."""
  order = np.random.default_rng(seed).permutation(len(labels))
  out = np.zeros(len(labels), bool)
  for c in np.unique(labels):
    of_class = order[labels[order] == c]
    out[of_class[: len(of_class) // HELD_OUT or len(of_class) > 1]] = True
  return out


def logistic(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int) -> tuple[Linear, float]:
  """Fits multinomial logistic regression: mean cross-entropy + penalty / 2 |kernel|^2, to convergence.

  x: float32 [n, f]; labels int32 [n]. The penalty with the most right answers on a held-out fifth (the largest of equals) is
  fitted again on all. Returns the classifier and the penalty.
  """
  mean, scale = standard(x)
  standardized = jnp.asarray((x - mean) / scale)
  rotation = jnp.linalg.eigh(jnp.dot(standardized.T, standardized, precision=jax.lax.Precision.HIGHEST))[1]
  z = jnp.dot(standardized, rotation, precision=jax.lax.Precision.HIGHEST)  # the penalty is the same in either basis
  y, out = jnp.asarray(labels), held_out(labels, seed)
  penalty, kernel = MIDDLE, jnp.zeros((x.shape[1] + 1, num_classes))
  if out.any():
    share = jnp.asarray(~out, jnp.float32)  # held-out rows weigh nothing: the features are not copied
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
  """Minimizes the mean over rows by their share [n], from `start` [f + 1, c]; the last row is the bias, which is not penalised.

  `z` are principal components, so that the second derivatives are nearly diagonal, at most half of their variances (Boehning,
  1992): scaled by that bound, L-BFGS needs tens of steps where it would need hundreds.
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
  """Trains a classifier for each of RATES side by side; the best rate on a held-out fifth trains one on all: (it, the rate)."""
  mean, scale = standard(x)
  z, out = (x - mean) / scale, held_out(labels, seed)

  def train(rates: tuple[float, ...], taught: np.ndarray) -> Array:
    steps = epochs * max(len(taught) // batch_size, 1)
    each = jnp.asarray(rates)[:, None, None]
    start = jnp.zeros((len(rates), x.shape[1] + 1, num_classes))
    falling = lambda step: each * 0.5 * (1 + jnp.cos(jnp.pi * step / steps))  # noqa: E731
    return _epochs(optax.trace(0.9), falling, start, z, labels, taught, seed, epochs, batch_size)

  rate = RATES[len(RATES) // 2]
  if out.any():
    asked = jnp.asarray(z[out])
    right = [
      (np.asarray(_product(asked, kernel)).argmax(1) == labels[out]).sum() for kernel in train(RATES, np.flatnonzero(~out))
    ]
    rate = RATES[int(np.argmax(right))]
  kernel = train((rate,), np.arange(len(x)))[0]
  return Linear(jnp.asarray(mean), jnp.asarray(scale), kernel[:-1], kernel[-1]), rate


def adam(x: np.ndarray, labels: np.ndarray, num_classes: int, seed: int, epochs: int = 500, batch_size: int = 1000) -> Linear:
  """Trains as ReSA does on CIFAR: Adam with L2 decay 5e-6, the learning rate falling geometrically each epoch."""
  optimizer = optax.chain(optax.add_decayed_weights(5e-6), optax.scale_by_adam())
  steps = max(len(x) // batch_size, 1)
  bound = 1 / np.sqrt(x.shape[1])  # a torch Linear's first weights
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
  taught: np.ndarray,
  seed: int,
  epochs: int,
  batch_size: int,
) -> Array:
  """Trains kernels [g, f + 1, c] on the rows `taught`, by rate(step) [g, 1, 1]; a last, incomplete batch is dropped."""
  batch_size = min(batch_size, len(taught))
  steps = len(taught) // batch_size
  x, y = jnp.asarray(z), jnp.asarray(labels)

  def step(carry: tuple, rows: Array) -> tuple[tuple, None]:
    kernels, state, number = carry

    def loss(kernels: Array) -> Array:
      logits = jnp.einsum("bf,gfc->bgc", x[rows], kernels[:, :-1]) + kernels[None, :, -1]
      truth = jnp.broadcast_to(y[rows][:, None], logits.shape[:2])
      return optax.softmax_cross_entropy_with_integer_labels(logits, truth).mean(0).sum()

    updates, state = optimizer.update(jax.grad(loss)(kernels), state, kernels)
    return (kernels - rate(number) * jnp.asarray(updates), state, number + 1), None

  epoch = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order)[0])
  carry = (kernels, optimizer.init(kernels), jnp.int32(0))
  shuffle = np.random.default_rng(seed)
  for _ in range(epochs):
    carry = epoch(carry, shuffle.permutation(taught)[: steps * batch_size].reshape(steps, batch_size))
  return carry[0]
