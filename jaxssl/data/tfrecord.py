"""Images in TFRecord files of `tf.train.Example`: `image/encoded` or the like, with labels and file names if they have them."""

import mmap
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.config.schema import DataConfig
from jaxssl.core import path_of, paths
from jaxssl.data import tf_example
from jaxssl.data.file_kinds import JPEG, JPEG_2000, NPY, PNG, TIFF
from jaxssl.data.image_io import Decoder
from jaxssl.data.record_files import open_sets, scanned
from jaxssl.data.record_source import RecordSource
from jaxssl.data.source import register

TFRECORD = re.compile(r"\.tfrecords?\b|^[^.]+-\d{5}-of-\d{5}$", re.IGNORECASE)  # also train-00000-of-01024
_IMAGES = ("image/encoded", "image", "image_raw", "encoded", "jpg", "jpeg", "png", "img")  # names of features, the first first
_LABELS = ("image/class/synset", "image/class/text", "label", "image/class/label", "labels", "class")
_NAMES = ("image/filename", "file_name", "filename", "image/name")
_STARTS = (JPEG, PNG, NPY, *TIFF, *JPEG_2000, b"GIF8", b"BM", b"RIFF")


@register("tfrecord", ("path", "test_path"))
def open_tfrecords(config: DataConfig) -> tuple[RecordSource, RecordSource | None]:
  """Opens the TFRecord files of `data.path`: train, and test or validation (None without either). Raises UserError."""

  def make(name: str, files: list[str], known: tuple[str, ...]) -> RecordSource:
    return RecordSource(name, files, scans_of(files), Decoder.of(config), _class_names(files[0]), known)

  return open_sets(config, TFRECORD, "TFRecord", make)


def scans_of(files: Sequence[str]) -> list[dict[str, Any]]:
  """Returns where the images of TFRecord files are, and their labels and names, see RecordSource. Raises UserError."""
  return scanned("tfrecord", files, _scan)


def _scan(file: str) -> dict[str, list[Any]]:
  """Reads all of a file but its images: offset, length, label, name of each. Raises ValueError or OSError."""
  scan: dict[str, list[Any]] = {"offset": [], "length": [], "label": [], "name": []}
  content = _content(file)
  for start, end in tf_example.records(content):
    found = tf_example.features(content, start, end)
    first, last = _image(content, found)
    values = (first, last - first, _value(content, found, _LABELS), _value(content, found, _NAMES))
    for column, value in zip(scan.values(), values, strict=True):
      column.append(value)
  return scan


def _content(file: str) -> Any:
  """Maps a file to memory; reads all of one in a bucket."""
  if file.startswith(paths.BUCKET):
    return path_of(file).read_bytes()
  if not os.path.getsize(file):
    return b""
  with open(file, "rb") as opened:
    return mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)


def _image(content: Any, found: Mapping[str, Any]) -> tuple[int, int]:
  """Returns where the image is: in a feature of a usual name, or else in the only one that begins like an image."""
  for name in _IMAGES:
    if (spans := found.get(name)) and isinstance(spans[0], tuple):
      return spans[0]
  spans = [spans[0] for spans in found.values() if spans and isinstance(spans[0], tuple)]
  images = [span for span in spans if content[span[0] : span[0] + 12].startswith(_STARTS)]
  if len(images) != 1:
    raise ValueError(f"a record has no feature that is known to be an image; expected {_IMAGES[0]}; it has {', '.join(found)}")
  return images[0]


def _value(content: Any, found: Mapping[str, Any], names: Sequence[str]) -> int | str | None:
  """Returns the number or text of the first of these features that is there; None without one."""
  value = next((found[name][0] for name in names if found.get(name)), None)
  return bytes(content[slice(*value)]).decode(errors="surrogateescape") if isinstance(value, tuple) else value


def _class_names(file: str) -> list[str]:
  """Returns the names of the classes that TFDS writes beside its files; none without them."""
  path = path_of(os.path.join(os.path.dirname(file), "label.labels.txt"))
  return path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
