"""Plans kept in a file: a compile takes minutes, so what was planned once is not compiled again."""

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
from jaxssl.plan.hlo import Traffic
from jaxssl.plan.topology import Topology

LOG = logging.getLogger("jaxssl")


class PlanCache:
  """A JSON file of plans by what was asked; `path` None keeps nothing. Raises UserError for a file of something else."""

  def __init__(self, path: pathlib.Path | None):
    self.path, self.plans = path, {}
    try:
      if path is not None and path.exists():
        self.plans = {plan["key"]: plan for plan in json.loads(path.read_text())["plans"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
      raise UserError(f"--out {path} is there and holds no plans: remove it, or name another file") from error

  def estimate(self, config: Config, images: DatasetSpec, target: Topology) -> Estimate:
    """Gives what the file has, or estimates it."""
    key = _key(config, images, target)
    fields = dict(self.plans.get(key, {}).get("estimate", {}))
    if fields.keys() == {field.name for field in dataclasses.fields(Estimate)}:
      traffic = fields.pop("traffic")
      return Estimate(**fields, traffic=traffic and {kind: Traffic(**one) for kind, one in traffic.items()})
    what = "compiling" if target.compiles else "tracing"
    LOG.info("%s the step for %s, batch %d", what, target.name, config.train.batch_size)
    began = time.monotonic()
    found = estimate(config, images, target)
    LOG.info("%s: %.0f s", target.name, time.monotonic() - began)
    self.write(config, images, target, {"estimate": dataclasses.asdict(found)})
    return found

  def write(self, config: Config, images: DatasetSpec, target: Topology, more: dict[str, Any]) -> None:
    """Adds to a plan, and writes the file."""
    if self.path is None:
      return
    key = _key(config, images, target)
    self.plans[key] = {**self.plans.get(key, {"key": key, "images": images.count}), **more}
    try:
      self.path.parent.mkdir(parents=True, exist_ok=True)
      atomic.write_text(self.path, json.dumps({"plans": list(self.plans.values())}, indent=1) + "\n")
    except OSError as error:
      raise UserError(f"--out {self.path} cannot be written: {error}") from error


def _key(config: Config, images: DatasetSpec, target: Topology) -> str:
  """Stands for all that an estimate follows from."""
  versions = [VERSION, jax.__version__]
  if target.kind not in ("cpu", "gpu"):
    versions += [d.version for d in importlib.metadata.distributions(name="libtpu")][:1]
  words = [dataclasses.asdict(config), images.count, images.size, target.name, target.memory, target.compiles, versions]
  return hashlib.sha256(json.dumps(words, sort_keys=True, default=list).encode()).hexdigest()[:16]
