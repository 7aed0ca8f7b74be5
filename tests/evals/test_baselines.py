"""Baselines over several seeds."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals import baselines, features, logistic
from jaxssl.evals.evaluator import Evaluator
from jaxssl.train.setup import Experiment
from tests import flags
from tests.tiny_run import TINY

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"
METRIC = Metric(name="knn20_cosine", title="k-NN", unit="%", higher_is_better=True)


def measurement(value: float, seed: int, **protocol) -> Measurement:
  return Measurement(metric=METRIC, value=value, subject="untrained", protocol={"k": 20, **protocol}, chosen={"penalty": seed})


def test_values_of_several_seeds_become_mean_and_deviation():
  of_seeds = [[measurement(40.0, 0), measurement(1.0, 0, k=1)], [measurement(44.0, 1)], [measurement(48.0, 2)]]
  mean, single = baselines.over_seeds(of_seeds)
  assert (mean.value, mean.std, mean.seeds, mean.chosen) == (44.0, 4.0, 3, {})
  assert single is of_seeds[0][1]
  assert np.isnan(baselines.over_seeds([[measurement(40.0, 0)], [measurement(float("nan"), 1)]])[0].value)


@pytest.fixture(scope="module")
def opened() -> tuple[Experiment, Evaluator]:
  labels = np.arange(60) % 3
  images = (80 * labels[:, None, None] + np.random.default_rng(0).integers(0, 90, (60, 28, 28))).astype(np.uint8)
  words = ["data.source=array", "data.limit=0", "evals.knn.k=3", "evals.holdout=0.4", "train.batch_size=16"]
  config, workdir = flags.parse([f"--config={CONFIG}:runlocal", *TINY, *(f"--config.{word}" for word in words)])
  run = Experiment(config, workdir, {"train": (images, labels)})
  return run, Evaluator(config, run.mesh, run.datasets, run.train_step.network)


def test_networks_and_random_evaluations_of_raw_pixels_are_repeated(opened, monkeypatch):
  monkeypatch.setattr(logistic, "PENALTIES", (1e-2,))
  run, evaluator = opened
  asked = []

  def untrained(seed: int):
    asked.append(seed)
    return run.untrained(seed)

  measured = baselines.measure(evaluator, untrained, ["knn", "linear"], [0, 1, 2])
  assert asked == [0, 1, 2]
  seeds = {(m.subject, m.name): m.seeds for m in measured}
  assert seeds == {
    ("raw_pixels", "knn3_cosine"): 1, ("raw_pixels", "linear_lbfgs"): 3,
    ("untrained", "knn3_cosine"): 3, ("untrained", "linear_lbfgs"): 3,
  }  # fmt: skip
  assert {m.protocol["test_seed"] for m in measured} == {0}  # all on the images that the run has held out
  asked.clear()
  monkeypatch.setattr(baselines, "ONCE", ("knn",))
  assert {m.seeds for m in baselines.measure(evaluator, untrained, ["knn"], [0, 1, 2])} == {1} and asked == [0]
  (alone,) = [m for m in baselines.measure(evaluator, untrained, ["knn"], [0]) if m.subject == "untrained"]
  mean = next(m for m in measured if (m.subject, m.name) == ("untrained", "knn3_cosine"))
  assert alone.protocol == mean.protocol and alone.std is None  # which it replaces in results.json


def test_images_are_read_once_for_the_raw_pixels_of_all_evaluations_and_seeds(opened, monkeypatch):
  _, evaluator = opened
  read = []
  compute = features.compute
  monkeypatch.setattr(features, "compute", lambda *words: read.append(words[3]) or compute(*words))
  monkeypatch.setattr(logistic, "PENALTIES", (1e-2,))
  baselines._raw_pixels(evaluator, ["knn", "linear"], [0, 1])
  assert read == [None, None]  # of the reference and the test set


def test_the_networks_of_two_seeds_differ_and_that_of_the_run_is_its_first_state(opened):
  run, _ = opened
  first, same, other = (jax.tree.leaves(x.params) for x in (run.untrained(0), run.init().student, run.untrained(1)))
  np.testing.assert_array_equal(first[-1], same[-1])
  assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(first, other, strict=True))


def test_weights_that_no_seed_changes_are_measured_once(opened):
  run, evaluator = opened
  measured = baselines.measure(evaluator, lambda seed: run.untrained(0), ["knn"], [0, 1, 2])
  assert [m.seeds for m in measured] == [1, 1]


def test_of_many_images_one_seed_is_measured_and_no_raw_pixels(opened, monkeypatch, caplog):
  run, evaluator = opened
  assert list(baselines.seeds_of(evaluator, 3)) == [0, 1, 2]
  monkeypatch.setattr(baselines, "MANY", 20)
  with caplog.at_level("INFO", logger="jaxssl"):
    assert list(baselines.seeds_of(evaluator, 3)) == [0]
    (measured,) = baselines.measure(evaluator, run.untrained, ["knn"], [0])
  assert measured.subject == "untrained"
  assert "evals.baseline_seeds=3: one seed is measured, since there are more than 20 images" in caplog.text
  assert "raw pixels are not measured: there are more than 20 images" in caplog.text


def test_features_are_not_computed_again_for_another_seed(opened):
  _, evaluator = opened
  extractor = evaluator.extractor(None, "raw_pixels")
  features = extractor.reference
  other = extractor.with_seed(5)
  assert other.reference is features and other.config.train.seed == 5
  assert dataclasses.replace(other.config, train=extractor.config.train) == extractor.config
