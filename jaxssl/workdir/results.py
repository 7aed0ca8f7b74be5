"""results.json: every measured number with its protocol, and what it was measured on."""

import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxssl.core import json_io
from jaxssl.core.errors import UserError
from jaxssl.core.version import VERSION

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


# what a run is compared with; it has one of the first two, the network before its first step
BASELINES = ("untrained", "imported", "raw_pixels")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measurement:
  """One number, and how it was measured."""

  name: str
  value: float
  protocol: str  # its full name with all parameters: two numbers may be compared where their protocols are the same
  deviation: float | None = None  # over draws, the sample's; None: there was one


def add(path: pathlib.Path, at: int, measurements: Sequence[Measurement], **facts: Any) -> None:
  """Adds what was measured after `at` steps, in the place of the same measured before; and facts about the run.

  The file is written in one go, so that a reader never sees half of it. A value that is no finite number is null.
  """
  document = read(path)
  new = [
    {"step": at, "name": m.name, "value": _finite(m.value)}
    | ({} if m.deviation is None else {"deviation": _finite(m.deviation)})
    | {"protocol": m.protocol, "commit": commit()}
    for m in measurements
  ]
  replaced = {_key(m) for m in new}
  kept = [m for m in document.get("measurements", []) if _key(m) not in replaced]
  rest = {name: value for name, value in document.items() if name != "measurements"}
  _write(path, {"measurements": kept + new, **rest, **facts, "software": software(), "hardware": hardware()})


def cut(path: pathlib.Path, step: int) -> None:
  """Takes out what was measured after `step`: the run goes on from there, and will measure it again."""
  document = read(path)
  if document:
    all_of_it = document.get("measurements", [])
    kept = [m for m in all_of_it if m["step"] <= step]
    _write(path, {**document, "measurements": kept, "finished": bool(document.get("finished")) and len(kept) == len(all_of_it)})


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads the file; empty where there is none. Raises UserError where it cannot be read, or holds no measurements."""
  document = json_io.read(path) if path.exists() else {}
  measured = document.get("measurements", [])
  if not isinstance(measured, list) or not all(map(_is_measurement, measured)):
    raise UserError(f"{path} cannot be read: its measurements are not as a run writes them; remove it")
  return document


def _is_measurement(m: Any) -> bool:
  """Whether it has all that was written of a measurement, each of its type."""
  return (
    isinstance(m, dict)
    and json_io.count(m.get("step"))
    and isinstance(m.get("name"), str)
    and isinstance(m.get("protocol"), str)
    and "value" in m
    and all(m.get(field) is None or json_io.finite(m[field]) is not None for field in ("value", "deviation"))
  )


def _key(measurement: Mapping[str, Any]) -> tuple:
  return measurement["step"], measurement["name"], measurement["protocol"]


def _finite(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def _write(path: pathlib.Path, document: Mapping[str, Any]) -> None:
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(document, indent=2) + "\n")
  temporary.replace(path)


@functools.cache
def commit() -> str:
  """Gives the commit of jaxssl where it runs from a git checkout."""
  git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


@functools.cache
def software() -> dict[str, str]:
  """Versions of what computed the numbers."""
  versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
  return {"jaxssl": VERSION, "commit": commit(), "python": platform.python_version(), **versions}


def hardware() -> dict[str, Any]:
  """The devices and the host."""
  devices = jax.devices()
  return {
    "platform": devices[0].platform,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "processes": jax.process_count(),
    "host": platform.machine(),
    "cores": os.cpu_count(),
  }
