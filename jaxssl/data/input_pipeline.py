"""Batches from sources: `resident` reads all images at once, `training` and `inference` read them batch by batch."""

import collections
import functools
import itertools
import logging
import math
import os
import time
import weakref
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from jaxssl.config.schema import ViewConfig
from jaxssl.core.errors import UserError
from jaxssl.data.crops import cut_rows
from jaxssl.data.image_io import center
from jaxssl.data.source import Source

Views = dict[str, np.ndarray]  # group -> [b, v, size, size, c]
_PART = 8  # rows that a worker cuts per call, to amortize the cost of a call
_log = logging.getLogger("jaxssl")


def resident(source: Source, resident_size: int, workers: int = 0, rows: range | None = None) -> np.ndarray:
  """Reads all images, or those of `rows`, once: [n, h, w, c].

  `resident_size`: side in pixels; the shorter side is resized to it and the center is cropped. 0: images are left as they
  are, and must have one size. Raises UserError if they do not.
  """

  def load(index: int) -> np.ndarray:
    image = source.read(index)
    return center(image, resident_size, resident_size) if resident_size else image

  rows = range(len(source)) if rows is None else rows
  first = load(0)  # sets the size, also for processes that read other rows
  images = np.empty((len(rows), *first.shape), source.dtype)
  pool = ThreadPoolExecutor(_threads(workers))
  last = time.monotonic()
  try:
    for start in range(0, len(rows), 1024):
      chunk = rows[start : start + 1024]
      loaded = pool.map(lambda k: load(k) if k else first, chunk)
      for place, (index, image) in enumerate(zip(chunk, loaded, strict=True), start):
        if image.shape != first.shape:
          sizes = [f"{source.describe(k)} is {p.shape[1]} x {p.shape[0]}" for k, p in ((0, first), (index, image))]
          raise UserError(f"data.resident_size=0: images differ in size ({', '.join(sizes)}); set a size to resize them to")
        images[place] = image
      if time.monotonic() - last > 5:
        last = time.monotonic()
        _log.info("%s: read %d of %d images", source.name, start + len(chunk), len(rows))
  finally:
    pool.shutdown(cancel_futures=True)
  return images


def training(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  first_step: int = 0,
  workers: int = 0,
) -> "TrainingBatches":
  """Reads and crops the batches of one epoch with tf.data, from `first_step` on.

  `index`, `partner`: int32 [steps, b] from `epoch_plan`, or this process's columns of them.
  The batches are a function of the arguments only; a later `first_step` yields the same tail.
  """
  tf = tensorflow()
  steps, batch = index.shape
  part = math.gcd(batch, _PART)
  buffers: dict[int, Views] = {}
  failures: list[BaseException] = []

  def empty() -> Views:
    sizes = {name: (batch, group.count, group.size, group.size, source.channels) for name, group in views.items()}
    return {name: np.empty(size, source.dtype) for name, size in sizes.items()}

  def cut(first: np.int64) -> np.int64:
    """Cuts `part` rows into the buffer of their step. tf.data carries row numbers only: tensors would copy the pixels."""
    step, row = divmod(int(first), batch)
    rows = slice(row, row + part)
    try:
      buffer = buffers.get(step) or buffers.setdefault(step, empty())
      out = {name: group[rows] for name, group in buffer.items()}
      cut_rows(source, index[step, rows], partner[step, rows], views, seed, epoch, out)
    except BaseException as error:  # tf.data would replace it with an error of its own type
      failures.append(error)
      raise
    return first

  @tf.autograph.experimental.do_not_convert
  def call(first: Any) -> Any:
    return tf.numpy_function(cut, [first], tf.int64)

  threads = _threads(workers)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  options.autotune.enabled = False  # there is nothing to tune, and its thread delays the end of an epoch by up to a minute
  parts = tf.data.Dataset.range(first_step * batch, steps * batch, part)
  parts = parts.map(call, num_parallel_calls=threads, deterministic=True).batch(batch // part)
  done = parts.prefetch(2).with_options(options).as_numpy_iterator()
  plan = zip(range(first_step, steps), index[first_step:], partner[first_step:], strict=True)
  return TrainingBatches(plan, done, buffers, failures)


class TrainingBatches(Iterator[tuple[np.ndarray, np.ndarray, Views]]):
  """Iterator over the batches of an epoch: index int32 [b], partner int32 [b], and the views of each group.

  Owns the tf.data iterator and the output buffers of the batches in flight; a batch that was returned belongs to the caller.
  `close`, the end of a `with` block, garbage collection and the end of Python stop the workers. Errors of a source keep
  their type.
  """

  def __init__(
    self,
    plan: Iterator[tuple[int, np.ndarray, np.ndarray]],
    done: Iterator,
    buffers: dict[int, Views],
    failures: list[BaseException],
  ):
    self._plan, self._done, self._buffers, self._failures = plan, [done], buffers, failures
    # Also runs before Python ends: tf.data waits for its threads, which wait for the interpreter.
    self._stop = weakref.finalize(self, self._done.clear)

  def close(self) -> None:
    """Stops the workers and ends the iteration."""
    self._stop()
    self._plan = iter(())
    self._buffers.clear()

  def __enter__(self) -> "TrainingBatches":
    return self

  def __exit__(self, *error: object) -> None:
    self.close()

  def __next__(self) -> tuple[np.ndarray, np.ndarray, Views]:
    step, index, partner = next(self._plan)
    try:
      next(self._done[0])
    except Exception:
      self.close()
      if self._failures:
        raise self._failures[0] from None
      raise
    return index, partner, self._buffers.pop(step)


def inference(
  source: Source, index: np.ndarray, mask: np.ndarray, resize: int, size: int, workers: int = 0
) -> Iterator[np.ndarray]:
  """Reads the batches of `eval_plan`, index and mask [steps, b], one ahead: yields images [b, size, size, c], padding 0.

  The shorter side is resized to `resize` pixels and the center is cropped; resize 0: the whole image is resized.
  Raises UserError if the crop is larger than the resized image.
  """
  if 0 < resize < size:
    raise UserError(f"evals.resize={resize}: smaller than evals.size={size}; use 0 (the whole image) or at least {size}")
  pool = ThreadPoolExecutor(_threads(workers))
  pending: collections.deque = collections.deque()

  def load(number: int) -> np.ndarray:
    return center(source.read(number), resize, size)

  try:
    for row in itertools.chain(zip(index, mask, strict=True), [None]):
      if row is not None:
        numbers, valid = row
        pending.append((valid, [pool.submit(load, int(number)) for number in numbers[valid]]))
      if pending and (row is None or len(pending) > 1):
        valid, loading = pending.popleft()
        images = np.zeros((len(valid), size, size, source.channels), source.dtype)
        for place, image in zip(np.flatnonzero(valid), loading, strict=True):
          images[place] = image.result()
        yield images
  finally:
    pool.shutdown(cancel_futures=True)


def _threads(workers: int) -> int:
  """Returns `workers`, or for 0 the number of cores that this process may use."""
  return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


@functools.cache
def tensorflow() -> Any:
  """Imports TensorFlow quietly and without accelerators. Raises UserError if it is not installed."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its import would print a line about them; nothing here uses them
  try:
    import tensorflow as tf
  except ModuleNotFoundError as error:
    raise UserError(
      "data.placement=host and data.source=tfds need TensorFlow, which is not installed (it has no release for Python 3.14); "
      "use data.placement=device with data.source=folder, or Python 3.11 to 3.13"
    ) from error

  tf.config.set_visible_devices([], "GPU")
  return tf
