"""Features of all pictures of a split, batch by batch, as every evaluation needs them."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl import parallel
from jaxssl.types import Array, PyTree

# One evaluation batch: pictures [b, h, w, c] as stored, or their int32 [b] places in a store on the devices, of both the rows
# of this process; bool [b] mask of all rows.
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


def extract(mesh: Mesh, encode: Callable[[Array], PyTree], batches: Batches) -> Any:
  """Runs a jitted `encode` over all batches: its tree of [b, ...] as one of float32 [n, ...] in order, without the padding.

  A batch is fetched once the next is under way, so that neither the devices wait nor more than two batches stay on them.
  """
  parts: list[PyTree] = []
  pending: tuple[PyTree, np.ndarray] | None = None

  def fetch() -> None:
    if pending is not None:
      made, mask = pending
      parts.append(jax.tree.map(lambda x: x[mask], parallel.fetch(mesh, made)))

  for pictures, mask in batches:
    made = encode(parallel.global_rows(mesh, pictures))
    fetch()
    pending = made, mask
  fetch()
  return jax.tree.map(lambda *pieces: np.concatenate(pieces), *parts)
