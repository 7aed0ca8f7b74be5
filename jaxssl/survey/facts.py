"""What a config is suggested from, gathered from what was seen."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl import parallel, paths
from jaxssl.data.folder import FolderSource
from jaxssl.data.statistics import of_moments
from jaxssl.survey import machine
from jaxssl.survey.files import Found, Seen
from jaxssl.survey.suggest import Facts

SQUARE = 1.25  # pictures up to so much longer than they are high, or the reverse, may be stored as they are


def gather(
  given: Mapping[str, Any],
  found: Sequence[Found],
  train: FolderSource,
  test: FolderSource | None,
  kept: Sequence[int],
  list_path: str,
) -> Facts:
  """Gathers the facts; `given`: fields of data that were asked for, `kept`: places in `found` of the pictures to train on.

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
  grey = all(one.seen.grey for one in found if one.seen)
  channels = given["channels"] if "channels" in given else 1 if grey else len(seen[0].mean)
  moments = np.mean([[one.mean, one.square] for one in seen], axis=0)
  mean, std = of_moments(*(moments if len(moments[0]) == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(one.seen.height, one.seen.width) for one in found if one.seen}
  memory, of = machine.memory()
  return Facts(
    path=train.name,
    test_path=paths.whole(given["test_path"]) if given.get("test_path") else "",
    list_path=list_path if any(reasons.values()) else "",
    left_out=" and ".join(f"{count} that {why}" for why, count in reasons.items() if count),
    train=len(kept),
    test=len(test) if test else 0,
    classes=len(train.classes),
    side=round(statistics.median(min(one.height, one.width) for one in seen)),
    one_size=len(sizes) == 1 and all(max(size) <= SQUARE * min(size) for size in sizes),
    channels=channels,
    depth=depth_of(given, seen),
    deep=sum(one.header.bits > 8 for one in seen),
    mean=mean,
    std=std,
    memory=memory,
    memory_of=of,
    devices=parallel.make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
  )


def depth_of(given: Mapping[str, Any], seen: Sequence[Seen]) -> int:
  """Gives the bits that are kept of each value: 16 where half of the files or more have them."""
  return given.get("depth") or (16 if 2 * sum(one.header.bits > 8 for one in seen) >= len(seen) else 8)
