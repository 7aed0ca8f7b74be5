"""The facts about a set of images and a machine from which a config is suggested."""

import dataclasses
import math
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
from jaxssl.parallel.mesh import make_mesh

NEARLY_SQUARE = 1.25  # images up to this ratio of long to short side may be kept at their size
SIZES = (224, 128, 96, 64, 32)  # sides that views may have
SHARE = 0.5  # of the memory that resident images may take: networks and batches need the rest
SEEN = 10_000_000  # images seen by a run, about as in 200 epochs of CIFAR-10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """Sides are in pixels, `memory` is in bytes; `mean` and `std` have one value per channel, in 0..1."""

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

  @property
  def view_size(self) -> int:
    """The side of a view, which at least half of the images reach."""
    return next((size for size in SIZES if size <= self.side), self.side)

  @property
  def resident_size(self) -> int:
    """The side of resident images, 5/4 of a view's; 0 (unchanged) if all are of one size and not larger."""
    wanted = self.view_size * 5 // 4
    return 0 if self.one_size and self.side <= wanted else min(wanted, self.side)

  @property
  def resident_bytes(self) -> int:
    """Bytes of all images at that side."""
    pixels = (self.train + self.test) * (self.resident_size or self.side) ** 2
    return pixels * self.channels * self.bit_depth // 8

  @property
  def resident(self) -> bool:
    """Whether the images fit in memory."""
    return self.resident_bytes <= SHARE * self.memory

  @property
  def batch_size(self) -> int:
    """A power of two times the number of devices, at most 256 and a quarter of the images, if possible."""
    limit = max(min(256, self.train // 4), self.devices)
    return self.devices * 2 ** int(math.log2(limit // self.devices))

  @property
  def epochs(self) -> int:
    """Epochs, in hundreds, in which SEEN images are seen, from 100 to 1000."""
    return min(max(round(SEEN / self.train / 100) * 100, 100), 1000)

  @property
  def cpu_epochs(self) -> int:
    """Epochs of the version for two CPU cores, in which 150,000 images are seen, from 15 to 150."""
    return min(max(150_000 // self.train, 15), 150)


def gather(
  given: Mapping[str, Any],
  files: Sequence[ScannedFile],
  train: FolderSource,
  test: FolderSource | None,
  usable: Sequence[int],
  list_path: str,
) -> Facts:
  """Gathers the facts. `given`: fields of data that the user set; `usable`: positions in `files` of images to train on.

  `list_path`: the file that will list those images if they are not all.
  """
  stats = [found for k in usable if (found := files[k].stats)]
  unusable = [file for file in files if file.split == "train" and file.stats is None]
  mixed = sum(file.mixed for file in unusable)
  unreadable = len(unusable) - mixed
  unlistable = sum(file.split == "train" and file.stats is not None and not file.listable(train.name) for file in files)
  reasons = {
    "are unreadable": unreadable,
    "have other channels": mixed,
    "have a line break in their name": unlistable,
    "are in the test split too": len(train) - len(usable) - unreadable - mixed - unlistable,
  }
  gray = all(file.stats.gray for file in files if file.stats)
  channels = given["channels"] if "channels" in given else 1 if gray else len(stats[0].mean)
  moments = np.mean([[image.mean, image.square] for image in stats], axis=0)
  mean, std = of_moments(*(moments if len(moments[0]) == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(file.stats.height, file.stats.width) for file in files if file.stats}
  memory, memory_of = throughput.memory()
  return Facts(
    path=train.name,
    test_path=paths.absolute(given["test_path"]) if given.get("test_path") else "",
    list_path=list_path if any(reasons.values()) else "",
    left_out=" and ".join(f"{count} that {reason}" for reason, count in reasons.items() if count),
    train=len(usable),
    test=len(test) if test else 0,
    classes=len(train.classes),
    side=round(statistics.median(min(image.height, image.width) for image in stats)),
    one_size=len(sizes) == 1 and all(max(size) <= NEARLY_SQUARE * min(size) for size in sizes),
    channels=channels,
    bit_depth=depth_of(given, stats),
    deep=sum(image.header.bits > 8 for image in stats),
    mean=mean,
    std=std,
    memory=memory,
    memory_of=memory_of,
    devices=make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
  )


def depth_of(given: Mapping[str, Any], stats: Sequence[ImageStats]) -> int:
  """Returns the bits per value to keep: 16 if at least half of the files have more than 8."""
  return given.get("bit_depth") or (16 if 2 * sum(image.header.bits > 8 for image in stats) >= len(stats) else 8)
