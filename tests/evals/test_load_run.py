"""Changes of a run's config that its evaluations accept, and images that they notice."""

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

from jaxssl.config.schema import Config, DataConfig, EvalsConfig
from jaxssl.core import UserError
from jaxssl.data.datasets import Datasets, open_datasets
from jaxssl.data.identity import manifest_of, manifests
from jaxssl.evals.features import FeatureExtractor
from jaxssl.evals.load_run import _compared, _require_unchanged, read_config, selects_images
from jaxssl.workdir import manifest
from jaxssl.workdir.workdir import Workdir
from tests import flags
from tests.data.fixtures import flat, folder
from tests.tiny_run import ROOT


@pytest.fixture
def run(tmp_path):
  """Writes the config of a run that held out a fifth."""
  config, _ = flags.parse([f"--config={ROOT}/configs/nnboot.py:runlocal", "--config.evals.holdout=0.2"])
  Workdir(tmp_path).write_config(config)
  return tmp_path


@pytest.mark.parametrize(
  "changes, share",
  [
    ({}, 0.2),
    ({"evals.holdout": 0.0}, 0.0),
    ({"data.path": "other"}, 0.0),  # other images, which may have a test set
    ({"data.path": "other", "evals.holdout": 0.3}, 0.3),
  ],
)
def test_held_out_images_stay_those_of_the_run(run, changes, share):
  assert read_config(run, changes).evals.holdout == share


def test_images_that_were_trained_on_are_not_tested_on(run):
  match = "evals.holdout=0.3: would test on images that the run was trained on; expected 0.2, or 0 for no test set"
  with pytest.raises(UserError, match=match):
    read_config(run, {"evals.holdout": 0.3})


def opened(path: str, held_out: float = 0.0, **fields: Any) -> Datasets:
  return open_datasets(DataConfig(source="folder", path=path, **fields), 0, held_out=held_out)


def trained(tmp_path: pathlib.Path) -> tuple[Workdir, str]:
  """Returns the workdir of a run on images that are ten of each class, and their folder."""
  files = {f"{c}/{k}.png": flat(k) + bytes(10 * k + n) for n, c in enumerate("ab") for k in range(10)}
  path, workdir = folder(tmp_path / "images", files), Workdir(tmp_path / "run")
  workdir.folder.mkdir()
  workdir.write_config(Config(data=DataConfig(source="folder", path=path)))
  images, others = manifests(opened(path))
  manifest.write(workdir, [manifest.version(images, others, 0, 0)], images)
  return workdir, path


def test_test_images_that_were_trained_on_are_counted(tmp_path, caplog):
  workdir, path = trained(tmp_path)
  others = folder(tmp_path / "others", {f"{c}/{k}.png": flat(k) + bytes(500 + k) for c in "ab" for k in range(10)})
  assert _compared(workdir, opened(others, 0.3), 5).test_trained_on == 0 and "WARNING" not in caplog.text
  datasets = _compared(workdir, opened(path, 0.3), 5)
  assert datasets.test and datasets.test_trained_on == len(datasets.test) > 0
  count, first = len(datasets.test), datasets.test.source.describe(0)
  assert f"the run is trained on {count} of the {count} test images, e.g. {first}: results on them do not" in caplog.text
  assert _compared(workdir, opened(others, test_path=f"{path}/a"), 5).test_trained_on == 10
  listed = tmp_path / "list.txt"
  listed.write_text("a/1.png\nb/1.png\n")
  assert _compared(workdir, opened(path, test_path=path, list_path=str(listed)), 5).test_trained_on == 20


def test_images_of_all_versions_until_the_step_were_trained_on(tmp_path):
  workdir, path = trained(tmp_path)
  (first,) = manifest.read(workdir)
  now = opened(f"{path}/b")
  images = manifest_of(now.train.source)
  manifest.write(workdir, [first, manifest.version(images, {}, 5, 1, removed=10)], images)
  test = opened(path, test_path=f"{path}/a")
  assert _compared(workdir, test, 9).test_trained_on == 10


def test_a_damaged_manifest_is_a_warning_for_other_images(tmp_path, caplog):
  workdir, path = trained(tmp_path)
  for file in workdir.all_image_names():
    file.write_bytes(b"x")
  assert _compared(workdir, opened(path, 0.3), 5).test_trained_on == 0
  assert "whether the run was trained on test images is not known: " in caplog.text


def test_the_run_s_own_test_set_is_compared_too(tmp_path, caplog):
  workdir, path = trained(tmp_path)
  assert _require_unchanged(workdir, opened(path, test_path=f"{path}/a")).test_trained_on == 10
  assert "have changed" not in caplog.text  # another test set on purpose
  folder(path, {"train/a/1.png": flat(1), "train/b/1.png": flat(2), "test/a/1.png": flat(3)})
  images, others = manifests(opened(f"{path}/train", test_path=f"{path}/test"))
  manifest.write(workdir, [manifest.version(images, others, 0, 0)], images)
  workdir.write_config(Config(data=DataConfig(source="folder", path=f"{path}/train", test_path=f"{path}/test")))
  folder(path, {"test/a/2.png": flat(4)})
  _require_unchanged(workdir, opened(f"{path}/train", test_path=f"{path}/test"))
  assert "the images of the test set have changed since the run" in caplog.text


def test_images_other_than_the_run_s_have_a_name(tmp_path):
  workdir, path = trained(tmp_path)
  others = folder(tmp_path / "birds", {f"{c}/{k}.png": flat(k) + bytes(500 + k) for c in "ab" for k in range(10)})
  names = {}
  for what, datasets in {
    "the run's": opened(path),
    "moved": opened(str(shutil.copytree(path, tmp_path / "moved" / "images"))),
    "elsewhere": opened(others),
    "copied to another name": opened(str(shutil.copytree(path, tmp_path / "copied"))),
    "limited": opened(path, limit=5),
    "held out": opened(path, 0.3),
    "with a test set": opened(path, test_path=others),
  }.items():
    other = _compared(workdir, datasets, 5).other
    names[what] = other and other.name
  assert names == {
    "the run's": None, "moved": None, "elsewhere": "birds", "copied to another name": "copied",
    "limited": "images, data.limit=5", "held out": "images, evals.holdout=0.3",
    "with a test set": "images, data.test_path=birds",
  }  # fmt: skip
  other = _require_unchanged(workdir, opened(path, test_path=others)).other
  assert other and other.name == "images, data.test_path=birds" and _require_unchanged(workdir, opened(path)).other is None


def test_a_run_without_a_manifest_knows_its_images_by_their_fields(tmp_path):
  workdir, path = trained(tmp_path)
  workdir.images.unlink()
  assert _compared(workdir, opened(path), 5).other is None
  other = _compared(workdir, opened(path, limit=5), 5).other
  assert other and other.name == "images, data.limit=5"


def test_changed_fields_that_select_training_images():
  assert selects_images({"evals.holdout": 0.0}) and selects_images({"data.limit": 5}) and not selects_images({"evals.size": 24})


def test_the_count_is_in_the_protocol(tmp_path, monkeypatch):
  monkeypatch.setattr(FeatureExtractor, "features", lambda self, dataset: np.zeros((len(dataset), 1)))
  workdir, path = trained(tmp_path)
  datasets = _compared(workdir, opened(path, test_path=f"{path}/a"), 5)
  extractor = FeatureExtractor(
    Config(method={"name": "simclr"}, evals=EvalsConfig(size=8, resize=8)), None, datasets, None, None, "raw_pixels"
  )  # type: ignore[arg-type]
  assert extractor.test and extractor.test.protocol["test_trained_on"] == 10
