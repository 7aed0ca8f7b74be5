import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from jaxssl.core import UserError
from jaxssl.evals import logistic
from jaxssl.evals.classifier import classify, logits
from jaxssl.evals.features import EVALUATIONS
from tests.evals.fixtures import extractor


def mixture(count: int, seed: int, classes: int = 4, width: int = 6, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
  """Returns overlapping classes with features of very different scales."""
  labels = np.arange(count) % classes
  centers = np.random.default_rng(99).normal(size=(classes, width))
  noise = np.random.default_rng(seed).normal(size=(count, width))
  x = (centers[labels] + spread * noise) * 10.0 ** np.linspace(-1, 1, width) + 5
  return x.astype(np.float32), labels.astype(np.int32)


@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-4])
def test_logistic_regression_matches_scikit_learn(penalty, monkeypatch):
  monkeypatch.setattr(logistic, "PENALTIES", (penalty,))
  monkeypatch.setattr(logistic, "TOLERANCE", 1e-7)
  logistic._fit.clear_cache()  # it was compiled with the other tolerance
  x, labels = mixture(300, 0)
  mean, scale = logistic.standardization(x)
  z = (x - mean) / scale
  kernel, chosen = logistic.logistic(z, labels, 4, 0)
  logistic._fit.clear_cache()
  other = LogisticRegression(C=1 / (penalty * len(x)), tol=1e-8, max_iter=10_000).fit(z, labels)
  assert chosen == {"penalty": penalty}
  ours, theirs = logits(jnp.asarray(z), kernel), other.decision_function(z)
  theirs -= theirs.mean(1, keepdims=True)  # the bias is defined up to a constant
  np.testing.assert_allclose(ours - np.asarray(ours).mean(1, keepdims=True), theirs, atol=5e-3 * np.abs(theirs).max())


def test_all_solvers_reach_the_accuracy_of_scikit_learn():
  (x, labels), (test, truth) = mixture(600, 0, spread=0.3), mixture(200, 1, spread=0.3)
  custom = {"optimizer": "adam", "lr": 0.01, "init": "uniform", "batch_size": 100}
  solvers = {"solvers": ("lbfgs", "sgd", "custom"), "custom": custom}
  measured = EVALUATIONS["linear"](extractor(x, labels, test, truth, linear=solvers))
  assert [m.name for m in measured] == ["linear_lbfgs", "linear_sgd", "linear_custom"]
  assert [set(m.chosen) for m in measured] == [{"penalty"}, {"learning_rate"}, set()]
  assert measured[0].chosen["penalty"] not in measured[0].protocol.values()  # not a part of the identity
  bayes = LogisticRegression(max_iter=1000).fit((x - x.mean(0)) / x.std(0), labels).score((test - x.mean(0)) / x.std(0), truth)
  assert all(m.value >= 100 * bayes - 3 for m in measured)


def test_misleading_features_select_a_large_penalty():
  rng = np.random.default_rng(0)
  x, labels = rng.normal(size=(100, 80)), np.arange(100) % 2
  x[:, 0] += 2 * labels  # one feature is informative; 79 are noise
  _, chosen = logistic.logistic(x.astype(np.float32), labels.astype(np.int32), 2, 0)
  assert chosen["penalty"] >= 1e-2


@pytest.mark.parametrize("sizes", [(10, 7, 5), (4, 2, 1)])
def test_a_fifth_but_never_a_whole_class_is_held_out(sizes):
  labels = np.repeat(np.arange(len(sizes)), sizes)
  out = logistic.held_out(labels, 0)
  assert [int(out[labels == c].sum()) for c in range(len(sizes))] == [max(n // 5, int(n > 1)) for n in sizes]
  assert (out == logistic.held_out(labels, 0)).all() and (out != logistic.held_out(labels, 1)).any()


def test_one_image_per_class_is_enough():
  x = np.eye(3, dtype=np.float32)
  kernel, chosen = logistic.logistic(x, np.arange(3, dtype=np.int32), 3, 0)
  assert chosen["penalty"] == logistic.MIDDLE and (classify(kernel, x) == np.arange(3)).all()


def test_a_class_without_a_training_image_is_an_error():
  x = np.eye(4, dtype=np.float32)
  with pytest.raises(UserError, match="1 classes of the test set have no image in the reference set, e.g. class 3"):
    EVALUATIONS["linear"](extractor(x, [0, 1, 2, 2], x, [0, 1, 2, 3]))
