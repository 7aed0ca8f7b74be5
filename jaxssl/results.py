"""results.json: every measured number with its protocol, and what it was measured on."""

import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

import jax

import jaxssl

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def write(path: pathlib.Path, measurements: Sequence[Mapping[str, Any]], **facts: Any) -> None:
  """Writes the file in one go, so that a reader never sees half of it."""
  document = {"measurements": list(measurements), **facts, "software": software(), "hardware": hardware()}
  temporary = path.with_suffix(".tmp")
  temporary.write_text(json.dumps(document, indent=2) + "\n")
  temporary.replace(path)


def software() -> dict[str, str]:
  """Versions of what computed the numbers; `commit` where jaxssl runs from a git checkout."""
  here = pathlib.Path(__file__).parent
  git = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
  try:
    commit = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    commit = "unknown"
  versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
  return {"jaxssl": jaxssl.__version__, "commit": commit, "python": platform.python_version(), **versions}


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
