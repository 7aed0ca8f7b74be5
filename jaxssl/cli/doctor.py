"""Check this installation: versions, devices, numbers, memory, cache and optional parts.

Exits with 2 if there is a problem, and says what to do about it.
"""

import glob
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import platform
import shutil
from collections.abc import Iterator
from typing import NamedTuple

from packaging.requirements import Requirement

from jaxssl.config.flags import Parser
from jaxssl.core import exit_codes
from jaxssl.core.cores import cores
from jaxssl.core.version import VERSION

GB = 1e9
NVIDIA, TPU = "/dev/nvidiactl", "/dev/accel*"  # exist if the driver of a GPU is loaded, and on hosts of TPUs
LITTLE_MEMORY, LITTLE_DISK = 2 * GB, 2 * GB
NAMED = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
OPTIONAL = {  # module -> (extra, what it is for)
  "torch": ("torch", "reading PyTorch weights"),
  "onnx": ("onnx", "exporting ONNX"),
  "imagecodecs": ("tiff", "compressed TIFF files of many channels"),
  "libtpu": ("tpu-plan", "planning TPU runs"),
  "wandb": ("wandb", "Weights & Biases"),
  "mlflow": ("mlflow", "MLflow"),
}
BEFORE_PYTHON_314 = {
  "tensorflow": "data.placement=host",
  "tensorflow_datasets": "data.source=tfds",
  "tensorboard": "TensorBoard",
}


class Check(NamedTuple):
  """What was found, and what to do about it if it is a problem."""

  name: str
  finding: str
  remedy: str = ""


def add_options(_: Parser) -> None:
  pass


def run() -> int:
  """Prints all checks; returns the exit code."""
  parts = [versions, devices, numbers, memory, cache, disk, optional_parts]
  if not all(found for _, found in required()):
    parts = [versions]  # the others import what is missing
  problems = 0
  for check in itertools.chain.from_iterable(part() for part in parts):
    problems += bool(check.remedy)
    print(f"{check.name:<10} {check.finding}", flush=True)
    if check.remedy:
      print(f"{'':<10} PROBLEM: {check.remedy}", flush=True)
  print(f"{problems} {'problem' if problems == 1 else 'problems'}" if problems else "everything works")
  return exit_codes.MISTAKE if problems else exit_codes.DONE


def version(name: str) -> str:
  """Returns the installed version of a package; "" if it is not installed."""
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return ""


def required() -> list[tuple[Requirement, str]]:
  """Returns what the package requires, and the version of each that is installed; nothing if the package is not."""
  lines = importlib.metadata.requires("jaxssl") or [] if version("jaxssl") else []
  needed = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate({"extra": ""})]
  return [(one, version(one.name)) for one in needed]


def versions() -> Iterator[Check]:
  """Compares what is installed with what the package requires."""
  yield Check("jaxssl", f"{VERSION} in {pathlib.Path(__file__).parents[1]}, python {platform.python_version()}")
  yield Check("libraries", ", ".join(f"{name} {version(name) or 'is missing'}" for name in NAMED))
  if not version("jaxssl"):
    yield Check("install", "jaxssl is imported, but not installed", "run pip install --editable . in the repository")
  for requirement, found in required():
    if not found or not requirement.specifier.contains(found, prereleases=True):
      finding = f"{requirement.name} {found or 'is missing'}; expected {requirement.specifier}"
      yield Check("library", finding, f"run pip install '{requirement.name}{requirement.specifier}'")


def devices() -> Iterator[Check]:
  """Names JAX's devices, and an accelerator that it does not use."""
  import jax

  from jaxssl.parallel.mesh import compute_precision, make_mesh

  found = jax.devices()
  remedy = ""
  if found[0].platform == "cpu" and os.environ.get("JAX_PLATFORMS") != "cpu":
    if os.path.exists(NVIDIA):
      remedy = (
        "there is a GPU, which JAX does not use: run pip install 'jaxssl[cuda]', or 'jaxssl[cuda12]' for a driver below 580"
      )
    elif glob.glob(TPU):
      remedy = "there is a TPU, which JAX does not use: run pip install 'jaxssl[tpu]'"
  yield Check("devices", f"{len(found)} x {found[0].device_kind}; {cores()} CPU cores", remedy)
  precision = compute_precision(make_mesh(), "bfloat16")
  why = ", since CPUs have no fast bfloat16" if precision == "float32" else " by default; train.precision selects another"
  yield Check("precision", f"networks compute in {precision}{why}")


def numbers() -> Iterator[Check]:
  """Computes the gradient of a convolution, and compares it with NumPy's."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  rng = np.random.default_rng(0)
  x, kernel = (rng.normal(size=shape).astype(np.float32) for shape in ((8, 8, 8, 16), (1, 1, 16, 32)))

  @jax.jit
  def loss(kernel: jax.Array, x: jax.Array) -> jax.Array:
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.square(y).sum()

  gradient = np.asarray(jax.grad(loss)(jnp.asarray(kernel), jnp.asarray(x)))[0, 0]
  rows = x.reshape(-1, 16).astype(np.float64)
  expected = 2 * rows.T @ (rows @ kernel[0, 0])
  error = float(np.abs(gradient - expected).max() / np.abs(expected).max())
  wrong = not error < 0.01  # TF32 and bfloat16 products stay below it; NaN does not
  remedy = "install other versions of jax and of the driver; please report this with the lines above" if wrong else ""
  yield Check("numbers", f"a gradient differs from NumPy's by {error:.0e} of its largest value", remedy)


def memory() -> Iterator[Check]:
  """Reports the memory of the host and of the first device."""
  import jax

  total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  finding = f"host {total / GB:.0f} GB"
  if limit := (jax.devices()[0].memory_stats() or {}).get("bytes_limit"):
    finding += f", each device {limit / GB:.0f} GB for JAX"
  remedy = f"the smallest runs need about {LITTLE_MEMORY / GB:.0f} GB" if total < LITTLE_MEMORY else ""
  yield Check("memory", finding, remedy)


def cache() -> Iterator[Check]:
  """Reports the cache of compiled functions, without which every start compiles again."""
  import jax

  folder = jax.config.values["jax_compilation_cache_dir"]
  if not folder:
    remedy = "set XDG_CACHE_HOME to a folder that is writable, or JAX_COMPILATION_CACHE_DIR"
    yield Check("cache", "compiled functions are not kept: every start of a run compiles again", remedy)
    return
  size = sum(path.stat().st_size for path in pathlib.Path(folder).glob("*") if path.is_file())
  yield Check("cache", f"{size / 1e6:.0f} MB of compiled functions in {folder}")


def disk() -> Iterator[Check]:
  """Reports the space for runs in the current folder."""
  free = shutil.disk_usage(".").free
  remedy = "checkpoints may not fit: choose a --workdir on another disk" if free < LITTLE_DISK else ""
  yield Check("disk", f"{free / GB:.0f} GB free in the current folder", remedy)


def optional_parts() -> Iterator[Check]:
  """Names the optional parts that are installed, and how to install the others."""
  installed = [f"{name} ({use})" for name, (_, use) in OPTIONAL.items() if importlib.util.find_spec(name)]
  yield Check("optional", ", ".join(installed) or "nothing")
  for name, (extra, use) in OPTIONAL.items():
    if not importlib.util.find_spec(name):
      yield Check("", f"without {name}: no {use} (pip install 'jaxssl[{extra}]')")
  for name, use in BEFORE_PYTHON_314.items():
    if not importlib.util.find_spec(name):
      yield Check("", f"without {name}: no {use}")
