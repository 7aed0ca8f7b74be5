"""The partner table for a whole data set, beside a vote in Python dictionaries: python -m benchmarks.vote [--json FILE]."""

import functools
import time
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl import memory, parallel
from jaxssl.bootstrap import Bootstrap
from jaxssl.config import BootstrapConfig

IMAGES, FEATURES, SAMPLE = 50_000, 512, 200


def dictionary_vote(i: int, ids: np.ndarray, similarities: np.ndarray, k: int, temperature: float, rng) -> int:
  """Draws the partner of one image [w, k] the straightforward way."""
  sums: dict[int, float] = defaultdict(float)
  for row, values in zip(ids.tolist(), similarities.tolist(), strict=True):
    for neighbor, value in zip(row, values, strict=True):
      sums[neighbor] += value
  best = sorted(sums, key=sums.__getitem__, reverse=True)[:k]
  if best[0] != i:
    return i
  logits = np.array([sums[j] for j in best]) / len(ids) / temperature
  weights = np.exp(logits - logits.max())
  return int(rng.choice(best, p=weights / weights.sum()))


def rows() -> list[Row]:
  """Times both on the same window of 50 epochs, k 10, and counts the bytes an image takes."""
  config = BootstrapConfig(policy="adaptive")
  bootstrap = Bootstrap(config=config, mesh=parallel.make_mesh(), num_images=IMAGES)
  rng = np.random.default_rng(0)
  near = np.concatenate([np.arange(IMAGES)[:, None], rng.integers(0, IMAGES, (IMAGES, 30))], axis=1).astype(np.int32)
  picks = rng.integers(0, 31, (IMAGES, config.window, config.k))
  ids = np.take_along_axis(near[:, None, :], picks, axis=2)
  similarities = rng.random(ids.shape).astype(np.float16)
  state = bootstrap.init(FEATURES)
  assert isinstance(state, memory.Neighbors)
  per_image = (state.bank.nbytes + state.ids.nbytes + state.similarities.nbytes) / IMAGES
  state = memory.Neighbors(**{**vars(state), "ids": jnp.asarray(ids), "similarities": jnp.asarray(similarities)})
  draw = jax.jit(functools.partial(bootstrap.partners, key=jax.random.key(0), epoch=jnp.int32(60)))
  ours = seconds(lambda: jax.block_until_ready(draw(state).partners), rounds=3) / IMAGES

  then = time.perf_counter()
  for i in range(SAMPLE):
    dictionary_vote(i, ids[i], similarities[i].astype(np.float64), config.k, config.temperature, rng)
  theirs = (time.perf_counter() - then) / SAMPLE
  bound = 2 * FEATURES + 6 * config.window * config.k

  def row(name: str, value: float, unit: str, peer: str, peer_value: float) -> Row:
    return Row(name=name, value=value, unit=unit, peer=peer, peer_value=peer_value)

  return [
    row("partner of an image, of 50,000, window 50, k 10", ours * 1e6, "us", "Python dictionaries", theirs * 1e6),
    row("bank and votes of an image, 512 features", per_image, "bytes", "2 features + 6 window k", bound),
  ]


if __name__ == "__main__":
  main(rows)
