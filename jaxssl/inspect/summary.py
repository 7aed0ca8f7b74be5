"""Summarizes a scan in lines of text."""

import collections
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import numpy as np

from jaxssl.data.folder import FolderSource
from jaxssl.inspect.copies import Copies
from jaxssl.inspect.scan import ImageStats, Unusable

_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NUMBER = re.compile(r"\d+")
REASONS, NAMES, GROUPS, CLASSES = 10, 3, 5, 10  # shown at most; the rest is counted
_SHAPES = ("very tall (under 1:2)", "tall", "square", "wide", "very wide (over 2:1)")
FAR = 10  # times the median, or its inverse, beyond which an image is listed by name
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
    remedy = "" if number == 3 else f"; --data.channels={number} reads them as channels"
    yield f"pages: {count} files have {number}, of which the first is used{remedy}"
  order = sorted(images, key=lambda image: image.height * image.width)
  examples = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
  sizes = len({(image.height, image.width) for image in images})
  shown = ", ".join(f"{name} {image.width} x {image.height}" for name, image in examples.items())
  yield f"sizes: {shown} pixels; {sizes} different"
  shapes = np.searchsorted(_RATIOS, [image.width / image.height for image in images])
  yield f"shapes: {tally(_SHAPES[shape] for shape in shapes)}"
  total = sum(image.size for image in images)
  yield f"bytes: {total / 1e6:.1f} MB in files, {total / len(images) / 1e3:.1f} kB each"
  yield from _outliers(images)


def _outliers(images: Sequence[ImageStats]) -> Iterator[str]:
  """Yields images that are far from the median, in one line each, if they are few."""

  def times(ratio: float) -> str:
    return f"{ratio:.0f} times" if ratio > 1 else f"1/{1 / ratio:.0f}"

  for what, values in (
    ("pixels", np.array([image.height * image.width for image in images])),
    ("bytes", np.array([image.size for image in images])),
  ):
    ratios = values / np.median(values)
    for word, far in (("larger", ratios > FAR), ("smaller", (ratios < 1 / FAR) & (what == "pixels"))):  # flat files are small
      few = np.flatnonzero(far)
      if 0 < len(few) <= max(1, len(images) / 100):
        order = few[np.argsort(-np.abs(np.log(ratios[few])))]
        names = ", ".join(
          f"{images[k].name} ({images[k].width} x {images[k].height}, {times(ratios[k])})" for k in order[:NAMES]
        )
        more = f" and {len(order) - NAMES} more" if len(order) > NAMES else ""
        yield f"much {word} than the median in {what}: {names}{more}"


def unreadable(files: Sequence[Unusable]) -> Iterator[str]:
  """Yields the reasons why files are unreadable, the most frequent first, each with its first files."""
  yield f"unreadable: {len(files) or 'none'}"
  kinds: dict[str, list[Unusable]] = {}
  for file in files:
    kinds.setdefault(_NUMBER.sub("...", file.reason), []).append(file)  # numbers such as that of missing bytes
  lines = []
  for alike in sorted(kinds.values(), key=lambda alike: -len(alike)):
    numbers = [{*values} for values in zip(*(_NUMBER.findall(file.reason) for file in alike), strict=True)]
    words = _NUMBER.split(alike[0].reason)
    reason = words[0] + "".join(
      (own.pop() if len(own) == 1 else "...") + word for own, word in zip(numbers, words[1:], strict=True)
    )
    names = ", ".join(file.name for file in alike[:NAMES])
    lines.append(f"{names if len(alike) <= NAMES else f'{len(alike)} files, e.g. {names}'}: {reason}")
  yield from _first(lines, REASONS, " reasons")


def copies(found: Copies, images: Sequence[ImageStats]) -> Iterator[str]:
  """Yields the first groups of exact and of near duplicates, and the first test images that are in the training split too."""

  def names(places: Sequence[int]) -> str:
    more = f" and {len(places) - NAMES} more" if len(places) > NAMES else ""
    return ", ".join(images[k].name for k in places[:NAMES]) + more

  for kind, groups in (("exact duplicates", found.exact), ("near duplicates", found.near_groups)):
    note = " that may show the same" if groups is found.near_groups else ""
    yield f"{kind}: {f'{len(groups)} groups, {sum(map(len, groups))} images{note}' if groups else 'none'}"
    yield from _first([names(group) for group in groups], GROUPS, " groups")
  if not any(found.is_test):
    return
  same, similar = found.in_both()
  number = f"{len(same)}, and {len(similar)} that may be" if similar else f"{len(same) or 'none'}"
  invalid = ", which invalidates the evaluation if they are trained on" if same or similar else ""
  yield f"test images that are in train too: {number}{invalid}"
  lines = [f"{images[test].name} is {images[train].name}" for test, train in same]
  yield from _first(lines + [f"{images[test].name} may be {images[train].name}" for test, train in similar], GROUPS)


def redundant(reasons: Collection[str], drop: bool) -> Iterator[str]:
  """Yields how many training images are duplicates, by reason, and whether the config trains on them."""
  if reasons:
    numbers = ", ".join(f"{number} {reason}" for reason, number in collections.Counter(reasons).items())
    use = "the config leaves them out" if drop else "the config trains on them; --drop-duplicates leaves them out"
    yield f"of the training images, {numbers}: {use}"


def _first(lines: Sequence[str], count: int, suffix: str = "") -> Iterator[str]:
  yield from (f"  {line}" for line in lines[:count])
  if len(lines) > count:
    yield f"  and {len(lines) - count} more{suffix}"


def in_full(files: Sequence[Unusable], found: Copies, images: Sequence[ImageStats]) -> list[str]:
  """Returns a line for each unreadable file or group of duplicates: kind and names, between tabs; tabs in names are escaped."""
  rows = [["unreadable", file.name, file.reason] for file in files]
  for kind, groups in (("exact", found.exact), ("near", found.near_groups)):
    rows += [[kind, *(images[k].name for k in group)] for group in groups]
  return ["\t".join(cell.translate(_ESCAPES) for cell in row) for row in rows]
