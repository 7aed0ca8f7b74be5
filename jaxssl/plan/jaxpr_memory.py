"""What a traced step costs, counted before anything is compiled: operations, and bytes that live at once."""

import collections
import math
from typing import Any

from jax.extend.core import Literal

# A compiler makes their results anew where they are used, from the one large operand, rather than storing them.
POINTWISE = {
  *("broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "iota", "reshape", "squeeze", "stop_gradient"),
  *(
    "abs",
    "add",
    "add_any",
    "and",
    "ceil",
    "clamp",
    "cos",
    "div",
    "eq",
    "erf",
    "exp",
    "floor",
    "ge",
    "gt",
    "integer_pow",
    "le",
  ),
  *("log", "log1p", "logistic", "lt", "max", "min", "mul", "ne", "neg", "not", "or", "pow", "rem", "round", "rsqrt"),
  *("select_n", "sign", "sin", "sqrt", "square", "sub", "tanh", "exp2", "erfc", "erf_inv", "is_finite", "xor"),
}
SMALL = 1 / 8  # so much smaller are the other operands of what counts as made from one


def flops(jaxpr: Any, chips: int) -> float:
  """Counts the operations of all chips together, 2 for each product that is added up in a matrix product or a convolution.

  jaxpr: of the step for the whole batch; what a shard_map holds is run by each of the `chips`.
  """
  total = 0.0
  for equation in jaxpr.eqns:
    out: Any = equation.outvars[0].aval if equation.outvars else None
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
      (contracted, _), _ = params["dimension_numbers"]
      total += 2.0 * math.prod(out.shape) * math.prod(equation.invars[0].aval.shape[d] for d in contracted)
    elif name == "conv_general_dilated":
      kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
      # Of a strided convolution's way back most products are with zeros between the rows: nobody computes them.
      zeros = math.prod(params["lhs_dilation"])
      total += 2.0 * math.prod(out.shape) * math.prod(kernel) / kernel[numbers.rhs_spec[0]] / zeros
    elif name == "cond":
      total += max(flops(branch, chips) for branch in inner(equation))
    else:
      times = params["length"] if name == "scan" else chips if name == "shard_map" else 1
      total += times * sum(flops(one, chips) for one in inner(equation))
  return total


def live(jaxpr: Any, other: Any, chips: int, kept: int) -> int:
  """Estimates the most bytes that live at once on one chip beside the step's arguments, operations being run as traced.

  `other`: the same step traced for another batch size: what has another shape there has rows of the batch, and is split over
  the chips.
  `kept`: so many first results take their argument's place. Elementwise chains are not fused, so this is more than what a
  compiler needs.
  """
  return _peak(jaxpr, other, chips, set(jaxpr.outvars[:kept]))


def inner(equation: Any) -> list[Any]:
  """The jaxprs that an equation holds."""
  found = [v for value in equation.params.values() for v in (value if isinstance(value, (tuple, list)) else [value])]
  return [getattr(value, "jaxpr", value) for value in found if hasattr(value, "eqns") or hasattr(value, "jaxpr")]


def _peak(jaxpr: Any, doubled: Any, chips: int, ignored: Any = frozenset()) -> int:
  roots: dict[Any, Any] = {}  # value -> the one that it is made from where it is used
  sizes = {var: _bytes(var.aval, other.aval, chips) for var, other in zip(jaxpr.invars, doubled.invars, strict=True)}
  stored: dict[Any, int] = {}  # those that are made here and kept until they are used
  last: dict[Any, int] = {}
  equations = list(zip(jaxpr.eqns, doubled.eqns, strict=True))
  for number, (equation, twice) in enumerate(equations):
    operands = {roots.get(var, var): None for var in equation.invars if not isinstance(var, Literal)}
    last |= dict.fromkeys(operands, number)
    largest = max(operands, key=lambda var: sizes.get(var, 0), default=None)
    rest = sum(sizes.get(var, 0) for var in operands if var is not largest)
    pointwise = equation.primitive.name in POINTWISE and rest <= sizes.get(largest, 0) * SMALL
    for var, other in zip(equation.outvars, twice.outvars, strict=True):
      sizes[var] = _bytes(var.aval, other.aval, chips)
      if pointwise and largest is not None:
        roots[var] = largest
      elif var not in ignored:
        stored[var] = sizes[var]
  last |= {roots.get(var, var): len(equations) for var in jaxpr.outvars if not isinstance(var, Literal)}
  ends: dict[int, int] = collections.Counter()
  for var, size in stored.items():
    if var in last:
      ends[last[var]] += size
  now = most = 0
  for number, (equation, twice) in enumerate(equations):
    one_chip = 1 if equation.primitive.name == "shard_map" else chips  # its shapes are those of one chip already
    inside = max((_peak(a, b, one_chip) for a, b in zip(inner(equation), inner(twice), strict=True)), default=0)
    made = sum(stored.get(var, 0) for var in equation.outvars)
    most = max(most, now + max(made, inside))
    now += made - ends[number] - sum(stored.get(var, 0) for var in equation.outvars if var not in last)
  return most


def _bytes(aval: Any, doubled: Any, chips: int) -> int:
  """Bytes of a value on one chip."""
  if not hasattr(aval, "shape"):
    return 0
  each = getattr(aval.dtype, "itemsize", 8)
  return math.prod(aval.shape) * each // (chips if aval.shape != doubled.shape else 1)
