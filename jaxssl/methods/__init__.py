"""All methods by name, and how a config becomes one."""

from collections.abc import Mapping
from typing import Any

from jaxssl.fields import nearest, read
from jaxssl.methods.barlow import Barlow
from jaxssl.methods.base import Method
from jaxssl.methods.byol import Byol
from jaxssl.methods.dino import Dino
from jaxssl.methods.isd import Isd
from jaxssl.methods.moco import Moco
from jaxssl.methods.moco3 import Moco3
from jaxssl.methods.msf import Msf
from jaxssl.methods.nnclr import Nnclr
from jaxssl.methods.resa import Resa
from jaxssl.methods.simclr import Simclr
from jaxssl.methods.simsiam import Simsiam
from jaxssl.methods.swav import Swav
from jaxssl.methods.vicreg import Vicreg
from jaxssl.schedules import Horizon, Schedule, ScheduleConfig
from jaxssl.types import UserError

METHODS: dict[str, type] = {
  "barlow": Barlow,
  "byol": Byol,
  "dino": Dino,
  "isd": Isd,
  "moco": Moco,
  "moco3": Moco3,
  "msf": Msf,
  "nnclr": Nnclr,
  "resa": Resa,
  "simclr": Simclr,
  "simsiam": Simsiam,
  "swav": Swav,
  "vicreg": Vicreg,
}


def build(config: Mapping[str, Any], horizon: Horizon) -> Method:
  """Makes the method that `method.name` names from the other fields of the group. Raises UserError."""
  fields = dict(config)
  name = fields.pop("name", None)
  if not isinstance(name, str) or name not in METHODS:
    allowed = ", ".join(METHODS)
    raise UserError(f"method.name={name!r} is no method; nearest: {nearest(str(name), list(METHODS))}; allowed: {allowed}")

  def schedule(value: Any, where: str) -> Schedule:
    if isinstance(value, (int, float)):
      value = {"base": value}
    return read(ScheduleConfig, value, where + ".").resolve(horizon)

  return read(METHODS[name], fields, "method.", convert={Schedule: schedule})
