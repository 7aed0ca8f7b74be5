"""Builds an ONNX graph of nodes and constants, and merges arithmetic with constants into fewer nodes."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

OPSET, IR = 17, 8  # released in 2022


class Node(NamedTuple):
  """An ONNX operator with one output, or one of two of our own.

  Affine(x, scale, shift) with constants becomes a Mul and an Add. ReduceSum has its axes as an attribute, like the other
  reductions of opset 17, and the attribute `count`, the number of values in a sum.
  """

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
      case "Affine", [Node("ReduceSum", summed, _, {"count": count, **rest}), *_]:
        scale, shift = (self.constants[name] for name in inputs[1:])
        if scale.size == 1 and not shift.any() and abs(float(scale.item()) * count - 1) < 1e-6:
          return "ReduceMean", summed, rest
      case "Mul", [_, Node("Reciprocal", (y,))]:
        return "Div", (inputs[0], y), {}
      case "Mul", [_, Node("Affine", (y, scale, shift))] if y in self.nodes and self.nodes[y].op == "Reciprocal":
        if not self.constants[shift].any():  # x * (y * scale) = (x * y) * scale: the form of LayerNorm that runtimes fuse
          return "Affine", (self.node("Mul", inputs[0], y), scale, shift), {}
      case "Div", [Node("Exp", (difference,), exp), Node("ReduceSum", (summed,), _, {"axes": [axis]})] if exp == summed:
        sub = self.nodes.get(difference)
        largest = self.nodes.get(sub.inputs[1]) if sub and sub.op == "Sub" else None
        if sub and largest and largest[:2] == ("ReduceMax", sub.inputs[:1]) and largest.attributes["axes"] == [axis]:
          return "Softmax", sub.inputs[:1], {"axis": axis}
    return op, inputs, attributes

  def model(self, output: str, input_shape: Sequence[int | str], output_shape: Sequence[int | str]) -> Any:
    """Returns a checked onnx.ModelProto from `images` to `features`."""
    import onnx
    from onnx import TensorProto, helper

    nodes = self._without_affines(_live(self.nodes.values(), output), output)
    nodes = [step for node in nodes for step in self._lowered(node)]
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

  def _without_affines(self, nodes: Sequence[Node], output: str) -> list[Node]:
    """Merges Affine nodes, such as BatchNorm, into a convolution or an Affine before them that has no other use."""
    uses = Counter([output, *(name for node in nodes for name in node.inputs)])
    made: dict[str, Node] = {}
    for node in nodes:
      source = made.get(node.inputs[0])
      if node.op == "Affine" and source and uses[source.output] == 1:
        node = self._merged_affine(node, source)
      made[node.output] = node
    return _live(made.values(), output)

  def _merged_affine(self, node: Node, source: Node) -> Node:
    names = node.inputs[1:]
    scale, shift = (np.float64(self.constants[name]) for name in names)
    if source.op == "Affine":
      first = [np.float64(self.constants[name]) for name in source.inputs[1:]]
      new = (first[0] * scale, first[1] * scale + shift)
      named = (self.constant(np.float32(c), self.labels[name]) for c, name in zip(new, names, strict=True))
      return Node("Affine", (source.inputs[0], *named), node.output, {})
    if source.op != "Conv":
      return node
    x, kernel, *bias = source.inputs
    weights = self.constants.get(kernel, np.zeros(0))  # [out, in, spatial ...]
    channels = (len(weights), *[1] * (weights.ndim - 2))
    if kernel not in self.constants or any(np.broadcast_shapes(c.shape, channels) != channels for c in (scale, shift)):
      return node
    scale, shift = (np.broadcast_to(c, channels).reshape(-1) for c in (scale, shift))
    shift = shift + scale * (self.constants[bias[0]] if bias else 0)
    weights = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    named = (self.constant(np.float32(weights), self.labels[kernel]), self.constant(np.float32(shift), self.labels[names[1]]))
    return Node("Conv", (x, *named), node.output, source.attributes)

  def _lowered(self, node: Node) -> Iterator[Node]:
    if node.op == "ReduceSum":
      axes = self.constant(node.attributes["axes"])
      yield Node(node.op, (*node.inputs, axes), node.output, {"keepdims": 1})
    elif node.op == "Affine":
      x, scale, shift = node.inputs
      shifted, scaled = self.constants[shift].any(), (self.constants[scale] != 1).any()
      product = f"{node.output}.product" if shifted else node.output
      if scaled or not shifted:
        yield Node("Mul", (x, scale), product, {})
      if shifted:
        yield Node("Add", (product if scaled else x, shift), node.output, {})
    else:
      yield node


def _live(nodes: Iterable[Node], output: str) -> list[Node]:
  needed, live = {output}, []
  for node in reversed(list(nodes)):
    if node.output in needed:
      needed.update(node.inputs)
      live.append(node)
  return live[::-1]
