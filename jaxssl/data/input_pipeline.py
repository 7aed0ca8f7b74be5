"""From sources to batches: all images at once for the device, or read, cut and batched on the host as the plan says."""

import atexit
import collections
import functools
import itertools
import logging
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jaxssl.augment.geometry import Box, random_box
from jaxssl.config.schema import ViewConfig
from jaxssl.core.errors import UserError
from jaxssl.core.rng import generator
from jaxssl.data.image_io import DecodeError, WrongChannels, center, decode, decode_plain, plain_size
from jaxssl.data.resize import resample
from jaxssl.data.source import Source

_PART = 8  # images a worker takes at once: fewer, and the calls themselves take time
_log = logging.getLogger("jaxssl")


def resident(source: Source, resident_size: int, workers: int = 0, rows: range | None = None) -> np.ndarray:
  """Reads every image, or those of `rows`, once: [n, h, w, c].

  `resident_size`: side in pixels; the shorter side is resized to it and the middle kept. 0: as they are, all of one size.
  Raises UserError where sizes differ.
  """

  def load(index: int) -> np.ndarray:
    image = source.read(index)
    return center(image, resident_size, resident_size) if resident_size else image

  rows = range(len(source)) if rows is None else rows
  first = load(0)  # whose size all have, also where other processes read other rows
  images = np.empty((len(rows), *first.shape), source.dtype)
  pool = ThreadPoolExecutor(_threads(workers))
  last = time.monotonic()
  try:
    for start in range(0, len(rows), 1024):
      some = rows[start : start + 1024]
      for place, (index, image) in enumerate(zip(some, pool.map(lambda k: load(k) if k else first, some), strict=True), start):
        if image.shape != first.shape:
          sizes = [f"{source.describe(k)} is {p.shape[1]} x {p.shape[0]}" for k, p in ((0, first), (index, image))]
          raise UserError(f"data.resident_size=0 needs images of one size, but {' and '.join(sizes)}: set data.resident_size")
        images[place] = image
      if time.monotonic() - last > 5:
        last = time.monotonic()
        _log.info("%s: %d of %d images read", source.name, start + len(some), len(rows))
  finally:
    pool.shutdown(cancel_futures=True)
  return images


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
  from a later `first_step` the same tail. Raises UserError where too many images are bad.
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
  """Reads the rows of `eval_plan`, [steps, b], a batch ahead: yields index [b], mask [b], images [b, size, size, c].

  The shorter side is resized to `resize` pixels and the middle kept; resize 0: the whole image is resized. Padding is black.
  Raises UserError where the middle would be larger than the image.
  """
  if 0 < resize < size:
    raise UserError(f"evals.resize={resize} is smaller than evals.size={size}: set 0 (the whole image) or at least {size}")
  pool = ThreadPoolExecutor(_threads(workers))
  ahead: collections.deque = collections.deque()

  def load(number: int) -> np.ndarray:
    return center(source.read(number), resize, size)

  try:
    for row in itertools.chain(zip(index, mask, strict=True), [None]):
      if row is not None:
        ahead.append((*row, [pool.submit(load, int(number)) for number in row[0][row[1]]]))
      if ahead and (row is None or len(ahead) > 1):
        numbers, valid, loading = ahead.popleft()
        images = np.zeros((len(numbers), size, size, source.channels), source.dtype)
        for place, image in zip(np.flatnonzero(valid), loading, strict=True):
          images[place] = image.result()
        yield numbers, valid, images
  finally:
    pool.shutdown(cancel_futures=True)


def _threads(workers: int) -> int:
  """As many as asked for; 0: as many as there are cores for this process."""
  return workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


_ATTEMPTS = 10


def cut_rows(
  source: Source,
  index: np.ndarray,
  partner: np.ndarray,
  views: Mapping[str, ViewConfig],
  seed: int,
  epoch: int,
  out: Mapping[str, np.ndarray],
) -> None:
  """Cuts all views of the pairs of index and partner, int [n], into `out`: for each group [n, v, size, size, c].

  The boxes follow from (seed, epoch, index, group, view) alone. Each of a pair's two images is decoded once.
  """
  numbers = {name: zlib.crc32(name.encode()) for name in views}
  for row, pair in enumerate(zip(index.tolist(), partner.tolist(), strict=True)):
    wanted: dict[int, list[_View]] = {image: [] for image in pair}
    for name, group in views.items():
      for v in range(group.count):
        key = (seed, epoch, pair[0], numbers[name], v)
        wanted[pair[group.partner[v % len(group.partner)]]].append(_View(out[name][row, v], group, key))
    for image, its_views in wanted.items():
      if its_views:
        _cut(source, image, its_views)


class _View(NamedTuple):
  """A view to be cut: where it goes, [size, size, c], its group's config, and what its random numbers are keyed by."""

  out: np.ndarray
  group: ViewConfig
  key: tuple[int, ...]

  def box(self, height: int, width: int) -> Box:
    return random_box(generator(*self.key), height, width, self.group.crop_scale, self.group.crop_ratio)

  def fill(self, pixels: np.ndarray, box: Box, height: int, width: int) -> None:
    """Resizes the box's part of `pixels`, the image of [height, width], maybe shrunk: then to its nearest whole pixels."""
    y, x = pixels.shape[0] / height, pixels.shape[1] / width
    top, bottom, left, right = box[0] * y, (box[0] + box[2]) * y, box[1] * x, (box[1] + box[3]) * x
    resample(pixels[round(top) : round(bottom), round(left) : round(right)], self.out, self.group.interpolation)


def _cut(source: Source, image: int, views: list[_View]) -> None:
  """Fills the views of one image."""
  data = source.encoded(image)
  plain = source.channels in (1, 3) and source.dtype == np.uint8
  size = plain_size(data) if plain and data is not None else None
  pixels, boxes = None, []
  if data is not None and size is not None:
    boxes = [view.box(*size) for view in views]
    spare = min(min(box[2:]) / view.group.size for view, box in zip(views, boxes, strict=True))
    pixels = decode_plain(data, source.channels, size, spare)
  if pixels is None or size is None:
    try:
      pixels = source.read(image) if data is None else decode(data, source.channels, source.describe(image), source.dtype)
    except (DecodeError, WrongChannels):
      source.read(image)  # a guard notes it, and answers with another image from now on; without one this raises
      return _cut(source, image, views)
    size = pixels.shape[0], pixels.shape[1]
    boxes = [view.box(*size) for view in views]
  for view, box in zip(views, boxes, strict=True):
    view.fill(pixels, box, *size)


@functools.cache
def tensorflow() -> Any:
  """Imports TensorFlow, quietly and away from the accelerators. Raises UserError if it is not installed."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # else every import prints a line about them; nothing here uses them
  try:
    import tensorflow as tf
  except ModuleNotFoundError as error:
    raise UserError(
      "data.placement=host and data.source=tfds need TensorFlow, which is not installed: it has no release for Python 3.14. "
      "Use data.placement=device with data.source=folder, or Python 3.11 to 3.13"
    ) from error

  tf.config.set_visible_devices([], "GPU")
  return tf
