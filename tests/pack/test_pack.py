"""`jaxssl pack`: sizes, determinism, resuming, unreadable images, and what it refuses."""

import errno
import json
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxssl import main
from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data import datasets, packed_manifest
from jaxssl.data.image_io import Decoder
from jaxssl.pack import pack as command
from jaxssl.pack import shards
from jaxssl.pack.pack import pack
from tests import bucket
from tests.data.fixtures import coded, decode, exif, folder, npy, photo, tiff
from tests.pack.sources import FILES, write_tar


def contents(path):
  return {file.name: file.read_bytes() for file in sorted(pathlib.Path(path).iterdir())}


def source_of(path, **fields):
  return datasets.open_datasets(DataConfig(source="packed", path=str(path), **fields), 0).train.source


def test_larger_images_become_smaller_upright_jpegs(tmp_path, capsys):
  gray = photo(1)[..., 0]
  files = {
    "a.jpg": coded(photo(0)),
    "b.png": coded(photo(1), "PNG"),
    "c.jpg": coded(gray),
    "d.jpg": coded(photo(2), exif=exif(6)),
    "e.jpg": coded(photo(3, 80, 120)),
    "f.tif": tiff(np.full((200, 300), 3000, np.uint16)),
  }
  pack(folder(tmp_path / "in", files), tmp_path / "out", shorter_side=100, quality=85, num_workers=1)
  source = source_of(tmp_path / "out", bit_depth=12)
  out = {source.relative_name(k): source.encoded(k) for k in range(6)}
  assert [decode(out[name], 3).shape for name in ("a.jpg", "b.png", "d.jpg")] == [(100, 133, 3)] * 2 + [(133, 100, 3)]
  assert all(out[name].startswith(b"\xff\xd8\xff") for name in ("a.jpg", "b.png", "c.jpg", "d.jpg"))
  assert Decoder(channels=1).stored(out["c.jpg"], "c").pixels.shape == (100, 133, 1)
  assert out["e.jpg"] == files["e.jpg"]
  assert out["f.tif"].startswith(b"\x93NUMPY") and source.read(5).shape == (100, 150, 3)
  expected = np.asarray(decode(coded(photo(2), exif=exif(6)), 3))
  small = decode(out["d.jpg"], 3).astype(int)
  assert abs(small.mean((0, 1)) - expected.mean((0, 1))).max() < 2
  assert [source.known_jpeg_size(k) for k in range(6)] == [(100, 133), (100, 133), (100, 133), (133, 100), (80, 120), None]
  assert "unreadable: none" in (text := capsys.readouterr().out) and "--config.data.source=packed" in text


@pytest.mark.parametrize("width, start", [(65500, b"\xff\xd8\xff"), (65501, b"\x89PNG")])
def test_a_side_that_no_jpeg_can_have_is_lossless(width, start, tmp_path):
  image = np.zeros((4, 2 * width, 3), np.uint8)
  pack(folder(tmp_path / "in", {"a.png": coded(image, "PNG")}), tmp_path / "out", shorter_side=2, num_workers=1)
  source = source_of(tmp_path / "out")
  assert source.encoded(0).startswith(start) and source.read(0).shape == (2, width, 3)


def test_images_that_are_kept_know_their_size_as_the_decoder_does(tmp_path):
  files = {"a.jpg": coded(photo(0)), "b.png": coded(photo(1), "PNG"), "d.jpg": coded(photo(2), exif=exif(6))}
  pack(folder(tmp_path / "in", files), tmp_path / "out", shorter_side=0, num_workers=1)
  source = source_of(tmp_path / "out")
  assert [source.known_jpeg_size(k) for k in range(3)] == [(300, 400), None, None]
  assert source_of(tmp_path / "out", max_pixels=10**5).known_jpeg_size(0) is None


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
  data = folder(tmp_path / "in", FILES)
  for workers in (1, 2):
    pack(data, tmp_path / f"out{workers}", shorter_side=30, num_shards=3, num_workers=workers)
  assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
  assert sorted(contents(tmp_path / "out1")) == [
    "manifest.json", "train-00000.shard", "train-00001.shard", "train-00002.shard", "train.index",
  ]  # fmt: skip


KILLED = """
import os, signal, sys
from jaxssl.pack import shards, pack
write = shards.write
def write_and_die(source, task, advance):
  part = write(source, task, advance)
  if task.number == 1:
    os.kill(os.getpid(), signal.SIGKILL)
  return part
shards.write = write_and_die
pack.pack(sys.argv[1], sys.argv[2], shorter_side=0, num_shards=4, num_workers=1)
"""


