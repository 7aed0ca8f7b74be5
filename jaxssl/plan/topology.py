"""Machines by name, such as v5e:4x4, gpu:8 or cpu:8, none of which has to be there."""

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
  """What one chip of a kind has, and its usual slices."""

  memory: int  # bytes that libtpu lets a program use
  peak: float  # bfloat16 operations a second
  link: float | None  # bytes a second that it can send to others
  slices: tuple[str, ...]


FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
TPUS = {
  "v4": Chip(int(30.75 * GIB), 275e12, 300e9, CUBES),
  "v5e": Chip(int(15.75 * GIB), 197e12, 200e9, FLAT),
  "v5p": Chip(int(95.74 * GIB), 459e12, 600e9, CUBES),
  "v6e": Chip(int(31.25 * GIB), 918e12, 400e9, FLAT),
}
GPU = Chip(80 * GIB, 312e12, None, ())  # an A100 of 80 GB; between hosts its link is whatever was bought
GPUS_A_HOST = 8
GPU_SHARE = 0.75  # of a GPU's memory: what JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Topology:
  """A machine to plan for."""

  name: str
  kind: str  # a key of TPUS, "gpu" or "cpu"
  chips: int
  hosts: int
  memory: int | None  # bytes that a program can have on one chip; None: not known
  peak: float | None  # bfloat16 operations a second and chip; None: not known
  link: float | None  # bytes a second that a chip can send; None: not known
  mesh: Any  # a Mesh of devices that can be compiled for, or an AbstractMesh

  @property
  def compiles(self) -> bool:
    """Whether a step can be compiled for it here."""
    return isinstance(self.mesh, jax.sharding.Mesh)


def parse(name: str, memory: float | None = None, peak: float | None = None) -> Topology:
  """Gives the machine that a name stands for.

  `memory` in GB (2^30 bytes) and `peak` in TFLOP/s: of a GPU or one CPU device, instead of what is assumed of it.
  Raises UserError for a machine that there is not, and for a TPU where libtpu is missing.
  """
  kind, _, shape = name.partition(":")
  if kind in TPUS:
    chip, mesh, hosts = TPUS[kind], *_tpu(name, kind, shape)
  elif kind in ("gpu", "cpu") and shape.isdecimal() and int(shape):
    chip, mesh = GPU, abstract_mesh(int(shape))
    hosts = -(-mesh.size // GPUS_A_HOST) if kind == "gpu" else 1
    if kind == "cpu":
      chip = Chip(0, 0.0, None, ())
      if len(jax.devices("cpu")) >= mesh.size:
        mesh = make_mesh(jax.devices("cpu")[: mesh.size])
  else:
    known = [*TPUS, "gpu", "cpu"]
    slices = "; ".join(f"{kind}:N" if kind not in TPUS else f"{kind}:{_listed(kind)}" for kind in known)
    close = "gpu" if shape.isdecimal() else "v5e" if kind.startswith("v5l") else nearest_name(kind, known)
    raise UserError(
      f"--topology {name} is not known; nearest: {_closest(close, shape or kind.partition('-')[2])}; allowed: {slices}"
    )
  if kind not in TPUS:
    share = GPU_SHARE if kind == "gpu" else 1.0
    given = chip.memory if memory is None else memory * GIB
    chip = dataclasses.replace(chip, memory=int(given * share), peak=chip.peak if peak is None else peak * 1e12)
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
  """Machines of the same kind with more chips: (name, chips), the smallest first."""
  if target.kind == "gpu":
    return [(f"gpu:{target.chips * 2**i}", target.chips * 2**i) for i in range(1, 8)]
  slices = TPUS[target.kind].slices if target.kind in TPUS else ()
  found = [(f"{target.kind}:{shape}", _chips(shape)) for shape in slices]
  return [(name, chips) for name, chips in found if chips > target.chips]


def prepare(cpus: Sequence[int]) -> None:
  """Readies JAX for planning, unless this process has used it already: CPU only, with as many devices as are asked for.

  An accelerator of this machine is left to those who train on it.
  """
  try:
    jax.config.update("jax_num_cpu_devices", max([1, *cpus]))
  except RuntimeError:  # JAX is running
    return
  jax.config.update("jax_platforms", "cpu")


def _tpu(name: str, kind: str, shape: str) -> tuple[Any, int]:
  """(mesh, hosts) of a TPU slice."""
  wrong = f"--topology {name} is not allowed; nearest: {_closest(kind, shape)}; allowed: {kind}:{_listed(kind)}"
  if not re.fullmatch(r"\d+(x\d+)+", shape):
    raise UserError(wrong)
  if importlib.util.find_spec("libtpu") is None and "TPU_LIBRARY_PATH" not in os.environ:
    raise UserError(f"--topology {name} is compiled by libtpu, which is missing: pip install 'jaxssl[tpu-plan]'")
  # What libtpu would ask of the machine it runs on, which is no TPU.
  words = {"TPU_SKIP_MDS_QUERY": "1", "TPU_ACCELERATOR_TYPE": "v5litepod-4", "TPU_WORKER_HOSTNAMES": "localhost"}
  words["ALLOW_MULTIPLE_LIBTPU_LOAD"] = "1"  # nothing runs on a TPU here, so several may plan at once
  for word, value in words.items():
    os.environ.setdefault(word, value)
  options: dict[str, Any] = {"v4": {"chip_config_name": "megacore"}}.get(kind, {})  # one device a chip, as JAX has them
  if shape == "1x1":
    options["chips_per_host_bounds"] = (1, 1, 1)
  try:
    devices = topologies.get_topology_desc(name, platform="tpu", **options).devices
  except (jax.errors.JaxRuntimeError, RuntimeError, ValueError) as error:
    why = str(error).splitlines()[0]
    known = shape in TPUS[kind].slices
    raise UserError(f"--topology {name}: libtpu cannot describe it: {why}" if known else f"{wrong} ({why})") from error
  return make_mesh(devices), len({device.process_index for device in devices})


def _listed(kind: str) -> str:
  return ", ".join(TPUS[kind].slices)


def _closest(kind: str, shape: str) -> str:
  """The slice of a kind whose number of chips is nearest to what `shape` asks for."""
  asked = math.prod(map(int, re.findall(r"\d+", shape)[:3]))
  if kind not in TPUS:
    return f"{kind}:{asked if asked > 1 else 8}"
  return f"{kind}:{min(TPUS[kind].slices, key=lambda s: abs(_chips(s) - asked))}"


def _chips(shape: str) -> int:
  return math.prod(map(int, shape.split("x")))
