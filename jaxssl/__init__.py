"""jaxssl: image representations without labels, by self-distillation, in JAX and Flax."""

import importlib
from typing import TYPE_CHECKING, Any

from jaxssl.core.version import VERSION

if TYPE_CHECKING:
  from jaxssl.api import embed, evaluate, load_config, train
  from jaxssl.export.flax_format import load_pretrained

__version__ = VERSION
__all__ = ["embed", "evaluate", "load_config", "load_pretrained", "train"]


def __getattr__(name: str) -> Any:
  """Imports a function when it is first asked for: JAX is not imported with the package."""
  if name not in __all__:
    raise AttributeError(f"module 'jaxssl' has no attribute {name!r}")
  return getattr(importlib.import_module("jaxssl.export.flax_format" if name == "load_pretrained" else "jaxssl.api"), name)
