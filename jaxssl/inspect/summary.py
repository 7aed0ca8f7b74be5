"""What was found, in lines to be read."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from jaxssl.data.folder import FolderSource
from jaxssl.inspect.scan import ImageStats, ScannedFile
from jaxssl.inspect.suggest import Facts, batch_size, fits

_ESCAPES = str.maketrans({"\t": "\\t", "\n": "\\n", "\r": "\\r"})
FILES, GROUPS, CLASSES = 10, 5, 10  # that are named; the rest is counted


def counts(sources: Mapping[str, FolderSource], found: Sequence[ScannedFile]) -> Iterator[str]:
  """How many images there are, by split and class folder."""
  for split, source in sources.items():
    bad = sum(one.split == split and one.seen is None for one in found)
    yield f"{split}: {len(source)} images" + (f", {bad} of them unreadable" if bad else "")
    if split == "test" and bad > max(1, len(source) / 100):
      yield "  more than 1% unreadable to test on: a run would stop there, so mend or remove them"
    if source.labels is None:
      stops = split == "test" and sources["train"].labels is not None
      yield "  no class folders" + (", but train has some: a run would stop there, so sort them too" if stops else "")
      continue
    sizes = np.bincount(source.labels, minlength=len(source.classes))
    order = np.argsort(-sizes, kind="stable")
    shown = ", ".join(f"{source.classes[k]} {sizes[k]}" for k in order[:CLASSES])
    more = f", and {len(order) - CLASSES} more, the smallest of {sizes.min()}" if len(order) > CLASSES else ""
    yield f"  {len(order)} class folders (for measuring only): {shown}{more}"


def kinds(seen: Sequence[ImageStats], depth: int) -> Iterator[str]:
  """Formats, colors, bits, sizes, shapes, bytes. `depth`: bits that are kept of a value."""
  yield f"formats: {_tally(seen, lambda one: one.header.kind)}"
  gray = sum(one.gray and one.header.channels > 2 for one in seen)
  note = f"; {gray} of them are stored in color and are gray" if gray else ""
  yield f"channels: {_tally(seen, lambda one: one.header.color)}{note}"
  deep = "" if all(one.header.bits <= 8 for one in seen) else f"; read as {depth}"
  yield f"bits a channel: {_tally(seen, lambda one: one.header.bits)}{deep}"
  paged = collections.Counter(one.header.pages for one in seen if one.header.pages > 1 and len(one.mean) != one.header.pages)
  for pages, count in paged.most_common(1):
    yield f"pages: {count} files have {pages}, of which the first is taken; --data.channels={pages} takes them as channels"
  order = sorted(seen, key=lambda one: one.height * one.width)
  named = {"smallest": order[0], "median": order[len(order) // 2], "largest": order[-1]}
  sizes = len({(one.height, one.width) for one in seen})
  yield f"sizes: {', '.join(f'{k} {one.width} x {one.height}' for k, one in named.items())} pixels; {sizes} different"
  yield f"shapes: {_tally(seen, _shape)}"
  total = sum(one.size for one in seen)
  yield f"bytes: {total / 1e6:.1f} MB in files, {total / len(seen) / 1e3:.1f} kB each"


def _tally(seen: Sequence[ImageStats], what: Callable[[ImageStats], object]) -> str:
  return ", ".join(f"{name} {count}" for name, count in collections.Counter(map(what, seen)).most_common())


def _shape(one: ImageStats) -> str:
  ratio = one.width / one.height
  names = ((0.5, "very tall (under 1:2)"), (0.95, "tall"), (1 / 0.95, "square"), (2.0, "wide"))
  return next((name for limit, name in names if ratio <= limit), "very wide (over 2:1)")


def unreadable(found: Sequence[ScannedFile]) -> Iterator[str]:
  """The first files that cannot be read, and why."""
  bad = [one for one in found if one.seen is None]
  yield f"unreadable: {len(bad) or 'none'}"
  yield from (f"  {one.name}: {one.why}" for one in bad[:FILES])
  if len(bad) > FILES:
    yield f"  and {len(bad) - FILES} more"


def twins(found: Sequence[ScannedFile], groups: Sequence[Sequence[int]], what: str) -> Iterator[str]:
  """The first groups of places of images that are there more than once."""
  inside = sum(map(len, groups))
  yield f"{what}: {f'{len(groups)} groups, {inside} images' if groups else 'none'}"
  for group in groups[:GROUPS]:
    yield f"  {', '.join(found[k].name for k in group[:3])}{f' and {len(group) - 3} more' if len(group) > 3 else ''}"
  if len(groups) > GROUPS:
    yield f"  and {len(groups) - GROUPS} more groups"


def overlap(found: Sequence[ScannedFile], groups: Sequence[Sequence[int]]) -> Iterator[str]:
  """Images to test on that are among those to train on as well."""
  pairs = [(test, train) for group in groups for test, train in [_both(found, group)] if test and train]
  count = sum(len(test) for test, _ in pairs)
  yield f"test images that are in train too: {count or 'none'}" + (", which spoils what is measured" if count else "")
  yield from (f"  {test[0]} is {train[0]}" for test, train in pairs[:GROUPS])
  if len(pairs) > GROUPS:
    yield f"  and {len(pairs) - GROUPS} more"


def _both(found: Sequence[ScannedFile], group: Sequence[int]) -> tuple[list[str], list[str]]:
  test, train = ([found[k].name for k in group if found[k].split == split] for split in ("test", "train"))
  return test, train


def speed(rate: float, views: int, facts: Facts) -> str:
  """What so many images a second of the host mean for training."""
  batch = batch_size(facts)
  says = f"reading: {rate:.0f} images/s into {views} views each, by the host: {batch / rate:.2f} s for a batch of {batch}"
  if fits(facts):
    return f"{says}; but they fit in memory, where they are put once, in about {facts.train / rate:.0f} s"
  return f"{says}, {facts.train / rate:.0f} s for an epoch; a step that takes less waits for it"


def in_full(found: Sequence[ScannedFile], exactly: Sequence[Sequence[int]], nearly: Sequence[Sequence[int]]) -> list[str]:
  """Every unreadable file and every group, one a line: what, then names, separated by tabs; those in a name are escaped."""
  names = [one.name.translate(_ESCAPES) for one in found]
  lines = [f"unreadable\t{name}\t{one.why}" for name, one in zip(names, found, strict=True) if one.seen is None]
  for what, groups in (("exact", exactly), ("near", nearly)):
    lines += ["\t".join([what, *(names[k] for k in group)]) for group in groups]
  return lines
