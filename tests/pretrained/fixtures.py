"""Weights files for tests, and what is read back of them."""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from jaxssl.pretrained.match import find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import from_torch

ODD = np.ones((5, 7), np.float32)
# How released code lays its files out: the teacher's prefix, then what else is in the file
FAMILIES: Mapping[str, tuple[str, Callable[[Mapping], dict]]] = {
  "plain": ("", lambda w: {"head.weight": ODD} if "cls_token" in w else {"fc.weight": ODD, "fc.bias": ODD}),
  "dino": ("teacher.backbone.", lambda w: under("student.module.backbone.", w) | {"teacher.head.mlp.0.weight": ODD}),
  "dino_module": ("teacher.module.backbone.", lambda w: under("student.module.backbone.", w)),
  "isd": ("model.encoder_k.", lambda w: under("model.encoder_q.", w) | {"model.encoder_k.fc.0.weight": ODD}),
  "msf": ("state_dict.module.encoder_t.", lambda w: under("state_dict.module.encoder_q.", w) | odd("predict_q.0.weight")),
  "resa": ("momentum_encoder.", lambda w: under("encoder.", w) | {"momentum_projector.0.weight": ODD}),
  "resa_encoder": ("encoder.", lambda w: {"projector.0.weight": ODD}),
  "mocov2": ("state_dict.module.encoder_q.", lambda w: odd("encoder_q.fc.weight") | odd("queue")),
  "mocov3": (
    "state_dict.module.momentum_encoder.",
    lambda w: under("state_dict.module.base_encoder.", w) | odd("momentum_encoder.head.0.weight"),
  ),
}  # fmt: skip


def odd(name: str) -> dict:
  """A tensor that is no encoder's."""
  return {f"state_dict.module.{name}": ODD}


def under(prefix: str, weights: Mapping) -> dict:
  """Another network of the same kind, not the one to be taken."""
  return {prefix + name: np.zeros_like(x) for name, x in weights.items()}


def family(name: str, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Weights as a family's file holds them, flat."""
  prefix, more = FAMILIES[name]
  return {prefix + n: x for n, x in weights.items()} | more(weights)


def nested(flat: Mapping[str, np.ndarray], outer: tuple[str, ...] = ("state_dict", "model", "teacher", "student")) -> dict:
  """Puts the outermost names into mappings, as torch's checkpoints have them."""
  tree: dict = {}
  for name, x in flat.items():
    first, _, rest = name.partition(".")
    if first in outer:
      tree.setdefault(first, {})[rest] = x
    else:
      tree[name] = x
  return tree


def written(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> pathlib.Path:
  save_file({name: np.ascontiguousarray(x) for name, x in tensors.items()}, path)
  return path


def back(path: pathlib.Path, module, image) -> dict:
  """The variables of an encoder, read from a file."""
  made = jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros(image), train=False))
  params, stats = made["params"], made.get("batch_stats", {})
  tensors = find(str(path), read_tensors(path), shapes_of(params, stats), 0.0, False)
  return {"params": from_torch(tensors, params), "batch_stats": from_torch(tensors, stats)}


def shapes_of(params, stats):
  from jaxssl.pretrained.torch_names import to_torch

  empty = (jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree) for tree in (params, stats))
  return {name: x.shape for name, x in to_torch(*empty).items()}
