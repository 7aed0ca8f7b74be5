"""What the files of a workdir say of a run. Nothing else is needed: neither its images nor its weights."""

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import json_io
from jaxssl.core.errors import UserError
from jaxssl.workdir import results
from jaxssl.workdir.results import BASELINES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Final:
  """The last value of one measurement, beside that of the network before training and of raw pixels by the same protocol."""

  name: str
  value: float | None  # None: it was no finite number
  deviation: float | None
  how: str  # the protocol without its last part
  whose: str  # the last part of the protocol: whose features were measured
  step: int
  beside: Mapping[str, float | None]  # of BASELINES, those that were measured


@dataclasses.dataclass(frozen=True)
class Series:
  """One figure over a run."""

  x: np.ndarray  # epochs
  y: np.ndarray


class RunRecord:
  """The files of one workdir, read. Raises UserError where there is no run, or a file cannot be read."""

  def __init__(self, workdir: pathlib.Path):
    self.workdir, self.name = workdir, workdir.resolve().name
    self.config = _config(workdir / "config.json")
    self.results = results.read(workdir / "results.json")
    self.lines = json_io.lines(workdir / "metrics.jsonl")
    self.neighbors = json_io.lines(workdir / "neighbors.jsonl")
    health = workdir / "health.jsonl"
    self.health = json_io.lines(health) if health.exists() else None
    log = workdir / "train.log"
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    self.trouble = [line for line in lines if re.match(r"\S+ \S+ (WARNING|ERROR) ", line)]

  @property
  def finished(self) -> bool:
    """Whether the run came to its end."""
    return bool(self.results.get("finished"))

  @property
  def step(self) -> int:
    """The last step that was written down."""
    return max((line["step"] for line in self.lines), default=0)

  @property
  def steps_per_epoch(self) -> float | None:
    """As told by the first line that was written at an epoch's end; None: there is none."""
    ends = (line for line in self.lines if line["step"] and json_io.count(line.get("epoch")) and "loss" not in line)
    return next((line["step"] / (line["epoch"] + 1) for line in ends), None)

  def series(self) -> dict[str, Series]:
    """Every figure that was written down more than zero steps into the run, by name, over epochs (or steps; see `unit`)."""
    points: dict[str, tuple[list[float], list[float]]] = {}
    for line in self.lines:
      for name, value in line.items():
        if name not in ("step", "epoch") and json_io.finite(value) is not None and line["step"]:
          x, y = points.setdefault(name, ([], []))
          x.append(line["step"] / (self.steps_per_epoch or 1))
          y.append(value)
    return {name: Series(np.array(x), np.array(y)) for name, (x, y) in points.items()}

  @property
  def unit(self) -> str:
    """What `series` counts in."""
    return "epochs" if self.steps_per_epoch else "steps"

  def levels(self, name: str) -> dict[str, float]:
    """A measurement's values without training: of BASELINES, those that were measured."""
    first = self.lines[0] if self.lines else {}
    found = {of: json_io.finite(first.get(f"{of}/{name}")) for of in BASELINES}
    return {of: value for of, value in found.items() if value is not None}

  def finals(self) -> list[Final]:
    """The last value of each measurement by each protocol, in the order of results.json."""
    measured = self.results.get("measurements", [])
    last: dict[tuple[str, str], Mapping[str, Any]] = {}
    for m in measured:
      if m.get("step", 0) >= last.get((m["name"], m["protocol"]), {}).get("step", 0):
        last[m["name"], m["protocol"]] = m
    by_name_and_how = {(name, _split(protocol)[0]): m["value"] for (name, protocol), m in last.items()}
    found = []
    for (name, protocol), m in last.items():
      if name.partition("/")[0] in BASELINES:
        continue
      how, whose = _split(protocol)
      beside = {of: by_name_and_how[f"{of}/{name}", how] for of in BASELINES if (f"{of}/{name}", how) in by_name_and_how}
      found.append(
        Final(
          name=name, value=m["value"], deviation=m.get("deviation"), how=how, whose=whose, step=m.get("step", 0), beside=beside
        )
      )
    return found


def _split(protocol: str) -> tuple[str, str]:
  """Cuts "..., teacher network" in two; a protocol that does not say whose features it measured stays whole."""
  how, comma, whose = protocol.rpartition(", ")
  return (how, whose) if comma and ("network" in whose or "pixels" in whose) else (protocol, "")


def _config(path: pathlib.Path) -> dict[str, Any]:
  """Reads a config of whatever version."""
  if not path.exists():
    raise UserError(f"--workdir {path.parent} holds no run: there is no {path.name}")
  config = json_io.read(path)
  for name, group in config.items():
    if name != "plugins" and not isinstance(group, dict):
      raise UserError(f"{path} cannot be read: {name}={group!r} is not a group of fields")
  return config
