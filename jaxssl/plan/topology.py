"""Describes machines by name, such as v5e:4x4, gpu:8 or cpu:8, which need not exist."""

import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from jaxssl.core import UserError, nearest_name
from jaxssl.parallel.mesh import abstract_mesh, make_mesh

GIB = 2**30


class Chip(NamedTuple):
  """Memory and speed of one chip of a kind, and the usual slices."""

  memory: int  # bytes that a program can use
  peak: float  # bfloat16 operations per second
  link: float | None  # bytes per second that it can send to other chips
  cores: int  # virtual CPUs of a host for each of its chips
  slices: tuple[str, ...]


FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
# Memory as libtpu reports it. Cores of hosts with four chips: v5e as docs.cloud.google.com/tpu/docs/v5e states (112); of the
# others assumed (v4 240, v5p 208, v6e 180).
TPUS = {
  "v4": Chip(int(30.75 * GIB), 275e12, 300e9, 60, CUBES),
  "v5e": Chip(int(15.75 * GIB), 197e12, 200e9, 28, FLAT),
  "v5p": Chip(int(95.74 * GIB), 459e12, 600e9, 52, CUBES),
  "v6e": Chip(int(31.25 * GIB), 918e12, 400e9, 45, FLAT),
}
GPU_MEMORY, GPU_PEAK = 80, 312  # GB and TFLOP/s of an A100; the network between hosts varies
GPUS_PER_HOST = 8
GPU_CORES = 12  # assumed: those of a2-highgpu-8g, 96 virtual CPUs for eight A100
# Assumed: seconds of a collective that sends nothing. A TPU's takes about 1 µs per hop ("How to Scale Your Model") to the
# farthest chip along each side of its torus; NCCL's takes 20 µs.
HOP, GPU_LATENCY = 1e-6, 20e-6
GPU_SHARE = 0.75  # JAX's default for XLA_PYTHON_CLIENT_MEM_FRACTION


@dataclasses.dataclass(frozen=True)
class Topology:
  """A machine to plan for."""

  name: str
  kind: str  # a key of TPUS, "gpu" or "cpu"
  chips: int
  hosts: int
  memory: int | None  # bytes per chip that a program can use; None: unknown
  peak: float | None  # bfloat16 operations per second and chip; None: unknown
  link: float | None  # bytes per second that a chip can send; None: unknown
  latency: float | None  # seconds of a collective that sends nothing; None: unknown
  cores: float | None  # of a host; None: unknown
  mesh: Any  # a Mesh if a step can be compiled for it, else an AbstractMesh

  @property
  def compiles(self) -> bool:
    """Whether this process can compile a step for the machine."""
    return isinstance(self.mesh, jax.sharding.Mesh)


def parse(name: str, memory: float | None = None, peak: float | None = None, cores: float | None = None) -> Topology:
  """Returns the machine of a name such as v5e:4x4, gpu:8 or cpu:8.

  `memory` in GB (2^30 bytes) and `peak` in TFLOP/s replace the defaults of a GPU or a CPU device, `cores` those of any host.
  Raises UserError for an unknown name, and for a TPU without libtpu.
  """
  kind, _, shape = name.partition(":")
  if kind in TPUS:
    chip, (mesh, hosts) = TPUS[kind], _tpu(name)
    latency, cores = HOP * sum(int(side) // 2 for side in shape.split("x")), cores or chip.cores * mesh.size / hosts
    return Topology(name, kind, mesh.size, hosts, chip.memory, chip.peak, chip.link, latency, cores, mesh)
  if kind not in ("gpu", "cpu") or not shape.isdecimal() or not int(shape):
    raise _unknown(name)
  chips, hosts, mesh, latency = int(shape), 1, abstract_mesh(int(shape)), None
  if kind == "gpu":
    memory, peak = GPU_SHARE * (memory or GPU_MEMORY), peak or GPU_PEAK
    hosts, latency = -(-chips // GPUS_PER_HOST), GPU_LATENCY
    cores = cores or GPU_CORES * chips / hosts
  elif len(jax.devices("cpu")) >= chips:
    mesh = make_mesh(jax.devices("cpu")[:chips])
  limit = None if memory is None else int(memory * GIB)
  return Topology(name, kind, chips, hosts, limit, peak and peak * 1e12, None, latency, cores, mesh)


def larger(target: Topology) -> list[tuple[str, int]]:
  """Returns (name, chips) of machines of the same kind with more chips, smallest first."""
  if target.kind == "gpu":
    return [(f"gpu:{target.chips * 2**i}", target.chips * 2**i) for i in range(1, 8)]
  slices = TPUS[target.kind].slices if target.kind in TPUS else ()
  return [(f"{target.kind}:{shape}", _chips(shape)) for shape in slices if _chips(shape) > target.chips]


def prepare(names: Sequence[str]) -> None:
  """Makes JAX use only CPU devices, enough for topologies such as cpu:8, so that planning does not occupy an accelerator."""
  cpus = [int(shape) for kind, _, shape in (name.partition(":") for name in names) if kind == "cpu" and shape.isdecimal()]
  try:
    jax.config.update("jax_num_cpu_devices", max([1, *cpus]))
  except RuntimeError:  # JAX is initialized
    return
  jax.config.update("jax_platforms", "cpu")


def _tpu(name: str) -> tuple[Any, int]:
  if not re.fullmatch(r"\w+:\d+(x\d+)+", name):
    raise _unknown(name)
  if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
    raise UserError(f"--topology={name}: requires libtpu, which is not installed; run pip install 'jaxssl[tpu-plan]'")
  # libtpu otherwise queries the metadata of the machine it runs on, which is not a TPU.
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
  os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # nothing runs on a TPU, so several processes may plan at once
  options: dict[str, Any] = {"chip_config_name": "megacore"} if name.startswith("v4:") else {}  # one device per chip, as in JAX
  if name.endswith(":1x1"):
    options["chips_per_host_bounds"] = (1, 1, 1)
  try:
    devices = topologies.get_topology_desc(name, platform="tpu", **options).devices
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
    raise _unknown(name, f" ({str(error).splitlines()[0]})") from error
  return make_mesh(devices), len({device.process_index for device in devices})


def _unknown(name: str, reason: str = "") -> UserError:
  kind, _, shape = name.partition(":")
  allowed = {kind: chip.slices for kind, chip in TPUS.items()} | {"gpu": ("N",), "cpu": ("N",)}
  likely = kind if kind in allowed else "gpu" if shape.isdecimal() else "v5e" if kind.startswith("v5l") else None
  likely = likely or nearest_name(kind, allowed)
  chips = math.prod(map(int, re.findall(r"\d+", shape or kind.partition("-")[2])[:3]))
  closest = min(TPUS[likely].slices, key=lambda shape: abs(_chips(shape) - chips)) if likely in TPUS else max(chips, 1)
  expected = "; ".join(f"{kind}:{', '.join(shapes)}" for kind, shapes in allowed.items())
  return UserError(f"--topology={name}: unknown{reason}; expected {expected}; did you mean {likely}:{closest}?")


def _chips(shape: str) -> int:
  return math.prod(map(int, shape.split("x")))
