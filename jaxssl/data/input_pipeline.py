"""Batches from sources: `resident` reads all images at once, `training` and `inference` read them batch by batch."""

import atexit
import collections
import contextlib
import functools
import itertools
import time
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from jaxssl.config.schema import ViewConfig
from jaxssl.core import LOG, UserError, log
from jaxssl.core.cores import cores
from jaxssl.core.log import duration
from jaxssl.data.crops import cut, divide, list_crops
from jaxssl.data.filler import Filler
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.source import Source
from jaxssl.data.unreadable import SkipUnreadable
from jaxssl.data.whole_images import Resizing, read_centers, read_resized
from jaxssl.data.worker_pool import WorkerPool

T = TypeVar("T")
Views = dict[str, np.ndarray]  # group -> [b, v, size, size, c]
_PART, _PROCESS_PART = 16, 32  # rows that a thread or a process fills per call, to amortize the cost of a call


def resident(source: Source, resident_size: int, workers: int = 0, own: slice = slice(None)) -> np.ndarray:
  """Reads all images, or those of a slice, once: [n, h, w, c].

  `resident_size`: side in pixels; the shorter side is resized to it and the center is cropped. 0: images are left as they
  are, and must have one size. Raises UserError if they do not.
  """

  def load(index: int) -> np.ndarray:
    return read_resized(source, index, Resizing(0, resident_size, resident_size)) if resident_size else source.read(index)

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
  pool: WorkerPool | None = None,
) -> Iterator[Iterator[tuple[np.ndarray, np.ndarray, Views]]]:
  """Reads and crops the batches of one epoch with tf.data, from `first_step` on; its workers stop at the end of the block.

  `index`, `partner`: int32 [steps, b] from `epoch_plan`, or this process's columns of them.
  Yields an iterator over index int32 [b], partner int32 [b], and the views of each group; a batch belongs to the caller.
  The batches are a function of the arguments up to `first_step`, whatever threads or processes read them; a later `first_step`
  yields the same tail. The source's errors keep their type.
  """
  tf = tensorflow()
  steps, batch = index.shape
  parts, threads = -(-batch // (_PROCESS_PART if pool else _PART)), pool.count if pool else workers or cores()
  shapes = {name: (batch, group.count, group.size, group.size, source.channels) for name, group in views.items()}
  filler = Filler(source, functools.partial(cut, views=views, seed=seed, epoch=epoch), shapes, pool)
  crops: dict[int, list[np.ndarray]] = {}  # of the steps in progress
  failures: list[BaseException] = []

  def fill(number: np.int64) -> np.int64:
    """Cuts a part of a step's crops into its buffer. tf.data carries numbers only: tensors would copy the pixels."""
    step, part = divmod(int(number), parts)
    try:
      with filler.lock:
        if step not in crops:
          crops[step] = divide(list_crops(index[step], partner[step], views), parts)
      filler.fill(step, crops[step][part])
    except BaseException as error:  # tf.data would replace it with an error of its own type
      failures.append(error)
    return number

  def batch_of(step: int) -> tuple[np.ndarray, np.ndarray, Views]:
    next(running[0])
    if failures:
      raise failures[0]
    del crops[step]
    return index[step], partner[step], filler.take(step)

  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  options.autotune.enabled = False  # there is nothing to tune, and its thread delays the end of an epoch by up to a minute
  numbers = tf.data.Dataset.range(first_step * parts, steps * parts)
  call = tf.autograph.experimental.do_not_convert(lambda number: tf.numpy_function(fill, [number], tf.int64))
  numbers = numbers.map(call, num_parallel_calls=threads, deterministic=True).batch(parts)
  running = [numbers.prefetch(2).with_options(options).as_numpy_iterator()]
  atexit.register(running.clear)  # tf.data waits for its threads, which wait for the interpreter
  stream = (batch_of(step) for step in range(first_step, steps))
  try:
    yield stream
  finally:
    running.clear()
    atexit.unregister(running.clear)
    stream.close()


def inference(
  source: Source,
  index: np.ndarray,
  resize: int,
  size: int,
  interpolation: str = "bicubic",
  workers: int = 0,
  pool: WorkerPool | None = None,
) -> Iterator[np.ndarray]:
  """Reads batches, int [steps, b], -1 on padding, one ahead. Yields images [b, size, size, c], 0 on padding.

  The shorter side is resized to `resize` pixels and the center is cropped; resize 0: the whole image is resized.
  Raises UserError if the crop is larger than the resized image.
  """
  if 0 < resize < size:
    raise UserError(f"evals.resize={resize}: smaller than evals.size={size}; use 0 (the whole image) or at least {size}")
  steps, batch = index.shape
  before = source.resident_size if isinstance(source, SkipUnreadable) else 0
  function = functools.partial(read_centers, resizing=Resizing(before, resize, size, interpolation))
  filler = Filler(source, function, {"images": (batch, size, size, source.channels)}, pool)
  size_of_part = _PROCESS_PART if pool else _PART
  parts = -(-batch // size_of_part)

  def load(number: int) -> None:
    step, part = divmod(number, parts)
    rows = np.arange(part * size_of_part, min((part + 1) * size_of_part, batch))
    filler.fill(step, np.stack([index[step, rows], rows], 1)[index[step, rows] >= 0])

  numbers, threads = range(steps * parts), pool.count if pool else workers
  with contextlib.closing(read_ahead(load, numbers, threads, 2 * parts)) as loaded:
    for step in range(steps):
      collections.deque(itertools.islice(loaded, parts), 0)
      images = filler.take(step)["images"]
      images[index[step] < 0] = 0
      yield images


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
