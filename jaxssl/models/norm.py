"""Normalization layers: batch normalization with the semantics of torch, and the LayerNorm of ViT and ConvNeXt."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.core import UserError
from jaxssl.core.types import Array

EPSILON = 1e-5
LAYER_EPSILON = 1e-6
NEWEST = 0.1  # weight of the latest batch in the running statistics


class LayerNorm(nn.Module):
  """Normalizes over the last axis, with a scale and a bias; statistics are float32."""

  dtype: jax.typing.DTypeLike = jnp.float32  # of the result

  @nn.compact
  def __call__(self, x: Array) -> Array:
    """Maps x [..., c] to the same shape."""
    channels = x.shape[-1]
    scale = self.param("scale", nn.initializers.ones, (channels,))
    return _layer_norm(x, scale, self.param("bias", nn.initializers.zeros, (channels,)), jnp.dtype(self.dtype))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _layer_norm(x: Array, scale: Array, bias: Array, dtype: jnp.dtype) -> Array:
  """Returns LayerNorm(x), whose gradient reads x and the output's gradient twice; that of JAX passes over them more often."""
  return _layer_norm_forward(x, scale, bias, dtype)[0]


def _layer_norm_forward(x: Array, scale: Array, bias: Array, dtype: jnp.dtype) -> tuple[Array, tuple[Array, ...]]:
  y = x.astype(jnp.float32)
  mean = y.mean(-1, keepdims=True)
  factor = jax.lax.rsqrt(jnp.square(y - mean).mean(-1, keepdims=True) + LAYER_EPSILON)
  out = (y - mean) * factor * _wide(scale, y) + _wide(bias, y)
  return out.astype(dtype), (x, scale, mean, factor)


def _layer_norm_backward(dtype: jnp.dtype, saved: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
  x, scale, mean, factor = saved
  normal, gradient = (x.astype(jnp.float32) - mean) * factor, gradient.astype(jnp.float32)
  inner, rows = gradient * _wide(scale, x), tuple(range(x.ndim - 1))
  along = (inner * normal).mean(-1, keepdims=True)
  dx = factor * (inner - inner.mean(-1, keepdims=True) - normal * along)
  return dx.astype(x.dtype), (gradient * normal).sum(rows), gradient.sum(rows)


_layer_norm.defvjp(_layer_norm_forward, _layer_norm_backward)


def _wide(values: Array, like: Array) -> Array:
  """Returns values of the last axis with as many axes as `like`."""
  return values.reshape((1,) * (like.ndim - 1) + values.shape)


class BatchNorm(nn.Module):
  """Normalizes over all axes but the last, with the semantics of torch; statistics are float32.

  The running variance is the unbiased one, as in torch and unlike flax's own BatchNorm. Under jit, a batch that is split over
  devices is one batch. With `groups` > 1, each group of consecutive rows has its own statistics, and the running statistics
  take their mean. Raises UserError if `groups` does not divide the rows, or if a channel has one value only.
  """

  affine: bool = True  # whether to apply a scale and a bias
  groups: int = 1
  zero_scale: bool = False  # whether the scale starts at 0, not at 1
  dtype: jax.typing.DTypeLike = jnp.float32  # of the result

  @nn.compact
  def __call__(self, x: Array, *, train: bool) -> Array:
    """Normalizes x [b, ..., c] by its own statistics in training, otherwise by the running statistics."""
    rows, channels = x.shape[0], x.shape[-1]
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels)
    running_var = self.variable("batch_stats", "var", jnp.ones, channels)
    groups = self.groups if train else 1
    if rows % groups:
      raise UserError(f"model.bn_groups={groups}: does not divide a batch of {rows} rows; expected a divisor")
    y = x.astype(jnp.float32)
    if groups > 1:
      y = y.reshape(groups, rows // groups, *x.shape[1:])

    if train:
      count = y.size // channels // groups
      if count < 2:
        raise UserError(f"train.batch_size: BatchNorm needs two values per channel, {x.shape} has {count}; use a larger batch")
      origin = _origin(y, y.ndim - x.ndim)
      y = y - origin
      mean, var = _moments(y, tuple(range(y.ndim - x.ndim, y.ndim - 1)))
      unbiased = var * (count / (count - 1))
      running_mean.value = (1 - NEWEST) * running_mean.value + NEWEST * (origin + mean).reshape(groups, channels).mean(0)
      running_var.value = (1 - NEWEST) * running_var.value + NEWEST * unbiased.reshape(groups, channels).mean(0)
    else:
      mean, var = _wide(running_mean.value, y), _wide(running_var.value, y)
    factor = jax.lax.rsqrt(var + EPSILON)
    if self.affine:
      scale = self.param("scale", nn.initializers.constant(float(not self.zero_scale)), (channels,))
      factor = factor * _wide(scale, y)
    offset = -mean * factor
    if self.affine:
      offset = offset + _wide(self.param("bias", nn.initializers.zeros, (channels,)), y)
    return (y * factor + offset).reshape(x.shape).astype(self.dtype)


def _origin(y: Array, rows_axis: int) -> Array:
  """Returns the value of each channel (and group) at the center of the first row.

  The center, since padding makes borders differ. Unlike the running mean, it is near the mean from the first step on.
  """
  for axis in range(rows_axis, y.ndim - 1):
    place = 0 if axis == rows_axis else y.shape[axis] // 2
    y = jax.lax.slice_in_dim(y, place, place + 1, axis=axis)
  return jax.lax.stop_gradient(y)


def _moments(y: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
  """Returns mean and biased variance of y over the axes, from sums of y and y^2 in one pass.

  The difference of sums loses (mean / deviation)^2 units in the last place: few if y is measured from a value of its own.
  """
  mean = y.mean(axes, keepdims=True)
  return mean, jnp.maximum(jnp.square(y).mean(axes, keepdims=True) - jnp.square(mean), 0.0)
