"""Translates each JAX primitive that encoders use to ONNX."""

import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from jaxssl.core import UserError
from jaxssl.export.onnx_graph import BATCH, Graph, Shape


def untranslated(eqn: JaxprEqn, detail: str = "") -> UserError:
  """Returns the error for a primitive that is not translated."""
  name = f"{eqn.primitive.name}{detail and ' with '}{detail}"
  return UserError(f"--format=onnx: the encoder uses the JAX primitive {name}, which is not translated; use flax or stablehlo")


def _shape(eqn: JaxprEqn) -> Shape:
  return eqn.outvars[0].aval.shape  # type: ignore[attr-defined]


def _sub(graph: Graph, eqn: JaxprEqn, x: str, y: str) -> str:
  if y not in graph.constants:
    return graph.elementwise("Sub", x, y)
  # Runtimes fuse sums, not differences, with a convolution
  return graph.elementwise("Add", x, graph.constant(-graph.constants[y], graph.labels[y]))


def _max(graph: Graph, eqn: JaxprEqn, x: str, y: str) -> str:
  x, y = (y, x) if x in graph.constants else (x, y)
  bound = graph.constants.get(y, np.zeros(2))
  if bound.size == 1 and bound.item() == -np.inf:
    return x
  return graph.elementwise("Relu", x) if bound.size == 1 and bound.item() == 0 else graph.elementwise("Max", x, y)


def _select_n(graph: Graph, eqn: JaxprEqn, which: str, *cases: str) -> str:
  if len(cases) != 2 or eqn.invars[0].aval.dtype != np.bool_:  # type: ignore[attr-defined]
    raise untranslated(eqn, "an integer predicate")
  return graph.elementwise("Where", which, cases[1], cases[0])


def _convert(graph: Graph, eqn: JaxprEqn, x: str) -> str:
  from onnx import helper

  before, after = eqn.invars[0].aval.dtype, np.dtype(eqn.params["new_dtype"])  # type: ignore[attr-defined]
  return x if before == after else graph.elementwise("Cast", x, to=helper.np_dtype_to_tensor_dtype(after))


def _broadcast_in_dim(graph: Graph, eqn: JaxprEqn, x: str) -> str:
  lengths = dict(zip(eqn.params["broadcast_dimensions"], graph.shapes[x], strict=True))
  return graph.reshape(x, tuple(lengths.get(i, 1) for i in range(len(_shape(eqn)))))


def _pad(graph: Graph, eqn: JaxprEqn, x: str, value: str) -> str:
  low, high, inner = zip(*eqn.params["padding_config"], strict=True)
  if max(inner) > 0:
    raise untranslated(eqn, "inner padding")
  return graph.node("Pad", x, graph.constant([*low, *high]), value, shape=_shape(eqn))


def _slice(graph: Graph, eqn: JaxprEqn, x: str) -> str:
  shape, before = _shape(eqn), graph.shapes[x]
  starts, stops, steps = (eqn.params[name] for name in ("start_indices", "limit_indices", "strides"))
  if any(n >= BATCH and (start, stop) != (0, n) for n, start, stop in zip(before, starts, stops, strict=True)):
    raise untranslated(eqn, "a part of the batch")
  cut = [i for i in range(len(shape)) if shape[i] != before[i]]
  tables = ([values[i] for i in cut] for values in (starts, stops, range(len(shape)), steps or [1] * len(shape)))
  return graph.node("Slice", x, *map(graph.constant, tables), shape=shape) if cut else x


def _reduce(graph: Graph, eqn: JaxprEqn, x: str) -> str:
  if any(graph.shapes[x][i] >= BATCH for i in eqn.params["axes"]):
    raise untranslated(eqn, "the batch as an axis")
  reduced = graph.reduce(f"Reduce{eqn.primitive.name[7:].title()}", x, eqn.params["axes"])
  return graph.reshape(reduced, _shape(eqn))


def _pool(graph: Graph, eqn: JaxprEqn, x: str) -> str:
  window, strides, padding, *dilations = (
    eqn.params[name] for name in ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
  )
  if {*np.ravel(dilations), *(window[i] * strides[i] + sum(padding[i]) for i in (0, -1))} != {1}:
    raise untranslated(eqn, "dilation, or windows over the batch or the channels")
  is_max, shape = eqn.primitive.name == "reduce_window_max", _shape(eqn)
  op, options = ("MaxPool", {}) if is_max else ("AveragePool", {"count_include_pad": 1})
  options |= {"kernel_shape": window[1:-1], "strides": strides[1:-1], "pads": np.transpose(padding[1:-1]).ravel().tolist()}
  first = graph.transpose(x, [0, len(window) - 1, *range(1, len(window) - 1)])
  pooled = graph.node(op, first, **options, shape=(shape[0], shape[-1], *shape[1:-1]))
  pooled = graph.transpose(pooled, [0, *range(2, len(window)), 1])
  return pooled if is_max else graph.elementwise("Mul", pooled, math.prod(window))


