"""Random numbers as a pure function of a seed and counters."""

import zlib

import jax
import numpy as np


def generator(seed: int, epoch: int, *counter: int) -> np.random.Generator:
  """Random numbers of their own for each (seed, epoch, up to three further numbers)."""
  words = [number % 2**64 for number in (seed, epoch, 0, *counter)]  # the counter's first word counts the draws
  words += [0] * (6 - len(words))
  return np.random.Generator(np.random.Philox(key=np.array(words[:2], np.uint64), counter=np.array(words[2:], np.uint64)))


def jax_key(seed: int, name: str) -> jax.Array:
  """Returns the JAX key of a named stream of a run, such as "weights", "views" or "partners"."""
  return jax.random.fold_in(jax.random.key(seed), zlib.crc32(name.encode()))
