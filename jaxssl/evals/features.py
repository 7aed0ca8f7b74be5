"""Features of all pictures of a split, batch by batch, as every evaluation needs them."""

from collections.abc import Callable, Iterable

import jax
import numpy as np
from jax.sharding import Mesh

from jaxssl.parallel import everywhere, global_rows
from jaxssl.types import Array

# One evaluation batch: pictures uint8 [b, h, w, c], or their int32 [b] places in a store on the devices; bool [b] mask.
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


def extract(mesh: Mesh, encode: Callable[[Array], Array], batches: Batches) -> np.ndarray:
  """Runs a jitted `encode` over all batches; gives float32 [n, f] in order, without the padding."""
  parts = []
  for pictures, mask in batches:
    parts.append((encode(global_rows(mesh, pictures)), mask))
  return np.concatenate([np.asarray(jax.device_get(everywhere(mesh, features)))[mask] for features, mask in parts])
