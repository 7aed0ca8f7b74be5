"""jaxssl: image representations without labels, by self-distillation, in JAX and Flax."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["embed", "evaluate", "load_config", "train"]  # of jaxssl.api: imported when first asked for, since they import jax


def __getattr__(name: str) -> Any:
  if name not in __all__:
    raise AttributeError(f"module 'jaxssl' has no attribute {name!r}")
  from jaxssl import api

  return getattr(api, name)