def _conv(graph: Graph, eqn: JaxprEqn, x: str, kernel: str) -> str:
  p, shape, pads = eqn.params, _shape(eqn), np.transpose(eqn.params["padding"]).ravel().tolist()
  if {*p["lhs_dilation"], p["batch_group_count"]} != {1} or min(pads, default=0) < 0:
    raise untranslated(eqn, "lhs_dilation, batch groups or negative padding")
  data, weights, out = p["dimension_numbers"]
  options = {"strides": p["window_strides"], "pads": pads, "dilations": p["rhs_dilation"]}
  inputs = graph.transpose(x, data), graph.transpose(kernel, weights)
  y = graph.node("Conv", *inputs, group=p["feature_group_count"], **options, shape=tuple(shape[i] for i in out))
  return graph.transpose(y, np.argsort(out).tolist())


def _dot_general(graph: Graph, eqn: JaxprEqn, x: str, y: str) -> str:
  (x_sum, y_sum), (x_batch, y_batch) = eqn.params["dimension_numbers"]
  x_free = [i for i in range(len(graph.shapes[x])) if i not in (*x_sum, *x_batch)]
  y_free = [i for i in range(len(graph.shapes[y])) if i not in (*y_sum, *y_batch)]

  def grouped(name: str, *groups: Sequence[int]) -> str:
    """Returns a tensor with one axis for each group of axes."""
    lengths = tuple(math.prod(graph.shapes[name][i] for i in group) for group in groups)
    return graph.reshape(graph.transpose(name, [i for group in groups for i in group]), lengths)

  rows = [x_free] if x_batch else [[i] for i in x_free]  # MatMul takes any number of leading axes if y is a matrix
  left = grouped(x, *([i] for i in x_batch), *rows, x_sum)
  right = grouped(y, *([i] for i in y_batch), y_sum, y_free)
  product = graph.node("MatMul", left, right, shape=(*graph.shapes[left][:-1], graph.shapes[right][-1]))
  return graph.reshape(product, _shape(eqn))


# Each function takes the graph, the equation and its inputs, and returns the output.
Rule = Callable[..., str]
ONE_TO_ONE = {
  **{name: name.title() for name in "abs add and ceil cos div erf exp floor log min mul neg not or pow sign".split()},
  **{name: name.title() for name in "sin sqrt tan tanh".split()},
  **{"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less", "logistic": "Sigmoid"},
}
ELEMENTWISE: dict[str, Rule] = {
  **dict.fromkeys(ONE_TO_ONE, lambda graph, eqn, *xs: graph.elementwise(ONE_TO_ONE[eqn.primitive.name], *xs)),
  "clamp": lambda graph, eqn, low, x, high: graph.elementwise("Min", graph.elementwise("Max", x, low), high),
  "convert_element_type": _convert,
  "erfc": lambda graph, eqn, x: graph.elementwise("Sub", 1, graph.elementwise("Erf", x)),
  "expm1": lambda graph, eqn, x: graph.elementwise("Sub", graph.elementwise("Exp", x), 1),
  "integer_pow": lambda graph, eqn, x: graph.elementwise("Pow", x, eqn.params["y"]),
  "is_finite": lambda graph, eqn, x: graph.elementwise("Less", graph.elementwise("Abs", x), np.inf),
  "log1p": lambda graph, eqn, x: graph.elementwise("Log", graph.elementwise("Add", x, 1)),
  "max": _max,
  "ne": lambda graph, eqn, x, y: graph.elementwise("Not", graph.elementwise("Equal", x, y)),
  "rsqrt": lambda graph, eqn, x: graph.elementwise("Reciprocal", graph.elementwise("Sqrt", x)),
  "select_n": _select_n,
  "square": lambda graph, eqn, x: graph.elementwise("Pow", x, 2),
  "sub": _sub,
}
RULES: dict[str, Rule] = {
  "broadcast_in_dim": _broadcast_in_dim,
  "concatenate": lambda graph, eqn, *xs: graph.node("Concat", *xs, axis=eqn.params["dimension"], shape=_shape(eqn)),
  "conv_general_dilated": _conv,
  "dot_general": _dot_general,
  "pad": _pad,
  **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduce),
  **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), _pool),
  **dict.fromkeys(("reshape", "squeeze"), lambda graph, eqn, x: graph.reshape(x, _shape(eqn))),
  "slice": _slice,
  "transpose": lambda graph, eqn, x: graph.transpose(x, eqn.params["permutation"]),
}
# Primitives that are translated as others
EXPANDED: dict[str, Callable[..., jax.Array | list[jax.Array]]] = {
  "split": lambda x, sizes, axis: [
    lax.slice_in_dim(x, end - size, end, axis=axis) for size, end in zip(sizes, np.cumsum(sizes), strict=True)
  ],
  "stack": lambda *xs, axis: lax.concatenate([lax.expand_dims(x, [axis]) for x in xs], axis),
  "tile": lambda x, reps: lax.broadcast_in_dim(
    x, [n for pair in zip(reps, x.shape, strict=True) for n in pair], range(1, 2 * x.ndim, 2)
  ).reshape([count * n for count, n in zip(reps, x.shape, strict=True)]),
  "unstack": lambda x, axis: [lax.index_in_dim(x, i, axis, keepdims=False) for i in range(x.shape[axis])],
}
