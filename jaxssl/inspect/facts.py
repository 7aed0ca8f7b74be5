"""What a config is suggested from, gathered from what was seen."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.core import paths
from jaxssl.data.folder import FolderSource
from jaxssl.data.statistics import of_moments
from jaxssl.inspect import throughput
from jaxssl.inspect.scan import ImageStats, ScannedFile
from jaxssl.inspect.suggest import Facts
from jaxssl.parallel.mesh import make_mesh

SQUARE = 1.25  # images up to so much longer than they are high, or the reverse, may be stored as they are


def gather(
  given: Mapping[str, Any],
  found: Sequence[ScannedFile],
  train: FolderSource,
  test: FolderSource | None,
  kept: Sequence[int],
  list_path: str,
) -> Facts:
  """Gathers the facts; `given`: fields of data that were asked for, `kept`: places in `found` of the images to train on.

  `list_path`: where those will be listed if they are not all.
  """
  seen = [seen for k in kept if (seen := found[k].seen)]
  lost = [one for one in found if one.split == "train" and one.seen is None]
  odd = sum(one.odd for one in lost)
  unread = len(lost) - odd
  broken = sum(one.split == "train" and one.seen is not None and not one.listable(train.name) for one in found)
  reasons = {
    "cannot be read": unread,
    "have other channels": odd,
    "have a line break in their name": broken,
    "are in the test split too": len(train) - len(kept) - unread - odd - broken,
  }
  gray = all(one.seen.gray for one in found if one.seen)
  channels = given["channels"] if "channels" in given else 1 if gray else len(seen[0].mean)
  moments = np.mean([[one.mean, one.square] for one in seen], axis=0)
  mean, std = of_moments(*(moments if len(moments[0]) == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(one.seen.height, one.seen.width) for one in found if one.seen}
  memory, of = throughput.memory()
  return Facts(
    path=train.name,
    test_path=paths.absolute(given["test_path"]) if given.get("test_path") else "",
    list_path=list_path if any(reasons.values()) else "",
    left_out=" and ".join(f"{count} that {why}" for why, count in reasons.items() if count),
    train=len(kept),
    test=len(test) if test else 0,
    classes=len(train.classes),
    side=round(statistics.median(min(one.height, one.width) for one in seen)),
    one_size=len(sizes) == 1 and all(max(size) <= SQUARE * min(size) for size in sizes),
    channels=channels,
    bit_depth=depth_of(given, seen),
    deep=sum(one.header.bits > 8 for one in seen),
    mean=mean,
    std=std,
    memory=memory,
    memory_of=of,
    devices=make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
  )


def depth_of(given: Mapping[str, Any], seen: Sequence[ImageStats]) -> int:
  """Gives the bits that are kept of each value: 16 where half of the files or more have them."""
  return given.get("bit_depth") or (16 if 2 * sum(one.header.bits > 8 for one in seen) >= len(seen) else 8)
