"""What a config is suggested from, gathered from what was seen."""

import os
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl import parallel
from jaxssl.data.folder import FolderSource
from jaxssl.survey import machine
from jaxssl.survey.files import Found
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
  unread = sum(one.split == "train" and one.seen is None for one in found)
  reasons = {"cannot be read": unread, "are in the test split too": len(train) - len(kept) - unread}
  grey = given.get("channels", 1) == 1 and ("channels" in given or all(one.seen.grey for one in found if one.seen))
  mean = np.mean([one.mean for one in seen], axis=0)
  deviation = np.sqrt(np.maximum(np.mean([one.square for one in seen], axis=0) - mean**2, 1e-4))
  sizes = {(one.seen.height, one.seen.width) for one in found if one.seen}
  memory, of = machine.memory()
  return Facts(
    path=train.name,
    test_path=os.path.abspath(os.path.expanduser(given["test_path"])) if given.get("test_path") else "",
    list_path=list_path if any(reasons.values()) else "",
    left_out=" and ".join(f"{count} that {why}" for why, count in reasons.items() if count),
    train=len(kept),
    test=len(test) if test else 0,
    classes=len(train.classes),
    side=round(statistics.median(min(one.height, one.width) for one in seen)),
    one_size=len(sizes) == 1 and all(max(size) <= SQUARE * min(size) for size in sizes),
    grey=grey,
    mean=_rounded(mean, grey),
    std=_rounded(deviation, grey),
    memory=memory,
    memory_of=of,
    devices=parallel.make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
  )


def _rounded(values: np.ndarray, grey: bool) -> tuple[float, ...]:
  return tuple(round(float(x), 4) for x in ([values.mean()] if grey else values))
