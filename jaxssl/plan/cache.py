"""Stores plans in a JSON file, since compiling a step can take minutes."""

import dataclasses
import hashlib
import importlib.metadata
import json
import logging
import pathlib
import time
from typing import Any

import jax

from jaxssl.config.schema import Config
from jaxssl.core import atomic
from jaxssl.core.errors import UserError
from jaxssl.core.version import VERSION
from jaxssl.plan.abstract_step import DatasetSpec
from jaxssl.plan.estimate import Estimate, estimate
from jaxssl.plan.topology import Topology

LOG = logging.getLogger("jaxssl")


class PlanCache:
  """Plans by a hash of their inputs, in the JSON file `path`; in memory if it is None. Raises UserError for another file."""

  def __init__(self, path: pathlib.Path | None):
    self.path, self.plans = path, {}
    try:
      if path is not None and path.exists():
        self.plans = {plan["key"]: plan for plan in json.loads(path.read_text())["plans"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise UserError(f"--out={path}: the file exists and is not a file of plans; remove it or choose another name") from error

  def estimate(self, config: Config, images: DatasetSpec, target: Topology) -> tuple[Estimate, dict[str, Any]]:
    """Returns the stored estimate, or computes and stores it; and its plan, which callers may extend."""
    key = _key(config, images, target)
    plan = self.plans.setdefault(key, {"key": key, "images": images.count})
    fields = plan.get("estimate", {})
    if fields.keys() == {field.name for field in dataclasses.fields(Estimate)}:
      return Estimate(**fields), plan
    action = "compiling" if target.compiles else "tracing"
    LOG.info("%s the step for %s, batch size %d", action, target.name, config.train.batch_size)
    start = time.monotonic()
    result = estimate(config, images, target)
    LOG.info("%s: %.0f s", target.name, time.monotonic() - start)
    plan["estimate"] = dataclasses.asdict(result)
    self.write()
    return result, plan

  def write(self) -> None:
    """Writes the file."""
    try:
      if self.path is not None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(self.path, json.dumps({"plans": list(self.plans.values())}, indent=1) + "\n")
    except OSError as error:
      raise UserError(f"--out={self.path}: cannot be written: {error}") from error


def _key(config: Config, images: DatasetSpec, target: Topology) -> str:
  versions = [VERSION, jax.__version__]
  if target.kind not in ("cpu", "gpu"):
    versions += [d.version for d in importlib.metadata.distributions(name="libtpu")][:1]
  inputs = [dataclasses.asdict(config), images.count, images.size, target.name, target.memory, target.compiles, versions]
  return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=list).encode()).hexdigest()[:16]
