"""The format `onnx`: the network as a graph of plain operators, its weights under torch's names and in torch's layouts."""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxssl.core.errors import UserError
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.norm import EPSILON
from jaxssl.models.resnet import ResNet
from jaxssl.models.vit import ViT
from jaxssl.pretrained.torch_names import to_torch

FILE = "model.onnx"
OPSET, IR = 17, 8  # of early 2022: the first with LayerNormalization


def require() -> None:
  """Raises UserError where the libraries are not installed."""
  try:
    import onnx  # noqa: F401
    import onnxruntime  # noqa: F401
  except ImportError as error:
    raise UserError(f"--format onnx needs {error.name}: pip install 'jaxssl[onnx]'") from error


def write(folder: pathlib.Path, subject: ExportBundle) -> None:
  """Writes the graph; its batch may be of any size."""
  import onnx
  from onnx import TensorProto, helper

  graph = Graph(to_torch(*subject.encoder()))
  encoder = subject.network.encoder
  {"ViT": vit, "ResNet": resnet}[type(encoder).__name__](graph, encoder)
  shape = ["batch", subject.channels, subject.size, subject.size]
  made = helper.make_graph(
    graph.nodes,
    "encoder",
    [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
    [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", None])],
    [onnx.numpy_helper.from_array(value, name) for name, value in graph.used.items()],
  )
  model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="jaxssl")
  onnx.checker.check_model(model, full_check=True)
  onnx.save(model, folder / FILE)


def run(folder: pathlib.Path, subject: ExportBundle) -> Callable[[np.ndarray], np.ndarray]:
  """Loads the graph: maps float32 [b, size, size, c] to features."""
  import onnxruntime

  session = onnxruntime.InferenceSession(folder / FILE, providers=["CPUExecutionProvider"])
  return lambda x: np.asarray(session.run(["features"], {"images": np.ascontiguousarray(x.transpose(0, 3, 1, 2))})[0])


def usage(subject: ExportBundle) -> str:
  """Says how it is used."""
  return f"""```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(features,) = session.run(["features"], {{"images": x}})
# x: float32 [b, {subject.channels}, {subject.size}, {subject.size}], normalized as above
```"""


class Graph:
  """Nodes in the order they run, and the weights that they use."""

  def __init__(self, weights: dict[str, np.ndarray]):
    self.weights, self.used, self.nodes = weights, dict[str, np.ndarray](), list[Any]()

  def __call__(self, op: str, *inputs: str | np.ndarray, out: str = "", **attributes: Any) -> str:
    """Adds a node; an input is a node's name, a weight's name, or a constant. Gives the node's name."""
    from onnx import helper

    name = out or f"{op}_{len(self.nodes)}"
    names = [x if isinstance(x, str) else f"{name}.{i}" for i, x in enumerate(inputs)]
    self.used |= {name: x for name, x in zip(names, inputs, strict=True) if not isinstance(x, str)}
    self.used |= {x: self.weights[x] for x in names if x in self.weights}
    self.nodes.append(helper.make_node(op, names, [name], name, **attributes))
    return name


def resnet(graph: Graph, encoder: ResNet) -> None:
  """Adds a ResNet, from `images` to `features`."""

  def conv(x: str, name: str, stride: int, padding: int) -> str:
    return graph("Conv", x, f"{name}.weight", strides=[stride] * 2, pads=[padding] * 4)

  def norm(x: str, name: str) -> str:
    leaves = [f"{name}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")]
    return graph("BatchNormalization", x, *leaves, epsilon=EPSILON)

  def block(x: str, name: str, stride: int) -> str:
    layers = ((0, 1), (1, stride), (0, 1)) if encoder.bottleneck else ((1, stride), (1, 1))  # padding, stride
    y = x
    for i, (padding, step) in enumerate(layers, 1):
      y = y if i == 1 else graph("Relu", y)
      y = norm(conv(y, f"{name}.conv{i}", step, padding), f"{name}.bn{i}")
    if f"{name}.downsample.0.weight" in graph.weights:
      x = norm(conv(x, f"{name}.downsample.0", stride, 0), f"{name}.downsample.1")
    return graph("Relu", graph("Add", x, y))

  stride, padding = {"imagenet": (2, 3), "cifar": (1, 1), "cifar_pad": (1, 2), "small": (2, 1)}[encoder.stem]
  x = graph("Relu", norm(conv("images", "conv1", stride, padding), "bn1"))
  if encoder.stem == "imagenet":
    x = graph("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
  for stage, blocks in enumerate(encoder.stages):
    for i in range(blocks):
      x = block(x, f"layer{stage + 1}.{i}", 2 if stage > 0 and i == 0 else 1)
  graph("ReduceMean", x, out="features", axes=[2, 3], keepdims=0)


def vit(graph: Graph, encoder: ViT) -> None:
  """Adds a ViT, from `images` to `features`."""
  width = encoder.dim // encoder.heads

  def linear(x: str, name: str) -> str:
    kernel = graph("Transpose", f"{name}.weight", perm=[1, 0])
    return graph("Add", graph("MatMul", x, kernel), f"{name}.bias")

  def norm(x: str, name: str, **more: Any) -> str:
    return graph("LayerNormalization", x, f"{name}.weight", f"{name}.bias", epsilon=1e-6, **more)

  def attend(x: str, name: str) -> str:
    qkv = graph("Reshape", linear(x, f"{name}.qkv"), np.array([0, 0, 3, encoder.heads, width]))
    qkv = graph("Transpose", qkv, perm=[2, 0, 3, 1, 4])  # [3, b, heads, t, width]
    q, k, v = (graph("Gather", qkv, np.array(i), axis=0) for i in range(3))
    scores = graph("MatMul", q, graph("Transpose", k, perm=[0, 1, 3, 2]))
    shares = graph("Softmax", graph("Mul", scores, np.array(width**-0.5, np.float32)), axis=-1)
    y = graph("Transpose", graph("MatMul", shares, v), perm=[0, 2, 1, 3])
    return linear(graph("Reshape", y, np.array([0, 0, encoder.dim])), f"{name}.proj")

  def gelu(x: str) -> str:
    risen = graph("Add", graph("Erf", graph("Mul", x, np.array(math.sqrt(0.5), np.float32))), np.array(1, np.float32))
    return graph("Mul", graph("Mul", x, np.array(0.5, np.float32)), risen)

  x = graph("Conv", "images", "patch_embed.proj.weight", "patch_embed.proj.bias", strides=[encoder.patch] * 2)
  patches = graph("Transpose", graph("Reshape", x, np.array([0, encoder.dim, -1])), perm=[0, 2, 1])
  rows = graph("Shape", "images", start=0, end=1)
  first = graph("Expand", "cls_token", graph("Concat", rows, np.array([1, encoder.dim]), axis=0))
  x = graph("Add", graph("Concat", first, patches, axis=1), "pos_embed")
  for i in range(encoder.depth):
    x = graph("Add", x, attend(norm(x, f"blocks.{i}.norm1"), f"blocks.{i}.attn"))
    y = gelu(linear(norm(x, f"blocks.{i}.norm2"), f"blocks.{i}.mlp.fc1"))
    x = graph("Add", x, linear(y, f"blocks.{i}.mlp.fc2"))
  norm(graph("Gather", x, np.array(0), axis=1), "norm", out="features")
