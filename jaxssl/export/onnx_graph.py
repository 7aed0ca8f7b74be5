"""An ONNX graph: nodes, constants, and the rewrites that merge arithmetic with constants into fewer nodes."""

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

OPSET, IR = 17, 8  # released in 2022


@dataclasses.dataclass(frozen=True)
class Node:
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
    self.nodes: list[Node] = []
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
    """Adds a node and returns the name of its output."""
    key = (op, inputs, repr(attributes))
    if key not in self._names:
      self._names[key] = f"{op}_{len(self.nodes)}"
      self.nodes.append(Node(op, inputs, self._names[key], attributes))
    return self._names[key]

  def model(self, output: str, input_shape: Sequence[int | str], output_shape: Sequence[int | str]) -> Any:
    """Simplifies the graph and returns a checked onnx.ModelProto from `images` to `features`."""
    import onnx
    from onnx import TensorProto, helper

    nodes = _live(self.nodes, output)
    for into in (("Affine", "ReduceSum"), ("Conv",)):
      nodes = self._simplified(nodes, output, into)
    nodes = [step for node in nodes for step in self._lowered(node)]
    names = {output: "features"}
    for name in dict.fromkeys(name for node in nodes for name in node.inputs if name in self.constants):
      label = self.labels[name]
      names[name] = label if label not in names.values() else f"{label}_{len(names)}"
    graph = helper.make_graph(
      [
        helper.make_node(
          node.op, [names.get(x, x) for x in node.inputs], [names.get(node.output, node.output)], **node.attributes
        )
        for node in nodes
      ],
      "encoder",
      [helper.make_tensor_value_info("images", TensorProto.FLOAT, input_shape)],
      [helper.make_tensor_value_info("features", TensorProto.FLOAT, output_shape)],
      [onnx.numpy_helper.from_array(self.constants[name], names[name]) for name in names if name in self.constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="jaxssl")
    onnx.checker.check_model(model, full_check=True)
    return model

  def _simplified(self, nodes: Sequence[Node], output: str, into: Sequence[str]) -> list[Node]:
    """Merges what has no other use: Affine nodes into the nodes before them, if these are one of `into`."""
    uses = Counter([output, *(name for node in nodes for name in node.inputs)])
    made: dict[str, Node] = {}

    def rewrite(node: Node) -> Node:
      sources = [made.get(x) if uses[x] == 1 else None for x in node.inputs]
      if node.op == "Affine" and sources[0] and sources[0].op in into:
        return self._merged(node, sources[0])
      if node.op == "Div":
        return _softmax(node, made)
      for source, other in zip(sources, node.inputs[::-1], strict=True) if node.op == "Mul" else ():
        match source:
          case Node("Reciprocal", (y,)):
            return Node("Div", (other, y), node.output, {})
          case Node("Affine", (y, scale, shift)) if not self.constants[shift].any():
            # other * (y * scale) = (other * y) * scale: the form of LayerNorm that runtimes fuse
            product = f"{node.output}.product"
            uses[product] = 1
            made[product] = rewrite(Node("Mul", (other, y), product, {}))
            return Node("Affine", (product, scale, shift), node.output, {})
      return node

    for node in nodes:
      made[node.output] = rewrite(node)
    return _live(list(made.values()), output)

  def _merged(self, node: Node, source: Node) -> Node:
    """Merges an Affine into the node before it if that is possible."""
    (_, *names), label = node.inputs, self.labels
    scale, shift = (np.float64(self.constants[name]) for name in names)
    if source.op == "ReduceSum":
      mean = scale.size == 1 and not shift.any() and abs(scale.item() * source.attributes["count"] - 1) < 1e-6
      return dataclasses.replace(source, op="ReduceMean", output=node.output) if mean else node
    if source.op == "Affine":
      x, *names = source.inputs
      before = [np.float64(self.constants[name]) for name in names]
      new = (before[0] * scale, before[1] * scale + shift)
      inputs = (self.constant(np.float32(c), label[name]) for c, name in zip(new, names, strict=True))
      return Node("Affine", (x, *inputs), node.output, {})
    x, kernel, *bias = source.inputs
    weights = self.constants.get(kernel, np.zeros(0))  # [out, in, spatial ...]
    channels = (len(weights), *[1] * (weights.ndim - 2))
    if kernel not in self.constants or any(np.broadcast_shapes(c.shape, channels) != channels for c in (scale, shift)):
      return node
    scale, shift = (np.broadcast_to(c, channels).reshape(-1) for c in (scale, shift))
    shift = shift + scale * (self.constants[bias[0]] if bias else 0)
    weights = weights * scale.reshape(-1, *[1] * (weights.ndim - 1))
    inputs = (x, self.constant(np.float32(weights), label[kernel]), self.constant(np.float32(shift), label[names[1]]))
    return Node("Conv", inputs, node.output, source.attributes)

  def _lowered(self, node: Node) -> list[Node]:
    """Replaces our own operators by those of ONNX."""
    attributes = {name: x for name, x in node.attributes.items() if name != "count"}
    if node.op == "ReduceSum":
      axes = self.constant(attributes.pop("axes"))
      return [Node(node.op, (*node.inputs, axes), node.output, attributes)]
    if node.op != "Affine":
      return [Node(node.op, node.inputs, node.output, attributes)]
    x, scale, shift = node.inputs
    product = f"{node.output}.product"
    if (self.constants[scale] == 1).all():
      return [Node("Add", (x, shift), node.output, {})]
    if not self.constants[shift].any():
      return [Node("Mul", (x, scale), node.output, {})]
    return [Node("Mul", (x, scale), product, {}), Node("Add", (product, shift), node.output, {})]


def _live(nodes: Sequence[Node], output: str) -> list[Node]:
  """Leaves out the nodes that the output does not depend on."""
  needed, live = {output}, []
  for node in reversed(nodes):
    if node.output in needed:
      needed.update(node.inputs)
      live.append(node)
  return live[::-1]


def _softmax(node: Node, made: dict[str, Node]) -> Node:
  """Returns Softmax for the Div of exp(x - max(x)) and its sum, and other nodes as they are."""
  match [made.get(x) for x in node.inputs]:
    case [Node("Exp", (difference,), exp), Node("ReduceSum", (summed,), _, {"axes": [axis]})] if exp == summed:
      match made.get(difference):
        case Node("Sub", (x, largest)):
          match made.get(largest):
            case Node("ReduceMax", (y,), _, {"axes": [other]}) if (x, axis) == (y, other):
              return Node("Softmax", (x,), node.output, {"axis": axis})
  return node
