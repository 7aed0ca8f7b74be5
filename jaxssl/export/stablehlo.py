"""The format `stablehlo`: the network with its weights as one function that any JAX runs, without this package."""

import pathlib
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from jaxssl.core.types import Array
from jaxssl.export.bundle import ExportBundle

FILE = "model.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(folder: pathlib.Path, subject: ExportBundle) -> None:
  """Writes the function. Its batch may be of any size; its products are float32 on every platform."""

  def features(x: Array) -> Array:
    return subject.network.encode(subject.variables, x)

  (batch,) = jax.export.symbolic_shape("b")
  shape = jax.ShapeDtypeStruct((batch, subject.size, subject.size, subject.channels), jnp.float32)
  with jax.default_matmul_precision("highest"):
    exported = jax.export.export(jax.jit(features), platforms=PLATFORMS)(shape)
  (folder / FILE).write_bytes(exported.serialize())


def run(folder: pathlib.Path, subject: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the function: maps float32 [b, size, size, c] to features."""
  exported = jax.export.deserialize(bytearray((folder / FILE).read_bytes()))
  return lambda x: np.asarray(exported.call(x))


def usage(subject: ExportBundle) -> str:
  """Says how it is used."""
  return f"""```python
import jax.export

with open("model.stablehlo", "rb") as file:
  model = jax.export.deserialize(bytearray(file.read()))
features = model.call(x)  # float32 [b, {subject.size}, {subject.size}, {subject.channels}], normalized as above
```

The function runs on {", ".join(PLATFORMS)}; `model.mlir_module()` is its StableHLO. It needs jax and not jaxssl."""
