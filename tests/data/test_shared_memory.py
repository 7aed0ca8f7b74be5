"""Memory of batches is shared and used again."""

import gc

import numpy as np

from jaxssl.data.shared_memory import SharedMemory


def test_memory_is_used_again_only_when_nobody_refers_to_a_batch():
  memory = SharedMemory()
  first, layout = memory.arrays({"a": (2, 3), "b": (5,)}, np.dtype(np.uint16))
  first["a"][:], first["b"][:] = 7, 8
  part = first["b"][1:3]
  del first
  gc.collect()
  second, other = memory.arrays({"a": (2, 3), "b": (5,)}, np.dtype(np.uint16))
  assert other.offset != layout.offset and part.tolist() == [8, 8]
  del part
  gc.collect()
  third, again = memory.arrays({"a": (2, 3), "b": (5,)}, np.dtype(np.uint16))
  assert again == layout and third["b"].shape == (5,)
  del second, third
  larger, place = memory.arrays({"a": (10_000,)}, np.dtype(np.uint8))
  assert place.offset not in (layout.offset, other.offset) and larger["a"].ctypes.data % 64 == 0
  back, first_again = memory.arrays({"a": (2, 3), "b": (5,)}, np.dtype(np.uint16))
  assert first_again in (layout, other) and not back["a"].any()  # it was given back to the system meanwhile
