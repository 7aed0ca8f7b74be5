"""Bootstrapping policies: which image supplies the second view (off, naive or adaptive; AdaSim, arXiv 2303.13606)."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxssl.bootstrap.bank import NeighborBank, sum_votes
from jaxssl.config.schema import BootstrapConfig
from jaxssl.core import UserError, require
from jaxssl.core.types import Array
from jaxssl.ops.nearest import normalize, search
from jaxssl.parallel.mesh import REPLICATED, ROWS, first_row, padded_rows

VOTED = 4096  # images of each half of a device's rows whose votes are summed at a time


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

      def write(window: Array, values: Array) -> Array:
        return _with_slot(window, slot, _in_slot(window, slot).at[row].set(values.astype(window.dtype), mode="drop"))

      features = rows.at[row].set(features.astype(rows.dtype), mode="drop")
      return features, write(window_ids, ids), write(window, similarities)

    update = jax.shard_map(local, mesh=self.mesh, in_specs=(ROWS, ROWS, ROWS, REPLICATED), out_specs=ROWS, check_vma=False)
    new = (index, bank.slot, chosen, ids, similarities)
    rows, window_ids, window = update(bank.features, bank.ids, bank.similarities, new)
    return dataclasses.replace(bank, features=rows, ids=window_ids, similarities=window)

  def vote(self, bank: NeighborBank) -> tuple[Array, Array, Array]:
    """Returns the candidates of every image: (ids int32 [n, k], probabilities float32 [n, k], trusted bool [n]).

    An image is trusted, that is, may bootstrap, if its best-voted neighbor is the image itself (adaptive), or always (naive).
    Probabilities are softmax(sum / window / temperature) over the k best-voted neighbors, the image itself included.
    """
    rows, _, k = bank.ids.shape
    sum_rows = jax.vmap(lambda ids, similarities: sum_votes(ids, similarities, k, rows))

    def local(ids: Array, similarities: Array) -> tuple[Array, Array]:
      # Two halves side by side: independent sorts run on two threads of a CPU, in 0.7 of the time. Blocks are cut one by one,
      # since XLA would copy all of the window to another layout; the last ones overlap those before them.
      count = len(ids)
      middle = -(-count // 2)
      size = min(VOTED, middle)

      def sum_block(i: Array | int, sums: tuple[Array, Array]) -> tuple[Array, Array]:
        first = jnp.minimum(i * size, middle - size)
        for start in (first, first + count - middle):
          cut = [jax.lax.dynamic_slice_in_dim(x, start, size).reshape(size, -1) for x in (ids, similarities)]
          new = sum_rows(cut[0], cut[1])
          sums = jax.tree.map(lambda x, new, start=start: jax.lax.dynamic_update_slice_in_dim(x, new, start, 0), sums, new)
        return sums

      empty = jnp.zeros((count, k), jnp.int32), jnp.zeros((count, k), jnp.float32)
      return jax.lax.fori_loop(0, -(-middle // size), sum_block, empty)

    vote_rows = jax.shard_map(local, mesh=self.mesh, in_specs=ROWS, out_specs=ROWS, check_vma=False)
    ids, sums = vote_rows(bank.ids, bank.similarities)
    probabilities = jax.nn.softmax(sums / (self.config.window * self.config.temperature), axis=-1, where=ids >= 0)
    row = jnp.arange(rows, dtype=jnp.int32)
    trusted = ids[:, 0] == row if self.config.policy == "adaptive" else ids[:, 0] >= 0
    return ids, probabilities, trusted & (row < self.num_images)

  def sample_partners(self, bank: NeighborBank, key: Array, epoch: Array) -> NeighborBank:
    """Draws the partners of an epoch at its start, and clears its slot in the vote window.

    Every image is its own partner until `window` epochs have voted. A bank whose epoch has been started, but has no step yet,
    stays as it is: a run may be saved there.
    """
    rows, window, _ = bank.ids.shape
    own, slot = jnp.arange(rows, dtype=jnp.int32), jnp.asarray(epoch % window, jnp.int32)
    started = bank.slot == slot if window > 1 else jnp.all(bank.ids < 0)  # the only slot was cleared

    def draw() -> tuple[Array, Array]:
      ids, probabilities, trusted = self.vote(bank)
      place = jax.random.categorical(jax.random.fold_in(key, epoch), jnp.log(probabilities), axis=-1)
      drawn = jnp.take_along_axis(ids, place[:, None], axis=1)[:, 0]
      return jnp.where(trusted, drawn, own), jnp.sum(trusted) / self.num_images

    def keep() -> tuple[Array, Array]:
      return jnp.where(started, bank.partners, own), jnp.where(started, bank.trusted, 0)

    partners, trusted = jax.lax.cond((epoch >= window) & ~started, draw, keep)
    if self.config.as_released:  # as released, an image without a visit repeats its last list
      ids, similarities = _in_slot(bank.ids, bank.slot), _in_slot(bank.similarities, bank.slot)
    else:
      ids, similarities = jnp.full_like(bank.ids[:, 0], -1), jnp.zeros_like(bank.similarities[:, 0])
    return dataclasses.replace(
      bank,
      ids=_with_slot(bank.ids, slot, ids),
      similarities=_with_slot(bank.similarities, slot, similarities),
      partners=partners,
      trusted=trusted,
      slot=slot,
    )


# A scatter or gather by a traced slot would make a TPU copy all of the window, in a layout that pads it.
def _in_slot(window: Array, slot: Array) -> Array:
  return jax.lax.dynamic_index_in_dim(window, slot, 1, keepdims=False)


def _with_slot(window: Array, slot: Array, values: Array) -> Array:
  return jax.lax.dynamic_update_index_in_dim(window, values, slot, 1)
