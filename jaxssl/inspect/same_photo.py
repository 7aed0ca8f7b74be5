"""Judges by pixels whether two images show the same photo: aligned, and without everything plain.

Plain backgrounds correlate whatever is in front of them, so only details are compared: edges and texture, with equal weight
whatever their contrast. The fewer there are, the higher the required correlation: two strokes may coincide by chance.

Measured on 256 ImageNet photos: of copies recompressed (quality 40 or 15), resized, converted to gray, brightened by 25 levels
or darkened by a third, or cropped by up to 5% at every side, all are found, and no others. Generated products, documents and
microscopy: different images whose fingerprints are similar correlate by at most 0.67, photos with the same outline on white by
0.77; 95% of the copies by 0.96 or more. Of 10,000 CIFAR-10 test images (JPEG) 44 pairs are found, which show the same motif; of
5,000 MNIST digits, whose strokes are all alike, 159.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

from jaxssl.data.opencv import opencv

SIDE, CELLS = 64, 8  # pixels that brightness and colors are reduced to
_FINE, _COARSE = 0.8, 3.0  # pixels: details are what a blur of _COARSE removes, but one of _FINE does not
_PLAIN = 2.0  # gray levels: weaker details do not count, since compression changes them
_LEAST, _LEAST_ALIGNED = 0.01, 0.04  # share of details; with fewer, images match nothing, or do not determine an alignment
_SHARES, _REQUIRED = (0.2, 0.5), (0.95, 0.82)  # shares of details, and correlations that they require; linear in between
_MARGIN, _TOLERANCE, _SKEW = 7.0, 1.5, 0.04  # of a crop: pixels lacking at a side; their uncertainty; rotation or shear
_SMOOTH, _STEPS = (9, 5), 30  # of the alignment: filters of its stages, and iterations of each
_GRAY, _HUE = 4.0, 0.7  # levels: colors below match all others; minimum similarity of colors
_FRAME = 3  # pixels at the sides that are not compared: blurs do not know what is beyond
_INSIDE = np.pad(np.ones((SIDE - 2 * _FRAME,) * 2, np.float32), _FRAME)


class Details(NamedTuple):
  """Details of brightness, float16 [SIDE, SIDE], and blue and red differences, float16 [CELLS, CELLS, 2]."""

  brightness: np.ndarray
  colors: np.ndarray


def details(image: np.ndarray) -> Details:
  """Returns the details of uint8 [h, w, 3]."""
  cv2 = opencv()
  small = Image.fromarray(image).convert("YCbCr").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
  brightness, *colors = np.moveaxis(np.asarray(small, np.float32), -1, 0)
  edges = cv2.GaussianBlur(brightness, (0, 0), _FINE) - cv2.GaussianBlur(brightness, (0, 0), _COARSE)
  contrast = cv2.GaussianBlur(edges**2, (0, 0), _COARSE)
  edges *= _INSIDE * contrast / (contrast + _PLAIN**2) ** 1.5
  cells = np.stack(colors, -1).reshape(CELLS, SIDE // CELLS, CELLS, SIDE // CELLS, 2).mean((1, 3)) - 128
  return Details(edges.astype(np.float16), cells.astype(np.float16))


def excess(first: Details, second: Details) -> float:
  """Returns by how much the correlation of details exceeds the one required of the same photo; negative for different photos.

  If one image may be a crop of the other, it is aligned first.
  """
  colors = first.colors.astype(np.float32), second.colors.astype(np.float32)
  if min(np.sqrt(np.mean(np.square(c))) for c in colors) > _GRAY and _cosine(*colors) < _HUE:
    return -1.0
  ours, theirs = first.brightness.astype(np.float32), second.brightness.astype(np.float32)
  share = min(np.mean(ours**2), np.mean(theirs**2))
  if share < _LEAST:
    return -1.0
  correlation, required = _cosine(ours, theirs), float(np.interp(share, _SHARES, _REQUIRED))
  if share > _LEAST_ALIGNED and correlation < 0.99:
    correlation = max(correlation, _aligned(ours, theirs))
  return correlation - required


def _aligned(ours: np.ndarray, theirs: np.ndarray) -> float:
  """Returns the correlation where the images overlap if one is a crop of the other, otherwise -1."""
  cv2, warp = opencv(), np.eye(2, 3, dtype=np.float32)
  stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, 1e-4)
  for smooth in _SMOOTH:
    try:
      _, warp = cv2.findTransformECC(ours, theirs, warp, cv2.MOTION_AFFINE, stop, None, smooth)
    except cv2.error:  # it diverges
      return -1.0
  if max(abs(warp[0, 1]), abs(warp[1, 0])) > _SKEW or not _is_crop(warp):
    return -1.0
  flags = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, "dsize": (SIDE, SIDE)}
  overlap = _INSIDE * cv2.warpAffine(_INSIDE, warp, **flags) > 0.99
  return _cosine(ours[overlap], cv2.warpAffine(theirs, warp, **flags)[overlap])


def _is_crop(warp: np.ndarray) -> bool:
  """Returns whether one frame contains the other, and little is cropped. An object that was moved instead fails this."""
  last = SIDE - 1
  cropped = np.concatenate([warp @ (0, 0, 1), last - warp @ (last, last, 1)])  # pixels at the sides, negative if added
  return bool(np.abs(cropped).max() <= _MARGIN and (cropped.min() >= -_TOLERANCE or cropped.max() <= _TOLERANCE))


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.vdot(a, b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9))
