"""Classifiers act on the features as the encoder returns them, and are what is measured."""

import types

import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import Dataset
from jaxssl.evals import classifier, logistic
from jaxssl.evals.features import EVALUATIONS, FeatureExtractor
from tests.evals.fixtures import extractor
from tests.evals.test_linear import mixture


def test_a_folded_classifier_has_the_logits_of_standardized_features():
  rng = np.random.default_rng(0)
  x = (rng.normal(size=(50, 7)) * 10.0 ** np.arange(-4, 3) + 3).astype(np.float32)  # the first is nearly constant
  mean, scale = logistic.standardization(x)
  kernel = rng.normal(size=(8, 4)).astype(np.float32)
  expected = ((x.astype(np.float64) - mean) / scale) @ kernel[:-1] + kernel[-1]
  folded = classifier.folded(kernel, mean, scale)
  assert folded.dtype == np.float32 and folded.shape == kernel.shape
  np.testing.assert_allclose(x.astype(np.float64) @ folded[:-1] + folded[-1], expected, atol=1e-4 * np.abs(expected).max())
  np.testing.assert_allclose(classifier.logits(x, folded), expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("solver", ["lbfgs", "custom"])
def test_the_classifier_that_is_measured_takes_raw_features(solver):
  (x, labels), (test, truth) = mixture(300, 0, spread=0.5), mixture(100, 1, spread=0.5)
  given = extractor(x, labels, test, truth, linear={"solvers": (solver,), "custom": {"batch_size": 50, "epochs": 20}})
  ((fitted, measured),) = classifier.measured(given, classifier.FITS["linear"])
  kernel = fitted.classifier.kernel
  value = 100 * ((test @ kernel[:-1] + kernel[-1]).argmax(1) == truth).mean()
  assert fitted.classifier.classes == given.classes and fitted.classifier.variables is None
  assert measured == EVALUATIONS["linear"](given) and measured[0].name == f"linear_{solver}" == fitted.metric.name
  assert measured[0].value == pytest.approx(value) and value > 60


def test_classes_without_names_are_numbers():
  source = ArraySource(np.zeros((3, 4, 4), np.uint8), [0, 2, 1])
  source.classes = ()
  datasets = types.SimpleNamespace(reference=Dataset(source))
  given = FeatureExtractor(None, None, datasets, None, None, "student")  # type: ignore[arg-type]
  assert given.classes == ("0", "1", "2")


def test_a_classifier_that_diverged_is_an_error_and_never_the_best():
  x, labels = np.eye(4, dtype=np.float32), np.array([0, 0, 0, 1])  # a NaN would be class 0, and mostly right
  diverged, useful = np.full((5, 2), np.nan, np.float32), np.zeros((5, 2), np.float32)
  useful[3, 1] = useful[0, 1] = useful[1, 1] = 1
  assert (classifier.classify(useful, x) == [1, 1, 0, 1]).all()
  assert logistic.best_of([diverged, useful], x, labels) == 1
  with pytest.raises(UserError, match="a classifier diverged: its logits are not finite; lower .*evals.finetune.lr"):
    classifier.classify(diverged, x)
