"""Fills the buffers of batches with images, in this process or in worker processes."""

import functools
import pickle
import threading

import numpy as np

from jaxssl.data.shared_memory import Arrays, BatchMemory, Layout
from jaxssl.data.source import Source
from jaxssl.data.unreadable import read_tolerantly
from jaxssl.data.worker_pool import WorkerPool


class Filler:
  """Calls `function(source, rows, out=buffer)`, in any thread.

  rows: int64 [m, ...]; the first columns are an image and its row in the buffer. Rows of images that are skipped become 0.

  `shapes`: of the arrays of a buffer. `pool`: worker processes that call it if they have the source.
  """

  def __init__(
    self, source: Source, function: functools.partial, shapes: dict[str, tuple[int, ...]], pool: WorkerPool | None = None
  ):
    self._source, self._function, self._shapes, self._pool = source, function, shapes, pool
    self._memory = pool.memory if pool else BatchMemory()
    self._pickled = pickle.dumps(function) if pool else b""
    self._buffers: dict[int, tuple[Arrays, Layout]] = {}
    self.lock = threading.Lock()

  def fill(self, number: int, rows: np.ndarray) -> None:
    """Fills rows of a buffer. Raises what reading the images raises, with others in place of those that are unreadable."""
    with self.lock:
      if number not in self._buffers:  # also if there are no rows, since `take` returns a buffer in any case
        self._buffers[number] = self._memory.arrays(self._shapes, self._source.dtype)
      arrays, layout = self._buffers[number]
    if not len(rows):
      return

    def read(origin: Source, images: np.ndarray) -> None:
      for array in arrays.values():
        array[rows[images < 0, 1]] = 0
      readable = rows[images >= 0]
      readable[:, 0] = images[images >= 0]
      process = self._pool.number_of(origin) if self._pool else None
      if self._pool and process is not None:
        self._pool.call(self._pickled, process, (readable,), layout)
      else:
        self._function(origin, readable, out=arrays)

    read_tolerantly(self._source, rows[:, 0], read)

  def take(self, number: int) -> Arrays:
    """Returns the arrays of a buffer, which belong to the caller from now on."""
    return self._buffers.pop(number)[0]
