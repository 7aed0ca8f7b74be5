"""Bootstrapping policies: which image supplies the second view (off, naive or adaptive; AdaSim, arXiv 2303.13606)."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxssl.bootstrap.bank import NeighborBank, sum_votes
from jaxssl.config.schema import BootstrapConfig
from jaxssl.core import UserError, require
from jaxssl.core.types import Array
from jaxssl.ops.nearest import normalize, search
from jaxssl.parallel.mesh import REPLICATED, ROWS, first_row, padded_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class NeighborBootstrap:
  """The bootstrapping policy of a run, for any method. All of its arrays are in the train state's `NeighborBank`."""

  config: BootstrapConfig
  mesh: Mesh
  num_images: int

  def __post_init__(self) -> None:
    config = self.config
    if config.policy == "off":
      return
    require(config.k > 0, "bootstrap.k", config.k, "at least 1")
    if config.k > self.num_images:
      raise UserError(f"bootstrap.k={config.k}: must lie between 1 and the number of training images, {self.num_images}")
    for name in ("window", "temperature", "search_chunk"):
      if getattr(config, name) <= 0:
        raise UserError(f"bootstrap.{name}={getattr(config, name)}: must be positive")

  def init(self, features: int) -> NeighborBank | None:
    """Returns the bank before the first epoch, for features of this width; None if bootstrapping is off."""
    if self.config.policy == "off":
      return None
    rows, dtype = padded_rows(self.num_images, self.mesh), self.config.dtype
    window = (rows, self.config.window, self.config.k)
    no_neighbor = 0 if self.config.as_released else -1  # as released, lists start with image 0 at similarity 0
    return NeighborBank(
      features=jnp.zeros((rows, features), dtype),
      ids=jnp.full(window, no_neighbor, jnp.int32),
      similarities=jnp.zeros(window, "float32" if dtype == "float32" else "float16"),
      partners=jnp.arange(rows, dtype=jnp.int32),
      trusted=jnp.float32(0),
      slot=jnp.int32(0),
    )

  def update_bank(self, bank: NeighborBank | None, index: Array, features: Array) -> NeighborBank | None:
    """Stores the nearest neighbors of a batch, then its features: the search uses the bank as it was before this batch.

    index: int32 [b]; features: float32 [v, b, f], encoder features of the batch's views, the image's own view first.
    """
    if bank is None:
      return None
    unit, config = normalize(features), self.config
    choices = {"first": unit[0], "second": unit[min(1, len(unit) - 1)], "mean": normalize(unit[:2].mean(0))}
    chosen = choices[config.features]
    if config.as_released:  # as released, rows without a visit compete with similarity 0
      usable = jnp.arange(bank.features.shape[0]) < self.num_images
    else:
      usable = jnp.any(bank.features != 0, axis=-1)
    similarities, ids = search(self.mesh, bank.features, usable, chosen, config.k, config.search_chunk)
    similarities = jnp.where(ids < 0, 0.0, similarities)

    def local(rows: Array, window_ids: Array, window: Array, new: tuple[Array, ...]) -> tuple[Array, Array, Array]:
      index, slot, features, ids, similarities = new
      row = index - first_row(rows)
      row = jnp.where((row >= 0) & (row < rows.shape[0]), row, rows.shape[0])  # rows of other devices are dropped
      return (
        rows.at[row].set(features.astype(rows.dtype), mode="drop"),
        window_ids.at[row, slot].set(ids, mode="drop"),
        window.at[row, slot].set(similarities.astype(window.dtype), mode="drop"),
      )

    write = jax.shard_map(local, mesh=self.mesh, in_specs=(ROWS, ROWS, ROWS, REPLICATED), out_specs=ROWS, check_vma=False)
    new = (index, bank.slot, chosen, ids, similarities)
    rows, window_ids, window = write(bank.features, bank.ids, bank.similarities, new)
    return dataclasses.replace(bank, features=rows, ids=window_ids, similarities=window)

  def vote(self, bank: NeighborBank) -> tuple[Array, Array, Array]:
    """Returns the candidates of every image: (ids int32 [n, k], probabilities float32 [n, k], trusted bool [n]).

    An image is trusted, that is, may bootstrap, if its best-voted neighbor is the image itself (adaptive), or always (naive).
    Probabilities are softmax(sum / window / temperature) over the k best-voted neighbors, the image itself included.
    """
    rows, window, k = bank.ids.shape
    sum_row = functools.partial(sum_votes, k=k, num_images=rows)

    def local(ids: Array, similarities: Array) -> tuple[Array, Array]:
      flat = (ids.reshape(-1, window * k), similarities.reshape(-1, window * k))
      # Two halves side by side: independent sorts run on two threads of a CPU, in 0.7 of the time.
      middle, odd = -(-len(ids) // 2), len(ids) % 2
      halves = tuple(x[:middle] for x in flat), tuple(x[middle - odd :] for x in flat)
      sums = jax.lax.map(lambda pair: (sum_row(*pair[0]), sum_row(*pair[1])), halves, batch_size=4096)
      return jax.tree.map(lambda a, b: jnp.concatenate([a, b[odd:]]), *sums)

    sum_rows = jax.shard_map(local, mesh=self.mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)
    ids, sums = sum_rows(bank.ids, bank.similarities)
    probabilities = jax.nn.softmax(sums / (self.config.window * self.config.temperature), axis=-1, where=ids >= 0)
    row = jnp.arange(rows, dtype=jnp.int32)
    trusted = ids[:, 0] == row if self.config.policy == "adaptive" else ids[:, 0] >= 0
    return ids, probabilities, trusted & (row < self.num_images)

  def sample_partners(self, bank: NeighborBank, key: Array, epoch: Array) -> NeighborBank:
    """Draws the partners of an epoch at its start, and clears its slot in the vote window.

    Every image is its own partner until `window` epochs have voted.
    """
    rows, window, _ = bank.ids.shape
    own = jnp.arange(rows, dtype=jnp.int32)

    def draw() -> tuple[Array, Array]:
      ids, probabilities, trusted = self.vote(bank)
      place = jax.random.categorical(jax.random.fold_in(key, epoch), jnp.log(probabilities), axis=-1)
      drawn = jnp.take_along_axis(ids, place[:, None], axis=1)[:, 0]
      return jnp.where(trusted, drawn, own), jnp.sum(trusted) / self.num_images

    partners, trusted = jax.lax.cond(epoch >= window, draw, lambda: (own, jnp.float32(0)))
    slot = jnp.asarray(epoch % window, jnp.int32)
    ids, similarities = jnp.int32(-1), jnp.zeros((), bank.similarities.dtype)
    if self.config.as_released:  # as released, an image without a visit repeats its last list
      ids, similarities = bank.ids[:, bank.slot], bank.similarities[:, bank.slot]
    return dataclasses.replace(
      bank,
      ids=bank.ids.at[:, slot].set(ids),
      similarities=bank.similarities.at[:, slot].set(similarities),
      partners=partners,
      trusted=trusted,
      slot=slot,
    )
