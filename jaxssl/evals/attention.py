"""Where a vision transformer looks."""

import functools

import jax
import numpy as np

from jaxssl.evals.base import Show, Subject
from jaxssl.evals.features import extract
from jaxssl.models.network import Network
from jaxssl.splits import Split, in_order
from jaxssl.types import Array, PyTree, Variables


def maps(subject: Subject, split: Split) -> tuple[np.ndarray, np.ndarray] | None:
  """Gives what the network is shown of a split's pictures, and its last block's class attention on the patches.

  Pictures: [n, size, size, c] of the source's type; attention: float32 [n, heads, rows, columns]. None: there is none.
  """
  run = functools.partial(_look, subject.network, subject.show, subject.variables, store=split.store)
  images, attention = extract(subject.mesh, run, in_order(subject.config, subject.mesh, split, subject.show.size))
  if attention is None:
    return None
  most = np.iinfo(split.source.dtype).max
  images = (images * np.asarray(subject.show.std) + np.asarray(subject.show.mean)) * most
  return np.rint(np.clip(images, 0, most)).astype(split.source.dtype), attention


@functools.partial(jax.jit, static_argnums=(0, 1))
def _look(network: Network, show: Show, variables: Variables, pictures: Array, store: Array | None) -> PyTree:
  images = show.images(pictures, store)
  return images, network.attention(variables, images)
