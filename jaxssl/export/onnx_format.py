"""Writes the format `onnx`: the encoder as a graph of standard operators, for onnxruntime and other runtimes."""

import pathlib
from collections.abc import Callable

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.export.bundle import ExportBundle
from jaxssl.export.jaxpr_to_onnx import to_onnx

FILE = "model.onnx"


def require() -> None:
  """Raises UserError if onnx or onnxruntime is not installed."""
  try:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
  except ImportError as error:
    raise UserError(f"--format=onnx: {error.name} is not installed; run pip install 'jaxssl[onnx]'") from error


def write(folder: pathlib.Path, bundle: ExportBundle) -> None:
  """Writes the graph to `folder`. It takes a batch of any size."""
  import onnx

  onnx.save(to_onnx(bundle.network.encode, bundle.variables, bundle.image_shape), folder / FILE)


def run(folder: pathlib.Path, bundle: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the export and returns a function from float32 [b, size, size, c] to features, float32 [b, f]."""
  import onnxruntime

  session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
  return lambda x: np.asarray(session.run(["features"], {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0])


def usage(bundle: ExportBundle) -> str:
  """Returns the usage example of the model card, in Markdown."""
  height, width, channels = bundle.image_shape
  return f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(features,) = session.run(["features"], {{"images": x}})
# x: float32 [b, {channels}, {height}, {width}], normalized as above
```"""
