"""Exact GELU (arXiv 1606.08415), whose gradient stores nothing but the input."""

import math

import jax
import jax.numpy as jnp

from jaxssl.core.types import Array


@jax.custom_vjp
def gelu(x: Array) -> Array:
  """Returns x times the standard normal distribution function of x, computed in float32, in the dtype of x.

  Derived automatically, the gradient would store several arrays of the size of x.
  """
  y = x.astype(jnp.float32)
  return (0.5 * y * jax.lax.erfc(-y * math.sqrt(0.5))).astype(x.dtype)


def _forward(x: Array) -> tuple[Array, Array]:
  return gelu(x), x


def _backward(x: Array, gradient: Array) -> tuple[Array]:
  y = x.astype(jnp.float32)
  # erf, since compilers would store erfc of the forward pass if it were used again here.
  share = 0.5 + 0.5 * jax.lax.erf(y * math.sqrt(0.5))
  slope = share + y * jnp.exp(-0.5 * jnp.square(y)) * (1 / math.sqrt(2 * math.pi))
  return ((gradient.astype(jnp.float32) * slope).astype(x.dtype),)


gelu.defvjp(_forward, _backward)
