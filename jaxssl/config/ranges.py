"""Ranges of a config's numbers that depend on nothing else, so that a mistake is reported before images are opened."""

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxssl.core import require


class Range(NamedTuple):
  """The numbers from `low` to `high`, without an end that is `open`. `zero`: the meaning of 0, for the message."""

  low: float
  high: float = math.inf
  open_low: bool = False
  open_high: bool = False
  zero: str = ""

  def holds(self, value: float) -> bool:
    """Returns whether a number is in the range; NaN is in none."""
    above = self.low < value if self.open_low else self.low <= value
    return above and (value < self.high if self.open_high else value <= self.high)

  def __str__(self) -> str:
    if self.high == math.inf:
      return f"more than {self.low}" if self.open_low else f"{self.low}{self.zero and f' ({self.zero})'} or more"
    return f"{'more than ' * self.open_low}{self.low} to {'less than ' * self.open_high}{self.high}"


COUNT, AMOUNT, POSITIVE = Range(1), Range(0), Range(0, open_low=True)
SEED = Range(0, 2**31 - 1)
SIDE = Range(0, 2**16)  # of an image, in pixels
RANGES: Mapping[str, Range] = {
  "data.limit": Range(0, zero="all images"),
  "data.max_pixels": COUNT,
  "data.mean": Range(0, 1),
  "data.std": Range(0, 1, open_low=True),
  "data.resident_size": SIDE,
  "data.workers": Range(0, zero="one per core"),
  "data.imbalance.classes": Range(0, zero="all classes"),
  "data.imbalance.large": COUNT,
  "data.imbalance.small_images": COUNT,
  "data.imbalance.ratio": COUNT,
  "data.imbalance.seed": SEED,
  "optim.lr_base_batch_size": Range(0, zero="use optim.lr as it is"),
  "optim.momentum": Range(0, 1, open_high=True),
  "optim.clip": Range(0, zero="no clipping"),
  "optim.freeze_last_layer_epochs": AMOUNT,
  "train.seed": SEED,
  "train.checkpoint_every_steps": Range(0, zero="none within an epoch"),
  "train.max_to_keep": COUNT,
  "evals.resize": SIDE,
  "evals.size": SIDE,
  "evals.knn.k": COUNT,
  "evals.knn.temperature": POSITIVE,
  "evals.knn.unweighted_k": COUNT,
  "evals.knn.euclidean": COUNT,
  "evals.linear.custom.lr": POSITIVE,
  "evals.linear.custom.lr_base_batch_size": Range(0, zero="use evals.linear.custom.lr as it is"),
  "evals.linear.custom.momentum": Range(0, 1, open_high=True),
  "evals.linear.custom.weight_decay": AMOUNT,
  "evals.linear.custom.epochs": COUNT,
  "evals.linear.custom.batch_size": COUNT,
  "evals.linear.custom.crop_scale": Range(0, 1, open_low=True),
  "evals.linear.custom.blocks": COUNT,
  "evals.lowshot.shots": POSITIVE,
  "evals.lowshot.draws": COUNT,
  "evals.finetune.epochs": COUNT,
  "evals.finetune.batch_size": COUNT,
  "evals.finetune.lr": POSITIVE,
  "evals.finetune.head_lr": POSITIVE,
  "evals.finetune.weight_decay": AMOUNT,
  "evals.finetune.crop_scale": Range(0, 1, open_low=True),
  "evals.holdout": Range(0, 1, open_high=True),
  "evals.retrieval_k": COUNT,
  "evals.dense.ignore": Range(0, 255),
  "evals.dense.patches": COUNT,
  "evals.dense.k": COUNT,
  "health.patience": COUNT,
}


def check(config: Any) -> None:
  """Raises UserError for a field of a config, or an item of a list, that is out of its range."""
  for field, allowed in RANGES.items():
    value = functools.reduce(getattr, field.split("."), config)
    for number in value if isinstance(value, tuple) else (value,):
      require(allowed.holds(number), field, number, str(allowed))
