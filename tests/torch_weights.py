"""Converts weights between torch's names and layouts and jaxssl's variables.

Supports torchvision's ResNet, DINO's ViT and DINOHead, and heads that are an nn.Sequential of Linear and BatchNorm.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core.types import Variables

State = Mapping[str, Any]  # torch's name -> array in torch's layout

MODULES = (  # patterns in torch's module names and their replacements
  (r"^patch_embed\.proj$", "patch_embed"),
  (r"^(layer\d+|blocks)\.(\d+)\.", r"\1_\2."),
  (r"\.downsample\.0$", ".downsample_conv"),
  (r"\.downsample\.1$", ".downsample_bn"),
  (r"\.(attn|mlp)\.", "."),
)
LEAVES = {"running_mean": "mean", "running_var": "var", "weight_g": "norm", "weight_v": "direction"}


def to_variables(state: State) -> Variables:
  """Returns the variables of one module (an encoder or a head) from its state dict."""
  params: dict[str, Any] = {}
  stats: dict[str, Any] = {}
  for name, path in _paths(state).items():
    value = np.asarray(state[name])
    value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T if value.ndim == 2 else value
    tree = stats if path[-1] in ("mean", "var") else params
    for step in path[:-1]:
      tree = tree.setdefault(step, {})
    tree[path[-1]] = value
  return Variables(params=params, stats=stats)


def to_state(variables: Variables, like: State) -> dict[str, np.ndarray]:
  """Returns the variables (or gradients, or statistics alone) of one module under the names of its state `like`."""
  state = {}
  for name, path in _paths(like).items():
    value = variables.stats if path[-1] in ("mean", "var") else variables.params
    for step in path:
      value = value.get(step, {})
    if not isinstance(value, Mapping):
      value = np.asarray(value)
      state[name] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T if value.ndim == 2 else value
  return state


def join(**modules: Variables) -> Variables:
  """Combines the variables of `encoder`, `projector` and `predictor` as in a Network."""
  return Variables(
    params={name: module.params for name, module in modules.items()},
    stats={name: module.stats for name, module in modules.items() if module.stats},
  )


def _paths(state: State) -> dict[str, tuple[str, ...]]:
  """Returns the path in jaxssl's trees of every entry except `num_batches_tracked`."""
  numbered = _numbered(state)
  paths = {}
  for name, value in state.items():
    module, _, leaf = name.rpartition(".")
    if leaf == "num_batches_tracked":
      continue
    module = numbered.get(module, module)
    for pattern, ours in MODULES:
      module = re.sub(pattern, ours, module)
    leaf = ("scale" if np.ndim(value) == 1 else "kernel") if leaf == "weight" else LEAVES.get(leaf, leaf)
    paths[name] = (*module.split("."), leaf) if module else (leaf,)
  return paths


def _numbered(state: State) -> dict[str, str]:
  """Names the layers of a Sequential `linear_i`, each followed by `bn_i`; a single unnumbered Linear is `linear_0`."""
  modules = {name.rpartition(".")[0] for name in state}
  layers = sorted((m for m in modules if re.fullmatch(r"mlp|(mlp\.)?\d+", m)), key=lambda m: int(re.sub(r"\D", "", m) or 0))
  names, linears = {}, 0
  for module in layers:
    linear = np.ndim(state.get(f"{module}.weight", ())) == 2
    linears += linear
    names[module] = f"{'linear' if linear else 'bn'}_{linears - 1}"
  return names
