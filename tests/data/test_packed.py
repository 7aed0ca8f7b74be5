"""The packed format: opening, damage, staging, pickling, lists, and runs that move to it."""

import json
import os
import pathlib
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data import packed_index, packed_manifest, stage
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.identity import manifest_of
from jaxssl.data.packed_index import PackedIndex
from jaxssl.data.source import Subset
from jaxssl.pack.pack import pack
from tests.data.fixtures import flat, folder
from tests.pack.sources import FILES, LABELS
from tests.train.test_run_images import at, checked, started


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """Packs twelve images in three shards, and two to test on."""
  root = tmp_path_factory.mktemp("packed")
  tests = {f"test/{name}/9.png": flat(k) for k, name in enumerate(("cat", "dog"))}
  data = folder(root / "in", {**{f"train/{name}": data for name, data in FILES.items()}, **tests})
  pack(data, root / "out", shorter_side=0, num_shards=3, num_workers=1)
  return root / "out"


@pytest.fixture
def copy(made, tmp_path):
  return pathlib.Path(shutil.copytree(made, tmp_path / "set"))


def opened(path, **fields):
  return open_datasets(DataConfig(source="packed", path=str(path), **fields), 0)


def test_splits_names_and_labels(made):
  sets = opened(made)
  assert len(sets.train) == 12 and len(sets.test) == 2
  assert sets.train.source.labels.tolist() == LABELS and sets.test.source.labels.tolist() == [0, 1]
  assert sets.test.source.relative_name(1) == "test/dog/9.png" and sets.test.source.describe(1) == f"{made}/test/dog/9.png"


def test_names_in_bulk_equal_single_ones(made):
  source = opened(made).train.source
  for rows in (np.arange(12), np.array([11, 0, 3, 3]), np.arange(0)):
    names = [source.relative_name(k) for k in rows.tolist()]
    assert source.names_at(rows) == "".join(f"{name}\0" for name in names).encode()
  turned = Subset(source, np.arange(12)[::-1])
  assert turned.names_at(np.array([0])) == b"train/dog/5.jpg\0" and turned.known_jpeg_size(0) == (40, 57)
  assert manifest_of(turned).name(1) == "train/dog/4.jpg"


def test_a_pickled_copy_opens_the_files_again(made):
  source = opened(made).train.source.source
  assert source.encoded(5) == FILES["cat/5.jpg"]
  assert len(data := pickle.dumps(source)) < 3000
  assert [pickle.loads(data).encoded(k) for k in range(12)] == list(FILES.values())


@pytest.mark.filterwarnings("ignore:os.fork")
def test_it_is_read_after_a_fork(made):
  source = opened(made).train.source
  source.encoded(0)
  if not (child := os.fork()):
    os._exit(0 if source.encoded(11) == FILES["dog/5.jpg"] and source.encoded(0) == FILES["cat/0.jpg"] else 1)
  assert os.waitpid(child, 0)[1] == 0


def test_damaged_bytes_name_image_and_shard(copy):
  path = copy / "train-00001.shard"
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  source = opened(copy).train.source.source
  with pytest.raises(DecodeError, match=f"{copy}/train/dog/1.jpg: damaged in train-00001.shard: its length or its checksum"):
    source.encoded(7)
  assert source.encoded(6) == FILES["dog/0.jpg"]
  os.truncate(path, 10)  # while the run reads
  with pytest.raises(DecodeError, match="damaged in train-00001.shard"):
    source.encoded(6)


def edited(copy, change):
  path = copy / "manifest.json"
  fields = json.loads(path.read_text())
  change(fields)
  path.write_text(json.dumps(fields))


def set_images(fields):
  fields["splits"]["train"]["shards"][0]["images"] = 5
  fields["sha256"] = packed_manifest._digest(fields)


