"""Reads lists of images to train on: one name per line, or a table with a column of paths."""

import codecs
import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator

from jaxssl.core import LOG, UserError, paths

PATH_COLUMNS = ("path", "file", "filename", "filepath", "image", "imagepath", "img", "imagename", "name", "imageid", "id")
LABEL_COLUMNS = ("label", "class", "classname", "category", "target")
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read(path: str, names: Iterable[str], folders: Iterable[str], root: str) -> dict[int, str]:
  r"""Returns the positions of the images that a list names, and the label in the list; "" without one.

  names: of all training images, relative to `root`; folders: of the dataset, relative to it. A line names an image by its path
  from any folder on, behind a leading "/", `root`, its last folders, or "train/", with "/" or "\"; or by its bare name, with or
  without its ending, if only one image has it. Lines that name a folder or end in ":" are headings.
  Raises UserError, which names the line, for a line that names no image or several.
  """
  try:
    text = _decoded(paths.read(path))
  except (OSError, ValueError) as error:  # ValueError: not a path, or not text
    raise UserError(f"data.list_path={path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
  lines = [(number, line, label, _normalized(line)) for number, line, label in _lines(text, path)]
  candidates = _candidates(names, {wanted.rpartition("/")[2] for *_, wanted in lines})
  root = _normalized(root).rstrip("/") + "/"
  parents = {part for folder in folders for part in _normalized(folder).split("/")} | set(map(_normalized, folders))
  found, unknown, headings = dict[int, str](), list[str](), 0
  for number, line, label, wanted in lines:
    wanted = wanted.removeprefix(root).removeprefix("./").lstrip("/")
    matches = {k: name for name, k in candidates.get(wanted.rpartition("/")[2], ()) if _is_named(wanted, name, root)}
    exact = [k for k, name in matches.items() if name == wanted]
    if exact or len(matches) == 1:
      found |= dict.fromkeys(exact or matches, label)
    elif matches:
      listed = " and ".join([*matches.values()][:2])
      raise UserError(f"data.list_path={path}: line {number}, {line}, names several images, e.g. {listed}; add their folders")
    elif wanted.endswith(":") or wanted.rstrip("/").rpartition("/")[2] in parents:
      headings += 1
    else:
      unknown.append(f"line {number}, {line}")
  if unknown:
    count = f"{len(unknown)} of {len(lines)} lines name no training image of {root}, e.g. {unknown[0]}"
    raise UserError(f"data.list_path={path}: {count}; expected paths below that folder")
  if not found:
    raise UserError(f"data.list_path={path}: the list is empty; expected one path per line, or no list for all images")
  if headings:
    LOG.info("data.list_path=%s: %d images; skipped %d headings", path, len(found), headings)
  return found


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


def _lines(text: str, path: str) -> Iterator[tuple[int, str, str]]:
  """Yields the number of each line that is not empty, the name, and the label in it ("": none)."""
  lines = text.replace("\r\n", "\n").split("\n")
  delimiter = "\t" if path.lower().endswith(".tsv") or "\t" in lines[0] else ","
  header = [cell.strip().lower().replace("_", "").replace(" ", "") for cell in lines[0].split(delimiter)]
  column, labels = (
    next((header.index(name) for name in names if name in header), None) for names in (PATH_COLUMNS, LABEL_COLUMNS)
  )
  if column is None and path.lower().endswith((".csv", ".tsv")):
    expected = f"expected a header with a column of paths, named e.g. {', '.join(PATH_COLUMNS[:4])}"
    raise UserError(f"data.list_path={path}: its first line is {lines[0][:80]!r}; {expected}")
  if column is not None and (len(header) > 1 or path.lower().endswith((".csv", ".tsv"))):
    for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
      if number > 1 and len(row) > column and row[column].strip():
        yield number, row[column], row[labels].strip() if labels is not None and len(row) > labels else ""
    return
  for number, line in enumerate(lines, 1):
    if line.strip():
      yield number, line, ""
