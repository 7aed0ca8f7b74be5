"""Batches from sources: `resident` reads all images at once, `training` and `inference` read them batch by batch."""

import atexit
import collections
import contextlib
import functools
import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from jaxssl.config.schema import ViewConfig
from jaxssl.core import LOG, UserError, log
from jaxssl.core.log import duration
from jaxssl.data.crops import cut_rows
from jaxssl.data.image_io import center
from jaxssl.data.source import Source
from jaxssl.parallel.mesh import cores

T = TypeVar("T")
Views = dict[str, np.ndarray]  # group -> [b, v, size, size, c]
_PART = 8  # rows that a worker cuts per call, to amortize the cost of a call


def resident(source: Source, resident_size: int, workers: int = 0, own: slice = slice(None)) -> np.ndarray:
  """Reads all images, or those of a slice, once: [n, h, w, c].

  `resident_size`: side in pixels; the shorter side is resized to it and the center is cropped. 0: images are left as they
  are, and must have one size. Raises UserError if they do not.
  """

  def load(index: int) -> np.ndarray:
    image = source.read(index)
    return center(image, resident_size, resident_size) if resident_size else image

  rows = range(len(source))[own]
  first = load(0)  # sets the size, also for processes that read other rows
  images = np.empty((len(rows), *first.shape), source.dtype)
  began = last = time.monotonic()
  with contextlib.closing(read_ahead(lambda k: load(k) if k else first, rows, workers, 1024)) as loaded:
    for place, image in enumerate(loaded):
      if image.shape != first.shape:
        sizes = [f"{source.describe(k)} is {p.shape[1]} x {p.shape[0]}" for k, p in ((0, first), (rows[place], image))]
        remedy = f"resize all by e.g. data.resident_size={min(first.shape[:2])}, or remove the one that differs"
        raise UserError(f"data.resident_size=0: images differ in size ({', '.join(sizes)}); {remedy}")
      images[place] = image
      if time.monotonic() - last > 5:
        last = time.monotonic()
        left = duration((last - began) / (place + 1) * (len(rows) - place - 1))
        LOG.info("%s: read %d of %d images, left %s", source.name, place + 1, len(rows), left)
  return images


@contextlib.contextmanager
def training(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  first_step: int = 0,
  workers: int = 0,
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray, Views]]]:
  """Reads and crops the batches of one epoch with tf.data, from `first_step` on; its workers stop at the end of the block.

  `index`, `partner`: int32 [steps, b] from `epoch_plan`, or this process's columns of them.
  Yields an iterator over index int32 [b], partner int32 [b], and the views of each group; a batch belongs to the caller.
  The batches are a function of the arguments only; a later `first_step` yields the same tail. The source's errors keep their
  type.
  """
  tf = tensorflow()
  steps, batch = index.shape
  part = math.gcd(batch, _PART)
  sizes = {name: (batch, group.count, group.size, group.size, source.channels) for name, group in views.items()}
  buffers: dict[int, Views] = {}  # of the steps in progress
  failures: list[BaseException] = []

  def cut(first: np.int64) -> np.int64:
    """Cuts `part` rows into the buffer of their step. tf.data carries row numbers only: tensors would copy the pixels."""
    step, row = divmod(int(first), batch)
    rows = slice(row, row + part)
    try:
      buffer = buffers.get(step) or buffers.setdefault(step, {name: np.empty(sizes[name], source.dtype) for name in sizes})
      out = {name: group[rows] for name, group in buffer.items()}
      cut_rows(source, index[step, rows], partner[step, rows], views, seed, epoch, out)
    except BaseException as error:  # tf.data would replace it with an error of its own type
      failures.append(error)
    return first

  def batch_of(step: int) -> tuple[np.ndarray, np.ndarray, Views]:
    next(running[0])
    if failures:
      raise failures[0]
    return index[step], partner[step], buffers.pop(step)

  threads = _threads(workers)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  options.autotune.enabled = False  # there is nothing to tune, and its thread delays the end of an epoch by up to a minute
  parts = tf.data.Dataset.range(first_step * batch, steps * batch, part)
  call = tf.autograph.experimental.do_not_convert(lambda first: tf.numpy_function(cut, [first], tf.int64))
  parts = parts.map(call, num_parallel_calls=threads, deterministic=True).batch(batch // part)
  running = [parts.prefetch(2).with_options(options).as_numpy_iterator()]
  atexit.register(running.clear)  # tf.data waits for its threads, which wait for the interpreter
  stream = (batch_of(step) for step in range(first_step, steps))
  try:
    yield stream
  finally:
    running.clear()
    atexit.unregister(running.clear)
    stream.close()


def inference(
  source: Source, index: np.ndarray, resize: int, size: int, interpolation: str = "bicubic", workers: int = 0
) -> Iterator[np.ndarray]:
  """Reads batches, int [steps, b], -1 on padding, one ahead. Yields images [b, size, size, c], 0 on padding.

  The shorter side is resized to `resize` pixels and the center is cropped; resize 0: the whole image is resized.
  Raises UserError if the crop is larger than the resized image.
  """
  if 0 < resize < size:
    raise UserError(f"evals.resize={resize}: smaller than evals.size={size}; use 0 (the whole image) or at least {size}")

  rows, ahead = index[index >= 0].tolist(), 2 * index.shape[1]

  def load(k: int) -> np.ndarray:
    return center(source.read(k), resize, size, interpolation)

  with contextlib.closing(read_ahead(load, rows, workers, ahead)) as loaded:
    for valid in index >= 0:
      images = np.zeros((len(valid), size, size, source.channels), source.dtype)
      for place in np.flatnonzero(valid):
        images[place] = next(loaded)
      yield images


def read_ahead(load: Callable[[Any], T], keys: Iterable[Any], workers: int, ahead: int) -> Generator[T, None, None]:
  """Loads images on threads (`workers`; 0: as many as cores), at most `ahead` before they are needed; yields them in order."""
  pool, pending = ThreadPoolExecutor(_threads(workers)), collections.deque()
  try:
    for key in keys:
      pending.append(pool.submit(load, key))
      if len(pending) >= ahead:
        yield pending.popleft().result()
    while pending:
      yield pending.popleft().result()
  finally:
    pool.shutdown(cancel_futures=True)


def _threads(workers: int) -> int:
  """Returns `workers` or, if that is 0, the number of cores that this process may use."""
  return workers or cores()


@functools.cache
def tensorflow() -> Any:
  """Imports TensorFlow quietly and without accelerators. Raises UserError if it is not installed."""
  log.quiet_tensorflow()
  try:
    import tensorflow as tf
  except ModuleNotFoundError as error:
    raise UserError(
      "data.placement=host and data.source=tfds need TensorFlow, which is not installed (it has no release for Python 3.14); "
      "use data.placement=device with data.source=folder, or Python 3.11 to 3.13"
    ) from error

  tf.config.set_visible_devices([], "GPU")
  return tf
