"""Initializes a run's encoder from a weights file (`model.init_from`)."""

import dataclasses
import os
import pathlib

import jax
import numpy as np
import safetensors.numpy

from jaxssl.config.schema import ModelConfig
from jaxssl.core import atomic
from jaxssl.core.paths import path_of
from jaxssl.core.types import Variables
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network
from jaxssl.pretrained.match import Tensors, find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import from_torch, to_torch
from jaxssl.workdir.workdir import Workdir


def load(config: ModelConfig, network: Network, image_shape: tuple[int, int, int], workdir: pathlib.Path) -> Tensors | None:
  """Reads the encoder's tensors from `model.init_from`, under torch names; None if the field is empty.

  The copy in the workdir takes precedence. Raises UserError for a file that does not fit the encoder.
  """
  if not config.init_from:
    return None
  variables = jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape))
  encoder = (
    jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree.get("encoder", {})) for tree in (variables.params, variables.stats)
  )
  shapes = {name: x.shape for name, x in to_torch(*encoder).items()}
  kept = Workdir(workdir).imported
  path = kept if kept.exists() else path_of(os.path.expanduser(config.init_from))
  return find(str(path), read_tensors(path), shapes, backbone(config), config.allow_partial)


def keep(tensors: Tensors, workdir: pathlib.Path) -> None:
  """Writes the tensors to the workdir unless they are there."""
  path = Workdir(workdir).imported
  if not path.exists():
    with atomic.replacing(path) as temporary:
      safetensors.numpy.save_file(dict(tensors), temporary)


def put(variables: Variables, tensors: Tensors) -> Variables:
  """Replaces the encoder's variables by the given tensors; others, and the heads, are unchanged. Leaves become NumPy arrays."""
  params, stats = variables.params["encoder"], variables.stats.get("encoder", {})
  merged = {**to_torch(params, stats), **tensors}
  new = dataclasses.replace(variables, params={**variables.params, "encoder": from_torch(merged, params)})
  return dataclasses.replace(new, stats={**variables.stats, "encoder": from_torch(merged, stats)}) if stats else new
