"""Files that hold many images: which are read, labels and names in them, damage, copies in other processes."""

import json
import os
import pathlib
import pickle
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core import UserError
from jaxssl.data import record_files, tf_example, tfrecord, webdataset
from jaxssl.data.datasets import open_datasets
from jaxssl.data.file_kinds import DecodeError
from tests.data.fixtures import flat, folder, npy
from tests.pack import sources
from tests.pack.sources import FILES, write_tar, write_tfrecord


def opened(kind, path, **fields):
  return open_datasets(DataConfig(source=kind, path=str(path), **fields), 0)


def splits(root, names, pattern=r"\.tar$"):
  folder(root, dict.fromkeys(names, b""))
  found = record_files.split_files(str(root), "data.path", re.compile(pattern), ".tar")
  return {split: [os.path.relpath(file, root) for file in files] for split, files in found.items()}


@pytest.mark.parametrize(
  "names, expected",
  [
    (["a-1.tar", "a-0.tar"], {"train": ["a-0.tar", "a-1.tar"]}),
    (["set-train-0.tar", "set-val-0.tar"], {"train": ["set-train-0.tar"], "val": ["set-val-0.tar"]}),
    (["train/0.tar", "test/0.tar", ".hidden/1.tar"], {"train": ["train/0.tar"], "test": ["test/0.tar"]}),
    (["train-0.tar", "more-0.tar"], {"train": ["train-0.tar"]}),
  ],
)
def test_splits_follow_from_the_names_of_files(names, expected, tmp_path, caplog):
  assert splits(tmp_path, names) == expected
  assert ("left out: 1 files of no split" in caplog.text) == ("more-0.tar" in names)


def test_patterns_name_files(tmp_path):
  folder(tmp_path, dict.fromkeys(["a-008.tar", "a-009.tar", "a-010.tar", "b-009.tar"], b""))
  for pattern, count in (("a-{009..011}.tar", 2), ("*-009.tar", 2), ("a-008.tar", 1)):
    found = record_files.split_files(f"{tmp_path}/{pattern}", "data.path", webdataset.TAR, ".tar")
    assert len(found["train"]) == count
  with pytest.raises(
    UserError, match="data.path=.*/c-.: there are no .tar files; expected one, a folder of them, or a pattern"
  ):
    record_files.split_files(f"{tmp_path}/c-*", "data.path", webdataset.TAR, ".tar")
  with pytest.raises(UserError, match="all .tar files are of test; expected some to train on"):
    splits(tmp_path / "t", ["test-0.tar"])


def test_another_path_to_test_on(tmp_path):
  data = sources.as_webdataset(tmp_path, FILES)["data"]
  test = write_tar(tmp_path / "test-0.tar", [("0.png", flat(1)), ("0.cls", b"dog")])
  assert opened("webdataset", data, test_path=test).test.source.labels.tolist() == [1]
  write_tar(tmp_path / "test-0.tar", [("0.png", flat(1)), ("0.cls", b"bird")])
  with pytest.raises(UserError, match="test-0.tar: the training images lack the classes bird; rename or remove them"):
    opened("webdataset", data, test_path=test)


@pytest.mark.parametrize("kind", ["webdataset", "tfrecord", "parquet", "numpy"])
def test_a_pickled_copy_reads_the_same(kind, tmp_path):
  makers = {"webdataset": sources.as_webdataset, "tfrecord": sources.as_tfrecord, "parquet": sources.as_parquet}
  data = sources.arrays(tmp_path)[0] if kind == "numpy" else makers[kind](tmp_path, FILES)["data"]
  source = opened(kind, data).train.source.source
  source.read(3)
  copy = pickle.loads(pickle.dumps(source))
  assert all((copy.read(k) == source.read(k)).all() for k in range(len(source))) and copy.describe(1) == source.describe(1)


IDS = [10**9 + k for k in range(4)]


