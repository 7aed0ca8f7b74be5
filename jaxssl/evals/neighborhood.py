"""How good neighbours are: what the neighbour memory says at an epoch's end (AdaSim's own figures), and of any network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxssl.evals import knn
from jaxssl.evals.base import Measurement, Subject
from jaxssl.memory import Neighbors
from jaxssl.types import Array

K = 10


def measure(subject: Subject) -> list[Measurement]:
  """Of the bank's pictures among the others: how their nearest neighbours agree with their class, and who is nobody's.

  Without labels `neighbors_orphans` only: the share of pictures that are among nobody's nearest; hubs, which are near to
  everyone, raise it.
  """
  bank = subject.bank
  k = min(K, len(bank.x) - 1)
  _, ids = knn.neighbors(subject.mesh, bank.x, None, k)
  values = {"neighbors_orphans": 100 * (1 - len(np.unique(ids)) / len(bank.x))}
  if (bank.labels >= 0).all():
    same = bank.labels[ids] == bank.labels[:, None]
    values |= {f"neighbors_top{i + 1}_label": 100 * same[:, i].mean() for i in range(min(2, k))}
    values[f"neighbors_purity{k}"] = 100 * same.mean()
  protocol = f"the {k} nearest by cosine of each of {bank.says} among the others, percent, {subject.says}"
  return [Measurement(name=name, value=float(value), protocol=protocol) for name, value in values.items()]


@functools.partial(jax.jit, static_argnames="num_images")
def figures(neighbors: Neighbors, labels: Array, num_images: int) -> dict[str, Array]:
  """Shares in 0..1, over the images visited in this epoch (`share_trusted`: over all images).

  labels: int32 [n], -1 unknown. `share_trusted`: images allowed to bootstrap in this epoch; `share_bootstrapped`: those whose
  partner is another image; `share_self_neighbor`: the image is its own nearest neighbour; `neighbor_churn`: neighbours
  that were none in the epoch before; `neighbor_top1_label`, `neighbor_top2_label`: the first and second neighbour carry the
  image's label, over images with a known one (NaN where there is none).
  """
  rows, window, k = neighbors.ids.shape
  ids = neighbors.ids[:, neighbors.slot]
  before = neighbors.ids[:, (neighbors.slot - 1) % window]
  own = jnp.arange(rows)
  seen = (ids[:, 0] >= 0) & (own < num_images)
  stayed = (ids[:, :, None] == before[:, None, :]).any(-1).mean(-1)

  def share(hits: Array, among: Array) -> Array:
    return jnp.sum(hits & among) / jnp.sum(among)

  logs = {
    "share_trusted": neighbors.trusted,
    "share_bootstrapped": share(neighbors.partners != own, seen),
    "share_self_neighbor": share(ids[:, 0] == own, seen),
  }
  if window > 1:
    both = seen & (before[:, 0] >= 0)
    logs["neighbor_churn"] = 1.0 - jnp.sum(stayed * both) / jnp.sum(both)
  for place in range(min(2, k)):
    known = seen & (labels >= 0)
    logs[f"neighbor_top{place + 1}_label"] = share(labels[ids[:, place]] == labels, known)
  return logs
