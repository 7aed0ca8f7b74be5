"""Convolutions that are fast on a CPU as well."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxssl.core.types import Array

PART = 2**21  # bytes of patches that are multiplied at a time, so that they are read from a cache
Pair = tuple[int, int]
Pads = tuple[Pair, Pair]  # before and after, of rows and columns


def convolve(x: Array, kernel: Array, strides: Pair, padding: Pads, **options: Any) -> Array:
  """Computes lax.conv_general_dilated of images [b, h, w, c] and a kernel [h, w, c, o], without dilation or groups.

  Compiled for a CPU in float32, two cases are products of patches instead, since XLA is many times slower there. If the result
  has fewer places than the kernel, such as 2 x 2, it is all of it. Otherwise, with one device, it is the kernel's gradient, for
  which XLA copies images and gradient into the layout [c, h, w, b].
  """
  plain = functools.partial(lax.conv_general_dilated, window_strides=strides, padding=padding, **options)
  if jax.default_backend() != "cpu" or x.dtype != jnp.float32:
    return plain(x, kernel)
  _, *places, _ = jax.eval_shape(plain, x, kernel).shape
  sides = kernel.shape[:2]
  # `plan` compiles for other platforms than this machine's, and exports are for all.
  if math.prod(places) < math.prod(sides):

    def by_patches(x: Array, kernel: Array) -> Array:
      return jnp.einsum("brcp,po->brco", _patches(x, sides, strides, padding, places), kernel.reshape(-1, kernel.shape[-1]))

    return lax.platform_dependent(x, kernel, cpu=by_patches, default=plain)
  if jax.device_count() > 1:
    return plain(x, kernel)

  def forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return plain(x, kernel), (x, kernel)

  def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = saved

    def by_patches(x: Array, gradient: Array) -> Array:
      return kernel_gradient(x, gradient, sides, strides, padding)

    def by_xla(x: Array, gradient: Array) -> Array:
      return jax.linear_transpose(lambda kernel: plain(x, kernel), kernel)(gradient)[0]

    (of_images,) = jax.linear_transpose(lambda x: plain(x, kernel), x)(gradient)
    return of_images, lax.platform_dependent(x, gradient, cpu=by_patches, default=by_xla)

  convolution = jax.custom_vjp(plain)
  convolution.defvjp(forward, backward)
  return convolution(x, kernel)


def kernel_gradient(x: Array, gradient: Array, sides: Sequence[int], strides: Pair, padding: Pads) -> Array:
  """Returns the gradient [*sides, c, o] of a kernel, from images [b, h, w, c] and that of the result, [b, rows, columns, o]."""
  images, channels, outputs = len(x), x.shape[-1], gradient.shape[-1]
  bytes_per_image = math.prod(gradient.shape[1:3]) * math.prod(sides) * channels * x.dtype.itemsize
  fit = max(PART // bytes_per_image, 1)
  size = max(n for n in range(1, min(images, fit) + 1) if images % n == 0)

  def add_part(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
    x, gradient = part
    patches = _patches(x, sides, strides, padding, gradient.shape[1:3]).reshape(-1, total.shape[0])
    return total + patches.T @ gradient.reshape(-1, outputs), None

  parts = (x.reshape(-1, size, *x.shape[1:]), gradient.reshape(-1, size, *gradient.shape[1:]))
  total, _ = lax.scan(add_part, jnp.zeros((math.prod(sides) * channels, outputs), x.dtype), parts)
  return total.reshape(*sides, channels, outputs)


def _patches(x: Array, sides: Sequence[int], strides: Pair, padding: Pads, places: Sequence[int]) -> Array:
  """Returns what the kernel is multiplied with at each place, [b, rows, columns, side * side * c]."""
  x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
  ends = [stride * (count - 1) + 1 for stride, count in zip(strides, places, strict=True)]
  corners = [(row, column) for row in range(sides[0]) for column in range(sides[1])]
  shifted = [x[:, row : row + ends[0] : strides[0], column : column + ends[1] : strides[1]] for row, column in corners]
  return jnp.concatenate(shifted, axis=-1)
