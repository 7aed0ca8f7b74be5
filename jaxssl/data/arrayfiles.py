"""Files that hold more than a photograph: .npy, TIFF of any number of channels, and 16 bits that PIL would cut to 8."""

import io
import math

import numpy as np

from jaxssl.data.resample import opencv

_MOST = 2**30  # bytes of a picture: the header of a few bytes may ask for any number
NPY, TIFF = b"\x93NUMPY", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how files begin; the last two: of more than 4 GB


def read_array(data: bytes) -> np.ndarray | None:
  """Reads .npy, [h, w] or [h, w, c], or TIFF, whose channels are samples or pages: [h, w, c]; None for any other file.

  Raises ValueError for what is no picture: other dimensions, and another type than uint8 and uint16.
  """
  if data.startswith(NPY):
    array = np.load(io.BytesIO(data), allow_pickle=False)
    if array.ndim not in (2, 3):
      raise ValueError(f"an array {list(array.shape)}; a picture is [h, w] or [h, w, c]")
  elif data.startswith(TIFF):
    array = _tiff(data)
  else:
    return None
  kind = array.dtype.newbyteorder("=")
  if kind not in (np.uint8, np.uint16):
    raise ValueError(f"its values are {array.dtype}; a picture's are uint8 or uint16")
  if not array.size:
    raise ValueError(f"an array {list(array.shape)} without a pixel")
  return np.ascontiguousarray(array[..., None] if array.ndim == 2 else array, kind)


def _tiff(data: bytes) -> np.ndarray:
  """Reads a TIFF's first series: what is neither row nor column is the channel."""
  import tifffile

  with tifffile.TiffFile(io.BytesIO(data)) as file:
    if not file.series:
      raise ValueError("a TIFF without a page")
    series = file.series[0]
    if math.prod(series.shape) * 2 > _MOST:
      raise ValueError(f"a TIFF {list(series.shape)}, too large for a picture")
    array, axes = series.asarray(), series.axes
  kept = [i for i, axis in enumerate(axes) if array.shape[i] > 1 or axis in "YX"]
  axes, array = "".join(axes[i] for i in kept), array.reshape([array.shape[i] for i in kept])
  if len(axes) not in (2, 3) or "Y" not in axes or "X" not in axes:
    raise ValueError(f"a TIFF of axes {axes}; a picture has rows (Y), columns (X), and one axis of channels")
  last = [axes.index("Y"), axes.index("X"), *(i for i, axis in enumerate(axes) if axis not in "YX")]
  return array.transpose(last)


def read_sixteen(data: bytes) -> np.ndarray | None:
  """Reads a PNG or TIFF of 16 bits, grey or colour: uint16 [h, w, 1 or 3]; None for anything else."""
  cv2 = opencv()
  array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
  if array is None or array.dtype != np.uint16 or array.ndim == 3 and array.shape[-1] != 3:
    return None
  return array[..., None] if array.ndim == 2 else np.ascontiguousarray(array[..., ::-1])
