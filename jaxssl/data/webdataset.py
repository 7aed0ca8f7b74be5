"""Images in tar files: shards of WebDataset, with labels in .cls or .json files, or plain ones with class folders."""

import contextlib
import json
import os
import re
import tarfile
from collections.abc import Iterator
from typing import Any

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG, UserError, path_of, paths
from jaxssl.data.file_kinds import ENDINGS
from jaxssl.data.file_sorter import FileSorter
from jaxssl.data.image_io import Decoder
from jaxssl.data.labels import counted
from jaxssl.data.layout import layout_of
from jaxssl.data.record_files import open_sets, scanned
from jaxssl.data.record_source import RecordSource
from jaxssl.data.source import register

TAR = re.compile(r"\.tar$", re.IGNORECASE)
_LABELS = ("cls", "json")  # endings of files that may hold a label
_KEYS = ("label", "cls", "class", "class_name", "target")  # of a JSON that hold a label
_MOST = 2**20  # bytes of a file that holds a label


@register("webdataset", ("path", "test_path"))
def open_tars(config: DataConfig) -> tuple[RecordSource, RecordSource | None]:
  """Opens the tar files of `data.path`: train, and test or validation (None without either).

  Samples are files whose names differ in what follows the first dot: the image, and a label in .cls or .json. Without any of
  these, images have the class of their folder. Raises UserError for a damaged or compressed file, and for folders that are
  splits or masks.
  """

  def make(name: str, files: list[str], known: tuple[str, ...]) -> RecordSource:
    scans = scanned("tar2", files, _scan)
    _report(name, scans)
    _check_folders(name, scans)
    _name_apart(files, scans)
    _use_folders(scans)
    _use_names(scans, known)
    return RecordSource(name, files, scans, Decoder.of(config), known=known)

  return open_sets(config, TAR, ".tar", make)


def _scan(file: str) -> dict[str, Any]:
  """Reads the headers of a tar: offset, length, label, name of each image, and what else is in it.

  Raises ValueError or OSError.
  """
  scan: dict[str, list[Any]] = {"offset": [], "length": [], "label": [], "name": []}
  sorter = FileSorter()
  for key, sample in _samples(file, sorter):
    images = [ending for ending in sample if f".{ending}" in ENDINGS] or [x for x in sample if f".{x}".endswith(ENDINGS)]
    if len(images) > 1:
      raise ValueError(f"{key} has several images, .{', .'.join(images)}; expected one for each key")
    if images:
      member = sample[images[0]]
      label = next((sample[kind] for kind in _LABELS if sample.get(kind) is not None), None)
      values = (member.offset_data, member.size, label, f"{key}.{images[0]}")
      for column, value in zip(scan.values(), values, strict=True):
        column.append(value)
  return {**scan, "skipped": dict(sorter.skipped), "links": sorter.broken}


def _samples(file: str, sorter: FileSorter) -> Iterator[tuple[str, dict[str, Any]]]:
  """Yields the key of each sample and its parts by ending: the member, or the label that it holds. Counts all else."""
  key, sample = "", dict[str, Any]()
  earlier = dict[tuple[str, bool], Any]()  # the parts that hard links may name, and whether they are labels
  left_out = dict[str, bool]()  # folders
  with _opened(file) as archive:
    try:
      for member in archive:
        folder, base = os.path.split(member.name.removeprefix("./"))
        stem, _, ending = base.partition(".")
        ending = ending.lower()
        is_label = bool(stem) and ending in _LABELS
        if member.isreg():
          earlier[member.name, False] = member
        if folder not in left_out:
          left_out[folder] = sorter.normalized(folder) is None
        if left_out[folder] or not (member.isreg() or member.islnk() or member.issym()):
          continue
        if member.issym() or (member.islnk() and (member.linkname, is_label) not in earlier):
          sorter.broken.append(member.name)
          continue
        if not is_label and not sorter.is_image(base):
          continue
        if member.islnk():
          part = earlier[member.linkname, is_label]
        else:
          part = _label(archive, member, ending) if is_label else member
        earlier[member.name, is_label] = part
        own = os.path.join(folder, stem)
        if own != key and sample:
          yield key, sample
          sample = {}
        key = own
        sample[ending] = part
    except tarfile.TarError as error:
      raise ValueError(f"it is damaged or cut off: {error}") from error
  if sample:
    yield key, sample


