"""The fused kernel computes the same attention as matrix products; most of it can be traced without a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.models import attention
from jaxssl.models.vit import ViT
from tests.models.compare import near

ON_GPU = attention.has_fused_kernel(jnp.bfloat16, 64)


def qkv(tokens: int, head: int = 8, dtype: jax.typing.DTypeLike = jnp.bfloat16):
  return jax.random.normal(jax.random.key(0), (3, 2, tokens, 3, head)).astype(dtype)


def value_and_gradients(function, inputs, cotangent):
  @jax.jit
  def both(inputs, cotangent):
    out, pull = jax.vjp(lambda inputs: function(*inputs), inputs)
    return out, pull(cotangent.astype(out.dtype))[0]

  return both(inputs, cotangent)


@pytest.mark.skipif(not ON_GPU, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("head", [8, 64])
@pytest.mark.parametrize("tokens", [2, 5, 50, 197])
def test_the_fused_kernel_matches_products_in_float32(tokens, head):
  padding = attention.padding(tokens, jnp.bfloat16, head)
  inputs, cotangent = qkv(tokens, head), jax.random.normal(jax.random.key(1), (2, tokens, 3, head))
  exact = lambda *inputs: attention.average(attention.weights(*inputs[:2]), inputs[2])  # noqa: E731
  with jax.default_matmul_precision("highest"):
    expected = value_and_gradients(exact, inputs.astype(jnp.float32), cotangent)
  # What the added tokens contain does not matter, and their gradients are 0.
  inputs = jnp.pad(inputs, ((0, 0), (0, 0), (0, padding), (0, 0), (0, 0)), constant_values=9)
  cotangent = jnp.pad(cotangent, ((0, 0), (0, padding), (0, 0), (0, 0)))
  actual = value_and_gradients(lambda *inputs: attention.attend(*inputs, padding), inputs, cotangent)
  for a, b in zip(actual, expected, strict=True):
    assert a.dtype == jnp.bfloat16
    b = jnp.pad(b, [(0, after - before) for after, before in zip(a.shape, b.shape, strict=True)])
    assert np.linalg.norm(np.asarray(a, np.float32) - b) < 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize("side", [12, 16])
def test_an_added_token_changes_nothing(side, monkeypatch):
  """An odd number of tokens is padded, here for JAX's own implementation, which takes the same arguments."""
  original = jax.nn.dot_product_attention
  seen = []

  def without_cudnn(q, k, v, *, implementation, **options):
    seen.append((implementation, q.shape[1]))
    return original(q, k, v, implementation="xla", **options)

  monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
  vit = ViT(dim=16, heads=2, depth=2, patch=4, image_size=side)
  images = jax.random.normal(jax.random.key(0), (2, side, side, 3))
  variables = vit.init(jax.random.key(1), images, train=False)
  cotangent = jax.random.normal(jax.random.key(2), (2, 1 + (side // 4) ** 2, 16))

  def run():
    out, pull = jax.vjp(lambda variables: vit.apply(variables, images, method="tokens"), variables)
    return out, pull(cotangent)[0]

  expected = run()
  assert not seen or ON_GPU
  monkeypatch.setattr(attention, "has_fused_kernel", lambda dtype, head: True)
  actual = run()
  assert set(seen) == {("cudnn", 10 if side == 12 else 18)}
  jax.tree.map(lambda a, b: near(a, b, 1e-5, zero=1e-5), actual, expected)


@pytest.mark.parametrize(
  ("capability", "dtype", "head", "fused"),
  [
    ("9.0", jnp.bfloat16, 64, True),
    ("10.0", jnp.float16, 128, True),
    ("8.0", jnp.bfloat16, 8, True),
    ("7.5", jnp.float16, 64, False),
    ("9.0", jnp.float32, 64, False),
    ("9.0", jnp.bfloat16, 12, False),
    ("9.0", jnp.bfloat16, 136, False),
    ("gfx942", jnp.bfloat16, 64, False),
    (None, jnp.bfloat16, 64, False),
  ],
)
def test_the_kernel_is_chosen_by_device_precision_and_head(capability, dtype, head, fused, monkeypatch):
  device = type("Device", (), {} if capability is None else {"compute_capability": capability})()
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert attention.has_fused_kernel(dtype, head) == fused
