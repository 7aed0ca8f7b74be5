"""All methods by name, and how a config becomes one."""

from collections.abc import Mapping
from typing import Any

from jaxssl.config.parse import read
from jaxssl.config.schedules import Schedule, ScheduleConfig, TrainingLength
from jaxssl.core.errors import UserError, nearest_name
from jaxssl.methods.barlow import BarlowTwins
from jaxssl.methods.base import Method
from jaxssl.methods.byol import BYOL
from jaxssl.methods.dino import DINO
from jaxssl.methods.isd import ISD
from jaxssl.methods.mocov2 import MoCoV2
from jaxssl.methods.mocov3 import MoCoV3
from jaxssl.methods.msf import MSF
from jaxssl.methods.nnclr import NNCLR
from jaxssl.methods.resa import ReSA
from jaxssl.methods.simclr import SimCLR
from jaxssl.methods.simsiam import SimSiam
from jaxssl.methods.swav import SwAV
from jaxssl.methods.vicreg import VICReg

METHODS: dict[str, type] = {
  "barlow": BarlowTwins,
  "byol": BYOL,
  "dino": DINO,
  "isd": ISD,
  "mocov2": MoCoV2,
  "mocov3": MoCoV3,
  "msf": MSF,
  "nnclr": NNCLR,
  "resa": ReSA,
  "simclr": SimCLR,
  "simsiam": SimSiam,
  "swav": SwAV,
  "vicreg": VICReg,
}


def build(config: Mapping[str, Any], training_length: TrainingLength) -> Method:
  """Makes the method that `method.name` names from the other fields of the group. Raises UserError."""
  fields = dict(config)
  name = fields.pop("name", None)
  if not isinstance(name, str) or name not in METHODS:
    allowed = ", ".join(METHODS)
    raise UserError(f"method.name={name!r} is no method; nearest: {nearest_name(str(name), list(METHODS))}; allowed: {allowed}")

  def schedule(value: Any, where: str) -> Schedule:
    if isinstance(value, (int, float)):
      value = {"base": value}
    return read(ScheduleConfig, value, where + ".").resolve(training_length)

  return read(METHODS[name], fields, "method.", convert={Schedule: schedule})
