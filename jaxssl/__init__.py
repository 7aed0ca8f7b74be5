"""jaxssl: image representations without labels, by self-distillation, in JAX and Flax."""

__version__ = "0.1.0"
