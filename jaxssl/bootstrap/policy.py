"""Which image each image's partner view comes from: off, naive or adaptive (AdaSim, arXiv 2303.13606), for any method."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxssl.bootstrap import bank
from jaxssl.bootstrap.bank import NeighborBank
from jaxssl.config.schema import BootstrapConfig
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array
from jaxssl.ops.nearest import normalize
from jaxssl.parallel.mesh import padded_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighborBootstrap:
  """The bootstrapping policy of a run; all arrays live in `Neighbors`, a part of the train state."""

  config: BootstrapConfig
  mesh: Mesh
  num_images: int

  def __post_init__(self) -> None:
    config = self.config
    if config.policy == "off":
      return
    if not 0 < config.k <= self.num_images:
      raise UserError(f"bootstrap.k={config.k} is not allowed; the data set has {self.num_images} images: 1 to that")
    for name in ("window", "temperature", "search_chunk"):
      if getattr(config, name) <= 0:
        raise UserError(f"bootstrap.{name}={getattr(config, name)} is not allowed; it is above 0")

  def init(self, features: int) -> NeighborBank | None:
    """Makes the memory before the first epoch, for features of this width; None when bootstrapping is off."""
    if self.config.policy == "off":
      return None
    rows = padded_rows(self.num_images, self.mesh)
    no_neighbor = 0 if self.config.as_released else -1  # as released, lists start with image 0 at similarity 0
    return bank.empty_bank(rows, features, self.config.window, self.config.k, self.config.dtype, no_neighbor)

  def remember(self, neighbors: NeighborBank | None, index: Array, features: Array) -> NeighborBank | None:
    """Notes the neighbors of a batch, then its features.

    index: int32 [b]; features: float32 [v, b, f], encoder features of the batch's views, the image's own view first.
    """
    if neighbors is None:
      return None
    unit = normalize(features)
    chosen = {"first": unit[0], "second": unit[min(1, len(unit) - 1)], "mean": normalize(unit[:2].mean(0))}
    rows = chosen[self.config.features]
    if self.config.as_released:  # as released, rows that were never visited compete with similarity 0
      usable = jnp.arange(neighbors.bank.shape[0]) < self.num_images
    else:
      usable = jnp.any(neighbors.bank != 0, axis=-1)
    return bank.update_bank(self.mesh, neighbors, index, rows, usable, self.config.search_chunk)

  def candidates(self, neighbors: NeighborBank) -> tuple[Array, Array, Array]:
    """Votes: (ids int32 [n, k], probabilities float32 [n, k], trusted bool [n]).

    An image is trusted to bootstrap when its best-voted neighbor is the image itself (adaptive), or always (naive). Its
    partner is then drawn from softmax(sum / window / temperature) over the k best-voted neighbors, itself included.
    """
    ids, sums = bank.vote(self.mesh, neighbors)
    logits = sums / (self.config.window * self.config.temperature)
    probabilities = jax.nn.softmax(logits, axis=-1, where=ids >= 0)
    row = jnp.arange(ids.shape[0], dtype=jnp.int32)
    trusted = ids[:, 0] == row if self.config.policy == "adaptive" else ids[:, 0] >= 0
    return ids, probabilities, trusted & (row < self.num_images)

  def partners(self, neighbors: NeighborBank, key: Array, epoch: Array) -> NeighborBank:
    """Decides the partners of an epoch at its start, and opens its place in the window.

    Everyone is its own partner until `window` epochs have voted.
    """
    rows, window, _ = neighbors.ids.shape
    own = jnp.arange(rows, dtype=jnp.int32)

    def draw() -> tuple[Array, Array]:
      ids, probabilities, trusted = self.candidates(neighbors)
      place = jax.random.categorical(jax.random.fold_in(key, epoch), jnp.log(probabilities), axis=-1)
      drawn = jnp.take_along_axis(ids, place[:, None], axis=1)[:, 0]
      return jnp.where(trusted, drawn, own), jnp.sum(trusted) / self.num_images

    partners, trusted = jax.lax.cond(epoch >= window, draw, lambda: (own, jnp.float32(0)))
    slot = jnp.asarray(epoch % window, jnp.int32)
    ids, similarities = jnp.int32(-1), jnp.zeros((), neighbors.similarities.dtype)
    if self.config.as_released:  # as released, an image that is not visited repeats its last list
      ids, similarities = neighbors.ids[:, neighbors.slot], neighbors.similarities[:, neighbors.slot]
    return dataclasses.replace(
      neighbors,
      ids=neighbors.ids.at[:, slot].set(ids),
      similarities=neighbors.similarities.at[:, slot].set(similarities),
      partners=partners,
      trusted=trusted,
      slot=slot,
    )