@contextlib.contextmanager
def _opened(file: str) -> Iterator[tarfile.TarFile]:
  """Opens a tar; one in a bucket is read from its beginning to its end."""
  try:
    if not file.startswith(paths.BUCKET):
      with tarfile.open(file, "r:") as archive:
        yield archive
    else:
      with path_of(file).open("rb") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        yield archive
  except tarfile.ReadError as error:
    raise ValueError(f"not a plain tar: {error}; expected one that is not compressed") from error


def _label(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> int | str | None:
  """Returns the label that a file holds: a number or a name; None if there is none."""
  opened = archive.extractfile(member) if member.size <= _MOST else None
  text = opened.read().decode(errors="replace").strip() if opened else ""
  if ending == "json":
    try:
      fields = json.loads(text)
    except (ValueError, RecursionError) as error:
      raise ValueError(f"{member.name} is not JSON: {error}") from error
    value = next((fields[key] for key in _KEYS if key in fields), None) if isinstance(fields, dict) else fields
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None
  return int(text) if re.fullmatch(r"-?\d{1,9}", text) else text or None


def _report(where: str, scans: list[dict[str, Any]]) -> None:
  """Logs what in tar files is not used, as for a folder."""
  sorter = FileSorter()
  for scan in scans:
    sorter.skipped.update(scan["skipped"])
  sorter.report(where, sum(len(scan["name"]) for scan in scans))
  if links := [name for scan in scans for name in scan["links"]]:
    remedy = "write files in their place, with tar --dereference --hard-dereference"
    LOG.warning("%s: skipped %d links, e.g. %s; %s", where, len(links), links[0], remedy)


def _check_folders(where: str, scans: list[dict[str, Any]]) -> None:
  """Raises UserError if the folders in tar files, which are all trained on, are splits or masks."""
  folders = sorted({os.path.dirname(name) for scan in scans for name in scan["name"]})
  layout = layout_of(folders or [""])
  roles = {folder.top: folder.role for folder in layout.folders}
  if len(set(roles.values())) > 1:
    problem = ", ".join(f"{f'{top}/' if top else 'no folder'} ({role})" for top, role in [*roles.items()][:5])
  elif layout.problem and "train" in roles.values():
    problem = layout.problem.partition(";")[0]
  else:  # classes, or all in one split, which the names of the files should state
    return
  expected = "expected no folders or those of classes; unpack them and use data.source=folder, or write a tar for each split"
  raise UserError(f"{where}: its tar files hold splits or masks: {problem}; {expected}")


def _name_apart(files: list[str], scans: list[dict[str, Any]]) -> None:
  """Puts the name of its file before the name of each image if two files use the same keys."""
  if len({name for scan in scans for name in scan["name"]}) < sum(len(scan["name"]) for scan in scans):
    for file, scan in zip(files, scans, strict=True):
      stem = os.path.splitext(os.path.basename(file))[0]
      scan["name"] = [f"{stem}/{name}" for name in scan["name"]]


def _use_folders(scans: list[dict[str, Any]]) -> None:
  """Labels images by the folder that they are in, if there are no labels and every image is in one of several folders."""
  if any(label is not None for scan in scans for label in scan["label"]):
    return
  folders = [[os.path.basename(os.path.dirname(name)) for name in scan["name"]] for scan in scans]
  used = set[str]().union(*folders)
  if len(used) > 1 and "" not in used:
    for scan, own in zip(scans, folders, strict=True):
      scan["label"] = own


def _use_names(scans: list[dict[str, Any]], known: tuple[str, ...]) -> None:
  """Makes names of all labels if one is a name, such as cat beside 2020, or if the classes of the training images are names."""
  labels = {label for scan in scans for label in scan["label"]}
  if any(isinstance(label, str) for label in labels) or (known and not counted(known)):
    for scan in scans:
      scan["label"] = [None if label in (None, -1) else str(label) for label in scan["label"]]
