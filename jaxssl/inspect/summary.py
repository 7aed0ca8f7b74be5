"""Summarizes a scan in lines of text."""

import collections
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from jaxssl.data.folder import FolderSource
from jaxssl.inspect.scan import ImageStats, Unusable

Group = Sequence[ImageStats]  # of duplicates
_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
FILES, GROUPS, CLASSES = 10, 5, 10  # named at most; the rest is counted
_SHAPES = ("very tall (under 1:2)", "tall", "square", "wide", "very wide (over 2:1)")
_RATIOS = (0.5, 0.95, 1 / 0.95, 2.0)  # of width to height, between one shape and the next


def counts(sources: Mapping[str, FolderSource], unusable: Sequence[Unusable]) -> Iterator[str]:
  """Yields the numbers of images by split and class folder."""
  for split, source in sources.items():
    number = sum(file.split == split for file in unusable)
    yield f"{split}: {len(source)} images" + (f", {number} of them unreadable" if number else "")
    if split == "test" and number > max(1, len(source) / 100):
      yield "  more than 1% of the test images are unreadable: a run would stop there, so fix or remove them"
    if source.labels is None:
      stops = split == "test" and sources["train"].labels is not None
      yield "  no class folders" + (", but train has some: a run would stop there, so sort them too" if stops else "")
      continue
    sizes = np.bincount(source.labels, minlength=len(source.classes))
    order = np.argsort(-sizes, kind="stable")
    shown = ", ".join(f"{source.classes[k]} {sizes[k]}" for k in order[:CLASSES])
    more = f", and {len(order) - CLASSES} more, the smallest of {sizes.min()}" if len(order) > CLASSES else ""
    yield f"  {len(order)} class folders (for evaluation only): {shown}{more}"


def kinds(images: Sequence[ImageStats], depth: int) -> Iterator[str]:
  """Yields formats, colors, bits, sizes, shapes and bytes. `depth`: bits per value that are kept."""

  def tally(values: Iterable[object]) -> str:
    return ", ".join(f"{value} {count}" for value, count in collections.Counter(values).most_common())

  yield f"formats: {tally(image.header.kind for image in images)}"
  gray = sum(image.gray and image.header.channels > 2 for image in images)
  note = f"; {gray} of them are stored in color but gray" if gray else ""
  yield f"channels: {tally(image.header.color for image in images)}{note}"
  deep = "" if all(image.header.bits <= 8 for image in images) else f"; read as {depth}"
  yield f"bits per channel: {tally(image.header.bits for image in images)}{deep}"
  pages = collections.Counter(image.header.pages for image in images if image.header.pages not in (1, image.channels))
  for number, count in pages.most_common(1):
    yield f"pages: {count} files have {number}, of which the first is used; --data.channels={number} reads them as channels"
  order = sorted(images, key=lambda image: image.height * image.width)
  examples = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
  sizes = len({(image.height, image.width) for image in images})
  shown = ", ".join(f"{name} {image.width} x {image.height}" for name, image in examples.items())
  yield f"sizes: {shown} pixels; {sizes} different"
  shapes = np.searchsorted(_RATIOS, [image.width / image.height for image in images])
  yield f"shapes: {tally(_SHAPES[shape] for shape in shapes)}"
  total = sum(image.size for image in images)
  yield f"bytes: {total / 1e6:.1f} MB in files, {total / len(images) / 1e3:.1f} kB each"


def unreadable(files: Sequence[Unusable]) -> Iterator[str]:
  """Yields the first unreadable files, with the reasons."""
  yield f"unreadable: {len(files) or 'none'}"
  yield from _first([f"{file.name}: {file.reason}" for file in files], FILES)


def twins(groups: Sequence[Group], kind: str) -> Iterator[str]:
  """Yields the first groups of duplicates."""
  yield f"{kind}: {f'{len(groups)} groups, {sum(map(len, groups))} images' if groups else 'none'}"
  lines = []
  for group in groups:
    more = f" and {len(group) - 3} more" if len(group) > 3 else ""
    lines.append(", ".join(file.name for file in group[:3]) + more)
  yield from _first(lines, GROUPS, " groups")


def overlap(groups: Sequence[Group]) -> Iterator[str]:
  """Yields the test images that are in the training split too."""
  splits = [{split: [file.name for file in group if file.split == split] for split in ("test", "train")} for group in groups]
  splits = [names for names in splits if names["test"] and names["train"]]
  count = sum(len(names["test"]) for names in splits)
  yield f"test images that are in train too: {count or 'none'}" + (", which invalidates the evaluation" if count else "")
  yield from _first([f"{names['test'][0]} is {names['train'][0]}" for names in splits], GROUPS)


def _first(lines: Sequence[str], count: int, suffix: str = "") -> Iterator[str]:
  yield from (f"  {line}" for line in lines[:count])
  if len(lines) > count:
    yield f"  and {len(lines) - count} more{suffix}"


def in_full(files: Sequence[Unusable], exact: Sequence[Group], near: Sequence[Group]) -> list[str]:
  """Returns a line for each unreadable file or duplicate: kind and names, separated by tabs; tabs in names are escaped."""
  rows = [["unreadable", file.name, file.reason] for file in files]
  rows += [[kind, *(file.name for file in group)] for kind, groups in (("exact", exact), ("near", near)) for group in groups]
  return ["\t".join(cell.translate(_ESCAPES) for cell in row) for row in rows]
