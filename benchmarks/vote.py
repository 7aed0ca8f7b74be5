"""Partner table of a whole dataset, compared with voting in Python dictionaries: python -m benchmarks.vote [--json FILE]."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.table import Row, main, seconds
from jaxssl.bootstrap import bank
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schema import BootstrapConfig
from jaxssl.parallel.mesh import make_mesh

IMAGES, FEATURES, SAMPLE = 50_000, 512, 300
POOL = 100  # candidates per image; nine of ten neighbors then change each epoch, as in short runs


def epoch_by_epoch(ids: np.ndarray, similarities: np.ndarray) -> dict[int, float]:
  """Sums similarities [w, k] as the reference implementation does: one dictionary per epoch, each searched for every id."""
  epochs = [dict(zip(*pair, strict=True)) for pair in zip(ids.tolist(), similarities.tolist(), strict=True)]
  return {neighbor: sum(epoch.get(neighbor, 0.0) for epoch in epochs) for neighbor in set().union(*epochs)}


def one_dictionary(ids: np.ndarray, similarities: np.ndarray) -> dict[int, float]:
  """Sums similarities [w, k] in one pass over one dictionary."""
  sums: dict[int, float] = defaultdict(float)
  for neighbor, value in zip(ids.ravel().tolist(), similarities.ravel().tolist(), strict=True):
    sums[neighbor] += value
  return sums


def sample_partner(sums: dict[int, float], i: int, window: int, k: int, temperature: float, rng: np.random.Generator) -> int:
  """Samples the partner of image i."""
  best = sorted(sums, key=sums.__getitem__, reverse=True)[:k]
  if best[0] != i:
    return i
  logits = np.array([sums[j] for j in best]) / window / temperature
  weights = np.exp(logits - logits.max())
  return int(rng.choice(best, p=weights / weights.sum()))


def rows() -> list[Row]:
  """Times both on the same window of 50 epochs with k 10, and counts the bytes per image."""
  config = BootstrapConfig(policy="adaptive")
  bootstrap = NeighborBootstrap(config=config, mesh=make_mesh(), num_images=IMAGES)
  rng = np.random.default_rng(0)
  candidates = np.concatenate([np.arange(IMAGES)[:, None], rng.integers(0, IMAGES, (IMAGES, POOL - 1))], axis=1).astype(
    np.int32
  )
  picks = rng.integers(0, POOL, (IMAGES, config.window, config.k))
  ids = np.take_along_axis(candidates[:, None, :], picks, axis=2)
  similarities = rng.random(ids.shape).astype(np.float16)
  state = bootstrap.init(FEATURES)
  assert isinstance(state, bank.NeighborBank)
  per_image = (state.features.nbytes + state.ids.nbytes + state.similarities.nbytes) / IMAGES
  state = bank.NeighborBank(**{**vars(state), "ids": jnp.asarray(ids), "similarities": jnp.asarray(similarities)})
  draw = jax.jit(functools.partial(bootstrap.sample_partners, key=jax.random.key(0), epoch=jnp.int32(60)))
  ours = seconds(lambda: jax.block_until_ready(draw(state).partners), rounds=3) / IMAGES

  def peer(add: Callable[[np.ndarray, np.ndarray], dict[int, float]]) -> float:
    start = time.perf_counter()
    for i in range(SAMPLE):
      sample_partner(add(ids[i], similarities[i].astype(np.float64)), i, config.window, config.k, config.temperature, rng)
    return 1e6 * (time.perf_counter() - start) / SAMPLE

  bound = 2 * FEATURES + 6 * config.window * config.k

  def row(name: str, value: float, unit: str, peer: str, peer_value: float) -> Row:
    return Row(name=name, value=value, unit=unit, peer=peer, peer_value=peer_value)

  return [
    row(
      "partner per image, 50,000 images, window 50, k 10", ours * 1e6, "us", "one dictionary per epoch", peer(epoch_by_epoch)
    ),
    row("the same", ours * 1e6, "us", "one dictionary", peer(one_dictionary)),
    row("bank and votes per image, 512 features", per_image, "bytes", "2 features + 6 window k", bound),
  ]


if __name__ == "__main__":
  main(rows)
