"""Translates each JAX primitive that encoders use to ONNX."""

import dataclasses
import math
from collections.abc import Callable, Sequence

import jax
import numpy as np
from jax import lax
from jax.extend.core import JaxprEqn

from jaxssl.export.onnx_arrays import Builder, Value, dims, held, untranslated

ELEMENTWISE = {
  **{name: name.title() for name in "abs add and ceil cos div erf exp floor log max min mul neg not or pow".split()},
  **{name: name.title() for name in "sign sin sqrt sub tan tanh".split()},
  **{"eq": "Equal", "ge": "GreaterOrEqual", "gt": "Greater", "le": "LessOrEqual", "lt": "Less", "logistic": "Sigmoid"},
}

# Primitives that other primitives express
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


def _elementwise(t: Builder, eqn: JaxprEqn, *xs: Value) -> Value:
  return t.elementwise(ELEMENTWISE[eqn.primitive.name], *xs)


def _sub(t: Builder, eqn: JaxprEqn, x: Value, y: Value) -> Value:
  if not t.is_constant(y):
    return t.elementwise("Sub", x, y)
  negative = t.constant(-t.constants[y.name], t.labels[y.name])  # runtimes fuse sums, not differences, with a convolution
  return t.elementwise("Add", x, dataclasses.replace(y, name=negative))


def _max(t: Builder, eqn: JaxprEqn, x: Value, y: Value) -> Value:
  x, y = (y, x) if t.is_constant(x) else (x, y)
  bound = t.constants.get(y.name, np.zeros(2))
  if bound.size == 1 and bound.item() == -np.inf:
    return x
  return t.elementwise("Relu", x) if bound.size == 1 and bound.item() == 0 else t.elementwise("Max", x, y)


def _select_n(t: Builder, eqn: JaxprEqn, which: Value, *cases: Value) -> Value:
  if len(cases) != 2 or eqn.invars[0].aval.dtype != np.bool_:  # type: ignore[attr-defined]
    raise untranslated(eqn, "an integer predicate")
  return t.elementwise("Where", which, cases[1], cases[0])


