"""Weights of an encoder under the names and in the layouts of its torch counterpart (torchvision, DINO, timm)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.core.types import Variables
from jaxssl.models.backbone import BACKBONES, Shapes

_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}  # kernels [in, out] and [h, w, in, out] to [out, in] and [out, in, h, w]


def to_torch(variables: Variables) -> dict[str, np.ndarray]:
  """Converts the encoder's weights and statistics to a torch state_dict, float32, without num_batches_tracked."""
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  return dict(torch_entry([key.key for key in path[2:]], np.asarray(leaf)) for path, leaf in leaves if path[1].key == "encoder")


def torch_shapes(variables: Variables) -> Shapes:
  """Returns the shapes that `to_torch` would give, for variables or their shapes."""
  empty = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), variables)
  return {name: x.shape for name, x in to_torch(empty).items()}


def torch_entry(path: Sequence[str], leaf: np.ndarray) -> tuple[str, np.ndarray]:
  """Converts a leaf of an encoder's parameters or statistics: layer1_0/bn1/scale becomes layer1.0.bn1.weight."""
  order = _TO_TORCH.get(leaf.ndim) if path[-1] == "kernel" else None
  return _torch_name(path), np.ascontiguousarray(leaf.transpose(order) if order else leaf)


def from_torch(tensors: Mapping[str, np.ndarray], variables: Variables) -> Variables:
  """Replaces the encoder's variables by torch tensors, unchecked; those without a tensor, and the heads, are unchanged."""

  def replaced(path: tuple, leaf: Any) -> Any:
    steps = [key.key for key in path[2:]]
    if path[1].key != "encoder" or (value := tensors.get(_torch_name(steps))) is None:
      return leaf
    order = _TO_TORCH.get(value.ndim) if steps[-1] == "kernel" else None
    return np.ascontiguousarray(value.transpose(np.argsort(order)) if order else value)

  return jax.tree_util.tree_map_with_path(replaced, variables)


def _torch_name(path: Sequence[str]) -> str:
  module = ".".join(path[:-1])
  for pattern, replacement in dict.fromkeys(rule for family in BACKBONES.values() for rule in family.torch_names):
    module = re.sub(pattern, replacement, module)
  return ".".join(filter(None, [module, _LEAVES.get(path[-1], path[-1])]))