def zeros(path):
  path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize(
  "change, message",
  [
    (lambda copy: os.truncate(copy / "train-00002.shard", 5), "train-00002.shard has 5 bytes instead of [0-9]+; copy it again"),
    (lambda copy: (copy / "train-00002.shard").unlink(), "train-00002.shard: No such file or directory; copy it again, or"),
    (lambda copy: os.truncate(copy / "train.index", 70), "train.index has 70 bytes instead of "),
    (lambda copy: zeros(copy / "train.index"), "train.index cannot be read: it is damaged, or of another version"),
    (lambda copy: edited(copy, lambda f: f.update(classes=["a"])), "manifest.json was edited or is damaged: its own hash"),
    (lambda copy: edited(copy, set_images), "manifest.json is damaged: splits.train: its numbers do not fit together"),
    (lambda copy: edited(copy, lambda f: f.update(format="jaxssl packed 2")), "is jaxssl packed 2, of another version"),
    (lambda copy: (copy / "manifest.json").write_text("{}"), "manifest.json is not that of a packed dataset"),
    (lambda copy: (copy / "manifest.json").write_text("{"), "manifest.json cannot be read: "),
    (lambda copy: (copy / "manifest.json").unlink(), "not a packed dataset; expected a folder with a manifest.json"),
  ],
)
def test_damage_is_one_line_when_it_is_opened(change, message, copy):
  change(copy)
  with pytest.raises(UserError, match=f"data.path={copy}: {message}") as error:
    opened(copy)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("file", ["train.index", "manifest.json", "train-00000.shard"])
def test_any_damaged_byte_is_noticed_or_harmless(file, copy):
  whole, rng = (copy / file).read_bytes(), np.random.default_rng(0)
  for _ in range(40):
    data = bytearray(whole)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    (copy / file).write_bytes(data)
    try:
      source = opened(copy).train.source.source
      assert len(manifest_of(source).names.split(b"\0")) == 13 and len(source.labels) == 12
      sizes = [source.known_jpeg_size(k) for k in range(12)]
    except UserError:
      continue
    assert source.labels.tolist() == LABELS and sizes == [(40, 52 + k) for k in (*range(6), *range(6))]
    for k, expected in enumerate(FILES.values()):
      try:
        assert source.encoded(k) == expected
      except DecodeError as error:
        assert "damaged in train-0000" in str(error)


def test_a_packed_dataset_that_is_taken_for_a_folder_is_an_error(made):
  with pytest.raises(UserError, match="a packed dataset, but data.source=folder; set data.source=packed"):
    open_datasets(DataConfig(source="folder", path=str(made)), 0)
  with pytest.raises(UserError, match="data.stage=x: data.source=folder does not read it"):
    open_datasets(DataConfig(source="folder", path=str(made), stage="x"), 0)


def test_lists_choose_images_by_name(made, tmp_path):
  (tmp_path / "list.txt").write_text("cat/1.jpg\ntrain/dog/5.jpg\n")
  source = opened(made, list_path=str(tmp_path / "list.txt")).train.source
  assert [source.relative_name(k) for k in range(2)] == ["train/cat/1.jpg", "train/dog/5.jpg"]


def test_another_dataset_to_test_on_has_classes_by_name(made, tmp_path):
  pack(folder(tmp_path / "in", {"a/1.png": flat(1), "dog/2.png": flat(2)}), tmp_path / "out", num_workers=1)
  with pytest.raises(UserError, match="data.test_path=.*: the training split lacks the classes a; rename or remove them"):
    opened(made, test_path=str(tmp_path / "out"))
  pack(folder(tmp_path / "in2", {"dog/1.png": flat(1), "cat/2.png": flat(2)}), tmp_path / "out2", num_workers=1)
  assert opened(tmp_path / "out2", test_path=str(made)).test.source.labels.tolist() == [0, 1]


def test_staging_copies_verifies_and_reuses(copy, tmp_path, monkeypatch):
  sets = opened(copy, stage=str(tmp_path / "stage"))
  [folder_] = (tmp_path / "stage").iterdir()
  assert (folder_ / "train-00002.shard").read_bytes() == (copy / "train-00002.shard").read_bytes()
  assert sets.train.source.describe(0) == f"{copy}/train/cat/0.jpg"  # as without
  for file in copy.glob("*.shard"):
    file.unlink()
  assert opened(copy, stage=str(tmp_path / "stage")).train.source.encoded(11) == FILES["dog/5.jpg"]