def _convert(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  from onnx import helper

  before, after = eqn.invars[0].aval.dtype, np.dtype(eqn.params["new_dtype"])  # type: ignore[attr-defined]
  return x if before == after else t.elementwise("Cast", x, to=helper.np_dtype_to_tensor_dtype(after))


def _broadcast_in_dim(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  axes, shape = dict(zip(eqn.params["broadcast_dimensions"], x.axes, strict=True)), t.shape(eqn)
  return Value(x.name, x.rank, tuple(axes.get(i) for i in range(len(shape))), shape)


def _reshape(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  shape = t.shape(eqn)
  if [n for n in x.shape if n != 1] != [n for n in shape if n != 1]:
    return held(t.reshaped(t.tensor(x), shape), shape)
  axes = iter([axis for axis, n in zip(x.axes, x.shape, strict=True) if n != 1])
  return Value(x.name, x.rank, tuple(None if n == 1 else next(axes) for n in shape), shape)


def _concatenate(t: Builder, eqn: JaxprEqn, *xs: Value) -> Value:
  axis, xs = eqn.params["dimension"], tuple(map(t.full, xs))
  slots, rank = t.layout(xs, [axis])
  return held(t.node("Concat", *(t.arranged(x, slots, rank) for x in xs), axis=slots[axis]), t.shape(eqn), slots, rank)


def _pad(t: Builder, eqn: JaxprEqn, x: Value, value: Value) -> Value:
  low, high, inner = zip(*eqn.params["padding_config"], strict=True)
  if min(*low, *high) < 0 or max(inner) > 0 or not t.is_constant(value):
    raise untranslated(eqn, "negative or inner padding, or a value that is not constant")
  slots, rank = t.layout([t.full(x)], [i for i in range(len(low)) if low[i] or high[i]])
  at = {slot: i for i, slot in enumerate(slots)}
  pads = [side[at[axis]] if axis in at else 0 for side in (low, high) for axis in range(rank)]
  name = t.node("Pad", t.arranged(t.full(x), slots, rank), t.constant(pads), value.name)
  return held(name, t.shape(eqn), slots, rank)


def _slice(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  shape, starts, stops = t.shape(eqn), eqn.params["start_indices"], dims(eqn.params["limit_indices"])
  if any(n < 0 and (start, stop) != (0, n) for n, start, stop in zip(x.shape, starts, stops, strict=True)):
    raise untranslated(eqn, "a part of the batch")
  cut = [i for i, axis in enumerate(x.axes) if axis is not None and shape[i] != x.shape[i]]
  tables = ([values[i] for i in cut] for values in (starts, stops, x.axes, eqn.params["strides"] or [1] * len(shape)))
  return held(t.node("Slice", x.name, *map(t.constant, tables)) if cut else x.name, shape, x.axes, x.rank)


def _reduce(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  axes, full = eqn.params["axes"], t.full(x)
  if any(x.shape[i] < 0 for i in axes):
    raise untranslated(eqn, "the batch as an axis")
  positions = sorted(axis for i in axes if (axis := full.axes[i]) is not None)
  if not positions:
    return full.drop(axes)
  if eqn.primitive.name == "reduce_sum":
    name = t.node("ReduceSum", full.name, t.constant(positions), keepdims=1)
    t.counts[name] = math.prod(x.shape[i] for i in axes)
  else:
    name = t.node(f"Reduce{eqn.primitive.name[7:].title()}", full.name, axes=positions, keepdims=1)
  return dataclasses.replace(full, name=name).drop(axes)


def _pool(t: Builder, eqn: JaxprEqn, x: Value) -> Value:
  window, strides, padding, *dilations = (
    eqn.params[name] for name in ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
  )
  rank = len(window)
  slots = [0, *range(2, rank), 1]
  if {*np.ravel(dilations), *(window[i] * strides[i] + sum(padding[i]) for i in (0, rank - 1))} != {1}:
    raise untranslated(eqn, "dilation, or windows over the batch or the channels")
  is_max = eqn.primitive.name == "reduce_window_max"
  op, options = ("MaxPool", {}) if is_max else ("AveragePool", {"count_include_pad": 1})
  options |= {"kernel_shape": window[1:-1], "strides": strides[1:-1], "pads": _pads(padding[1:-1])}
  pooled = held(t.node(op, t.arranged(t.full(x), slots, rank), **options), t.shape(eqn), slots)
  return pooled if is_max else t.elementwise("Mul", pooled, math.prod(window))


def _conv(t: Builder, eqn: JaxprEqn, x: Value, kernel: Value) -> Value:
  p, rank = eqn.params, len(x.shape)
  if {*p["lhs_dilation"], p["batch_group_count"]} != {1} or np.min(p["padding"], initial=0) < 0:
    raise untranslated(eqn, "lhs_dilation, batch groups or negative padding")
  data, weights, out = ([spec.index(i) for i in range(rank)] for spec in p["dimension_numbers"])
  inputs = t.arranged(t.full(x), data, rank), t.arranged(t.full(kernel), weights, rank)
  options = {"strides": p["window_strides"], "pads": _pads(p["padding"]), "dilations": p["rhs_dilation"]}
  return held(t.node("Conv", *inputs, group=p["feature_group_count"], **options), t.shape(eqn), out)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
  return [pad[end] for end in (0, 1) for pad in padding]


def _dot_general(t: Builder, eqn: JaxprEqn, x: Value, y: Value) -> Value:
  (x_sum, y_sum), (x_batch, y_batch) = eqn.params["dimension_numbers"]
  x_free = [i for i in range(len(x.shape)) if i not in (*x_sum, *x_batch)]
  y_free = [i for i in range(len(y.shape)) if i not in (*y_sum, *y_batch)]
  outer, shape = len(x_batch), t.shape(eqn)
  rows = [x_free] if outer else [[i] for i in x_free]  # MatMul takes any number of leading axes if y is a matrix
  left = _grouped(t, x, [*([i] for i in x_batch), *rows, x_sum])
  right = _grouped(t, y, [*([i] for i in y_batch), y_sum, y_free])
  name, lengths = t.node("MatMul", left, right), [1] * outer + [len(group) for group in (*rows, y_free)]
  if max(lengths) > 1:
    return held(t.reshaped(name, shape), shape)
  return held(name, shape, [i for i, length in enumerate(lengths) if length], len(lengths))


def _grouped(t: Builder, x: Value, groups: Sequence[Sequence[int]]) -> str:
  """Returns a tensor with one axis for each group of axes of x; an empty group has length 1."""
  slots: dict[int, int] = {}
  rank = 0
  for group in groups:
    slots |= {axis: rank + i for i, axis in enumerate(group)}
    rank += max(len(group), 1)
  name = t.arranged(t.full(x), [slots[i] for i in range(len(x.shape))], rank)
  if rank == len(groups):
    return name
  lengths = [math.prod(x.shape[i] for i in group) for group in groups]
  if (array := t.constants.get(name)) is not None:
    return t.constant(array.reshape(lengths), t.labels[name])
  return t.reshaped(name, lengths)


# primitive -> function of the builder, the equation and its inputs
RULES: dict[str, Callable[..., Value]] = {
  **dict.fromkeys(ELEMENTWISE, _elementwise),
  "broadcast_in_dim": _broadcast_in_dim,
  "clamp": lambda t, eqn, low, x, high: t.elementwise("Min", t.elementwise("Max", x, low), high),
  "concatenate": _concatenate,
  "conv_general_dilated": _conv,
  "convert_element_type": _convert,
  "dot_general": _dot_general,
  "erfc": lambda t, eqn, x: t.elementwise("Sub", 1, t.elementwise("Erf", x)),
  "expm1": lambda t, eqn, x: t.elementwise("Sub", t.elementwise("Exp", x), 1),
  "integer_pow": lambda t, eqn, x: t.elementwise("Pow", x, eqn.params["y"]),
  "is_finite": lambda t, eqn, x: t.elementwise("Less", t.elementwise("Abs", x), np.inf),
  "log1p": lambda t, eqn, x: t.elementwise("Log", t.elementwise("Add", x, 1)),
  "max": _max,
  "ne": lambda t, eqn, x, y: t.elementwise("Not", t.elementwise("Equal", x, y)),
  "pad": _pad,
  **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduce),
  **dict.fromkeys(("reduce_window_max", "reduce_window_sum"), _pool),
  "reshape": _reshape,
  "rsqrt": lambda t, eqn, x: t.elementwise("Reciprocal", t.elementwise("Sqrt", x)),
  "select_n": _select_n,
  "slice": _slice,
  "square": lambda t, eqn, x: t.elementwise("Pow", x, 2),
  "squeeze": lambda t, eqn, x: x.drop(eqn.params["dimensions"]),
  "sub": _sub,
  "transpose": lambda t, eqn, x: x.take(eqn.params["permutation"]),
}
