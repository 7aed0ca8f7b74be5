"""Weights of an encoder under the names and in the layouts of its torch counterpart (torchvision, DINO, timm)."""

import re
from collections.abc import Mapping

import jax
import numpy as np

from jaxssl.core.types import PyTree
from jaxssl.models.backbone import BACKBONES

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}  # kernels [in, out] and [h, w, in, out] to [out, in] and [out, in, h, w]
_FROM_TORCH = {2: (1, 0), 4: (2, 3, 1, 0)}


def torch_name(path: tuple[str, ...]) -> str:
  """Returns the torch name of a leaf of an encoder's parameters or statistics: layer1_0/bn1/scale is layer1.0.bn1.weight."""
  module = ".".join(path[:-1])
  for pattern, replacement in dict.fromkeys(rule for family in BACKBONES.values() for rule in family.torch_names):
    module = re.sub(pattern, replacement, module)
  return ".".join(filter(None, [module, _LEAVES.get(path[-1], path[-1])]))


def to_torch(params: PyTree, stats: PyTree) -> dict[str, np.ndarray]:
  """Converts an encoder's weights and statistics to a torch state_dict, float32, without num_batches_tracked."""
  tensors = {}
  for path, leaf in [*_leaves(params), *_leaves(stats)]:
    value = np.asarray(leaf)
    tensors[torch_name(path)] = np.ascontiguousarray(value.transpose(_TO_TORCH[value.ndim]) if path[-1] == "kernel" else value)
  return tensors


def from_torch(tensors: Mapping[str, np.ndarray], like: PyTree) -> PyTree:
  """Fills a tree of an encoder's parameters or statistics from torch tensors; raises KeyError for a missing one.

  `like`: the tree, of arrays or shapes. Only its paths are used; shapes are not checked.
  """

  def leaf(path: tuple, _: object) -> np.ndarray:
    steps = _steps(path)
    value = np.asarray(tensors[torch_name(steps)])
    transpose = steps[-1] == "kernel" and value.ndim in _FROM_TORCH
    return np.ascontiguousarray(value.transpose(_FROM_TORCH[value.ndim]) if transpose else value)

  return jax.tree_util.tree_map_with_path(leaf, like)


def _leaves(tree: PyTree) -> list[tuple[tuple[str, ...], object]]:
  return [(_steps(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _steps(path: tuple) -> tuple[str, ...]:
  return tuple(key.key for key in path)
