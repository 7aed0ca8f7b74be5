"""jaxssl: image representations without labels, by self-distillation, in JAX and Flax."""

__version__ = "0.1.0"


def load_pretrained(folder):
  """Loads what `jaxssl export --format flax` wrote: a flax module, its variables, and `embed` (docs/weights.md)."""
  from jaxssl.export import own  # jax and flax are not imported with the package

  return own.load_pretrained(folder)
