"""results.json: every measurement with its protocol, the definitions of all metrics, software and hardware."""

import dataclasses
import functools
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from jaxssl.core import atomic, json_io
from jaxssl.core.errors import UserError
from jaxssl.core.metric import Measurement, Metric
from jaxssl.core.version import VERSION

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def add(path: pathlib.Path, at: int, measurements: Sequence[Measurement], metrics: Iterable[Metric] = (), **facts: Any) -> None:
  """Adds measurements made after `at` steps, which replace older ones of the same step, metric, subject and protocol.

  `metrics`: definitions of further metrics, which only metrics.jsonl has values of; `facts`: about the run. The file is
  written atomically. A value that is not finite is stored as null.
  """
  document = read(path)
  definitions = {m.name: m for m in (*metrics, *(m.metric for m in measurements))}
  new = [_as_json(m, at) for m in measurements]
  replaced = {_key(m) for m in new}
  old = [m for m in document.get("measurements", []) if _key(m) not in replaced]
  rest = {name: value for name, value in document.items() if name not in ("metrics", "measurements")}
  described = document.get("metrics", {}) | {name: _definition(m) for name, m in definitions.items()}
  _write(
    path,
    {"measurements": old + new, "metrics": described, **rest, **facts, "software": software(), "hardware": hardware()},
  )


def cut(path: pathlib.Path, step: int) -> None:
  """Removes measurements made after `step`: the run resumes there and will repeat them."""
  document = read(path)
  if document:
    all_of_it = document["measurements"]
    kept = [m for m in all_of_it if m["step"] <= step]
    _write(path, {**document, "measurements": kept, "finished": bool(document.get("finished")) and len(kept) == len(all_of_it)})


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads the file; empty if there is none. Raises UserError for a damaged one and for one of another version."""
  document = json_io.read(path) if path.exists() else {}
  if document:
    measurements, metrics = document.setdefault("measurements", []), document.setdefault("metrics", {})
    well_formed = isinstance(measurements, list) and all(map(_is_measurement, measurements))
    if not well_formed or not isinstance(metrics, dict) or not all(map(_is_definition, metrics.values())):
      raise UserError(f"{path} cannot be read: its measurements are damaged or of another version; remove it")
  return document


def metrics_of(document: Mapping[str, Any]) -> dict[str, Metric]:
  """Returns the metrics that a document defines, by name."""
  return {name: Metric(name=name, **fields) for name, fields in document.get("metrics", {}).items()}


def measurements_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the measurements of a document, with all optional fields."""
  return [{"std": None, "chosen": {}, "evaluation": ""} | m for m in document.get("measurements", [])]


def _as_json(m: Measurement, step: int) -> dict[str, Any]:
  optional = {"std": None if m.std is None else _finite(m.std), "chosen": dict(m.chosen)}
  fields = {"step": step, "name": m.name, "subject": m.subject, "evaluation": m.evaluation, "value": _finite(m.value)}
  return (
    fields | {k: v for k, v in optional.items() if v not in (None, {})} | {"protocol": dict(m.protocol), "commit": commit()}
  )


def _definition(metric: Metric) -> dict[str, Any]:
  return {name: value for name, value in dataclasses.asdict(metric).items() if name != "name"}


def _is_definition(fields: Any) -> bool:
  texts = ("title", "description", "unit", "group", "chart")
  return (
    isinstance(fields, dict)
    and fields.keys() == {*texts, "higher_is_better"}
    and all(isinstance(fields[name], str) for name in texts)
    and isinstance(fields["higher_is_better"], bool | None)
  )


def _is_measurement(m: Any) -> bool:
  return (
    isinstance(m, dict)
    and json_io.count(m.get("step"))
    and all(isinstance(m.get(name), str) for name in ("name", "subject"))
    and isinstance(m.get("evaluation", ""), str)
    and all(_is_flat(m.get(name, {})) for name in ("protocol", "chosen"))
    and "protocol" in m
    and "value" in m
    and all(m.get(field) is None or json_io.finite(m[field]) is not None for field in ("value", "std"))
  )


def _is_flat(fields: Any) -> bool:
  return isinstance(fields, dict) and all(isinstance(x, str | bool) or json_io.finite(x) is not None for x in fields.values())


def _key(m: Mapping[str, Any]) -> tuple:
  return m["step"], m["name"], m["subject"], protocol_key(m["protocol"])


def protocol_key(protocol: Mapping[str, Any]) -> str:
  """Returns a text that is the same for equal protocols."""
  return json.dumps(protocol, sort_keys=True)


def _finite(value: float) -> float | None:
  return float(value) if math.isfinite(value) else None


def _write(path: pathlib.Path, document: Mapping[str, Any]) -> None:
  atomic.write_text(path, json.dumps(document, indent=2) + "\n")


@functools.cache
def commit() -> str:
  """Returns the commit of jaxssl if it runs from a git checkout."""
  git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


@functools.cache
def software() -> dict[str, str]:
  """Returns the versions of what computed the numbers."""
  versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
  return {"jaxssl": VERSION, "commit": commit(), "python": platform.python_version(), **versions}


def hardware() -> dict[str, Any]:
  """Describes the devices and the host."""
  devices = jax.devices()
  return {
    "platform": devices[0].platform,
    "device": devices[0].device_kind,
    "devices": len(devices),
    "processes": jax.process_count(),
    "host": platform.machine(),
    "cores": os.cpu_count(),
  }
