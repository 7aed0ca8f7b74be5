"""How torch's layers and DINO's networks draw their first weights."""

import jax
import jax.numpy as jnp
from flax.typing import Initializer

# DINO cuts its normal at +-2, which is 100 standard deviations: no cut at all.
dino_normal: Initializer = jax.nn.initializers.normal(0.02)


def torch_uniform(fan_in: int) -> Initializer:
  """Draws weights and biases as torch's Linear and Conv2d do: uniform in +-1/sqrt(fan_in)."""
  bound = fan_in**-0.5
  return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)
