"""results.json: every measurement with its protocol, the definitions of all metrics, software and hardware."""

import dataclasses
import functools
import importlib.metadata
import itertools
import json
import math
import os
import pathlib
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax

from jaxssl.config import parse
from jaxssl.core import VERSION, UserError, json_io
from jaxssl.core.metric import Measurement, Metric

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
  """A measurement in results.json. Raises UserError for a number that is not finite, and for nested protocols."""

  step: int
  name: str
  subject: str
  value: float | None  # None: it was not finite
  protocol: Mapping[str, Any]
  evaluation: str = ""
  std: float | None = None
  seeds: int = 1
  dataset: str = ""  # the name of other images than those of the run; empty: those of the run
  chosen: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  commit: str = ""

  def __post_init__(self) -> None:
    values = (self.value or 0, self.std or 0, *self.protocol.values(), *self.chosen.values())
    counts = json_io.count(self.step) and json_io.count(self.seeds)
    if not counts or not all(isinstance(x, str | bool) or json_io.finite(x) is not None for x in values):
      raise UserError(f"{self.name}: not a measurement")


def add(
  path: pathlib.Path,
  at: int,
  measurements: Sequence[Measurement],
  metrics: Iterable[Metric] = (),
  dataset: str = "",
  training: bool = False,
  **facts: Any,
) -> None:
  """Adds measurements made after `at` steps, which replace older ones of the same step, metric, subject, protocol and dataset.

  `metrics`: definitions of metrics that only metrics.jsonl has values of; `dataset`: the name of other images than those of the
  run; `training`: this process trains, so that its software and hardware are those of the run, whose peak memory is the most of
  all such processes; `facts`: about the run. Not finite: stored as null.
  """
  document = read(path)
  if training:
    facts |= environment()
    facts["peak_memory"] = max(facts["peak_memory"], json_io.finite(document.get("peak_memory")) or 0)
  added = [_as_json(m, at) | ({"dataset": dataset} if dataset else {}) for m in measurements]
  every: list[dict[str, Any]] = [*document.get("measurements", []), *added]
  stored = {(m["step"], m["name"], m["subject"], protocol_key(m["protocol"]), m.get("dataset", "")): m for m in every}
  defined = (*metrics, *(m.metric for m in measurements))
  described = {metric.name: {name: x for name, x in vars(metric).items() if name != "name"} for metric in defined}
  described = document.get("metrics", {}) | described
  json_io.write(path, {**document, "measurements": list(stored.values()), "metrics": described, **facts})


def name_dataset(path: pathlib.Path, name: str, digest: str) -> str:
  """Returns the name for measurements on other images, which no images of another digest have in this file; records both."""
  document = read(path)
  known = document.get("datasets", {})
  known = known if isinstance(known, dict) else {}
  names = itertools.chain([name], (f"{name} ({k})" for k in itertools.count(2)))
  unused = next(candidate for candidate in names if known.get(candidate, digest) == digest)
  json_io.write(path, {**document, "datasets": {**known, unused: digest}})
  return unused


def cut(path: pathlib.Path, step: int, last: int) -> None:
  """Removes measurements made after `step`: the run resumes there and will repeat them. last: the last step of the run."""
  document = read(path)
  if document:
    remaining = [m for m in document["measurements"] if m["step"] <= step]
    finished = bool(document.get("finished")) and step == last
    json_io.write(path, {**document, "measurements": remaining, "finished": finished})


def read(path: pathlib.Path) -> dict[str, Any]:
  """Reads the file; empty if there is none. Raises UserError for a damaged one and for one of another version."""
  if not path.exists():
    return {}
  document = {"measurements": [], "metrics": {}, **json_io.read(path)}
  try:
    measurements_of(document)
    metrics_of(document)
  except (UserError, TypeError, AttributeError) as error:
    raise UserError(f"{path} cannot be read: its measurements are damaged or of another version; remove it") from error
  return document


def metrics_of(document: Mapping[str, Any]) -> dict[str, Metric]:
  """Returns the metrics that a document defines, by name."""
  return {name: parse.read(Metric, {**fields, "name": name}) for name, fields in document.get("metrics", {}).items()}


def measurements_of(document: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the measurements of a document with all fields of `Stored`."""
  return [vars(parse.read(Stored, fields)) for fields in document.get("measurements", [])]


def _as_json(m: Measurement, step: int) -> dict[str, Any]:
  fields = {"step": step, "name": m.name, "subject": m.subject, "evaluation": m.evaluation}
  fields |= {"value": json_io.finite(float(m.value)), "protocol": dict(m.protocol), "commit": commit()}
  if m.std is not None and math.isfinite(m.std):
    fields["std"] = float(m.std)
  if m.seeds > 1:
    fields["seeds"] = m.seeds
  return fields | ({"chosen": dict(m.chosen)} if m.chosen else {})


def protocol_key(protocol: Mapping[str, Any]) -> str:
  """Returns a text that is the same for equal protocols."""
  return json.dumps(protocol, sort_keys=True)


@functools.cache
def commit() -> str:
  """Returns the commit of jaxssl if it runs from a git checkout."""
  # without locks: a process that is killed meanwhile would leave one in the repository
  git = ["git", "--no-optional-locks", "-C", str(pathlib.Path(__file__).parent)]
  git += ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return "unknown"


def environment() -> dict[str, Any]:
  """Describes the software and the hardware that compute the numbers."""
  versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
  devices = jax.devices()
  hardware = {"platform": devices[0].platform, "device": devices[0].device_kind, "devices": len(devices)}
  hardware |= {"processes": jax.process_count(), "host": platform.machine(), "cores": os.cpu_count()}
  software = {"jaxssl": VERSION, "commit": commit(), "python": platform.python_version(), **versions}
  return {"software": software, "hardware": hardware, "peak_memory": peak_memory()}


def peak_memory() -> int:
  """Returns the most memory in bytes that this process has used so far: of an accelerator, otherwise of the host."""
  statistics = jax.local_devices()[0].memory_stats() or {}
  unit = 1 if sys.platform == "darwin" else 1024
  return statistics.get("peak_bytes_in_use") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
