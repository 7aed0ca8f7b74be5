"""The facts about a set of images and a machine from which a config is suggested."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.core import paths
from jaxssl.data.statistics import of_moments
from jaxssl.inspect import throughput
from jaxssl.inspect.scan import ImageStats
from jaxssl.parallel.mesh import make_mesh

NEARLY_SQUARE = 1.25  # images up to this ratio of long to short side may be kept at their size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Sides are in pixels, and `memory` is in bytes; `mean` and `std` have one value per channel, in 0..1."""

  path: str
  test_path: str = ""
  list_path: str = ""  # of the training images to use, if some are left out
  left_out: str = ""  # which are left out
  train: int  # training images
  test: int = 0
  classes: int = 0
  side: int  # median of the shorter sides
  one_size: bool = False  # all images have the same height and width, and are nearly square
  channels: int = 3
  bit_depth: int = 8
  deep: int = 0  # files of more than 8 bits per channel
  mean: tuple[float, ...]
  std: tuple[float, ...]
  memory: int
  memory_of: str = "the device"
  devices: int = 1
  accelerator: bool = True


def measured(given: Mapping[str, Any], stats: Sequence[ImageStats], train: Sequence[ImageStats]) -> dict[str, Any]:
  """Returns the facts that follow from the pixels of all images, of the training images, and from the machine.

  `given`: fields of data that the user set.
  """
  gray = all(image.gray for image in stats)
  channels = given["channels"] if "channels" in given else 1 if gray else train[0].moments.shape[1]
  moments = np.mean([image.moments for image in train], axis=0)
  mean, std = of_moments(*(moments if moments.shape[1] == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(image.height, image.width) for image in stats}
  memory, memory_of = throughput.memory()
  return {
    "test_path": paths.absolute(given["test_path"]) if given.get("test_path") else "",
    "train": len(train),
    "side": round(statistics.median(min(image.height, image.width) for image in train)),
    "one_size": len(sizes) == 1 and all(max(size) <= NEARLY_SQUARE * min(size) for size in sizes),
    "channels": channels,
    "bit_depth": bit_depth(given, train),
    "deep": sum(image.header.bits > 8 for image in train),
    "mean": mean,
    "std": std,
    "memory": memory,
    "memory_of": memory_of,
    "devices": make_mesh().size,
    "accelerator": jax.default_backend() != "cpu",
  }


def bit_depth(given: Mapping[str, Any], stats: Sequence[ImageStats]) -> int:
  """Returns the bits per value to keep: 16 if at least half of the files have more than 8."""
  return given.get("bit_depth") or (16 if 2 * sum(image.header.bits > 8 for image in stats) >= len(stats) else 8)
