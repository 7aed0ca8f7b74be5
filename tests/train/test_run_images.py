"""A run knows its training images: moved, added, removed and renamed ones, and relative paths."""

import dataclasses
import pathlib
import shutil

import jax
import numpy as np
import pytest

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.schema import BootstrapConfig, Config, DataConfig, EvalsConfig, ModelConfig, TrainConfig
from jaxssl.core import UserError
from jaxssl.data.datasets import open_datasets
from jaxssl.data.identity import manifest_of, manifests
from jaxssl.data.source import name_of
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.run_images import RunImages
from jaxssl.workdir import manifest
from jaxssl.workdir.workdir import Workdir
from tests.data.fixtures import flat, folder, zipped

LENGTH = TrainConfig(batch_size=4, epochs=4)
NAMES = [f"{k}.png" for k in range(8)]


def files(*names: str) -> dict[str, bytes]:
  """Returns images whose files all have another size, by name."""
  return {name: flat(10) + bytes(range(1, int(pathlib.PurePath(name).stem) + 2)) for name in names}


def started(tmp_path: pathlib.Path, **changes) -> tuple[Workdir, Config]:
  """Returns a workdir as a run on eight images in tmp_path/a leaves it, two steps an epoch, and the run's config."""
  data = changes.get("data") or DataConfig(source="folder", path=folder(tmp_path / "a", files(*NAMES)))
  config = Config(data=data, method={"name": "simclr"}, train=LENGTH)
  config = dataclasses.replace(config, **changes)
  workdir = Workdir(tmp_path / "run")
  workdir.stored()
  workdir.write_config(config)
  checked(workdir, config, step=None)
  images, others = manifests(open_datasets(config.data, 0, held_out=config.evals.holdout))
  held_out = [others["test"]] if config.evals.holdout else []
  version = manifest.version(images, others, 0, 0, held_out=sum(m.count for m in held_out))
  manifest.write(workdir, [version], images, *held_out)
  return workdir, config


def checked(workdir: Workdir, config: Config, accept: bool = False, step: int | None = 5) -> RunImages:
  """Compares the images of a config with those of a run whose newest checkpoint has this step."""
  images = RunImages(workdir, workdir, ConfigChanges(workdir, config, accept), accept)
  images._newest_step = lambda: step  # type: ignore[method-assign]
  images.check(open_datasets(config.data, 0, held_out=config.evals.holdout))
  return images


def at(config: Config, **fields) -> Config:
  return dataclasses.replace(config, data=dataclasses.replace(config.data, **{k: str(v) for k, v in fields.items()}))


@pytest.mark.parametrize("target", ["folder", "zip"])
def test_images_that_moved_as_a_whole_are_accepted(target, tmp_path, caplog):
  caplog.set_level("INFO", "jaxssl")
  workdir, config = started(tmp_path)
  moved = shutil.move(tmp_path / "a", tmp_path / "b") if target == "folder" else zipped(tmp_path / "b.zip", files(*NAMES))
  moved_config = at(config, path=moved)
  checked(workdir, moved_config)
  assert f"the same training images at another place: data.path: '{tmp_path}/a' there, '{moved}' here" in caplog.text


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda root: folder(root, files("8.png", "9.png")), "2 added (first: 8.png)"),
    (lambda root: (root / "3.png").unlink(), "1 removed (first: 3.png)"),
    (lambda root: (root / "3.png").rename(root / "z.png"), "1 renamed (first: 3.png, now z.png)"),
    (lambda root: (root / "3.png").write_bytes(flat(99, (9, 9))), "1 of other content (first: 3.png)"),
  ],
)
def test_changed_images_stop_a_run_unless_they_are_accepted(change, message, tmp_path, caplog):
  workdir, config = started(tmp_path)
  change(tmp_path / "a")
  with pytest.raises(UserError) as error:
    checked(workdir, config)
  assert str(error.value).startswith(f"--workdir {tmp_path}/run: the training images have changed: {message}. Restore them,")
  assert "--accept-changes" in str(error.value) and "\n" not in str(error.value)
  checked(workdir, config, accept=True)
  assert f"accepted that the training images have changed: {message}" in caplog.text
  with pytest.raises(UserError, match="but the run is complete; use another --workdir"):
    checked(workdir, config, accept=True, step=8)


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda root, held_out, trained: (root / trained).unlink(), ""),
    (lambda root, held_out, trained: folder(root, {f"a/new{k}.png": flat(k) for k in range(20)}), "would move .*; use another"),
    (
      lambda root, held_out, trained: (root / held_out).rename(root / trained),
      "1 would move .* .first: a/[0-9]*.png.; use another",
    ),
    (
      lambda root, held_out, trained: (root / held_out).rename(root / "b/xyz.png"),
      r"[123] would move .* \(first: .*\); use another",
    ),
  ],
)
def test_held_out_images_stay_held_out(change, message, tmp_path):
  root = tmp_path / "a"
  named = {
    f"{c}/{k}.png": flat(10) + bytes(range(1, n + 2)) for n, (c, k) in enumerate((c, k) for c in "ab" for k in range(10))
  }
  data = DataConfig(source="folder", path=folder(root, named))
  workdir, config = started(tmp_path, data=data, evals=EvalsConfig(holdout=0.25))
  opened = open_datasets(data, 0, held_out=0.25)
  first = {name: name_of(dataset.source, 0) for name, dataset in (("trained", opened.train), ("held_out", opened.test))}
  change(root, **first)
  if message:
    with pytest.raises(UserError, match=message):
      checked(workdir, config, accept=True)
  else:
    checked(workdir, config, accept=True)


