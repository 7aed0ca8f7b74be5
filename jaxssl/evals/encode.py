"""What a network makes of any pictures, to be kept: their features, and a ViT's patch tokens."""

import functools

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl import parallel
from jaxssl.config import Config
from jaxssl.data import pipeline, plan
from jaxssl.data.base import Source
from jaxssl.evals.features import extract
from jaxssl.models.network import Network
from jaxssl.types import Array, Variables
from jaxssl.views import recipes


def shown_size(config: Config) -> int:
  """Side in pixels of the picture that evaluations show to the network."""
  return config.evals.size or next(iter(config.views.values())).size


def encode(
  config: Config, mesh: Mesh, network: Network, variables: Variables, pictures: Source, patches: bool = False
) -> tuple[np.ndarray, np.ndarray | None]:
  """Gives float32 [n, f] of all pictures, and with `patches` float32 [n, p, f] of their patches row by row.

  Pictures may differ in size: the host resizes each, whatever data.placement is. `variables` lie on the devices.
  Raises UserError for `patches` of a network that has none, and where evals.size and evals.resize do not go together.
  """
  size = shown_size(config)
  index, mask = plan.eval_plan(len(pictures), parallel.padded_rows(min(config.evals.batch_size, len(pictures)), mesh))
  own = parallel.own_rows(mesh, index.shape[1])
  read = pipeline.eval_batches(pictures, index[:, own], mask[:, own], config.evals.resize, size, config.data.workers)
  run = functools.partial(_encode, network, size, config.data.mean, config.data.std, patches, variables)
  return extract(mesh, run, ((shown, valid) for valid, (_, _, shown) in zip(mask, read, strict=True)))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _encode(
  network: Network,
  size: int,
  mean: tuple[float, ...],
  std: tuple[float, ...],
  patches: bool,
  variables: Variables,
  pictures: Array,
) -> tuple[Array, Array | None]:
  images = recipes.show(pictures, size, 0, mean, std)
  if not patches:
    return network.encode(variables, images), None
  tokens = network.tokens(variables, images)
  return tokens[:, 0], tokens[:, 1:]