@pytest.mark.parametrize(
  "kind, values, problem",
  [
    ("parquet", [[0, 1], [1], [2], []], "labels are a list; expected one per image"),
    ("parquet", [[0, 1], [1, 0], [1, 1], [0, 0]], r"labels have shape [4, 2]; expected [4]"),
    ("parquet", [0.5, 1.25, 3.0, 2.0], "label 0 is 0.5; expected one per image"),
    ("parquet", [0.5, None, 3.0, 2.0], "label 0 is 0.5; expected one per image"),
    ("parquet", IDS, "labels are from 1000000000 to 1000000003; expected one per image"),
    ("tfrecord", IDS, "labels are from 1000000000 to 1000000003; expected one per image"),
    ("webdataset", IDS, "labels are from 1000000000 to 1000000003; expected one per image"),
  ],
)
def test_stored_labels_that_are_no_classes_are_not_used(kind, values, problem, tmp_path, caplog):
  def write(split, values):
    if kind == "parquet":
      table = pa.table({"image": [flat(k) for k in range(len(values))], "target": values})
      pq.write_table(table, tmp_path / f"{split}.parquet")
    elif kind == "tfrecord":
      write_tfrecord(tmp_path / f"{split}.tfrecord", [{"image": flat(k), "label": label} for k, label in enumerate(values)])
    else:
      members = [(f"{k}.json", json.dumps({"label": label}).encode()) for k, label in enumerate(values)]
      write_tar(tmp_path / f"{split}.tar", sorted([*members, *((f"{k}.png", flat(k)) for k in range(len(values)))]))

  write("train", values)
  source = opened(kind, tmp_path).train.source
  assert len(source) == 4 and source.labels is None and source.classes == ()
  assert f"{tmp_path}: {problem}" in caplog.text and "; evaluated without labels" in caplog.text
  write("train", [0, 1, 1, 0])
  write("test", values)
  sets = opened(kind, tmp_path)
  assert sets.train.source.labels.tolist() == [0, 1, 1, 0] and sets.test is None


def test_a_held_out_split_without_labels_is_passed_over(tmp_path, caplog):
  caplog.set_level("INFO", "jaxssl")
  for split, labels in (("train", [0, 1, 0, 1]), ("test", [-1, -1, -1]), ("validation", [1, 0])):
    write_tfrecord(tmp_path / f"{split}-00000-of-00001", [{"image": flat(k), "label": label} for k, label in enumerate(labels)])
  sets = opened("tfrecord", tmp_path)
  assert len(sets.test) == 2 and sets.test.source.labels.tolist() == [1, 0]
  assert "the test split has no labels and is left out" in caplog.text


def test_features_of_examples(tmp_path):
  import tensorflow as tf

  many = tf.train.Feature(int64_list=tf.train.Int64List(value=[5, -3, 2**62, 0]))
  features = {"a": many, "b": tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"xy", b""])), "none": tf.train.Feature()}
  features["f"] = tf.train.Feature(float_list=tf.train.FloatList(value=[1.5]))
  data = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
  found = tf_example.features(data, 0, len(data))
  assert found["a"] == [5, -3, 2**62, 0] and [data[slice(*span)] for span in found["b"]] == [b"xy", b""]
  assert set(found) == {"a", "b"}
  for end in range(1, len(data)):
    try:
      tf_example.features(data[:end], 0, end)
    except ValueError as error:
      assert str(error).startswith("a record ")


def test_damaged_tfrecords_are_named(tmp_path):
  path = pathlib.Path(write_tfrecord(tmp_path / "a.tfrecord", [{"image": flat(1), "label": 1}, {"image": flat(2), "label": 0}]))
  whole = path.read_bytes()
  for data, message in (
    (whole[:-10], "the record at byte .* ends after the end of the file; it is cut off, or not a TFRecord file"),
    (b"\x1f\x8b" + whole, "it is compressed by gzip"),
    (b"\0" * 40, "a record has no feature that is known to be an image; expected image/encoded; it has "),
  ):
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path}: cannot be read: {message}"):
      opened("tfrecord", path)
  path.write_bytes(whole)
  source = opened("tfrecord", path).train.source.source
  os.truncate(path, 30)
  with pytest.raises(DecodeError, match=f"{path} image 1: {path} ends within the image"):
    source.encoded(1)


