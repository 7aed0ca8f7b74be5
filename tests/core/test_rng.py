"""Random streams are functions of seed, name and counters, and differ in each of them."""

import itertools

import jax
import numpy as np

from jaxssl.core.rng import Stream, generator, jax_key


def test_generators_differ_in_seed_name_and_every_counter():
  streams = [(0, "a"), (1, "a"), (-1, "a"), (0, "b"), (0, "a/b")]
  keys = [*streams, (0, "a", 1), (0, "a", 0, 1), (0, "a", 0, 0, 1), (0, "a", 2**40), (0, "a", 1, 1)]
  draws = [tuple(generator(*key).random(300)) for key in keys]
  assert draws == [tuple(generator(*key).random(300)) for key in keys]
  assert len(set().union(*map(set, draws))) == 300 * len(keys)


def test_jax_keys_differ_in_seed_and_name():
  keys = [jax.random.key_data(jax_key(*stream)) for stream in ((0, "a"), (1, "a"), (0, "b"), (0, "a/b"))]
  assert all((first != second).any() for first, second in itertools.combinations(keys, 2))
  traced = jax.jit(lambda: jax_key(0, "b"))()
  assert (jax.random.key_data(traced) == keys[2]).all()


def test_a_stream_is_its_generators():
  stream = Stream(5, "crops")
  for counters in ((3, 7), (3, 8), (2**40, 0), (3, 7)):
    assert (stream.at(*counters).random(9) == generator(5, "crops", *counters).random(9)).all()
    stream.at(*counters).integers(0, 9, dtype=np.uint32)  # uses half of a draw
    assert (stream.at(*counters).random(3) == generator(5, "crops", *counters).random(3)).all()
