"""Machines by name, such as v5e:4x4, gpu:8 or cpu:8, which need not exist."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

from jaxssl.core.errors import UserError, nearest_name
from jaxssl.parallel.mesh import abstract_mesh, make_mesh

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """Memory and speed of one chip of a kind, and the usual slices."""

  memory: int  # bytes that a program can use
  peak: float  # bfloat16 operations per second
  link: float | None  # bytes per second that it can send to other chips
  slices: tuple[str, ...]


FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
TPUS = {  # memory as libtpu reports it
  "v4": Chip(int(30.75 * GIB), 275e12, 300e9, CUBES),
  "v5e": Chip(int(15.75 * GIB), 197e12, 200e9, FLAT),
  "v5p": Chip(int(95.74 * GIB), 459e12, 600e9, CUBES),
  "v6e": Chip(int(31.25 * GIB), 918e12, 400e9, FLAT),
}
GPU = Chip(80 * GIB, 312e12, None, ())  # an A100 with 80 GB; the network between hosts varies
GPUS_PER_HOST = 8
GPU_SHARE = 0.75  # JAX's default for XLA_PYTHON_CLIENT_MEM_FRACTION


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
  """A machine to plan for."""

  name: str
  kind: str  # a key of TPUS, "gpu" or "cpu"
  chips: int
  hosts: int
  memory: int | None  # bytes per chip that a program can use; None: unknown
  peak: float | None  # bfloat16 operations per second and chip; None: unknown
  link: float | None  # bytes per second that a chip can send; None: unknown
  mesh: Any  # a Mesh if a step can be compiled for it, else an AbstractMesh

  @property
  def compiles(self) -> bool:
    """Whether this process can compile a step for the machine."""
    return isinstance(self.mesh, jax.sharding.Mesh)


def parse(name: str, memory: float | None = None, peak: float | None = None) -> Topology:
  """Returns the machine of a name such as v5e:4x4, gpu:8 or cpu:8.

  `memory` in GB (2^30 bytes) and `peak` in TFLOP/s replace the defaults of a GPU or a CPU device. Raises UserError for an
  unknown name, and for a TPU without libtpu.
  """
  kind, _, shape = name.partition(":")
  if kind in TPUS:
    chip, mesh, hosts = TPUS[kind], *_tpu(name, kind, shape)
  elif kind in ("gpu", "cpu") and shape.isdecimal() and int(shape):
    chip, mesh = GPU if kind == "gpu" else Chip(0, 0.0, None, ()), abstract_mesh(int(shape))
    hosts = -(-mesh.size // GPUS_PER_HOST) if kind == "gpu" else 1
    if kind == "cpu" and len(jax.devices("cpu")) >= mesh.size:
      mesh = make_mesh(jax.devices("cpu")[: mesh.size])
    size = (chip.memory if memory is None else memory * GIB) * (GPU_SHARE if kind == "gpu" else 1.0)
    chip = dataclasses.replace(chip, memory=int(size), peak=chip.peak if peak is None else peak * 1e12)
  else:
    kinds = [*TPUS, "gpu", "cpu"]
    allowed = "; ".join(f"{kind}:{_slices(kind) if kind in TPUS else 'N'}" for kind in kinds)
    likely = "gpu" if shape.isdecimal() else "v5e" if kind.startswith("v5l") else nearest_name(kind, kinds)
    closest = _closest(likely, shape or kind.partition("-")[2])
    raise UserError(f"--topology={name}: unknown; expected {allowed}; did you mean {closest}?")
  return Topology(
    name=name,
    kind=kind,
    chips=mesh.size,
    hosts=hosts,
    memory=chip.memory or None,
    peak=chip.peak or None,
    link=chip.link,
    mesh=mesh,
  )


def larger(target: Topology) -> list[tuple[str, int]]:
  """Returns (name, chips) of machines of the same kind with more chips, smallest first."""
  if target.kind == "gpu":
    return [(f"gpu:{target.chips * 2**i}", target.chips * 2**i) for i in range(1, 8)]
  slices = TPUS[target.kind].slices if target.kind in TPUS else ()
  return [(f"{target.kind}:{shape}", _chips(shape)) for shape in slices if _chips(shape) > target.chips]


def prepare(cpus: Sequence[int]) -> None:
  """Makes JAX use only CPU devices, at least the largest of `cpus`, so that planning does not occupy an accelerator.

  Does nothing if JAX is already initialized.
  """
  try:
    jax.config.update("jax_num_cpu_devices", max([1, *cpus]))
  except RuntimeError:  # JAX is initialized
    return
  jax.config.update("jax_platforms", "cpu")


def _tpu(name: str, kind: str, shape: str) -> tuple[Any, int]:
  """Returns (mesh, hosts) of a TPU slice."""
  problem = f"--topology={name}: unknown slice"
  hint = f"expected {kind}:{_slices(kind)}; did you mean {_closest(kind, shape)}?"
  if not re.fullmatch(r"\d+(x\d+)+", shape):
    raise UserError(f"{problem}; {hint}")
  if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
    raise UserError(f"--topology={name}: requires libtpu, which is not installed; run pip install 'jaxssl[tpu-plan]'")
  # libtpu otherwise queries the metadata of the machine it runs on, which is not a TPU.
  variables = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
  variables["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # nothing runs on a TPU, so that several processes may plan at once
  for variable, value in variables.items():
    os.environ.setdefault(variable, value)
  options: dict[str, Any] = {"v4": {"chip_config_name": "megacore"}}.get(kind, {})  # one device per chip, as in JAX
  if shape == "1x1":
    options["chips_per_host_bounds"] = (1, 1, 1)
  try:
    devices = topologies.get_topology_desc(name, platform="tpu", **options).devices
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
    reason = str(error).splitlines()[0]
    if shape in TPUS[kind].slices:
      raise UserError(f"--topology={name}: libtpu cannot describe this slice: {reason}") from error
    raise UserError(f"{problem} ({reason}); {hint}") from error
  return make_mesh(devices), len({device.process_index for device in devices})


def _slices(kind: str) -> str:
  return ", ".join(TPUS[kind].slices)


def _closest(kind: str, shape: str) -> str:
  """Returns the machine of a kind whose number of chips is closest to that of `shape`."""
  chips = math.prod(map(int, re.findall(r"\d+", shape)[:3]))
  if kind not in TPUS:
    return f"{kind}:{chips if chips > 1 else 8}"
  return f"{kind}:{min(TPUS[kind].slices, key=lambda s: abs(_chips(s) - chips))}"


def _chips(shape: str) -> int:
  return math.prod(map(int, shape.split("x")))
