"""Random crops on the host: views of images from files, each image decoded once and no larger than needed."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxssl.augment.boxes import ATTEMPTS, Box, box_of
from jaxssl.config.schema import ViewConfig
from jaxssl.core.rng import Stream
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import reduction
from jaxssl.data.opencv import opencv
from jaxssl.data.source import FailedImage, Source, decoder_of, optional

IMAGE, ROW, KEY, GROUP, VIEW = range(5)  # columns of a list of crops: the image to read, the row of the batch and its index


def list_crops(index: np.ndarray, partner: np.ndarray, views: Mapping[str, ViewConfig]) -> np.ndarray:
  """Lists the crops of a batch of pairs (index, partner), int [b], by the image that they are cut from: int64 [m, 5]."""
  pairs, rows, crops = np.stack([index, partner], 1), np.arange(len(index)), []
  for number, group in enumerate(views.values()):
    for v in range(group.count):
      images = pairs[:, int(group.partner[v % len(group.partner)])]
      crops.append(np.stack([images, rows, index, np.full_like(rows, number), np.full_like(rows, v)], 1))
  every = np.concatenate(crops)
  return every[np.argsort(every[:, IMAGE], kind="stable")]


def divide(crops: np.ndarray, parts: int) -> list[np.ndarray]:
  """Divides a list of crops into parts of about as many images each; no image is in two of them."""
  starts = np.flatnonzero(np.diff(crops[:, IMAGE], prepend=-1))  # of each image
  return np.split(crops, [starts[len(starts) * k // parts] for k in range(1, parts)])


def cut(
  source: Source, crops: np.ndarray, views: Mapping[str, ViewConfig], seed: int, epoch: int, out: Mapping[str, np.ndarray]
) -> None:
  """Cuts listed crops into `out`, [b, v, size, size, c] for each group. Each image is decoded once.

  The boxes are a function of (seed, epoch, index, group, view) only. Raises FailedImage for an image that cannot be read.
  """
  draws = dict[tuple[int, int], np.ndarray]()
  groups = [(name, group, Stream(seed, f"crops/{name}")) for name, group in views.items()]
  for image, its_crops in itertools.groupby(crops.tolist(), lambda crop: crop[IMAGE]):
    targets, places = [], []
    for _, row, key, number, v in its_crops:
      name, group, stream = groups[number]
      if (drawn := draws.get((key, number))) is None:
        drawn = draws[key, number] = stream.at(epoch, key).random((group.count, ATTEMPTS, 4))
      targets.append((out[name][row, v], group))
      places.append(drawn[v])
    try:
      _cut(source, image, targets, places)
    except (DecodeError, UnsupportedImage) as error:
      raise FailedImage(image, error) from error


def _cut(source: Source, image: int, targets: Sequence[tuple[np.ndarray, ViewConfig]], draws: Sequence[np.ndarray]) -> None:
  def boxes_in(height: int, width: int) -> list[Box]:
    return [box_of(d, height, width, g.crop_scale, g.crop_ratio) for (_, g), d in zip(targets, draws, strict=True)]

  data, decoder = source.encoded(image), decoder_of(source)
  size = None if data is None else optional(source, "known_jpeg_size", image) or decoder.jpeg_size(data)
  boxes = boxes_in(*size) if size else None
  spare = min(min(box[2:]) / group.size for (_, group), box in zip(targets, boxes, strict=True)) if boxes else 1
  pixels = source.read(image) if data is None else decoder.decode(data, source.describe(image), spare, size)
  height, width = size or pixels.shape[:2]
  boxes = boxes or boxes_in(height, width)
  scale = 1 / reduction((height, width), pixels.shape[:2])
  for (out, group), (top, left, height, width) in zip(targets, boxes, strict=True):
    rows, columns = ((round(a * scale), round((a + side) * scale)) for a, side in ((top, height), (left, width)))
    part = pixels[slice(*rows), slice(*columns)]
    resample(part, out, group.interpolation)


def resample(part: np.ndarray, out: np.ndarray, interpolation: str) -> None:
  """Resizes [h, w, c], uint8 or uint16, into `out` [size, size, c], bilinear or bicubic, six times as fast as PIL.

  A crop that shrinks is first blurred by a truncated Gaussian with a deviation of 0.47 sqrt(shrink^2 - 1) pixels. Of the
  deviations and truncations tried on photographs, these come closest to PIL's antialiased filters for shrinks from 1 to 6
  (PSNR of 40 dB or more).
  """
  cv2 = opencv()
  filter = cv2.INTER_CUBIC if interpolation == "bicubic" else cv2.INTER_LINEAR
  shrink = (part.shape[1] / out.shape[1], part.shape[0] / out.shape[0])
  sigma = [0.47 * math.sqrt(max(ratio**2 - 1, 1e-6)) for ratio in shrink]
  taps = [2 * math.ceil(1.2 * deviation - 0.3) + 1 for deviation in sigma]
  if max(taps) > 1:
    part = cv2.GaussianBlur(part, taps, *sigma)
  resized = cv2.resize(part, (out.shape[1], out.shape[0]), out, interpolation=filter)
  if resized is not out:  # OpenCV ignores outputs of some memory layouts
    out[...] = resized.reshape(out.shape)
