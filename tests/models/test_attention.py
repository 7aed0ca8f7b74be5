"""The fused kernel computes the same attention as matrix products; most of it can be traced without a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.models import attention

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
  inputs, cotangent = qkv(tokens, head), jax.random.normal(jax.random.key(1), (2, tokens, 3, head))
  exact = lambda *inputs: attention.average(attention.weights(*inputs[:2]), inputs[2])  # noqa: E731
  with jax.default_matmul_precision("highest"):
    expected = value_and_gradients(exact, inputs.astype(jnp.float32), cotangent)
  actual = value_and_gradients(attention.attend, inputs, cotangent)
  for a, b in zip(actual, expected, strict=True):
    assert a.dtype == jnp.bfloat16
    assert np.linalg.norm(np.asarray(a, np.float32) - b) < 0.01 * np.linalg.norm(b)


@pytest.mark.parametrize("tokens", [4, 5])
def test_an_added_token_changes_nothing(tokens, monkeypatch):
  """An odd number of tokens is padded, here for JAX's own implementation, which takes the same arguments."""
  original = jax.nn.dot_product_attention
  seen = []

  def without_cudnn(q, k, v, *, implementation, **options):
    seen.append((implementation, q.shape[1]))
    return original(q, k, v, implementation="xla", **options)

  monkeypatch.setattr(jax.nn, "dot_product_attention", without_cudnn)
  inputs, cotangent = qkv(tokens, dtype=jnp.float32), jax.random.normal(jax.random.key(1), (2, tokens, 3, 8))
  expected = value_and_gradients(attention.attend, inputs, cotangent)
  assert not seen or ON_GPU
  monkeypatch.setattr(attention, "has_fused_kernel", lambda dtype, head: True)
  actual = value_and_gradients(attention.attend, inputs, cotangent)
  assert seen == [("cudnn", 4 if tokens == 4 else 6)]
  for a, b in zip(actual, expected, strict=True):
    np.testing.assert_allclose(a, b, atol=2e-6)


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
