"""Judges by pixels whether two images show the same photo: aligned, and with everything plain removed."""

import numpy as np
from PIL import Image

from jaxssl.data.image_io import opencv

SIDE = 64  # pixels that images are reduced to
SAME = 0.85  # minimum similarity
SIGMA = 2.0  # pixels: what is smoother than this is removed
PLAIN = 2.0  # gray levels: weaker details do not count, since compression changes them
LEAST = 0.05  # of the pixels: images with fewer details match nothing
SHIFT, SCALE = 8.0, 0.2  # largest shift in pixels, and largest change of scale, between a photo and its crop
_STEPS, _SMOOTH = 30, 5  # of the alignment: iterations; side of its filter


def thumbnail(image: np.ndarray) -> np.ndarray:
  """Reduces uint8 [h, w, 3] to brightness, float16 [SIDE, SIDE]."""
  gray = Image.fromarray(image).convert("L").convert("F")
  return np.asarray(gray.resize((SIDE, SIDE), Image.Resampling.BOX), np.float16)


def similarity(first: np.ndarray, second: np.ndarray) -> float:
  """Returns the correlation of the details of two thumbnails at best alignment: 1 for the same, about 0 for different ones."""
  first, second = first.astype(np.float32), second.astype(np.float32)
  return max(_correlation(first, second), _aligned(first, second))


def _aligned(first, second):
  cv2 = opencv()
  warp = np.eye(2, 3, dtype=np.float32)
  stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _STEPS, 1e-4)
  try:
    _, warp = cv2.findTransformECC(first, second, warp, cv2.MOTION_AFFINE, stop, None, _SMOOTH)
  except cv2.error:  # it does not converge
    return -1.0
  if np.abs(warp[:, :2] - np.eye(2)).max() > SCALE or np.abs(warp @ [32, 32, 1] - 32).max() > SHIFT:
    return -1.0
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  moved = cv2.warpAffine(second, warp, (SIDE, SIDE), flags=flags, borderMode=cv2.BORDER_REPLICATE)
  inside = cv2.warpAffine(np.ones_like(second), warp, (SIDE, SIDE), flags=flags)
  return _correlation(first, moved, cv2.erode(inside, np.ones((5, 5))) > 0.99)


def _correlation(first, second, where=None):
  a, b = _details(first), _details(second)
  if where is not None:
    a, b = a[where], b[where]
  norm = np.linalg.norm(a) * np.linalg.norm(b)
  return float((a * b).sum() / norm) if min((a * a).mean(), (b * b).mean()) > LEAST else 0.0


def _details(image):
  """Subtracts the surroundings of each pixel and divides by the local contrast, about 0 where image is plain."""
  cv2 = opencv()
  rough = image - cv2.GaussianBlur(image, (0, 0), SIGMA)
  return rough / np.sqrt(cv2.GaussianBlur(rough * rough, (0, 0), 2 * SIGMA) + PLAIN**2)
