"""The manifest of a packed dataset: which files there are, their checksums, and what they were made of."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jaxssl.config import parse
from jaxssl.core import UserError, json_io, path_of, paths, storage_errors

NAME = "manifest.json"
FORMAT = "jaxssl packed 1"
SPLITS = ("train", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shard:
  """A file that holds the bytes of consecutive images."""

  images: int
  bytes: int
  sha256: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LeftOut:
  """An image that could not be read when the dataset was packed."""

  name: str
  reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Split:
  """The files of one split. `version`: of images without names, what identifies all of them."""

  images: int
  index_bytes: int
  index_sha256: str
  shards: tuple[Shard, ...]
  version: str = ""
  left_out: tuple[LeftOut, ...] = ()

  @property
  def bytes(self) -> int:
    """The bytes of all images."""
    return sum(shard.bytes for shard in self.shards)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PackedManifest:
  """All splits. `request`: a hash of the source and the options. `sha256`: of all other fields."""

  splits: Mapping[str, Split]
  request: str
  shorter_side: int
  quality: int
  classes: tuple[str, ...] = ()
  format: str = FORMAT
  sha256: str = ""

  def files(self) -> Iterator[tuple[str, int, str]]:
    """Yields the name, bytes and SHA-256 of every file but the manifest."""
    for split, about in self.splits.items():
      yield index_name(split), about.index_bytes, about.index_sha256
      for k, shard in enumerate(about.shards):
        yield shard_name(split, k), shard.bytes, shard.sha256


def index_name(split: str) -> str:
  """Returns the name of the file that holds the index of a split."""
  return f"{split}.index"


def shard_name(split: str, k: int) -> str:
  """Returns the name of a file that holds images."""
  return f"{split}-{k:05d}.shard"


def is_packed(folder: str) -> bool:
  """Returns whether a folder, or one in a bucket, holds a packed dataset. Raises Unavailable."""
  try:
    return FORMAT[:-1].encode() in paths.read(os.path.join(folder, NAME))
  except (OSError, ValueError, UserError):  # opening the images reports what is wrong
    return False


def as_json(manifest: PackedManifest) -> dict[str, Any]:
  """Returns the fields of a manifest, with its hash."""
  fields = json.loads(json.dumps(dataclasses.asdict(manifest)))
  return {**fields, "sha256": _digest(fields)}


def read(folder: str, field: str) -> PackedManifest:
  """Reads the manifest of a packed dataset. Raises UserError, which names `field`, if there is none or it is damaged."""
  where = f"{field}={folder}"
  try:
    path = path_of(os.path.join(paths.absolute(folder), NAME))
    fields = json_io.parse(paths.read_bytes(path).decode("utf-8"))
  except (OSError, ValueError) as error:
    if storage_errors.kind_of(error) is storage_errors.Kind.ABSENT:
      expected = f"expected a folder with a {NAME}, as `jaxssl pack` writes it when all images are packed"
      raise UserError(f"{where}: not a packed dataset; {expected}") from error
    raise UserError(f"{where}: {NAME} cannot be read: {getattr(error, 'strerror', None) or error}") from error
  if not str(fields.get("format", "")).startswith(FORMAT[:-1]):
    raise UserError(f"{where}: {NAME} is not that of a packed dataset; expected a folder that `jaxssl pack` has written")
  if fields["format"] != FORMAT:
    raise UserError(f"{where}: is {fields['format']}, of another version of jaxssl; this one reads {FORMAT}; pack it again")
  if fields.get("sha256") != _digest(fields):
    raise UserError(f"{where}: {NAME} was edited or is damaged: its own hash differs; copy it again, or pack again")
  try:
    manifest = parse.read(PackedManifest, fields)
    _check(manifest)
  except UserError as error:
    raise UserError(f"{where}: {NAME} is damaged: {error}; pack again") from error
  return manifest


def write(path: pathlib.Path, manifest: PackedManifest) -> None:
  """Writes a manifest to a file."""
  path.write_text(json.dumps(as_json(manifest), indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


def _check(manifest: PackedManifest) -> None:
  if "train" not in manifest.splits or not set(manifest.splits) <= set(SPLITS):
    raise UserError(f"splits are {', '.join(manifest.splits) or 'missing'}; expected train, or train and test")
  for name, split in manifest.splits.items():
    numbers = [split.images, split.index_bytes, *(n for shard in split.shards for n in (shard.images, shard.bytes))]
    if not all(map(json_io.count, numbers)) or sum(shard.images for shard in split.shards) != split.images:
      raise UserError(f"splits.{name}: its numbers do not fit together")
  if not all(re.fullmatch("[0-9a-f]{64}", sha256) for _, _, sha256 in manifest.files()):
    raise UserError("a hash is missing")


def _digest(fields: Mapping[str, Any]) -> str:
  """Hashes all fields but the hash itself."""
  rest = {name: value for name, value in fields.items() if name != "sha256"}
  return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
