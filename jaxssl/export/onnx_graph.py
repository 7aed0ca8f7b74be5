"""Builds an ONNX graph of nodes and constants, and recognizes the operators that JAX writes as several primitives."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET, IR = 17, 8  # released in 2022


class Node(NamedTuple):
  """An ONNX operator with one output."""

  op: str
  inputs: tuple[str, ...]
  output: str
  attributes: dict[str, Any]


class Graph:
  """Nodes in execution order, and named constants. Equal nodes and equal constants are stored once."""

  def __init__(self):
    self.nodes: dict[str, Node] = {}  # by output
    self.constants: dict[str, np.ndarray] = {}
    self.labels: dict[str, str] = {}  # constant -> the weight that it is computed from
    self.counts: dict[str, int] = {}  # output of a ReduceSum -> the number of values in a sum
    self._names: dict[Any, str] = {}

  def constant(self, value: Any, label: str = "constant") -> str:
    """Adds a constant and returns its name; `label` is its name in the file."""
    array = np.asarray(value, order="C")
    key = (array.dtype.str, array.shape, hashlib.sha256(array.tobytes()).digest())
    name = self._names.setdefault(key, f"constant {len(self._names)}")
    self.constants.setdefault(name, array)
    self.labels.setdefault(name, label)
    return name

  def node(self, op: str, *inputs: str, **attributes: Any) -> str:
    """Adds a node, which may replace those that compute its inputs, and returns the name of its output."""
    op, inputs, attributes = self._merged(op, inputs, attributes)
    name = self._names.setdefault((op, inputs, repr(attributes)), f"{op}_{len(self.nodes)}")
    self.nodes.setdefault(name, Node(op, inputs, name, attributes))
    return name

  def _merged(self, op: str, inputs: tuple[str, ...], attributes: dict[str, Any]) -> tuple[str, tuple[str, ...], dict]:
    """Recognizes means, divisions, LayerNorm and Softmax."""
    match op, [self.nodes.get(name) for name in inputs]:
      case "Div", [Node("ReduceSum", (x, axes), summed), None]:
        count = self.constants.get(inputs[1])
        if count is not None and count.size == 1 and count.item() == self.counts[summed]:
          return "ReduceMean", (x,), {"axes": self.constants[axes].tolist(), "keepdims": 1}
      case "Mul", [_, Node("Reciprocal", (y,))]:
        return "Div", (inputs[0], y), {}
      case "Mul", [_, Node("Mul", (y, scale))] if y in self.nodes and self.nodes[y].op == "Reciprocal":
        # x * (y * scale) = (x * y) * scale: the form of LayerNorm that runtimes fuse
        return "Mul", (self.node("Mul", inputs[0], y), scale), {}
      case "Div", [Node("Exp", (difference,), exp), Node("ReduceSum", (summed, axes))] if exp == summed:
        sub, axes = self.nodes.get(difference), self.constants[axes].tolist()
        largest = self.nodes.get(sub.inputs[1]) if sub and sub.op == "Sub" else None
        if sub and largest and largest[:2] == ("ReduceMax", sub.inputs[:1]) and largest.attributes["axes"] == axes:
          return "Softmax", sub.inputs[:1], {"axis": axes[0]}
    return op, inputs, attributes

  def model(self, output: str, input_shape: Sequence[int | str], output_shape: Sequence[int | str]) -> Any:
    """Returns a checked onnx.ModelProto from `images` to `features`."""
    import onnx
    from onnx import TensorProto, helper

    needed, nodes = {output}, []
    for node in reversed(self.nodes.values()):
      if node.output in needed:
        needed.update(node.inputs)
        nodes.insert(0, node)
    names = {output: "features"}
    for name in dict.fromkeys(name for node in nodes for name in node.inputs if name in self.constants):
      label = self.labels[name]
      names[name] = label if label not in names.values() else f"{label}_{len(names)}"

    def named(*tensors: str) -> list[str]:
      return [names.get(name, name) for name in tensors]

    graph = helper.make_graph(
      [helper.make_node(node.op, named(*node.inputs), named(node.output), **node.attributes) for node in nodes],
      "encoder",
      [helper.make_tensor_value_info("images", TensorProto.FLOAT, input_shape)],
      [helper.make_tensor_value_info("features", TensorProto.FLOAT, output_shape)],
      [onnx.numpy_helper.from_array(self.constants[name], names[name]) for name in names if name in self.constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="jaxssl")
    onnx.checker.check_model(model, full_check=True)
    return model