@pytest.mark.slow
def test_a_killed_command_resumes_with_the_shards_that_are_finished(tmp_path, monkeypatch):
  data = folder(tmp_path / "in", FILES)
  killed = subprocess.run([sys.executable, "-c", KILLED, data, tmp_path / "out"], cwd=os.getcwd(), capture_output=True)
  assert killed.returncode == -signal.SIGKILL and not (tmp_path / "out" / "manifest.json").exists()
  with pytest.raises(UserError, match="not a packed dataset; expected a folder with a manifest.json, as `jaxssl pack` writes"):
    source_of(tmp_path / "out")
  first = tmp_path / "out" / "train-00000.shard"
  first.write_bytes(first.read_bytes()[:-1])  # damaged since: written again
  encoded = []
  monkeypatch.setattr(shards.shrink, "packed", lambda *args: encoded.append(args[1]) or original(*args))
  pack(data, tmp_path / "out", shorter_side=0, num_shards=4, num_workers=1)
  assert sorted(encoded) == [0, 1, 2, 6, 7, 8, 9, 10, 11]
  pack(data, tmp_path / "whole", shorter_side=0, num_shards=4, num_workers=1)
  assert contents(tmp_path / "out") == contents(tmp_path / "whole")
  encoded.clear()
  assert pack(data, tmp_path / "out", shorter_side=0, num_shards=4) and not encoded


original = shards.shrink.packed


def test_an_out_of_something_else_is_refused(tmp_path):
  data = folder(tmp_path / "in", FILES)
  pack(data, tmp_path / "out", num_workers=1)
  with pytest.raises(UserError, match="--out=.*/out: holds another packed dataset, or one of other options; name another"):
    pack(data, tmp_path / "out", shorter_side=0, num_workers=1)
  folder(tmp_path / "other", {"notes.txt": b"1"})
  with pytest.raises(UserError, match="--out=.*/other: holds other files; name a new folder"):
    pack(data, tmp_path / "other", num_workers=1)
  (tmp_path / "part").mkdir()
  (tmp_path / "part" / "packing.json").write_text(json.dumps({"request": "1"}))
  with pytest.raises(UserError, match="holds a part of another dataset, or of other options, or images have changed since"):
    pack(data, tmp_path / "part", num_workers=1)


@pytest.mark.slow
def test_unreadable_images_are_named_and_left_out(tmp_path, capsys):
  data = folder(tmp_path / "in", {**FILES, "cat/bad.jpg": b"\xff\xd8\xff damaged"})
  pack(data, tmp_path / "out", shorter_side=0, num_workers=1)
  text = capsys.readouterr().out
  assert "bytes: 0.04 MB instead of 0.04 MB" in text
  assert "train: 13 images, 1 of them unreadable and left out" in text and f"{data}/cat/bad.jpg: " in text
  source = source_of(tmp_path / "out")
  assert [source.relative_name(k) for k in range(12)] == list(FILES) and source.labels.tolist() == [0] * 6 + [1] * 6
  assert [image.name for image in packed_manifest.read(str(tmp_path / "out"), "x").splits["train"].left_out] == [
    f"{data}/cat/bad.jpg"
  ]
  cut = coded(photo(0))[:500]  # behind the size in its header, before the first pixel
  folder(tmp_path / "in", {"dog/bad.jpg": cut})
  for workers in (1, 2):
    with pytest.raises(UserError, match="2 of 14 images are unreadable .limit: 1%., e.g. .*/(cat|dog)/bad.jpg: "):
      pack(data, tmp_path / f"two{workers}", shorter_side=0, num_shards=2, num_workers=workers)


def test_the_first_image_may_be_a_broken_link(tmp_path):
  data = folder(tmp_path / "in", FILES)
  pathlib.Path(data, "cat/-.jpg").symlink_to("gone.jpg")
  manifest = pack(data, tmp_path / "out", num_workers=1)
  assert [image.name for image in manifest.splits["train"].left_out] == [f"{data}/cat/-.jpg"]


