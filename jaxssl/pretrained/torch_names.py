"""An encoder's weights under the names and in the layouts of torch's networks: ResNets as in torchvision, ViTs as in DINO."""

import re
from collections.abc import Mapping

import jax
import numpy as np

from jaxssl.core.types import PyTree

_MODULES = {
  "downsample_conv": "downsample.0",
  "downsample_bn": "downsample.1",
  "patch_embed": "patch_embed.proj",
  "qkv": "attn.qkv",
  "proj": "attn.proj",
  "fc1": "mlp.fc1",
  "fc2": "mlp.fc2",
}
_LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
_TO_TORCH = {2: (1, 0), 4: (3, 2, 0, 1)}  # of kernels: [in, out] and [h, w, in, out] to [out, in] and [out, in, h, w]
_FROM_TORCH = {2: (1, 0), 4: (2, 3, 1, 0)}


def torch_name(path: tuple[str, ...]) -> str:
  """Names a leaf of an encoder's parameters or statistics as torch does: layer1_0/bn1/scale is layer1.0.bn1.weight."""
  steps = [_MODULES.get(step) or re.sub(r"^(layer\d+|blocks)_(\d+)$", r"\1.\2", step) for step in path[:-1]]
  return ".".join([*steps, _LEAVES.get(path[-1], path[-1])])


def to_torch(params: PyTree, stats: PyTree) -> dict[str, np.ndarray]:
  """Gives an encoder's weights and statistics as torch's state_dict has them (without num_batches_tracked), float32."""
  tensors = {}
  for path, leaf in [*_leaves(params), *_leaves(stats)]:
    value = np.asarray(leaf)
    tensors[torch_name(path)] = np.ascontiguousarray(value.transpose(_TO_TORCH[value.ndim]) if path[-1] == "kernel" else value)
  return tensors


def from_torch(tensors: Mapping[str, np.ndarray], like: PyTree) -> PyTree:
  """Fills a tree of an encoder's parameters or statistics from torch's tensors; KeyError for one that is not there.

  `like`: the tree, of arrays or shapes; only its paths are used, so whether the shapes fit is for the caller to see.
  """

  def one(path: tuple, _: object) -> np.ndarray:
    steps = _steps(path)
    value = np.asarray(tensors[torch_name(steps)])
    turned = steps[-1] == "kernel" and value.ndim in _FROM_TORCH
    return np.ascontiguousarray(value.transpose(_FROM_TORCH[value.ndim]) if turned else value)

  return jax.tree_util.tree_map_with_path(one, like)


def _leaves(tree: PyTree) -> list[tuple[tuple[str, ...], object]]:
  return [(_steps(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _steps(path: tuple) -> tuple[str, ...]:
  return tuple(key.key for key in path)
