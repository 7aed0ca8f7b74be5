"""Builds an ONNX graph of nodes and constants.

Transposes and reshapes move behind elementwise operations, so that most of them meet and cancel: a convolutional network stays
in ONNX's channels-first layout.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET, IR = 17, 8  # released in 2022
# Stands for the batch in shapes: a prime above all other lengths, so its multiples are multiples of the batch
BATCH = 1_000_003
Shape = tuple[int, ...]


class Node(NamedTuple):
  """An ONNX operator with one output."""

  op: str
  inputs: tuple[str, ...]
  output: str
  attributes: dict[str, Any]


class Graph:
  """Nodes in execution order, and constants; tensors are known by name. Equal nodes and equal constants are stored once."""

  def __init__(self, images: Shape):
    self.nodes: dict[str, Node] = {}  # by output
    self.constants: dict[str, np.ndarray] = {}
    self.labels: dict[str, str] = {}  # constant -> the weight that it is computed from
    self.shapes: dict[str, Shape] = {"images": images}
    self._names: dict[Any, str] = {}

  def constant(self, value: Any, label: str = "constant") -> str:
    """Adds a constant and returns its name; `label` is its name in the file."""
    array = np.asarray(value, order="C")
    key = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest())
    name = self._names.setdefault(key, f"constant {len(self._names)}")
    self.constants.setdefault(name, array)
    self.labels.setdefault(name, label)
    self.shapes[name] = array.shape
    return name

  def node(self, op: str, *inputs: str, shape: Shape, **attributes: Any) -> str:
    """Adds a node whose output has this shape, and returns the name of the output."""
    name = self._names.setdefault((op, inputs, repr(attributes)), f"{op}_{len(self.nodes)}")
    self.nodes.setdefault(name, Node(op, inputs, name, attributes))
    self.shapes[name] = shape
    return name

  def transpose(self, x: str, order: Sequence[int]) -> str:
    """Transposes a tensor."""
    shape, source = tuple(self.shapes[x][i] for i in order), self.nodes.get(x)
    if x in self.constants:
      return self.constant(self.constants[x].transpose(order), self.labels[x])
    if source and source.op == "Transpose":
      return self.transpose(source.inputs[0], [source.attributes["perm"][i] for i in order])
    return x if list(order) == sorted(order) else self.node("Transpose", x, perm=list(order), shape=shape)

  def reshape(self, x: str, shape: Shape) -> str:
    """Reshapes a tensor."""
    if x in self.constants:
      return self.constant(self.constants[x].reshape(shape), self.labels[x])
    if x in self.nodes and self.nodes[x].op == "Reshape":
      x = self.nodes[x].inputs[0]
    if self.shapes[x] == shape:
      return x
    return self.node("Reshape", x, self.constant([-1 if n >= BATCH else n for n in shape]), shape=shape)

  def expand(self, x: str, shape: Shape) -> str:
    """Broadcasts axes of length 1."""
    if self.shapes[x] == shape:
      return x
    batch, rank = self.node("Shape", "images", start=0, end=1, shape=(1,)), (len(shape),)
    multiples, others = map(self.constant, zip(*(divmod(n, BATCH) for n in shape), strict=True))
    lengths = self.node("Add", self.node("Mul", batch, multiples, shape=rank), others, shape=rank)
    return self.node("Expand", x, lengths, shape=shape)

  def reduce(self, op: str, x: str, axes: Sequence[int]) -> str:
    """Reduces axes of a tensor to length 1."""
    if x in self.nodes and self.nodes[x].op == "Transpose":
      source, order = self.nodes[x].inputs[0], self.nodes[x].attributes["perm"]
      return self.transpose(self.reduce(op, source, sorted(order[i] for i in axes)), order)
    shape = tuple(1 if i in axes else n for i, n in enumerate(self.shapes[x]))
    if op == "ReduceSum":
      return self.node(op, x, self.constant(axes), keepdims=1, shape=shape)
    return self.node(op, x, axes=list(axes), keepdims=1, shape=shape)

  def elementwise(self, op: str, *inputs: str | float, **attributes: Any) -> str:
    """Adds an operation that broadcasts its inputs. Numbers are float32."""
    xs = [x if isinstance(x, str) else self.constant(np.float32(x)) for x in inputs]
    sources = [node for x in xs if (node := self.nodes.get(x))]
    if orders := [node.attributes["perm"] for node in sources if node.op == "Transpose"]:
      inner = [self.transpose(x, np.argsort(orders[0]).tolist()) if self.shapes[x] else x for x in xs]
      if not any(x in self.nodes and self.nodes[x].op == "Transpose" for x in inner):
        return self.transpose(self.elementwise(op, *inner, **attributes), orders[0])
    if [node.op for node in sources] == ["Reshape"] and sum(self.shapes[x] != () for x in xs) == 1:
      inner = [x if self.shapes[x] == () else sources[0].inputs[0] for x in xs]
      return self.reshape(self.elementwise(op, *inner, **attributes), self.shapes[sources[0].output])
    if not all(x in self.constants for x in xs):
      xs = [self._without_leading_ones(x) if x in self.constants else x for x in xs]
    return self._merged(op, *xs) or self.node(op, *xs, shape=self._broadcast(*xs), **attributes)

  def _without_leading_ones(self, x: str) -> str:
    """Reshapes a constant that is broadcast; runtimes fuse biases that are vectors."""
    shape = self.shapes[x]
    return self.reshape(x, shape[next((axis for axis, n in enumerate(shape) if n != 1), len(shape)) :])

  def _broadcast(self, *xs: str) -> Shape:
    return np.broadcast_shapes(*(self.shapes[x] for x in xs))

  def _merged(self, op: str, *inputs: str) -> str | None:
    """Recognizes means, divisions, LayerNorm and Softmax."""
    match op, [self.nodes.get(x) for x in inputs]:
      case "Div", [Node("ReduceSum", (x, axes)), None]:
        axes, count = self.constants[axes], self.constants.get(inputs[1])
        if count is not None and count.size == 1 and count.item() == math.prod(self.shapes[x][i] for i in axes):
          return self.reduce("ReduceMean", x, axes.tolist())
      case "Mul", [_, Node("Reciprocal", (y,))]:
        return self.node("Div", inputs[0], y, shape=self._broadcast(inputs[0], y))
      case "Mul", [_, Node("Mul", (y, scale))] if y in self.nodes and self.nodes[y].op == "Reciprocal":
        # x * (y * scale) = x / (1 / y) * scale: the form of LayerNorm that runtimes fuse
        quotient = self.node("Div", inputs[0], *self.nodes[y].inputs, shape=self._broadcast(inputs[0], y))
        return self.node("Mul", quotient, scale, shape=self._broadcast(quotient, scale))
      case "Div", [Node("Exp", (difference,), exp), Node("ReduceSum", (summed, axes))] if exp == summed:
        sub, axes = self.nodes.get(difference), self.constants[axes].tolist()
        if sub and sub.op == "Sub" and len(axes) == 1 and sub.inputs[1] == self.reduce("ReduceMax", sub.inputs[0], axes):
          return self.node("Softmax", sub.inputs[0], axis=axes[0], shape=self.shapes[exp])
    return None

  def model(
    self, result: str, input_shape: Sequence[int | str], output_shape: Sequence[int | str], output: str, input_type: np.dtype
  ) -> Any:
    """Returns a checked onnx.ModelProto from `images` (of `input_type`) to the tensor `result`, named `output` there."""
    import onnx
    from onnx import TensorProto, helper

    needed = {result}
    nodes: list[Node] = []
    for node in reversed(self.nodes.values()):
      if node.output in needed:
        needed.update(node.inputs)
        nodes.insert(0, node)
    names = {result: output}
    for name in dict.fromkeys(name for node in nodes for name in node.inputs if name in self.constants):
      label = self.labels[name]
      names[name] = label if label not in names.values() else f"{label}_{len(names)}"

    graph = helper.make_graph(
      [
        helper.make_node(op, [names.get(x, x) for x in inputs], [names.get(y, y)], **attributes)
        for op, inputs, y, attributes in nodes
      ],
      "encoder",
      [helper.make_tensor_value_info("images", helper.np_dtype_to_tensor_dtype(input_type), input_shape)],
      [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
      [onnx.numpy_helper.from_array(self.constants[name], names[name]) for name in names if name in self.constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="jaxssl")
    onnx.checker.check_model(model, full_check=True)
    return model
