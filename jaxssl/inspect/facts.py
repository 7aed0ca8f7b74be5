"""The facts about a set of images and a machine from which a config is suggested."""

import dataclasses
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.config.schema import Config
from jaxssl.core import paths
from jaxssl.data.input_pipeline import training
from jaxssl.data.source import Source
from jaxssl.data.statistics import of_moments
from jaxssl.inspect.scan import ImageStats
from jaxssl.parallel.mesh import make_mesh

NEARLY_SQUARE = 1.25  # images up to this ratio of long to short side may be kept at their size
SECONDS = 8.0  # duration of the measurement of speed
BATCH, IMAGES = 32, 4096  # images per batch, and at most in all, with repetition


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


def measure(given: Mapping[str, Any], images: Sequence[ImageStats], train: Sequence[ImageStats], **known: Any) -> Facts:
  """Measures the pixels of all images and of the training images, and the machine.

  `given`: fields of data that the user set; `known`: further facts.
  """
  gray = all(image.gray for image in images)
  channels = given["channels"] if "channels" in given else 1 if gray else train[0].channels
  moments = np.mean([image.moments for image in train], axis=0)
  mean, std = of_moments(*(moments if moments.shape[1] == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(image.height, image.width) for image in images}
  device = jax.devices()[0]
  of_device, of_machine = device.memory_stats() or {}, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return Facts(
    test_path=paths.absolute(given["test_path"]) if given.get("test_path") else "",
    train=len(train),
    side=round(statistics.median(min(image.height, image.width) for image in train)),
    one_size=len(sizes) == 1 and all(max(size) <= NEARLY_SQUARE * min(size) for size in sizes),
    channels=channels,
    deep=sum(image.header.bits > 8 for image in train),
    mean=mean,
    std=std,
    memory=of_device.get("bytes_limit", of_machine),
    memory_of=f"a {device.device_kind}" if "bytes_limit" in of_device else "this machine",
    devices=make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
    **known,
  )


def speed(source: Source, config: Config) -> str:
  """Measures how many random images per second the host reads and crops into all views, and describes what that means."""
  batch = min(BATCH, len(source))
  index = np.random.default_rng(0).integers(0, len(source), (1 + IMAGES // batch, batch)).astype(np.int32)
  with training(source, index, index, config.views, seed=0, epoch=0) as batches:
    next(batches)  # not timed: it includes imports
    start, images = time.monotonic(), 0
    for _ in batches:
      images += batch
      if time.monotonic() - start > SECONDS:
        break
    rate = images / (time.monotonic() - start)
  views, size = sum(view.count for view in config.views.values()), config.train.batch_size
  text = f"reading: {rate:.0f} images/s into {views} views each on the host: {size / rate:.2f} s per batch of {size}"
  if config.data.placement == "device":
    return f"{text}; but they fit in memory, which takes about {len(source) / rate:.0f} s once"
  return f"{text}, {len(source) / rate:.0f} s per epoch; a faster training step waits for it"