def test_an_image_feature_of_another_name_is_found_by_its_content(tmp_path):
  write_tfrecord(tmp_path / "a.tfrecord", [{"pixels": flat(k), "note": b"text"} for k in range(3)])
  assert opened("tfrecord", tmp_path).train.source.read(2).shape == (8, 8, 3)
  assert tfrecord.TFRECORD.search("set-train.tfrecord-00000-of-00001") and not tfrecord.TFRECORD.search("a.txt")


def test_parquet_of_plain_bytes_and_without_bytes(tmp_path):
  pq.write_table(pa.table({"id": [1, 2], "photo": [flat(1), None]}), tmp_path / "a.parquet")
  source = opened("parquet", tmp_path).train.source.source
  assert source.encoded(0) == flat(1) and source.labels is None and source.relative_name(0) is None
  with pytest.raises(DecodeError, match="image 1: .*a.parquet has no bytes for it, perhaps a path only"):
    source.encoded(1)
  pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "a.parquet")
  with pytest.raises(UserError, match="no column is known to hold images; expected image, .*; it has id"):
    opened("parquet", tmp_path)
  (tmp_path / "a.parquet").write_bytes(b"PAR1")
  with pytest.raises(UserError, match="a.parquet: cannot be read: .*; download it again"):
    opened("parquet", tmp_path)


@pytest.mark.parametrize(
  "columns, problem",
  [
    ({"img": [flat(1)], "label": [0]}, "has no column image; it has img, label;"),
    ({"image": [flat(1)]}, "has no column label; it has image;"),
    ({"image": [{"bytes": flat(1), "path": "1"}], "label": [0]}, "column image is struct<.*>, but binary in .*0.parquet;"),
    ({"image": ["1.png"], "label": [0]}, "column image is string, but binary in .*0.parquet;"),
  ],
)
def test_parquet_files_of_other_columns_are_named(columns, problem, tmp_path):
  pq.write_table(pa.table({"image": [flat(0)], "label": [0]}), tmp_path / "0.parquet")
  pq.write_table(pa.table({"image": [flat(0)], "more": [0], "label": ["a"]}), tmp_path / "1.parquet")
  assert len(opened("parquet", tmp_path).train) == 2
  pq.write_table(pa.table(columns), tmp_path / "1.parquet")
  with pytest.raises(UserError, match=f"{tmp_path}/1.parquet: {problem} expected the columns of {tmp_path}/0.parquet; set"):
    opened("parquet", tmp_path)


def test_parquet_of_a_struct_without_paths(tmp_path):
  pq.write_table(pa.table({"image": [{"bytes": flat(k)} for k in range(2)]}), tmp_path / "a.parquet")
  source = opened("parquet", tmp_path).train.source.source
  assert source.encoded(1) == flat(1) and source.relative_name(1) is None


def test_numpy_splits_and_labels(tmp_path):
  images = np.arange(5 * 4 * 4, dtype=np.uint8).reshape(5, 4, 4)
  folder(tmp_path, {"x_train.npy": npy(images), "y_train.npy": npy(np.arange(5)), "x_test.npy": npy(images[:2])})
  sets = opened("numpy", tmp_path, channels=1, mean=(0.5,), std=(0.5,))
  assert len(sets.train) == 5 and sets.train.source.labels.tolist() == list(range(5)) and sets.test.source.labels is None
  folder(tmp_path, {"z_train.npy": npy(images)})
  with pytest.raises(UserError, match="expected one array of images for train, .n, h, w. or .n, h, w, c. of integers; found"):
    opened("numpy", tmp_path, channels=1, mean=(0.5,), std=(0.5,))
