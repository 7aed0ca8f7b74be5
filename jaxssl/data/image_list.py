"""Reads lists of training images: one name per line, or a table with a column of paths."""

import codecs
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from jaxssl.core import LOG, UserError, paths
from jaxssl.data import image_table
from jaxssl.data.file_kinds import ENDINGS
from jaxssl.data.source import Source

_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_PATH_AND_LABEL = re.compile(rf"(.*(?:{'|'.join(map(re.escape, ENDINGS))}))[\s,;]+(\S+)", re.IGNORECASE)


def read(
  path: str, names: Iterable[str], folders: Iterable[str], root: str, field: str = "data.list_path", kind: str = "image"
) -> dict[int, str]:
  r"""Returns the positions of the images that a list names, and the label in the list; "" without one.

  names: of the images that may be listed, relative to `root`; folders: of the dataset, relative to it; kind: an image's name in
  errors. A line names an image by its path from any folder on, behind a leading "/", `root`, its last folders, or "train/",
  with "/" or "\"; or by its bare name, with or without its ending, if only one image has it. A label may follow a path with its
  ending. Lines that begin with "#" or end in ":" are headings, and those that name a folder of listed images.
  Raises UserError, which names `field` and the line, for a line that names no image or several.
  """
  where = f"{field}={path}"
  try:
    text = _decoded(paths.read(path))
  except (OSError, ValueError) as error:  # ValueError: not a path, or not text
    raise UserError(f"{where}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
  root = _normalized(root).rstrip("/") + "/"
  rows = _lines(text, path, where)
  lines = [(f"line {number}, {line[:80]}", list(_spellings(line, label, root))) for number, line, label in rows]
  candidates = _candidates(names, {wanted.rpartition("/")[2] for _, spellings in lines for wanted, _ in spellings})
  parents = {part for folder in folders for part in _normalized(folder).split("/")} | set(map(_normalized, folders))
  found, unknown, headings = dict[int, set[str]](), list[str](), list[tuple[str, str]]()
  listed = set[str]()  # folders
  for line, spellings in lines:
    wanted = spellings[0][0]
    known = ((_matches(spelling, candidates, root), label) for spelling, label in spellings)
    matches, label = next((match for match in known if match[0]), ({}, ""))
    if len(set(matches.values())) > 1:
      examples = " and ".join([*matches.values()][:2])
      raise UserError(f"{where}: {line}, names several images, e.g. {examples}; add their folders")
    for k, name in matches.items():
      found.setdefault(k, set()).add(label)
      listed.update(name.split("/")[:-1])
    if not matches and (wanted.endswith(":") or wanted.startswith("#")):
      headings.append((line, ""))
    elif not matches and (folder := wanted.rstrip("/").rpartition("/")[2]) in parents:
      headings.append((line, folder))
    elif not matches:
      unknown.append(line)
  if unknown:
    count = f"{len(unknown)} of {len(lines)} lines name no {kind} of {root}, e.g. {unknown[0]}"
    raise UserError(f"{where}: {count}; expected paths below that folder")
  if alone := [line for line, folder in headings if folder and folder not in listed]:
    raise UserError(f"{where}: {alone[0]}, names a folder, but no image in it is listed; list the images in it")
  if not found:
    raise UserError(f"{where}: the list is empty; expected one path per line, or no list for all images")
  if headings:
    LOG.info("%s: %d images; skipped %d headings", where, len(found), len(headings))
  if several := sum(len(labels) > 1 for labels in found.values()):
    LOG.warning("%s: %d images with several labels count as unlabeled", where, several)
  return {k: labels.pop() if len(labels) == 1 else "" for k, labels in found.items()}


def select(source: Source, path: str, names: Iterable[str], folders: Iterable[str]) -> np.ndarray:
  """Returns the positions of the images of `source` that a list names, ascending, int [m]; see `read`. Raises UserError.

  Labels in the list become those of the source if it has none.
  """
  found = read(path, names, folders, source.name)
  classes = tuple(sorted(set(found.values()) - {""}))
  if source.labels is None and len(classes) > 1:
    labels = np.full(len(source), -1, np.int32)
    labels[list(found)] = [classes.index(label) if label else -1 for label in found.values()]
    source.classes, source.labels = classes, labels
  return np.array(sorted(found))


def _spellings(line: str, label: str, root: str) -> Iterator[tuple[str, str]]:
  """Yields the names that a line may mean, and their labels: all of it, or a path and behind it a label."""
  labeled = _PATH_AND_LABEL.fullmatch(line.strip())
  for name, own in ((line, label), *([labeled.groups()] if labeled else [])):
    yield _normalized(name).removeprefix(root).removeprefix("./").lstrip("/"), own


def _matches(wanted: str, candidates: Mapping[str, Sequence[tuple[str, int]]], root: str) -> dict[int, str]:
  """Returns the positions and names of the images that a line names; only those of exactly that name if there are any."""
  matches = {k: name for name, k in candidates.get(wanted.rpartition("/")[2], ()) if _is_named(wanted, name, root)}
  return {k: name for k, name in matches.items() if name == wanted} or matches


def _candidates(names: Iterable[str], bases: set[str]) -> dict[str, list[tuple[str, int]]]:
  """Returns the names, in NFC, and positions of the images that have one of these bare names, with or without their ending."""
  candidates: dict[str, list[tuple[str, int]]] = {}
  for k, name in enumerate(names):
    name = _normalized(name)
    base = name.rpartition("/")[2]
    for known in {base, os.path.splitext(base)[0]} & bases:
      candidates.setdefault(known, []).append((name, k))
  return candidates


def _is_named(wanted: str, name: str, root: str) -> bool:
  """Returns whether a line is the end of an image's path, or has more in front that is the end of the root, or "train"."""
  if wanted.rpartition("/")[2] != name.rpartition("/")[2]:
    name = os.path.splitext(name)[0]
  if f"/{name}".endswith(f"/{wanted}"):
    return True
  front = wanted.removesuffix(f"/{name}")
  return front != wanted and (front == "train" or f"/{root}".endswith(f"/{front}/"))


def _normalized(name: str) -> str:
  return unicodedata.normalize("NFC", name.strip().strip('"').replace("\\", "/"))


def _decoded(data: bytes) -> str:
  """Decodes UTF-8 or, behind its mark, UTF-16; other bytes become lone surrogates, as in names of files."""
  encoding = next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), "utf-8")
  return data.decode(encoding, errors="strict" if encoding == "utf-16" else "surrogateescape")


def _lines(text: str, path: str, where: str) -> Iterator[image_table.Row]:
  """Yields the number of each line that is not empty, the line or the name in it, and the label in it ("": none)."""
  text = text.replace("\r\n", "\n").replace("\r", "\n")
  if (rows := image_table.rows(text, path, where)) is not None:
    yield from rows
    return
  for number, line in enumerate(text.split("\n"), 1):
    if line.strip():
      yield number, line, ""
