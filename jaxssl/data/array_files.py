"""Reads images with any number of channels of 8 or 16 bits: .npy and TIFF."""

import io
import math

import numpy as np

_MAX_BYTES = 2**30  # per image; a header of a few bytes can claim any size
NPY, TIFF = b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how files begin; the last two: BigTIFF


def read_array(data: bytes) -> np.ndarray | None:
  """Reads .npy, [h, w] or [h, w, c], or TIFF, whose channels are samples or pages: [h, w, c]; None for any other file.

  Raises ValueError for other dimensions and for types other than uint8 and uint16.
  """
  if data.startswith(NPY):
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim not in (2, 3):
      raise ValueError(f"an array {list(array.shape)}; expected [h, w] or [h, w, c]")
  elif data.startswith(TIFF):
    array = _tiff(data)
  else:
    return None
  kind = array.dtype.newbyteorder("=")
  if kind not in (np.uint8, np.uint16):
    raise ValueError(f"{array.dtype} pixels; expected uint8 or uint16")
  if not array.size:
    raise ValueError(f"an empty array {list(array.shape)}")
  return np.ascontiguousarray(np.atleast_3d(array), kind)


def _tiff(data: bytes) -> np.ndarray:
  """Reads the first series of a TIFF; the axis that is neither rows nor columns holds the channels."""
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    if not file.series:
      raise ValueError("a TIFF without pages")
    series = file.series[0]
    if math.prod(series.shape) * 2 > _MAX_BYTES:
      raise ValueError(f"a TIFF {list(series.shape)}: too large")
    array, axes = series.asarray(), series.axes
  for i in reversed(range(array.ndim)):  # some versions of tifffile leave axes of length 1
    if array.shape[i] == 1 and axes[i] not in "YX":
      array, axes = array.squeeze(i), axes[:i] + axes[i + 1 :]
  if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
    raise ValueError(f"a TIFF of axes {axes}; expected rows (Y), columns (X), and at most one axis of channels")
  return np.moveaxis(array, (axes.index("Y"), axes.index("X")), (0, 1))
