"""What the machine can do with the images: how fast it reads and cuts them, and how much memory there is for them."""

import os
import time
from collections.abc import Mapping

import jax
import numpy as np

from jaxssl.config.schema import ViewConfig
from jaxssl.data.input_pipeline import training
from jaxssl.data.source import Source

SECONDS, BATCH, MOST = (
  8.0,
  32,
  4096,
)  # how long reading is timed, by how many images at a time, and on how many at most, again and again


def memory() -> tuple[int, str]:
  """Bytes that images may lie in, and of what they are: the first device's where it says so, else the machine's."""
  stats = jax.devices()[0].memory_stats() or {}
  if "bytes_limit" in stats:
    return stats["bytes_limit"], f"a {jax.devices()[0].device_kind}"
  return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "this machine"


def speed(source: Source, views: Mapping[str, ViewConfig]) -> float:
  """Images a second that the host reads and cuts into all these views, random ones of the source."""
  batch = min(BATCH, len(source))
  steps = 1 + MOST // batch
  index = np.random.default_rng(0).integers(0, len(source), (steps, batch)).astype(np.int32)
  batches = training(source, index, index, views, seed=0, epoch=0)
  try:
    next(batches)  # what is done once, such as an import, says nothing of the speed
    began, done = time.monotonic(), 0
    for _ in batches:
      done += batch
      if time.monotonic() - began > SECONDS:
        break
    taken = time.monotonic() - began
  finally:
    batches.close()  # type: ignore[attr-defined]
  return done / taken