def test_other_images_at_another_path_are_named_with_both_paths(tmp_path):
  workdir, config = started(tmp_path)
  other = folder(tmp_path / "b", files(*NAMES[1:]))
  with pytest.raises(UserError, match=f"1 removed .first: 0.png.; data.path: '{tmp_path}/a' there, '{other}' here. Restore"):
    checked(workdir, at(config, path=other))
  with pytest.raises(UserError, match=f"another config: data.path: '{tmp_path}/a' there, '{tmp_path}/c' here"):
    checked(workdir, at(config, path=tmp_path / "c"))  # does not exist
  with pytest.raises(UserError, match="Restore them"):
    checked(workdir, at(config, path=other), step=None)


def test_without_a_checkpoint_changed_images_start_again(tmp_path, caplog):
  workdir, config = started(tmp_path)
  (tmp_path / "a" / "3.png").unlink()
  checked(workdir, config, step=None)
  assert "1 removed (first: 3.png); training starts again, since nothing was saved" in caplog.text


def test_accepted_images_need_no_second_flag_and_the_images_before_may_return(tmp_path):
  workdir, config = started(tmp_path)
  versions = manifest.read(workdir)
  folder(tmp_path / "a", files("8.png"))
  images = manifest_of(open_datasets(config.data, 0).train.source)
  manifest.write(workdir, [*versions, manifest.version(images, {}, 5, 2, added=1)], images)
  checked(workdir, config, step=5)  # killed before the first save on nine images
  checked(workdir, config, step=7)
  (tmp_path / "a" / "8.png").unlink()
  checked(workdir, config, step=5)
  with pytest.raises(UserError, match="1 removed .first: 8.png"):
    checked(workdir, config, step=7)


def test_another_test_set_is_refused_at_another_path_and_logged_at_the_same(tmp_path, caplog):
  held_out = folder(tmp_path / "t", files("1.png", "2.png"))
  path = folder(tmp_path / "a", files(*NAMES))
  workdir, config = started(tmp_path, data=DataConfig(source="folder", path=path, test_path=held_out))
  moved = shutil.copytree(tmp_path / "t", tmp_path / "u")
  checked(workdir, at(config, test_path=moved))
  folder(moved, files("3.png"))
  with pytest.raises(UserError, match="another config: data.test_path: "):
    checked(workdir, at(config, test_path=moved))
  folder(held_out, files("3.png"))
  checked(workdir, config)
  assert "the images of the test set have changed: measurements before and after are not comparable" in caplog.text


def test_items_without_names_have_nothing_to_carry_a_bank_over_by(tmp_path):
  def opened(count: int):
    return open_datasets(DataConfig(source="array"), 0, {"train": list(np.zeros((count, 8, 8, 3), np.uint8))})

  for policy, refused in (("adaptive", True), ("off", False)):
    workdir = Workdir(tmp_path / policy)
    bootstrap = BootstrapConfig(policy=policy, k=2)
    config = Config(data=DataConfig(source="array"), method={"name": "simclr"}, train=LENGTH, bootstrap=bootstrap)
    workdir.stored()
    workdir.write_config(config)
    images, others = manifests(opened(200))
    manifest.write(workdir, [manifest.version(images, others, 0, 0)], images)
    run = RunImages(workdir, workdir, ConfigChanges(workdir, config, True), True)
    run._newest_step = lambda: 2  # type: ignore[method-assign]
    run.check(opened(200))
    if refused:
      expected = (
        "210 images of 3 channels of uint8 instead of 200 of 3 channels of uint8.*, and without names the neighbor bank"
      )
      with pytest.raises(UserError, match=expected):
        run.check(opened(210))
    else:
      run.check(opened(210))


def test_two_processes_must_list_the_same_images(tmp_path, monkeypatch):
  opened = open_datasets(DataConfig(source="folder", path=folder(tmp_path / "a", files(*NAMES))), 0)
  other = np.frombuffer(bytes.fromhex(manifest_of(opened.train.source.source).digest), np.uint8)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  gather = "jaxssl.parallel.processes.multihost_utils.process_allgather"
  monkeypatch.setattr(gather, lambda own: np.stack([own, other]))
  assert manifests(opened)[0].count == 8
  monkeypatch.setattr(gather, lambda own: np.stack([own, other ^ 1]))
  with pytest.raises(UserError, match="list different training images; this one has 8 training images; expected the same"):
    manifests(opened)


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", "/home/me")
  data = DataConfig(source="folder", path="images", test_path="~/test", list_path="../list.txt")
  config = absolute_paths(Config(data=data, model=ModelConfig(init_from="weights.pth")))
  assert config.data.path == f"{tmp_path}/images" and config.data.test_path == "/home/me/test"
  assert config.data.list_path == f"{tmp_path.parent}/list.txt" and config.model.init_from == f"{tmp_path}/weights.pth"
  assert absolute_paths(config) == config
  (tmp_path / "cifar10").mkdir()
  for source, path, expected in (
    ("tfds", "cifar10", "cifar10"),
    ("mine", "cifar10", f"{tmp_path}/cifar10"),
    ("mine", "owner/name", "owner/name"),
    ("folder", "gs://bucket/a", "gs://bucket/a"),
  ):
    assert absolute_paths(Config(data=DataConfig(source=source, path=path))).data.path == expected
  assert absolute_paths(Config()) == Config()
