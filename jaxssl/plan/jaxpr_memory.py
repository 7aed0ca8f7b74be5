"""Estimates the peak memory of a traced step on its jaxpr, without compiling."""

import collections
import math
from typing import Any

from jax.extend.core import Literal, jaxprs_in_params

# Compilers do not store the results of these but recompute them from their one large operand at each use.
POINTWISE = frozenset(
  (
    "abs add add_any and broadcast_in_dim ceil clamp convert_element_type copy cos div eq erf erf_inv erfc exp exp2 "
    "expand_dims floor ge gt integer_pow iota is_finite le log log1p logistic lt max min mul ne neg not or pow rem reshape "
    "round rsqrt select_n sign sin sqrt square squeeze stop_gradient sub tanh xor"
  ).split()
)
SMALL = 1 / 8  # a pointwise result has one large operand if the others have at most this fraction of its bytes


def live(jaxpr: Any, other: Any, chips: int, aliased: int = 0) -> int:
  """Estimates the peak bytes per chip without the step's arguments, if operations run in the order of the trace.

  `other` is the same step traced at another batch size: values whose shapes differ have a batch dimension and are split over
  the chips. The first `aliased` results reuse the memory of arguments. Since elementwise chains are not fused, this is more
  than a compiler needs.
  """
  sizes = {var: _bytes(var.aval, var2.aval, chips) for var, var2 in zip(jaxpr.invars, other.invars, strict=True)}
  reused = set(jaxpr.outvars[:aliased])
  roots: dict[Any, Any] = {}  # value -> the stored value from which it is recomputed
  stored: dict[Any, int] = {}  # value -> bytes, from its equation to its last use
  last: dict[Any, int] = {}  # value -> number of the equation that uses it last, or makes it
  equations = list(zip(jaxpr.eqns, other.eqns, strict=True))
  for number, (equation, equation2) in enumerate(equations):
    operands = {roots.get(var, var): None for var in equation.invars if not isinstance(var, Literal)}
    last |= dict.fromkeys(operands, number)
    largest = max(operands, key=lambda var: sizes.get(var, 0), default=None)
    rest = sum(sizes.get(var, 0) for var in operands if var is not largest)
    pointwise = equation.primitive.name in POINTWISE and rest <= sizes.get(largest, 0) * SMALL
    for var, var2 in zip(equation.outvars, equation2.outvars, strict=True):
      sizes[var] = _bytes(var.aval, var2.aval, chips)
      if pointwise and largest is not None:
        roots[var] = largest
      elif var not in reused:
        stored[var], last[var] = sizes[var], number
  last |= {roots.get(var, var): len(equations) for var in jaxpr.outvars if not isinstance(var, Literal)}
  freed: dict[int, int] = collections.Counter()  # number of an equation -> bytes used there for the last time
  for var, size in stored.items():
    freed[last[var]] += size
  current = peak = 0
  for number, (equation, equation2) in enumerate(equations):
    inner_chips = 1 if equation.primitive.name == "shard_map" else chips  # its body has the shapes of one chip
    bodies = zip(jaxprs_in_params(equation.params), jaxprs_in_params(equation2.params), strict=True)
    inside = max((live(body, body2, inner_chips) for body, body2 in bodies), default=0)
    outputs = sum(stored.get(var, 0) for var in equation.outvars)
    peak = max(peak, current + max(outputs, inside))
    current += outputs - freed[number]
  return peak


def _bytes(aval: Any, other: Any, chips: int) -> int:
  if not hasattr(aval, "shape"):
    return 0
  itemsize = getattr(aval.dtype, "itemsize", 8)
  return math.prod(aval.shape) * itemsize // (chips if aval.shape != other.shape else 1)
