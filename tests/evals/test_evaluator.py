"""What a run on unbalanced images measures, on raw pixels: no training, no network."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from jaxssl.config import flags
from jaxssl.core.errors import UserError
from jaxssl.core.types import Variables
from jaxssl.evals import knn
from jaxssl.evals.evaluator import Evaluator
from jaxssl.train.setup import Experiment
from jaxssl.workdir.results import Measurement

CONFIG = pathlib.Path(__file__).parents[2] / "configs/unbalanced.py"
BASE = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)  # an image for each class


def images(labels: np.ndarray, seed: int) -> np.ndarray:
  """Images of their class under noise; of classes 4 and 5, of neither."""
  noise = np.random.default_rng(seed).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
  return np.where((labels < 4)[:, None, None], BASE[labels] // 2 + noise // 2, noise)


def measured(placement: str, *more: str) -> tuple[Experiment, Evaluator]:
  words = [f"--config={CONFIG}:runlocal", "--config.data.source=array", f"--config.data.placement={placement}"]
  labels, test = np.repeat(np.arange(6), [40, 42, 44, 46, 48, 50]), np.repeat(np.arange(6), [10, 11, 12, 13, 14, 15])
  config, workdir = flags.parse([*words, *more])
  run = Experiment(config, workdir, {"train": (images(labels, 1), labels), "test": (images(test, 2), test)})
  return run, Evaluator(config, run.mesh, run.datasets, run.train_step.network, has_teacher=True)


def figures(measure: Evaluator, variables: Variables | None, whose: str) -> dict[str, Measurement]:
  return {m.name: m for m in knn.measure(measure.subject(variables, whose))}


@pytest.mark.parametrize("placement", ["device", "host"])
def test_all_head_and_tail(placement):
  run, measure = measured(placement)
  values = {name: m.value for name, m in figures(measure, None, "raw_pixels").items()}
  assert list(values) == [f"knn{k}_cosine{group}" for k in (1, 20) for group in ("", "_head", "_tail")]
  assert (
    len(run.train.source) < len(run.datasets.reference) == 6 * 40
    and run.datasets.test is not None
    and len(run.datasets.test) == 6 * 10
  )
  head, tail = values["knn1_cosine_head"], values["knn1_cosine_tail"]
  assert values["knn1_cosine"] == pytest.approx((2 * head + 4 * tail) / 6)
  hard = np.isin([4, 5], run.datasets.class_groups["head"])  # which of the classes that cannot be told
  assert (head < 90) == bool(hard.any()) and (tail < 90) == (not hard.all())


def test_protocols_say_so():
  run, measure = measured("device")
  raw, trained = figures(measure, None, "raw_pixels"), figures(measure, run.init().student, "teacher_network")
  everyone, tail = trained["knn1_cosine"].protocol, raw["knn1_cosine_tail"].protocol
  assert "bank: 240 training images of train array, equally many of 6 classes, trained on or not, " in everyone
  assert "mean of" not in everyone and "mean of the accuracies of the 4 tail classes, raw pixels at 28" in tail
  assert "mean of the accuracies of the 2 head classes, teacher network" in trained["knn1_cosine_head"].protocol


def test_a_balanced_run_keeps_one_store():
  run, measure = measured("device", "--config.data.imbalance.kind=none")
  assert run.datasets.reference is run.datasets.train and len(run.datasets.train) == 270
  found = figures(measure, None, "raw_pixels")
  assert list(found) == ["knn1_cosine", "knn20_cosine"]
  assert "bank: 270 training images of train array, queries: 75 test images" in found["knn1_cosine"].protocol


def test_weights_that_are_not_finite_are_an_error():
  run, measure = measured("device")
  student = run.init().student
  broken = dataclasses.replace(student, params=jax.tree.map(lambda x: x * np.nan, student.params))
  with pytest.raises(UserError, match="the weights of the teacher network are not finite"):
    measure.of(student, broken, ["knn"])
