"""All methods by name, and how a config's `method` group becomes one."""

from collections.abc import Mapping
from typing import Any

from jaxssl.config.parse import read
from jaxssl.core import UserError
from jaxssl.methods import barlow, byol, dino, isd, mocov2, mocov3, msf, nnclr, resa, simclr, simsiam, swav, vicreg
from jaxssl.methods.base import METHODS, SSLMethod, register

__all__ = ["METHODS", "SSLMethod", "read_method", "register"]
BUILT_IN = (barlow, byol, dino, isd, mocov2, mocov3, msf, nnclr, resa, simclr, simsiam, swav, vicreg)  # importing registers


def read_method(config: Mapping[str, Any]) -> SSLMethod:
  """Reads the method that `method.name` names from the other fields of the group. Raises UserError."""
  fields = dict(config)
  if "name" not in fields:
    raise UserError(f"method.name is missing; expected one of: {', '.join(METHODS)}")
  return read(METHODS.find(fields.pop("name")), fields, "method.")
