"""What the input pipeline costs beside decoding, by the number of workers: python -m benchmarks.input_workers.

Decoding a JPEG of 500 x 375 is replaced by a sleep of its length, 1.2 ms, and views have 32 pixels: what is left is the order
of the images, random boxes, the headers of files, and the communication. Compares processes with threads, which share an
interpreter.
"""

import argparse
import functools
import io
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from benchmarks.results import Row
from benchmarks.table import Case, main
from benchmarks.views import smooth_image
from jaxssl.config.schema import ViewConfig
from jaxssl.data.image_io import Decoder
from jaxssl.data.input_pipeline import training
from jaxssl.data.source import Source
from jaxssl.data.worker_pool import WorkerPool

WORKERS = (1, 2, 4, 8, 16, 32, 64, 112, 224)
SECONDS, BATCH, SLEEP = 3.0, 512, 0.0012
VIEWS = {"global": ViewConfig(size=32)}


class SleepingDecoder(Decoder):
  """Sleeps instead of decoding."""

  def decode(self, data: bytes, name: str, spare: float = 1, size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns a black image, eight times smaller than that in `data`."""
    time.sleep(SLEEP)
    return _black()


@functools.cache
def _black() -> np.ndarray:
  return np.zeros((47, 63, 3), np.uint8)


class OneFile(Source):
  """A million images that are the same file."""

  in_processes = True

  def __init__(self) -> None:
    file = io.BytesIO()
    Image.fromarray(np.asarray(smooth_image(np.random.default_rng(0), 500)[:375])).save(file, "JPEG")
    self.name, self._data = "one file", file.getvalue()
    self.use(SleepingDecoder())

  def __len__(self) -> int:
    return 1_000_000

  def encoded(self, index: int) -> bytes:
    """Returns the file."""
    return self._data


def rate(source: Source, workers: int, pool: WorkerPool | None) -> float:
  """Returns images/s."""
  steps = max(8, 1000 * workers // BATCH * int(SECONDS))
  index = np.random.default_rng(0).integers(0, len(source), (min(steps, 200), BATCH)).astype(np.int32)
  with training(source, index, index, VIEWS, 0, 0, workers=workers, pool=pool) as batches:
    next(batches)
    start, images = time.perf_counter(), 0
    for _ in batches:
      images += BATCH
      if time.perf_counter() - start > SECONDS:
        break
    return images / (time.perf_counter() - start)


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compares processes with threads that do everything but decode."""
  source = OneFile()
  for workers in WORKERS:
    run = functools.partial(rows, f"{workers} workers", source, workers)
    yield Case(key=f"{workers} workers", run=run, cpu=25 + workers / 4, gpu=25 + workers / 4)


def rows(key: str, source: Source, workers: int) -> Iterator[Row]:
  pool = WorkerPool([source], workers)
  values = [(rate(source, workers, pool), rate(source, workers, None)) for _ in range(3)]
  pool.close()
  processes, threads = np.median(values, axis=0).tolist()
  yield Row(key=key, value=processes, unit="images/s", peer="threads", peer_value=threads)


if __name__ == "__main__":
  from benchmarks import input_workers  # the processes of the pool import this file by its name

  main("input_workers", input_workers.cases)
