"""Where a run's encoder starts: from weights in a file, instead of at random."""

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
from jaxssl.models.network import Network
from jaxssl.pretrained.match import Tensors, find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import from_torch, to_torch
from jaxssl.workdir.workdir import Workdir


def load(config: ModelConfig, network: Network, image_shape: tuple[int, int, int], workdir: pathlib.Path) -> Tensors | None:
  """Reads the encoder's tensors that `model.init_from` names, under torch's names; None: it names nothing.

  Those that the workdir keeps from the run's first start go before. Raises UserError for a file that does not fit.
  """
  if not config.init_from:
    return None
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape))
  encoder = (
    jax.tree.map(lambda x: np.empty(x.shape, x.dtype), tree.get("encoder", {})) for tree in (shapes.params, shapes.stats)
  )
  wanted = {name: x.shape for name, x in to_torch(*encoder).items()}
  kept = Workdir(workdir).imported
  path = kept if kept.exists() else path_of(os.path.expanduser(config.init_from))
  return find(str(path), read_tensors(path), wanted, config.position_offset, config.allow_partial)


def keep(tensors: Tensors, workdir: pathlib.Path) -> None:
  """Writes what was read to the workdir, where it is not there yet."""
  path = Workdir(workdir).imported
  if not path.exists():
    with atomic.replacing(path) as temporary:
      safetensors.numpy.save_file(dict(tensors), temporary)


def put(variables: Variables, tensors: Tensors) -> Variables:
  """Gives a network with an encoder of these tensors; what they do not hold, and the heads, stay. Leaves become numpy's."""
  params, stats = variables.params["encoder"], variables.stats.get("encoder", {})
  both = {**to_torch(params, stats), **tensors}
  made = dataclasses.replace(variables, params={**variables.params, "encoder": from_torch(both, params)})
  return dataclasses.replace(made, stats={**variables.stats, "encoder": from_torch(both, stats)}) if stats else made
