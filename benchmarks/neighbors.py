"""The neighbor bank at ImageNet's size: python -m benchmarks.neighbors [--json FILE].

Compares the search and update for a batch with the matrix product alone and, on an accelerator, with a ViT-S/16 step. Also
measures the partner table of an epoch and the bytes per image. Without an accelerator, uses an eighth of the images.
"""

import argparse
import dataclasses
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.results import Row, Target
from benchmarks.runs import build_run
from benchmarks.step import many, rounds, stepping
from benchmarks.table import Case, accelerated, main, seconds
from jaxssl.bootstrap import bank
from jaxssl.bootstrap.policy import NeighborBootstrap
from jaxssl.config.schema import BootstrapConfig
from jaxssl.ops.nearest import dot, normalize
from jaxssl.parallel.mesh import make_mesh

ACCELERATOR = accelerated()
IMAGES = 1_281_167 if ACCELERATOR else 1_281_167 // 8
FEATURES, BATCH = 384, 1024 if ACCELERATOR else 256
STEP_BATCH = 256  # batch size of the measured ViT-S/16 step; 1,024 does not fit into 80 GB
BATCHES = f"a batch of {BATCH:,} among {IMAGES:,} x {FEATURES}"
TABLE = f"partner table of {IMAGES:,}"
TARGETS = [
  Target(key="*: beside 3% of a step", number=1, source="search within 3% of a step of ViT-S/16"),
  Target(key="partner table of 1,281,167", number=10, unit="s", source="for 1,281,167 images"),
]


def cases(_: argparse.Namespace) -> Iterator[Case]:
  """Measures the bank on all devices."""
  yield Case(key=BATCHES, run=rows, cpu=60, gpu=120)


def rows() -> Iterator[Row]:
  config, mesh = BootstrapConfig(policy="adaptive"), make_mesh()
  bootstrap = NeighborBootstrap(config=config, mesh=mesh, num_images=IMAGES)
  state = jax.jit(lambda: filled_bank(bootstrap))()
  index = jnp.asarray(np.random.default_rng(0).permutation(IMAGES)[:BATCH].astype(np.int32))
  features = jax.random.normal(jax.random.key(1), (1, BATCH, FEATURES))

  update_bank = jax.jit(bootstrap.update_bank, donate_argnums=0)

  def update() -> jax.Array:
    nonlocal state
    state = update_bank(state, index, features)
    assert state is not None
    return state.similarities[:1, 0, 0]

  chunk = config.search_chunk

  @jax.jit
  def product(bank: jax.Array, queries: jax.Array) -> jax.Array:
    def largest(start: jax.Array) -> jax.Array:
      return dot(queries, jax.lax.dynamic_slice_in_dim(bank, start, chunk)).max()

    return jax.lax.map(largest, jnp.arange(0, len(bank) - chunk + 1, chunk)).max()

  ours = seconds(update, rounds=5)
  product_alone = seconds(lambda: product(state.features, normalize(features[0])), rounds=5)
  yield Row(key=BATCHES, value=1e3 * ours, unit="ms", peer="its matrix product alone", peer_value=1e3 * product_alone)
  if ACCELERATOR:
    run = build_run(
      "nnboot.py:imagenet", f"train.batch_size={STEP_BATCH}", "bootstrap.policy=off", side=224, num_images=STEP_BATCH
    )
    step = BATCH / STEP_BATCH * seconds(stepping(run)[0], rounds()) / many()
    key = f"{BATCHES}: beside 3% of a step"
    yield Row(key=key, value=1e3 * ours, unit="ms", peer="3% of a ViT-S/16 step", peer_value=30 * step)
  draw = jax.jit(lambda state: bootstrap.sample_partners(state, jax.random.key(0), jnp.int32(60)).partners)
  table = seconds(lambda: draw(state), rounds=2)
  yield Row(key=TABLE, value=table, unit="s")
  per_image = sum(x.nbytes for x in (state.features, state.ids, state.similarities, state.partners)) / IMAGES
  bound = 2 * FEATURES + 6 * config.window * config.k + 4
  yield Row(key="bytes an image", value=per_image, unit="bytes", peer="2 features + 6 window k + 4", peer_value=bound)


def filled_bank(bootstrap: NeighborBootstrap) -> bank.NeighborBank:
  """Returns a bank in which all features and all lists of the vote window are filled."""
  empty = bootstrap.init(FEATURES)
  assert empty is not None
  keys = jax.random.split(jax.random.key(0), 3)
  features = normalize(jax.random.normal(keys[0], empty.features.shape)).astype(empty.features.dtype)
  ids = jax.random.randint(keys[1], empty.ids.shape, 0, IMAGES, jnp.int32)
  # As in training, most images are their own nearest neighbor.
  ids = ids.at[:, :, 0].set(jnp.arange(len(features), dtype=jnp.int32)[:, None])
  similarities = jax.random.uniform(keys[2], empty.similarities.shape).astype(empty.similarities.dtype)
  return dataclasses.replace(empty, features=features, ids=ids, similarities=similarities)


if __name__ == "__main__":
  main("neighbors", cases, TARGETS)
