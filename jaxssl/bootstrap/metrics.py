"""Metrics of the neighbor bank at the end of an epoch (AdaSim, arXiv 2303.13606)."""

import functools

import jax
import jax.numpy as jnp

from jaxssl.bootstrap.bank import NeighborBank
from jaxssl.core.metric import Metric
from jaxssl.core.types import Array

_metric = functools.partial(Metric, group="Bootstrapping")
_BOTH, _SAME = "Trusted and bootstrapped", "Neighbors of the class"
METRICS = {
  metric.name: metric
  for metric in (
    _metric("share_trusted", "Trusted", "Share of the images that may take another image's view.", chart=_BOTH),
    _metric("share_bootstrapped", "Bootstrapped", "Share of the images that do take another image's view.", chart=_BOTH),
    _metric("share_self_neighbor", "Own nearest neighbor", "Share of the images nearest to their own last features."),
    _metric("neighbor_churn", "Neighbor churn", "Share of the neighbors that are new in an epoch. It falls as they settle."),
    _metric("neighbor_top1_label", "Neighbor 1 of the class", "Share of images whose neighbor has their class.", chart=_SAME),
    _metric("neighbor_top2_label", "Neighbor 2 of the class", "Share of images whose neighbor has their class.", chart=_SAME),
  )
}


@functools.partial(jax.jit, static_argnums=1)
def figures(neighbors: NeighborBank, num_images: int, labels: Array | None) -> dict[str, Array]:
  """Returns METRICS as shares in 0..1 of the images visited in this epoch (`share_trusted`: of all images).

  labels: int32 [num_images], -1 unknown; `neighbor_top*_label` are shares of the images with a known one, NaN if there are
  none. None: no image has one. Without labels, no device needs rows of another.
  """
  rows, window, k = neighbors.ids.shape
  own = jnp.arange(rows)
  slots = neighbors.slot, (neighbors.slot - 1) % window
  ids, before = (neighbors.ids[:, slot] for slot in slots)
  seen = (ids[:, 0] >= 0) & (own < num_images)  # not the padding
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
  if labels is not None:
    label = jnp.pad(labels, (0, rows - num_images), constant_values=-1)
    for place in range(min(2, k)):
      logs[f"neighbor_top{place + 1}_label"] = share(labels[ids[:, place]] == label, seen & (label >= 0))
  return logs
