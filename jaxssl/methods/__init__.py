"""All methods by name, and how a config becomes one."""

from collections.abc import Mapping
from typing import Any

from jaxssl.config import nearest, read
from jaxssl.methods.base import Method
from jaxssl.methods.dino import Dino
from jaxssl.schedules import Horizon, Schedule, ScheduleConfig
from jaxssl.types import UserError

METHODS: dict[str, type] = {"dino": Dino}


def build(config: Mapping[str, Any], horizon: Horizon) -> Method:
  """Makes the method that `method.name` names from the other fields of the group. Raises UserError."""
  fields = dict(config)
  name = fields.pop("name", None)
  if name not in METHODS:
    allowed = ", ".join(METHODS)
    raise UserError(f"method.name={name!r} is no method; nearest: {nearest(str(name), list(METHODS))}; allowed: {allowed}")

  def schedule(value: Any, where: str) -> Schedule:
    if isinstance(value, (int, float)):
      value = {"base": value}
    return read(ScheduleConfig, value, where + ".").resolve(horizon)

  return read(METHODS[name], fields, "method.", convert={Schedule: schedule})
