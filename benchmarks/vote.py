"""Partner table of a whole dataset, compared with voting in Python dictionaries: python -m benchmarks.vote [--json FILE]."""

import argparse
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.results import Row
from benchmarks.table import Case, main, seconds
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


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Compares the vote with two implementations in Python."""
  yield Case(key="vote", run=rows, cpu=30, gpu=30)


def rows() -> Iterator[Row]:
  """Times all on the same window of 50 epochs with k 10, and counts the bytes per image."""
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

  key = f"partner per image, {IMAGES:,} images, window {config.window}, k {config.k}"
  for name, add in (("one dictionary per epoch", epoch_by_epoch), ("one dictionary", one_dictionary)):
    yield Row(key=f"{key}, beside {name}", value=ours * 1e6, unit="us", peer=name, peer_value=peer(add))
  key = f"bank and votes per image, {FEATURES} features"
  yield Row(key=key, value=per_image, unit="bytes", peer="2 features + 6 window k", peer_value=bound)


if __name__ == "__main__":
  main("vote", cases)
