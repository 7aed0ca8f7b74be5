"""Evaluation of a run on unbalanced images, without training."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest

from jaxssl.config.eval_schema import EvalsConfig, LowshotConfig
from jaxssl.config.parse import read
from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import UserError
from jaxssl.core.metric import Measurement
from jaxssl.core.types import Variables
from jaxssl.data.arrays import ArraySource
from jaxssl.data.datasets import Dataset, Datasets
from jaxssl.evals import baselines, logistic
from jaxssl.evals.evaluator import Evaluator, check_config
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.train.setup import Experiment
from tests import flags

CONFIG = pathlib.Path(__file__).parents[2] / "configs/unbalanced.py"
BASE = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)  # one image per class


def images(labels: np.ndarray, seed: int) -> np.ndarray:
  """Returns an image of each label's class under noise; images of classes 4 and 5 are noise alone."""
  noise = np.random.default_rng(seed).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
  return np.where((labels < 4)[:, None, None], BASE[labels] // 2 + noise // 2, noise)


def opened(placement: str, *more: str) -> tuple[Experiment, Evaluator]:
  words = [f"--config={CONFIG}:runlocal", "--config.data.source=array", f"--config.data.placement={placement}"]
  labels, test = np.repeat(np.arange(6), [40, 42, 44, 46, 48, 50]), np.repeat(np.arange(6), [10, 11, 12, 13, 14, 15])
  config, workdir = flags.parse([*words, *more])
  run = Experiment(config, workdir, {"train": (images(labels, 1), labels), "test": (images(test, 2), test)})
  return run, Evaluator(config, run.mesh, run.datasets, run.train_step.network)


def by_name(evaluator: Evaluator, variables: Variables | None, subject: str) -> dict[str, Measurement]:
  return {m.name: m for m in evaluator.measure(evaluator.extractor(variables, subject), ["knn"])}


@pytest.fixture(scope="module")
def on_device() -> tuple[Experiment, Evaluator]:
  return opened("device")


@pytest.mark.parametrize("placement", ["device", "host"])
def test_accuracy_is_the_weighted_mean_of_head_and_tail(placement, on_device):
  run, evaluator = on_device if placement == "device" else opened(placement)
  values = {name: m.value for name, m in by_name(evaluator, None, "raw_pixels").items()}
  assert list(values) == ["knn1_cosine", "knn1_cosine_head", "knn1_cosine_tail"]
  assert len(run.train.source) < len(run.datasets.reference) == 6 * 40
  assert run.datasets.test is not None and len(run.datasets.test) == 6 * 10
  head, tail = values["knn1_cosine_head"], values["knn1_cosine_tail"]
  assert values["knn1_cosine"] == pytest.approx((2 * head + 4 * tail) / 6)
  hard = np.isin([4, 5], run.datasets.class_groups["head"])  # whether the indistinguishable classes are in the head
  assert (head < 90) == bool(hard.any()) and (tail < 90) == (not hard.all())


def test_protocols_record_all_parameters(on_device):
  run, evaluator = on_device
  raw, trained = by_name(evaluator, None, "raw_pixels"), by_name(evaluator, run.init().student, "student")
  protocol = {
    "k": 1, "similarity": "cosine", "vote": "exp(similarity / temperature)", "temperature": 0.07, "reference": "train array",
    "reference_images": 240, "reference_balanced_classes": 6, "test": "test array", "test_images": 60, "image_size": 28,
  }  # fmt: skip
  assert trained["knn1_cosine"].protocol == raw["knn1_cosine"].protocol == protocol
  assert trained["knn1_cosine_tail"].protocol == protocol | {"mean_over_classes": "tail", "classes": 4}
  assert (raw["knn1_cosine"].subject, trained["knn1_cosine"].subject) == ("raw_pixels", "student")
  assert trained["knn1_cosine"].evaluation == "knn" and raw["knn1_cosine"].flat_name == "raw_pixels/knn1_cosine"


def test_the_reference_set_of_a_balanced_run_is_its_training_set():
  run, evaluator = opened("device", "--config.data.imbalance.kind=none", "--config.evals.knn.k=1,20")
  assert run.datasets.reference is run.datasets.train and len(run.datasets.train) == 270
  measured = by_name(evaluator, None, "raw_pixels")
  assert list(measured) == ["knn1_cosine", "knn20_cosine"]
  expected = {"reference": "train array", "reference_images": 270, "test_images": 75}
  assert expected.items() <= measured["knn1_cosine"].protocol.items() and len(measured["knn1_cosine"].protocol) == 9


def test_the_image_size_is_that_of_the_students_first_view():
  """ISD+ passes weak views to the teacher; the size is that of the student's strong views in any order of the config."""
  words = [f"--config={CONFIG.parent}/isd.py:plus,runlocal", "--config.data.source=array", "--config.data.test_path="]
  config, _ = flags.parse([*words, "--config.views.weak.size=20", "--config.views.strong.size=28"])
  assert set(config.views) == {"weak", "strong"}
  for views in (config.views, dict(reversed(config.views.items()))):
    assert Preprocessing.of(dataclasses.replace(config, views=views)).size == 28


@pytest.mark.parametrize("field", ["periodic", "final"])
def test_an_unknown_evaluation_names_the_field_and_the_nearest(field):
  with pytest.raises(UserError, match=rf"evals\.{field}='knm': unknown; expected clusters, .*, retrieval; did you mean knn\?"):
    check_config(read(Config, {"evals": {field: ("knn", "knm")}}))


def test_raw_pixels_are_not_fine_tuned(on_device):
  _, evaluator = on_device
  assert evaluator.measure(evaluator.extractor(None, "raw_pixels"), ["finetune"]) == []


def test_weights_that_are_not_finite_are_an_error(on_device):
  run, evaluator = on_device
  student = run.init().student
  broken = dataclasses.replace(student, params=jax.tree.map(lambda x: x * np.nan, student.params))
  with pytest.raises(UserError, match="the weights of the student network are not finite"):
    evaluator.chosen(broken, student)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_set_without_a_test_set_is_measured(share, monkeypatch):
  """Leave-one-out k-NN, or k-NN and a linear probe on held-out images; for the network and for the baselines."""
  monkeypatch.setattr(logistic, "PENALTIES", (1e-2,))
  labels = np.repeat(np.arange(4), 12)
  words = [f"--config={CONFIG}:runlocal", "--config.data.source=array", "--config.data.imbalance.kind=none"]
  config, workdir = flags.parse([*words, f"--config.evals.holdout={share}", "--config.evals.knn.k=3"])
  run = Experiment(config, workdir, {"train": (images(labels, 1), labels)})
  evaluator = Evaluator(config, run.mesh, run.datasets, run.train_step.network)
  measured = baselines.measure(evaluator, run.untrained, ["knn", "linear"], [config.train.seed])
  name, test = ("knn3_cosine", "train array") if share else ("knn3_cosine_leave_one_out", "leave one out")
  names = [name, "linear_lbfgs"] if share else [name]
  assert [(m.subject, m.name) for m in measured] == [(who, x) for who in ("raw_pixels", "untrained") for x in names]
  assert measured[0].value > 90  # classes differ in their pixels
  drawn = {"test_images": 12, "test_held_out": 0.25, "test_seed": config.train.seed}
  sets = {"reference_images": 36 if share else 48, "test": test, **(drawn if share else {})}
  for m in measured:
    assert sets.items() <= m.protocol.items() and ("test_images" in m.protocol) == bool(share)
  if not share:
    with pytest.raises(UserError, match=r"linear needs a test set \(data.test_path, or evals.holdout in training\), which"):
      evaluator.require(["linear"])


def test_images_of_unknown_class_are_neither_compared_with_nor_counted():
  labels = np.repeat(np.arange(4), 12)
  words = [f"--config={CONFIG}:runlocal", "--config.data.source=array", "--config.data.imbalance.kind=none"]
  config, workdir = flags.parse([*words, "--config.evals.knn.k=3"])
  run = Experiment(config, workdir, {"train": (images(labels, 1), np.where(np.arange(48) % 2, labels, -1))})
  evaluator = Evaluator(config, run.mesh, run.datasets, run.train_step.network)
  (measured,) = evaluator.measure(evaluator.extractor(None, "raw_pixels"), ["knn"])
  assert measured.protocol["reference_images"] == 24 and measured.value > 90 and len(run.train) == 48


def test_a_test_split_without_labels_is_an_error():
  train, test = ArraySource(BASE, np.arange(6)), ArraySource(BASE)
  sets = {"train": Dataset(train), "reference": Dataset(train), "test": Dataset(test)}
  config = Config(data=DataConfig(path="SET"), method={"name": "simclr"})
  with pytest.raises(
    UserError, match="the test split in data.path=SET has no labels, but the training set has; sort its images"
  ):
    Evaluator(config, None, Datasets(config=config.data, class_groups={}, **sets), None)


@pytest.mark.parametrize(
  "labels, final, lowshot, message",
  [
    (
      [0, 0, 1, 1, 3, 4],
      "finetune",
      {},
      "2 classes of the test set have no image in the reference set, e.g. 3, 4; add some",
    ),
    (
      [0, 1, 2, 2, 1, 0],
      "lowshot",
      {"shots": (5,)},
      "evals.lowshot.shots=5: out of range; expected at most 2, the size of the smallest class",
    ),
    (
      [0, 1, 2, 2, 1, 0],
      "lowshot",
      {"shots": (1,), "lists": ("a.txt",)},
      "evals.lowshot.lists=a.txt: the images of .* no names",
    ),
    ([0, 1, 2, 2, 1, 0], "lowshot", {"shots": ()}, "evals.lowshot.shots and evals.lowshot.lists are empty"),
  ],
)
def test_what_the_last_evaluation_lacks_is_an_error_before_training(labels, final, lowshot, message):
  train, test = ArraySource(BASE, np.array([0, 0, 1, 1, 2, 2])), ArraySource(BASE, np.array(labels))
  sets = {"train": Dataset(train), "reference": Dataset(train), "test": Dataset(test)}
  evals = EvalsConfig(periodic=(), final=(final,), lowshot=LowshotConfig(**lowshot))
  config = Config(method={"name": "simclr"}, evals=evals)
  evaluator = Evaluator(config, None, Datasets(config=config.data, class_groups={}, **sets), None)
  with pytest.raises(UserError, match=message):
    evaluator.check_run()


def test_the_baselines_have_one_seed_at_least():
  with pytest.raises(UserError, match=r"evals\.baseline_seeds=0: .* at least 1"):
    check_config(read(Config, {"evals": {"baseline_seeds": 0}}))
