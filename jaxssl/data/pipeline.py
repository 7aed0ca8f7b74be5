"""From sources to batches: all pictures at once for the device, or read, cut and batched on the host as the plan says."""

import atexit
import collections
import itertools
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl.config import ViewConfig
from jaxssl.data.base import Source
from jaxssl.data.crops import cut_rows
from jaxssl.data.pictures import centre
from jaxssl.data.tf import tensorflow
from jaxssl.types import UserError

_PART = 8  # pictures a worker takes at once: fewer, and the calls themselves take time
_log = logging.getLogger("jaxssl")


def resident(source: Source, store_size: int, workers: int = 0, rows: range | None = None) -> np.ndarray:
  """Reads every picture, or those of `rows`, once: [n, h, w, c].

  `store_size`: side in pixels; the shorter side is resized to it and the middle kept. 0: as they are, all of one size.
  Raises UserError where sizes differ.
  """

  def load(index: int) -> np.ndarray:
    picture = source.read(index)
    return centre(picture, store_size, store_size) if store_size else picture

  rows = range(len(source)) if rows is None else rows
  first = load(0)  # whose size all have, also where other processes read other rows
  pictures = np.empty((len(rows), *first.shape), source.dtype)
  pool = ThreadPoolExecutor(_threads(workers))
  last = time.monotonic()
  try:
    for start in range(0, len(rows), 1024):
      some = rows[start : start + 1024]
      for place, (index, picture) in enumerate(
        zip(some, pool.map(lambda k: load(k) if k else first, some), strict=True), start
      ):
        if picture.shape != first.shape:
          sizes = [f"{source.describe(k)} is {p.shape[1]} x {p.shape[0]}" for k, p in ((0, first), (index, picture))]
          raise UserError(f"data.store_size=0 needs pictures of one size, but {' and '.join(sizes)}: set data.store_size")
        pictures[place] = picture
      if time.monotonic() - last > 5:
        last = time.monotonic()
        _log.info("%s: %d of %d pictures read", source.name, start + len(some), len(rows))
  finally:
    pool.shutdown(cancel_futures=True)
  return pictures


def host_batches(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  first_step: int = 0,
  workers: int = 0,
) -> Iterator[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
  """Reads and crops the plan's rows, int32 [steps, b], from `first_step` on, in order, a few batches ahead.

  Yields index [b], partner [b] and for each group of views [b, v, size, size, c]; the same for the same arguments, and
  from a later `first_step` the same tail. Raises UserError where too many pictures are bad.
  """
  tf = tensorflow()
  steps, batch = index.shape
  part = math.gcd(batch, _PART)
  failures: list[BaseException] = []
  # tf.data sets the pace, and the pixels pass it by: through its tensors each would be copied three times.
  filling: dict[int, dict[str, np.ndarray]] = {}

  def load(first: np.int64) -> np.int64:
    step, row = divmod(int(first), batch)
    rows = slice(row, row + part)
    try:
      groups = filling.setdefault(step, _empty(batch, views, source))
      out = {name: group[rows] for name, group in groups.items()}
      cut_rows(source, index[step, rows], partner[step, rows], views, seed, epoch, out)
    except BaseException as error:  # tf.data would turn it into an error of its own, without type and cause
      failures.append(error)
      raise
    return first

  @tf.autograph.experimental.do_not_convert
  def call(first):
    return tf.numpy_function(load, [first], tf.int64)

  threads = _threads(workers)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  options.autotune.enabled = False  # there is nothing to tune, and its thread holds up the end of an epoch by up to a minute
  parts = tf.data.Dataset.range(first_step * batch, steps * batch, part)
  parts = parts.map(call, num_parallel_calls=threads, deterministic=True).batch(batch // part)
  ahead = [parts.prefetch(2).with_options(options).as_numpy_iterator()]
  atexit.register(ahead.clear)  # its threads wait for Python: were it still there when Python ends, neither would end
  try:
    for step in range(first_step, steps):
      next(ahead[0])
      yield index[step], partner[step], filling.pop(step)
  except Exception:
    if failures:
      raise failures[0] from None
    raise
  finally:
    atexit.unregister(ahead.clear)
    ahead.clear()


def _empty(rows: int, views: Mapping[str, ViewConfig], source: Source) -> dict[str, np.ndarray]:
  """Room for all views of `rows` pairs: for each group [rows, v, size, size, c]."""
  sizes = {name: (rows, group.count, group.size, group.size, source.channels) for name, group in views.items()}
  return {name: np.empty(size, source.dtype) for name, size in sizes.items()}


def eval_batches(
  source: Source, index: np.ndarray, mask: np.ndarray, resize: int, size: int, workers: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Reads the rows of `eval_plan`, [steps, b], a batch ahead: yields index [b], mask [b], pictures [b, size, size, c].

  The shorter side is resized to `resize` pixels and the middle kept; resize 0: the whole picture is resized. Padding is black.
  Raises UserError where the middle would be larger than the picture.
  """
  if 0 < resize < size:
    raise UserError(f"evals.resize={resize} is smaller than evals.size={size}: set 0 (the whole picture) or at least {size}")
  pool = ThreadPoolExecutor(_threads(workers))
  ahead: collections.deque = collections.deque()

  def load(number: int) -> np.ndarray:
    return centre(source.read(number), resize, size)

  try:
    for row in itertools.chain(zip(index, mask, strict=True), [None]):
      if row is not None:
        ahead.append((*row, [pool.submit(load, int(number)) for number in row[0][row[1]]]))
      if ahead and (row is None or len(ahead) > 1):
        numbers, valid, loading = ahead.popleft()
        pictures = np.zeros((len(numbers), size, size, source.channels), source.dtype)
        for place, picture in zip(np.flatnonzero(valid), loading, strict=True):
          pictures[place] = picture.result()
        yield numbers, valid, pictures
  finally:
    pool.shutdown(cancel_futures=True)


def _threads(workers: int) -> int:
  """As many as asked for; 0: as many as there are cores for this process."""
  return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
