"""jaxssl: self-supervised learning of image representations, in JAX and Flax."""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jaxssl.core import VERSION

if TYPE_CHECKING:
  from jaxssl.api import *  # noqa: F403

__version__ = VERSION
__all__ = ["compare", "embed", "embed_to_file", "evaluate", "export", "inspect", "load_config", "load_pretrained"]  # noqa: F405
__all__ += ["neighbors", "pack", "plan", "predict", "predict_to_file", "report", "train"]  # noqa: F405


class _Package(ModuleType):
  """Resolves public functions on first use, so that `import jaxssl` does not import JAX.

  `jaxssl.train` is a function, although `from jaxssl.train import loop` binds the subpackage: such bindings are ignored.
  """

  def __setattr__(self, name: str, value: Any) -> None:
    if not (name in __all__ and isinstance(value, ModuleType)):
      super().__setattr__(name, value)

  def __getattr__(self, name: str) -> Any:
    if name not in __all__:
      raise AttributeError(f"module 'jaxssl' has no attribute {name!r}")
    return getattr(importlib.import_module("jaxssl.api"), name)


sys.modules[__name__].__class__ = _Package
