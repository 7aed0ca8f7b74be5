"""Initializes a run's encoder from a weights file (`model.init_from`)."""

import os
import pathlib

import jax
import safetensors.numpy

from jaxssl.config.schema import ModelConfig
from jaxssl.core import atomic, path_of
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network
from jaxssl.pretrained.match import Tensors, find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import torch_shapes
from jaxssl.workdir.workdir import Workdir


def load(config: ModelConfig, network: Network, image_shape: tuple[int, int, int], workdir: pathlib.Path) -> Tensors | None:
  """Reads the encoder's tensors from `model.init_from`, under torch names; None if the field is empty.

  The copy in the workdir takes precedence. Raises UserError for a file that does not fit the encoder.
  """
  if not config.init_from:
    return None
  shapes = torch_shapes(jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape)))
  saved = Workdir(workdir).imported
  path = saved if saved.exists() else path_of(os.path.expanduser(config.init_from))
  return find(str(path), read_tensors(path), shapes, backbone(config), config.allow_partial)


def keep(tensors: Tensors, workdir: pathlib.Path) -> None:
  """Writes the tensors to the workdir unless they are there."""
  path = Workdir(workdir).imported
  if not path.exists():
    with atomic.replacing(path) as temporary:
      safetensors.numpy.save_file(dict(tensors), temporary)
