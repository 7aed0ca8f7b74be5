"""Writes and loads the format `flax`: a safetensors file with jaxssl's names and a config.json that rebuilds the network."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxssl.config.parse import read
from jaxssl.config.schema import ModelConfig
from jaxssl.core import json_io, paths
from jaxssl.core.errors import UserError
from jaxssl.core.types import PyTree, Variables
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.network import Network, build

FILE, CONFIG = "model.safetensors", "config.json"
PART = 256  # images embedded at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Asked:
  """The part of config.json that defines the network and its input."""

  model: ModelConfig
  precision: Literal["float32", "bfloat16"]
  image_size: int
  preprocessing: Preprocessing


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pretrained:
  """A network loaded from an export, with its heads if they were exported. `config` is the content of config.json."""

  network: Network
  weights: Variables
  config: Mapping[str, Any]

  @property
  def module(self):
    """The encoder as a flax module. module.apply(variables, x, train=False) maps normalized [b, h, w, c] to float32 [b, f]."""
    return self.network.encoder

  @property
  def variables(self) -> dict[str, PyTree]:
    """The encoder's variables: `params` and `batch_stats`."""
    return {"params": self.weights.params["encoder"], "batch_stats": self.weights.stats.get("encoder", {})}

  def embed(self, images: np.ndarray) -> np.ndarray:
    """Computes the features of one image [h, w, c] or several [b, h, w, c], as evaluations do.

    The images are uint8 or uint16 and of any size; returns float32 [f] or [b, f]. Raises UserError for another dtype, rank or
    number of channels.
    """
    shape, channels = np.shape(images), self.config["preprocessing"]["channels"]
    fits = {channels, *((1, 3) if channels in (1, 3) else ())}
    if np.asarray(images).dtype not in (np.uint8, np.uint16) or len(shape) not in (3, 4) or shape[-1] not in fits:
      given = f"{np.asarray(images).dtype} {list(shape)}"
      raise UserError(f"images: {given}; expected uint8 or uint16, [h, w, c] or [b, h, w, c] with c one of {sorted(fits)}")
    if len(shape) == 3:
      return self.embed(images[None])[0]
    parts = [images[start : start + PART] for start in range(0, max(len(images), 1), PART)]
    return np.concatenate([np.asarray(_features(self.module, self.variables, self.prepare(part))) for part in parts])

  def prepare(self, images: np.ndarray) -> np.ndarray:
    """Makes float32 [b, size, size, c], normalized, of [b, h, w, c], uint8 or uint16."""
    return read(Preprocessing, dict(self.config["preprocessing"])).on_host(images)


@functools.partial(jax.jit, static_argnums=0)
def _features(module: Any, variables: dict[str, PyTree], x: jax.Array) -> jax.Array:
  return jnp.asarray(module.apply(variables, x, train=False))


def load_pretrained(folder: str | pathlib.Path) -> Pretrained:
  """Loads a network that `jaxssl export --format flax` wrote. Raises UserError if the folder does not hold one."""
  folder = paths.path_of(str(folder))
  try:
    config = json_io.read(folder / CONFIG)
    with paths.local_copy(folder / FILE) as file:
      tensors = load_file(file)
  except Exception as error:  # safetensors raises errors of its own and of NumPy
    raise UserError(f"{folder}: not an export of the format flax: {error}") from error
  if config.get("format") != "flax":
    raise UserError(f"{folder}: an export of the format {config.get('format')}; load_pretrained expects the format flax")
  try:
    asked = read(
      _Asked, {field: config[field] for field in ("model", "precision", "image_size", "preprocessing") if field in config}
    )
    asked.preprocessing.check()
    network = build(asked.model, asked.precision, asked.image_size)
  except UserError as error:
    raise UserError(f"{folder / CONFIG}: {error}") from error
  side, channels = asked.image_size, asked.preprocessing.channels
  like = jax.eval_shape(lambda: network.init(jax.random.key(0), (side, side, channels)))
  expected, there = ({name: f"{x.dtype} {x.shape}" for name, x in of.items()} for of in (_named(like), tensors))
  wrong = [
    f"{name}: {there.get(name)} in the file, {expected.get(name)} in the network"
    for name in sorted({*there, *expected})
    if there.get(name) != expected.get(name)
  ]
  if wrong:
    raise UserError(f"{folder / FILE}: {len(wrong)} tensors do not match {CONFIG}: {'; '.join(wrong[:5])}")
  filled = jax.tree.unflatten(jax.tree.structure(like), [tensors[name] for name in _named(like)])
  return Pretrained(network=network, weights=filled, config=config)


def write(folder: pathlib.Path, subject: ExportBundle) -> None:
  """Writes the weights to `folder`."""
  tensors = {name: np.ascontiguousarray(leaf) for name, leaf in _named(subject.variables).items()}
  save_file(tensors, folder / FILE, {"format": "np"})


def run(folder: pathlib.Path, subject: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from float32 [b, size, size, c] to features, float32 [b, f]."""
  loaded = load_pretrained(folder)
  return lambda x: np.asarray(_features(loaded.module, loaded.variables, x))


def usage(subject: ExportBundle) -> str:
  """Returns the usage example of the model card, in Markdown."""
  return """```python
import jaxssl, numpy as np
from PIL import Image

model = jaxssl.load_pretrained("FOLDER")  # this folder
image = np.asarray(Image.open("image.jpg").convert("RGB"))
features = model.embed(image)  # float32 [f]
```

`model.module` is a flax module: `model.module.apply(model.variables, x, train=False)` takes normalized float32 [b, h, w, c]."""


def _named(variables: Variables) -> dict[str, Any]:
  """Returns the leaves by path, such as params.encoder.conv1.kernel or batch_stats.encoder.bn1.mean, in tree order."""
  found = {}
  for kind, tree in (("params", variables.params), ("batch_stats", variables.stats)):
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
      found[".".join([kind, *(key.key for key in path)])] = leaf
  return found
