"""Writes the format `stablehlo`: the network and its weights as a function that JAX runs without jaxssl."""

import functools
import pathlib
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxssl.export.bundle import ExportBundle

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(folder: pathlib.Path, bundle: ExportBundle) -> None:
  """Writes the function to `folder`. It takes a batch of any size and multiplies in float32 on every platform."""
  function = jax.jit(functools.partial(bundle.compute, bundle.variables))
  (batch,) = jax.export.symbolic_shape("b")
  shape = jax.ShapeDtypeStruct((batch, *bundle.image_shape), jnp.float32)
  with jax.default_matmul_precision("highest"):
    exported = jax.export.export(function, platforms=PLATFORMS)(shape)
  (folder / FILE).write_bytes(exported.serialize())


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from float32 [b, size, size, c] to its output, float32 [b, n]."""
  exported = jax.export.deserialize(bytearray((folder / FILE).read_bytes()))
  return lambda x: np.asarray(exported.call(x))
