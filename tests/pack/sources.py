"""The same twelve images in every kind of source."""

import io
import json
import pathlib
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.fixtures import coded, folder, noise, zipped

CLASSES = ("cat", "dog")
FILES = {f"{name}/{k}.jpg": coded(noise(6 * c + k, 40, 52 + k)) for c, name in enumerate(CLASSES) for k in range(6)}
LABELS = [0] * 6 + [1] * 6


def label_of(name: str) -> str:
  """Returns the class of an image."""
  return name.split("/")[0]


def as_folder(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  return {"data": folder(root / "images", files)}


def as_zip(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  return {"data": zipped(root / "images.zip", files)}


def as_list(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  path = root / "list.txt"
  path.write_text("".join(f"{name}\n" for name in files))
  return {"data": folder(root / "more", {**files, "cat/not_listed.jpg": b"", "dog/9.jpg": b""}), "data.list_path": str(path)}


def write_tar(path: pathlib.Path, members: Iterable[tuple[str, bytes]]) -> str:
  """Writes a tar and returns its path."""
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as archive:
    for name, data in members:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return str(path)


def as_webdataset(root: pathlib.Path, files: dict[str, bytes], ending: str = "cls") -> dict[str, str]:
  """Two shards, each image followed by its label."""
  items = list(files.items())
  for number, part in enumerate((items[:5], items[5:])):
    members = []
    for name, data in part:
      label = label_of(name) if ending == "cls" else json.dumps({"label": CLASSES.index(label_of(name)), "url": "x"})
      members += [(name, data), (f"{name.removesuffix('.jpg')}.{ending}", label.encode())]
    write_tar(root / "shards" / f"set-train-{number:06d}.tar", members)
  return {"data": str(root / "shards")}


def as_tar(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  """A plain tar of class folders."""
  return {"data": write_tar(root / "images.tar", files.items())}


def write_tfrecord(path: pathlib.Path, examples: Iterable[dict[str, Any]]) -> str:
  """Writes examples of bytes and integers, and returns the path."""
  import tensorflow as tf

  def feature(value: Any) -> Any:
    if isinstance(value, bytes):
      return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    if isinstance(value, float):
      return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

  path.parent.mkdir(parents=True, exist_ok=True)
  with tf.io.TFRecordWriter(str(path)) as writer:
    for example in examples:
      features = tf.train.Features(feature={name: feature(value) for name, value in example.items()})
      writer.write(tf.train.Example(features=features).SerializeToString())
  return str(path)


def as_tfrecord(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  """Two files without an ending, as the scripts for ImageNet write them."""
  examples = [
    {"image/encoded": data, "image/class/text": label_of(name).encode(), "image/filename": name.encode(), "image/area": 0.5}
    | {"image/class/label": CLASSES.index(label_of(name)) + 1, "image/offset": -1}
    for name, data in files.items()
  ]
  for number, part in enumerate((examples[:7], examples[7:])):
    write_tfrecord(root / "records" / f"train-{number:05d}-of-00002", part)
  return {"data": str(root / "records")}


def as_parquet(root: pathlib.Path, files: dict[str, bytes]) -> dict[str, str]:
  """Two files of several row groups, as Hugging Face stores a dataset."""
  kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
  features = {"image": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
  metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
  schema = pa.schema([("image", kind), ("label", pa.int64())], metadata)
  items = list(files.items())
  (root / "hub" / "data").mkdir(parents=True, exist_ok=True)
  for number, part in enumerate((items[:8], items[8:])):
    images = [{"bytes": data, "path": name} for name, data in part]
    labels = [CLASSES.index(label_of(name)) for name, _ in part]
    table = pa.table({"image": pa.array(images, kind), "label": labels}, schema)
    pq.write_table(table, root / "hub" / "data" / f"train-{number:05d}-of-00002.parquet", row_group_size=3)
  return {"data": str(root / "hub")}


def tfds(root: pathlib.Path, files: dict[str, bytes], file_format: str) -> dict[str, str]:
  """Prepares a dataset of TFDS, whose order is its own, in the folder that TFDS looks for datasets in."""
  import tensorflow_datasets as library

  def info(self):
    features = {"image": library.features.Image(), "label": library.features.ClassLabel(names=list(CLASSES))}
    return self.dataset_info_from_configs(features=library.features.FeaturesDict(features))

  def generate(self):
    for name, data in files.items():
      yield name, {"image": io.BytesIO(data), "label": label_of(name)}

  members = {
    "VERSION": library.core.Version("1.0.0"),
    "pkg_dir_path": pathlib.Path(__file__).parent,  # where a README and tags of it would be
    "_info": info,
    "_generate_examples": generate,
    "_split_generators": lambda self, manager: {"train": self._generate_examples()},
  }
  name = f"Packed{file_format.title().replace('_', '')}"  # a name is registered once
  type(name, (library.core.GeneratorBasedBuilder,), members)(data_dir=root, file_format=file_format).download_and_prepare()
  library.core.add_data_dir(root)
  return {"data": f"tfds:packed_{file_format}"}


KINDS: dict[str, Callable[[pathlib.Path, dict[str, bytes]], dict[str, str]]] = {
  "folder": as_folder,
  "zip": as_zip,
  "list": as_list,
  "webdataset": as_webdataset,
  "tar": as_tar,
  "tfrecord": as_tfrecord,
  "parquet": as_parquet,
}


def arrays(root: pathlib.Path) -> tuple[str, np.ndarray]:
  """Writes a .npz as MedMNIST has them; returns its path and the training images."""
  images = np.stack([noise(k, 20, 20) for k in range(6)])
  labels = np.arange(6).reshape(-1, 1) % 2
  path = root / "set.npz"
  np.savez(path, train_images=images, train_labels=labels, test_images=images[:2], test_labels=labels[:2])
  return str(path), images