@pytest.mark.parametrize(
  "words, message",
  [
    ([], "error: the following arguments are required: --data, --out"),
    (["--data=IN", "--out=OUT", "--shorter-side=-1"], "--shorter-side=-1: out of range; expected 1 to 65536, or 0 to keep"),
    (["--data=", "--out=OUT"], "--data=: out of range; expected a folder, a file or a name"),
    (["--data=IN", "--out="], "--out=: out of range; expected a new folder"),
    (["--data=IN", "--out=OUT", "--quality=0"], "--quality=0: out of range; expected 1 to 100"),
    (["--data=IN", "--out=OUT", "--data.limit=3"], "data.limit: does not change what is packed; leave it out"),
    (["--data=IN", "--out=OUT", "--data.source=tfrecord"], "--data=IN: there are no TFRecord files; expected one, a folder"),
    (["--data=IN/nothing", "--out=OUT"], "--data=IN/nothing: does not exist"),
    (["--data=MIXED", "--out=OUT"], "--data=MIXED: holds files of several kinds: 1 of webdataset, 1 of parquet; choose one"),
    (["--data=CUT.tar", "--out=OUT"], "CUT.tar: cannot be read: it is damaged or cut off: unexpected end of data"),
    (["--data=GZ.tar", "--out=OUT"], "GZ.tar: cannot be read: not a plain tar: "),
    (["--data=CUT.tfrecord", "--out=OUT"], "CUT.tfrecord: cannot be read: it is cut off at byte 0"),
    (["--data=LABELS.npz", "--out=OUT"], "LABELS.npz: the training images lack the classes 2, 5; change the labels of these"),
    (["--data=OBJECT.npy", "--out=OUT"], "--data=OBJECT.npy: cannot be read: Array can't be memory-mapped: Python objects"),
  ],
)
def test_errors_are_one_line(words, message, tmp_path, monkeypatch, fails):
  monkeypatch.chdir(tmp_path)
  folder("IN", FILES)
  folder("MIXED", {"a.tar": b"", "b.parquet": b""})
  whole = pathlib.Path(write_tar(pathlib.Path("whole.tar"), FILES.items())).read_bytes()
  folder(".", {"CUT.tar": whole[:1500], "GZ.tar": b"\x1f\x8b" + bytes(20), "CUT.tfrecord": b"abc"})
  folder(".", {"OBJECT.npy": npy(np.array([{}], object))})
  images = {f"{split}_images": np.zeros((4, 8, 8), np.uint8) for split in ("train", "test")}
  np.savez("LABELS.npz", **images, train_labels=[0, 1, -1, 1], test_labels=[2, 5, -1, 0])
  fails(["pack", *words], message)


def test_to_a_bucket_and_from_one(tmp_path, monkeypatch, capsys):
  bucket.install(tmp_path / "buckets", monkeypatch)
  (tmp_path / "buckets" / "store").mkdir(parents=True)
  data = folder(tmp_path / "in", FILES)
  assert main.main(["pack", f"--data={data}", "--out=gs://store/set", "--shorter-side=0", "--workers=1", "--shards=2"]) == 0
  pack(data, tmp_path / "out", shorter_side=0, num_shards=2, num_workers=1)
  assert contents(tmp_path / "buckets/store/set") == contents(tmp_path / "out")
  source = source_of("gs://store/set")
  assert [source.encoded(k) for k in range(12)] == list(FILES.values()) and source.describe(0) == "gs://store/set/cat/0.jpg"
  pack("gs://store/set", tmp_path / "again", shorter_side=0, num_shards=2, num_workers=1)
  assert contents(tmp_path / "again")["train-00000.shard"] == contents(tmp_path / "out")["train-00000.shard"]


def test_shards_hold_about_256_megabytes(monkeypatch, tmp_path):
  source = datasets.open_datasets(DataConfig(source="folder", path=folder(tmp_path / "in", FILES)), 0).train.source
  assert command._number_of_shards(source) == 1
  monkeypatch.setattr(command, "SHARD_BYTES", sum(map(len, FILES.values())) / 3 + 1)
  assert command._number_of_shards(source) == 3


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"x" + file.read_bytes()[1:])])
def test_a_dataset_with_a_damaged_file_is_packed_again(damage, tmp_path, caplog):
  data, out = folder(tmp_path / "in", FILES), tmp_path / "out"
  pack(data, out, num_shards=2, num_workers=1)
  whole = contents(out)
  damage(out / "train-00001.shard")
  pack(data, out, num_shards=2, num_workers=1)
  assert contents(out) == whole
  assert f"{out}: train-00001.shard is missing or damaged, so all files are written again" in caplog.text


def test_what_a_command_that_was_killed_leaves_is_used_or_refused_in_one_line(tmp_path):
  data, out = folder(tmp_path / "in", FILES), tmp_path / "out"
  folder(out, {"packing.json": b""})
  with pytest.raises(
    UserError, match="holds a part of another dataset, or of other options, or images have changed since; name"
  ):
    pack(data, out, num_workers=1)
  (out / "packing.json").unlink()
  pack(data, out, num_workers=1)
  manifest = json.loads((out / "manifest.json").read_text())
  (out / "manifest.json").write_text(json.dumps(manifest | {"quality": 1}))
  with pytest.raises(UserError, match="its own hash differs; copy it again, or pack again; remove the folder first, or name"):
    pack(data, out, num_workers=1)
  with pytest.raises(UserError, match="--out=.*/notes: is a file; name a new folder"):
    pack(data, folder(tmp_path, {"notes": b""}) + "/notes", num_workers=1)


def test_a_full_disk_names_the_folder(tmp_path, monkeypatch):
  def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

  data, out = folder(tmp_path / "in", FILES), tmp_path / "out"
  monkeypatch.setattr(command.packed_index, "write", full)
  with pytest.raises(UserError, match="--out=.*/out: cannot be written: No space left on device; rerun the same command"):
    pack(data, out, num_workers=1)
  monkeypatch.undo()
  (out / "train-00000.shard.1.tmp").write_bytes(b"begun")
  pack(data, out, num_workers=1)
  assert sorted(contents(out)) == ["manifest.json", "train-00000.shard", "train.index"]
