import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

from jaxssl.models import attention
from jaxssl.parallel.mesh import AXIS, REPLICATED, ROWS
from jaxssl.plan import jaxpr_memory
from jaxssl.train import cost

B, D = 32, 64


def jaxpr(function, *shapes):
  return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).jaxpr


def product(x, w):
  return jnp.tanh(x @ w) @ w


def convolution(x, kernel, stride):
  return jax.lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_flops_of_products():
  once = 2 * B * D * D
  assert cost.flops(jaxpr(product, (B, D), (D, D)), 8) == 2 * once
  gradient = jax.value_and_grad(lambda x, w: product(x, w).sum(), argnums=(0, 1))
  assert cost.flops(jaxpr(gradient, (B, D), (D, D)), 8) == 6 * once
  repeated = jaxpr(lambda x, w: jax.lax.fori_loop(0, 5, lambda _, x: x @ w, x), (B, D), (D, D))
  assert cost.flops(repeated, 8) == 5 * once


def test_equations_include_those_inside_others():
  assert cost.equations(jaxpr(product, (B, D), (D, D))) == 3
  inner = jaxpr(lambda x, w: jax.jit(product)(x, w), (B, D), (D, D))
  assert len(inner.eqns) == 1 and cost.equations(inner) == 4


@pytest.mark.parametrize("stride", [1, 2])
def test_flops_of_convolutions(stride):
  shapes = (2, 8, 8, 3), (3, 3, 3, 16)
  once = 2 * (2 * (8 // stride) ** 2 * 16) * 3 * 3 * 3
  assert cost.flops(jaxpr(lambda x, k: convolution(x, k, stride), *shapes), 1) == once
  gradient = jax.grad(lambda x, k: jnp.square(convolution(x, k, stride)).sum(), argnums=(0, 1))
  assert cost.flops(jaxpr(gradient, *shapes), 1) == 3 * once


def test_flops_of_fused_attention_are_those_of_its_products(monkeypatch):
  def gradient():
    padding = attention.padding(5, jnp.bfloat16, 8)

    def function(x):
      out, pull = jax.vjp(lambda x: attention.attend(x, x, x, padding), x)
      return pull(out)

    return jax.make_jaxpr(function)(jnp.zeros((2, 5 + padding, 3, 8), jnp.bfloat16)).jaxpr

  products = cost.flops(gradient(), 1)
  monkeypatch.setattr(attention, "has_fused_kernel", lambda dtype, head: True)
  monkeypatch.setattr("jax._src.cudnn.fused_attention_stablehlo.check_cudnn_version", lambda: 91900)
  assert products == 6 * 2 * 2 * 3 * 5 * 5 * 8
  assert cost.flops(gradient(), 1) == 6 * 2 * 2 * 3 * 6 * 6 * 8  # with the token that is added


def test_every_chip_runs_the_body_of_a_shard_map():
  mesh = jax.sharding.AbstractMesh((4,), (AXIS,), axis_types=(AxisType.Auto,))
  split = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(ROWS, REPLICATED), out_specs=ROWS)
  assert cost.flops(jaxpr(split, (B, D), (D, D)), 4) == 2 * B * D * D


def test_live_counts_simultaneous_values():
  def function(x, w):
    first = x @ w
    second = jnp.sin(first) + 1  # recomputed at its use
    third = second @ w
    return (first @ w) + third  # `first`, `third` and a product are live

  def live(chips, aliased=0):
    return jaxpr_memory.live(jaxpr(function, (B, D), (D, D)), jaxpr(function, (2 * B, D), (D, D)), chips, aliased)

  each = B * D * 4
  assert live(1) == 3 * each and live(8) == 3 * each // 8
  assert live(1, aliased=1) == 3 * each  # the peak does not include the aliased result


def test_values_without_a_batch_dimension_are_replicated():
  def gradient(x, w):
    return x.T @ (x @ w)

  shapes = jaxpr(gradient, (B, D), (D, D)), jaxpr(gradient, (2 * B, D), (D, D))
  assert jaxpr_memory.live(*shapes, 8, 0) >= D * D * 4
  assert jaxpr_memory.live(*shapes, 8, 1) < D * D * 4
