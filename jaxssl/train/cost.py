"""Counts what a traced step consists of, on its jaxpr, without compiling."""

import math
from typing import Any, NamedTuple

import jax
from jax.extend.core import jaxprs_in_params


class Cost(NamedTuple):
  """What a step consists of: equations, which are compiled, and the operations of `flops`, which are executed."""

  equations: int
  flops: float


def of_step(traced: jax.stages.Traced, chips: int) -> Cost:
  """Counts the cost of a traced step on so many chips."""
  return Cost(equations(traced.jaxpr.jaxpr), flops(traced.jaxpr.jaxpr, chips))


def flops(jaxpr: Any, chips: int) -> float:
  """Counts the operations of matrix products and convolutions on all chips, 2 per multiply-add.

  `jaxpr` is that of the whole batch; the body of a shard_map runs on each of the `chips`.
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
      # The gradient of a strided convolution dilates its input with zeros, whose products are not computed.
      zeros = math.prod(params["lhs_dilation"])
      total += 2.0 * math.prod(out.shape) * math.prod(kernel) / kernel[numbers.rhs_spec[0]] / zeros
    elif name.startswith("dot_product_attention"):  # cuDNN's: two products of tokens, and four in the gradient
      total += (8.0 if "_bwd" in name else 4.0) * math.prod(out.shape) * equation.invars[1].aval.shape[1]
    elif name == "cond":
      total += max(flops(branch, chips) for branch in jaxprs_in_params(params))
    else:
      times = params["length"] if name == "scan" else chips if name == "shard_map" else 1
      total += times * sum(flops(body, chips) for body in jaxprs_in_params(params))
  return total


def equations(jaxpr: Any) -> int:
  """Counts the equations of a jaxpr and those inside them. The time to compile it is about proportional to their number."""
  return sum(1 + sum(equations(body) for body in jaxprs_in_params(equation.params)) for equation in jaxpr.eqns)
