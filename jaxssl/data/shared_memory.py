"""Memory for batches, which other processes can map too, and which is used again once nobody refers to a batch."""

import contextlib
import math
import mmap
import os
import tempfile
import weakref
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_ALIGNED = mmap.ALLOCATIONGRANULARITY  # also more than the 64 bytes for which JAX does not copy an array on CPUs

Arrays = dict[str, np.ndarray]


class Layout(NamedTuple):
  """The arrays of a batch in the shared file: their shapes and type, and a range of bytes."""

  shapes: Mapping[str, tuple[int, ...]]
  dtype: str
  offset: int
  size: int


class BatchMemory:
  """Memory of batches, for the threads of this process."""

  def __init__(self) -> None:
    self._taken = 0  # bytes of the batch that was taken last
    self._free = dict[int, list[tuple[int, mmap.mmap]]]()

  def arrays(self, shapes: Mapping[str, tuple[int, ...]], dtype: np.dtype) -> tuple[Arrays, Layout]:
    """Returns arrays of any content and their layout. Their memory is used again when the arrays and their views are gone."""
    size = sum(_bytes(shape, dtype) for shape in shapes.values())
    offset, memory = self._take(size)
    layout = Layout(shapes, np.dtype(dtype).str, offset, size)
    arrays, alive = arrays_in(memory, layout), [len(shapes)]

    def release() -> None:
      alive[0] -= 1
      if not alive[0]:
        self._free.setdefault(size, []).append((offset, memory))

    for array in arrays.values():
      weakref.finalize(array, release).atexit = False
    return arrays, layout

  def _take(self, size: int) -> tuple[int, mmap.mmap]:
    if size != self._taken:  # an evaluation begins or ends: what the other batches have used is empty until they return
      for _, memory in (block for other, blocks in self._free.items() if other != size for block in blocks):
        _empty(memory)
    self._taken = size
    if free := self._free.get(size):
      return free.pop()
    return self._new(size)

  def _new(self, size: int) -> tuple[int, mmap.mmap]:
    return 0, mmap.mmap(-1, size)


class SharedMemory(BatchMemory):
  """Memory of batches in a file without a name, which the system frees with the last process that has it open.

  Nothing is left behind however the processes end, and the limit of /dev/shm, 64 MB in many containers, does not apply.
  """

  def __init__(self) -> None:
    super().__init__()
    self.file, self._size = _anonymous_file(), 0
    weakref.finalize(self, os.close, self.file)

  def _new(self, size: int) -> tuple[int, mmap.mmap]:
    offset, self._size = self._size, self._size + size
    os.ftruncate(self.file, self._size)
    return offset, mmap.mmap(self.file, size, offset=offset)


def arrays_in(memory: mmap.mmap, layout: Layout) -> Arrays:
  """Returns the arrays of a layout in memory that maps its range."""
  arrays, at = {}, 0
  for name, shape in layout.shapes.items():
    arrays[name] = np.ndarray(shape, layout.dtype, memory, at)
    at += _bytes(shape, np.dtype(layout.dtype))
  return arrays


def _bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
  return max(1, -(-math.prod(shape) * dtype.itemsize // _ALIGNED)) * _ALIGNED


def _anonymous_file() -> int:
  if hasattr(os, "memfd_create"):
    return os.memfd_create("jaxssl")
  with tempfile.TemporaryFile() as file:  # macOS
    return os.dup(file.fileno())


def _empty(memory: mmap.mmap) -> None:
  """Gives the pages back to the system, also those that other processes map, if it can."""
  with contextlib.suppress(AttributeError, OSError):
    memory.madvise(mmap.MADV_REMOVE)