def test_staging_replaces_what_is_damaged(copy, tmp_path):
  where = str(tmp_path / "stage")
  opened(copy, stage=where)
  [folder_] = (tmp_path / "stage").iterdir()
  (folder_ / "train-00000.shard").write_bytes(bytes((copy / "train-00000.shard").stat().st_size))
  (folder_ / "train-00001.shard.tmp").write_bytes(b"unfinished")
  assert opened(copy, stage=where).train.source.encoded(0) == FILES["cat/0.jpg"]
  assert not list(folder_.glob("*.tmp"))
  (folder_ / "train-00000.shard").unlink()
  (copy / "train-00000.shard").write_bytes(bytes((copy / "train-00000.shard").stat().st_size))
  with pytest.raises(UserError, match=f"{copy}/train-00000.shard: damaged: its size or SHA-256 is not that of the manifest"):
    opened(copy, stage=where)


def test_several_processes_stage_once(copy, tmp_path, monkeypatch):
  copied, original = [], stage._copy
  monkeypatch.setattr(
    stage, "_copy", lambda root, folder, file, *rest: (copied.append(file), original(root, folder, file, *rest))
  )
  manifest = packed_manifest.read(str(copy), "x")
  with ThreadPoolExecutor(4) as pool:  # each has a lock of its own, as processes have
    folders = set(pool.map(lambda _: stage.staged(str(tmp_path / "stage"), str(copy), manifest), range(4)))
  assert len(folders) == 1 and sorted(copied) == sorted(manifest.files())


def test_staging_without_room_names_the_bytes(copy, tmp_path, monkeypatch):
  size = sum(size for _, size, _ in packed_manifest.read(str(copy), "x").files())
  monkeypatch.setattr(stage.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 5, size - 1))
  with pytest.raises(
    UserError, match=f"too little space: {size} bytes are needed, {size - 1} are free; free some, name another"
  ):
    opened(copy, stage=str(tmp_path / "stage"))
  with pytest.raises(UserError, match="data.stage=gs://a/b: expected a folder on a local disk or in memory"):
    opened(copy, stage="gs://a/b")
  with pytest.raises(UserError, match="data.stage=/proc/x: cannot be used: .*; name a folder that can be written to"):
    opened(copy, stage="/proc/x")


def test_a_run_on_a_folder_accepts_the_same_images_packed(tmp_path, caplog):
  caplog.set_level("INFO", "jaxssl")
  workdir, config = started(tmp_path)
  pack(config.data.path, tmp_path / "same", shorter_side=0, num_workers=1)
  checked(workdir, at(config, source="packed", path=tmp_path / "same"))
  assert f"another place: data.path: '{tmp_path}/a' there, '{tmp_path}/same' here" in caplog.text
  assert "another place: data.source: 'folder' there, 'packed' here" in caplog.text
  pack(config.data.path, tmp_path / "small", shorter_side=4, num_workers=1)
  with pytest.raises(UserError, match="training images have changed: 8 of other content .first: 0.png.; data.path: "):
    checked(workdir, at(config, source="packed", path=tmp_path / "small"))
  with pytest.raises(UserError, match="belongs to another config: data.path: .*; data.source: 'folder' there, 'mnist5k' here"):
    checked(workdir, at(config, source="mnist5k", path=""))


def test_several_threads_may_check_a_column_at_once(made, monkeypatch):
  index, crc32 = PackedIndex(str(made / "train.index"), 12), packed_index.zlib.crc32

  def meanwhile(data):
    index._unchecked.clear()
    return crc32(data)

  monkeypatch.setattr(packed_index.zlib, "crc32", meanwhile)
  assert index.name(0) == "train/cat/0.jpg" and index.column("label").tolist() == LABELS


def test_an_index_takes_at_most_100_bytes_an_image(made):
  names = len(opened(made).train.source.names_at(np.arange(12)))
  assert (made / "train.index").stat().st_size == 64 + 32 * 12 + names
  with pytest.raises(ValueError, match="it is damaged, or of another version"):
    PackedIndex(str(made / "train.index"), 13)
