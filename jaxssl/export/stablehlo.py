"""Writes the format `stablehlo`: the network and its weights as a function that JAX runs without jaxssl."""

import datetime
import importlib.metadata
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.export
import numpy as np

from jaxssl.core import VERSION
from jaxssl.core.types import Array
from jaxssl.export.bundle import ExportBundle

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")
GUARANTEED = datetime.timedelta(days=180)  # six months, by the documentation of jax.export


def write(folder: pathlib.Path, bundle: ExportBundle) -> dict[str, Any]:
  """Writes the function to `folder`. It takes a batch of any size and multiplies in float32 on every platform.

  Returns the versions that it was written with, and the date until which newer ones are guaranteed to read it; its name in
  the file holds them, too.
  """
  until = (datetime.datetime.now(datetime.UTC) + GUARANTEED).date().isoformat()
  versions = {"jaxssl": VERSION, "jax": jax.__version__, "jaxlib": importlib.metadata.version("jaxlib")}

  def function(images: Array) -> Array:
    return bundle.exported(bundle.variables, images)

  function.__name__ = "_".join([bundle.output, *(f"{name}_{value}" for name, value in versions.items()), "until", until])
  (batch,) = jax.export.symbolic_shape("b")
  shape = jax.ShapeDtypeStruct((batch, *bundle.image_shape), bundle.input_type)
  with jax.default_matmul_precision("highest"):
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(shape)
  (folder / FILE).write_bytes(exported.serialize())
  return {"stablehlo": {**versions, "guaranteed_until": until}}


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from images [b, size, size, c] to its output, float32 [b, n]."""
  exported = jax.export.deserialize(bytearray((folder / FILE).read_bytes()))
  return lambda x: np.asarray(exported.call(x))
