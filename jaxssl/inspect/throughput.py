"""Measures how fast this machine reads and crops images, and how much memory it has for them."""

import os
import time
from collections.abc import Mapping

import jax
import numpy as np

from jaxssl.config.schema import ViewConfig
from jaxssl.data.input_pipeline import training
from jaxssl.data.source import Source

SECONDS = 8.0  # duration of the measurement
BATCH, IMAGES = 32, 4096  # images per batch, and at most in all, with repetition


def memory() -> tuple[int, str]:
  """Returns the bytes available for images and what provides them: the first device if it reports them, else the machine."""
  stats = jax.devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return stats["bytes_limit"], f"a {jax.devices()[0].device_kind}"
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine"


def speed(source: Source, views: Mapping[str, ViewConfig]) -> float:
  """Returns how many random images of the source the host reads and crops into all views, per second."""
  batch = min(BATCH, len(source))
  steps = 1 + IMAGES // batch
  index = np.random.default_rng(0).integers(0, len(source), (steps, batch)).astype(np.int32)
  with training(source, index, index, views, seed=0, epoch=0) as batches:
    next(batches)  # not timed: it includes imports
    start, images = time.monotonic(), 0
    for _ in batches:
      images += batch
      if time.monotonic() - start > SECONDS:
        break
    return images / (time.monotonic() - start)
