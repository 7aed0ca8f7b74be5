"""Stores plans in a JSON file, since compiling a step can take minutes."""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from typing import Any

import jax

from jaxssl.config.schema import Config
from jaxssl.core import json_io
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.version import VERSION
from jaxssl.plan.dataset_sizes import DatasetSpec
from jaxssl.plan.estimate import Estimate, estimate
from jaxssl.plan.topology import Topology


class PlanCache:
  """Plans by a hash of their inputs, in the JSON file `path`; in memory if it is None. Raises UserError for another file."""

  def __init__(self, path: pathlib.Path | None):
    self.path, self.plans = path, {}
    try:
      if path is not None and path.exists():
        self.plans = {plan["key"]: plan for plan in json_io.read(path)["plans"]}
    except (UserError, KeyError, TypeError) as error:
      raise UserError(f"--out={path}: the file exists and is not a file of plans; remove it or choose another name") from error

  def estimate(self, config: Config, images: DatasetSpec, target: Topology) -> tuple[Estimate, dict[str, Any]]:
    """Returns the stored estimate, or computes and stores it; and its plan, which callers may extend."""
    versions = [VERSION, jax.__version__]
    if target.kind not in ("cpu", "gpu"):
      versions += [d.version for d in importlib.metadata.distributions(name="libtpu")][:1]
    inputs = [dataclasses.asdict(config), images.count, images.size, target.name, target.memory, target.compiles, versions]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True, default=list).encode()).hexdigest()[:16]
    plan = self.plans.setdefault(key, {"key": key, "images": images.count})
    fields = plan.get("estimate", {})
    if fields.keys() == {field.name for field in dataclasses.fields(Estimate)}:
      return Estimate(**fields), plan
    action = "compiling" if target.compiles else "tracing"
    with runlog.heartbeat(f"{action} the step for {target.name}, batch size {config.train.batch_size}"):
      result = estimate(config, images, target)
    plan["estimate"] = dataclasses.asdict(result)
    self.write()
    return result, plan

  def write(self) -> None:
    """Writes the file."""
    try:
      if self.path is not None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        json_io.write(self.path, {"plans": list(self.plans.values())})
    except OSError as error:
      raise UserError(f"--out={self.path}: cannot be written: {error}") from error
