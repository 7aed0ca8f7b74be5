"""Named random streams, functions of a seed, a name and counters: a new stream never changes the draws of another."""

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
  import jax


def generator(seed: int, name: str, *counters: int) -> np.random.Generator:
  """Returns NumPy's generator of a named stream at up to three counters, such as the epoch and the position of an image."""
  words = [word % 2**64 for word in (seed, zlib.crc32(name.encode()), 0, *counters)]  # the counter's first word counts draws
  words += [0] * (6 - len(words))
  return np.random.Generator(np.random.Philox(key=np.array(words[:2], np.uint64), counter=np.array(words[2:], np.uint64)))


def jax_key(seed: int, name: str) -> "jax.Array":
  """Returns the JAX key of a named stream; may be traced."""
  import jax  # not above: worker processes of the input pipeline only need NumPy

  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
