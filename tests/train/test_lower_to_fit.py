"""Smaller versions of recipes lower what is too large for few images or few epochs, log it, and resume with it."""

import json

import pytest

from jaxssl import main
from jaxssl.config.absolute import absolute_paths
from jaxssl.core import UserError
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.lower_to_fit import lowered, lowered_knn, originals
from jaxssl.workdir.workdir import Workdir
from tests import flags
from tests.data.fixtures import flat, folder
from tests.test_main import ROOT
from tests.tiny_run import TINY


def config(recipe: str, *words: str):
  return flags.parse([f"--config={ROOT}/configs/{recipe}", *(f"--config.{word}" for word in words)])[0]


@pytest.mark.parametrize(
  "images, devices, words, expected",
  [
    (10_000, 1, [], {}),
    (128, 1, [], {}),
    (127, 1, [], {"train.batch_size": 64}),
    (20, 1, [], {"train.batch_size": 16}),
    (16, 8, [], {"train.batch_size": 16}),
    (16, 1, ["train.batch_size=96"], {"train.batch_size": 12}),
    (20, 1, ["train.accumulate=8"], {"train.batch_size": 16}),
    (20, 1, ["train.lower_to_fit=false"], {}),
    (5, 1, [], {"train.batch_size": 4, "bootstrap.k": 5}),
    (5, 1, ["bootstrap.policy=off"], {"train.batch_size": 4}),
    (99, 1, ["train.epochs=1"], {"train.batch_size": 64, "optim.schedule.warmup_epochs": 0.1}),
  ],
)
def test_a_batch_is_halved_until_the_images_fill_it(images, devices, words, expected):
  given = config("nnboot.py:cifar10,cpu", *words)
  used = lowered(given, images, devices)
  values = {"train.batch_size": used.train.batch_size, "bootstrap.k": used.bootstrap.k}
  values["optim.schedule.warmup_epochs"] = used.optim.schedule.warmup_epochs
  names = originals(given, used)
  assert {name: values[name] for name in names} == expected


def test_a_batch_that_cannot_be_halved_remains_and_is_an_error_of_the_run():
  assert lowered(config("simclr.py:cpu"), 20, 32).train.batch_size == 128
  assert lowered(config("simclr.py:cpu", "train.accumulate=0"), 20, 1).train.batch_size == 128
  assert lowered(config("simclr.py:cpu", "train.batch_size=99"), 20, 1).train.batch_size == 99


def test_warm_ups_of_a_method_are_lowered_and_those_that_fit_are_not():
  words = ["method.teacher_temperature.warmup_epochs=12", "method.teacher_temperature.base=0.05", "train.epochs=20"]
  given = config("dino.py:cpu", *words)
  used = lowered(given, 10**6, 1)
  assert originals(given, used) == {"method.teacher_temperature.warmup_epochs": 12.0}
  assert used.method["teacher_temperature"]["warmup_epochs"] == 2.0 and used.method["teacher_temperature"]["base"] == 0.05
  assert lowered(config("dino.py:cpu"), 10**6, 1) == config("dino.py:cpu")


def test_numbers_of_neighbors_are_at_most_the_images_to_compare_with():
  given = config("simclr.py:cpu", "evals.knn.k=1,20,50")
  assert lowered_knn(given, 15).evals.knn.k == (1, 15) and lowered_knn(given, 50) == given


def test_a_run_resumes_with_the_values_that_it_lowered(tmp_path):
  workdir, given = Workdir(tmp_path / "run"), absolute_paths(config("simclr.py:cpu"))
  workdir.stored()
  used = lowered(given, 20, 1)
  workdir.write_config(used, lowered_from=originals(given, used))
  assert json.loads(workdir.config.read_text())["lowered_from"] == {"train.batch_size": 128}
  changes = ConfigChanges(workdir, given, accept=False)
  assert list(changes) == [] and changes.config.train.batch_size == 16
  for words in (["train.batch_size=64"], ["train.lower_to_fit=false"]):
    with pytest.raises(UserError, match=r"train.batch_size: 16 there, \d+ here. Such fields cannot change"):
      ConfigChanges(workdir, absolute_paths(config("simclr.py:cpu", *words)), accept=False)


@pytest.mark.slow
def test_a_smaller_version_trains_on_few_images_and_resumes(tmp_path, capfd, one_device):
  where = folder(tmp_path / "images", {f"{'ab'[k % 2]}/{k}.png": flat(12 * k, size=(30, 20)) for k in range(20)})
  words = [f"--config={ROOT}/configs/nnboot.py:runlocal", *TINY, "--config.data.source=folder", f"--config.data.path={where}"]
  words += [f"--workdir={tmp_path / 'run'}", "--config.evals.report=false", "--config.evals.baselines=false"]
  assert main.main([*words, "--config.train.epochs=1"]) == 0
  log = capfd.readouterr().err
  assert "data.limit=256: all 20 training images are used" in log
  assert "train.batch_size=32 lowered to 16: the training set has 20 images (train.lower_to_fit)" in log
  assert "evals.knn.k=(20,) lowered to (19,): k-NN compares with 19 images (train.lower_to_fit)" in log
  stored = json.loads((tmp_path / "run" / "config.json").read_text())
  assert stored["train"]["batch_size"] == 16 and stored["evals"]["knn"]["k"] == [19]
  assert main.main([*words, "--config.train.epochs=2"]) == 0
  assert "resumes at step 1" in (log := capfd.readouterr().err)
  assert "train.batch_size=16 instead of 32, as the run lowered it (train.lower_to_fit)" in log
