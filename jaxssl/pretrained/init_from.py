"""Initializes a run's networks from a weights file, an export or another run (`model.init_from`)."""

import os
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from jaxssl.config.schema import ModelConfig
from jaxssl.core import LOG, UserError, atomic, json_io, path_of
from jaxssl.core.types import Variables
from jaxssl.models import vit
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network, named
from jaxssl.pretrained.match import Tensors, find
from jaxssl.pretrained.read import read_tensors
from jaxssl.pretrained.torch_names import from_torch, torch_shapes
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.workdir import Workdir


def load(config: ModelConfig, network: Network, image_shape: tuple[int, int, int], workdir: pathlib.Path) -> Tensors | None:
  """Reads the encoder's tensors, under torch names, and with `init_heads` those of the heads; None without `init_from`.

  The copy in the workdir of a run that has started takes precedence. Raises UserError for a source that does not fit.
  """
  if not config.init_from:
    if config.init_heads:
      raise UserError("model.init_heads=True: there is no model.init_from to take them from; set it to a workdir")
    return None
  like = jax.eval_shape(lambda: network.init(jax.random.key(0), image_shape))
  saved = Workdir(workdir).imported
  path = saved if _has_started(workdir) and saved.exists() else path_of(os.path.expanduser(config.init_from))
  if path != saved and (path / "config.json").is_file():
    _require_attention_heads(config, path)
  tensors = _of_run(path) if Workdir(path).checkpoints.exists() else read_tensors(path)
  heads = _heads(str(path), tensors, like) if config.init_heads else {}
  others = {name: x for name, x in tensors.items() if name not in heads}
  return {**find(str(path), others, torch_shapes(like), backbone(config), config.allow_partial), **heads}


def filled(tensors: Tensors, variables: Variables) -> Variables:
  """Returns a network with the tensors that `load` read, as NumPy arrays; what they lack is unchanged."""
  encoded = from_torch(tensors, variables)
  leaves = [tensors.get(name, leaf) for name, leaf in named(encoded).items()]
  return jax.tree.unflatten(jax.tree.structure(encoded), leaves)


def keep(tensors: Tensors, workdir: pathlib.Path) -> None:
  """Writes the tensors to the workdir unless they are there, from the start of the run."""
  path = Workdir(workdir).imported
  if not (_has_started(workdir) and path.exists()):
    with atomic.replacing(path) as temporary:
      safetensors.numpy.save_file(dict(tensors), temporary)


def _has_started(workdir: pathlib.Path) -> bool:
  """Returns whether a run has got as far as writing its config; one that was stopped before may have left other weights."""
  return Workdir(workdir).config.exists()


def _require_attention_heads(config: ModelConfig, folder: pathlib.Path) -> None:
  """Raises UserError if the ViT of a run or an export has another number of attention heads, which no shape reveals."""
  model: Any = json_io.read(folder / "config.json").get("model")
  theirs = model.get("heads", 0) if isinstance(model, dict) and model.get("name") == config.name else config.heads
  default = vit.SIZES[config.name][1] if config.name in vit.SIZES else 0
  if (theirs or default) != (config.heads or default):
    raise UserError(f"model.heads={config.heads}: model.init_from={folder} has model.heads={theirs}; expected the same")


def _of_run(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the newest networks of a run: the one that it evaluates, and the heads that only the student has."""
  workdir = Workdir(folder)
  evals: Any = workdir.read_config().get("evals")
  student, teacher, step = Checkpoints(workdir.checkpoints, 1).weights()
  chosen = isinstance(evals, dict) and evals.get("network")
  LOG.info("%s: the %s after %d steps", folder, "student" if teacher is None or chosen == "student" else "teacher", step)
  networks = [student] if teacher is None or chosen == "student" else [student, teacher]
  return {name: np.asarray(leaf) for network in networks for name, leaf in named(network).items()}


def _heads(source: str, tensors: Tensors, like: Variables) -> dict[str, np.ndarray]:
  """Returns the tensors of the heads. Raises UserError unless they are those of the networks."""
  shapes = {name: leaf.shape for name, leaf in named(like).items() if name.split(".")[1] != "encoder"}
  wrong = [name for name, shape in shapes.items() if name not in tensors or tensors[name].shape != shape]
  if wrong or not shapes:
    found = tensors[wrong[0]].shape if wrong and wrong[0] in tensors else "not there"
    problem = f"{wrong[0]} is {found}, expected {shapes[wrong[0]]}" if wrong else "this run has no heads"
    raise UserError(f"model.init_heads=True: {source}: {problem}; use the heads of that run, or init_heads=false")
  return {name: np.asarray(tensors[name]) for name in shapes}
