"""Runs several processes as one run on JAX's multi-controller runtime: start, barriers, exit."""

import os
import sys
import zlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxssl.core import Unavailable, UserError, heartbeat
from jaxssl.core.errors import OneLineError
from jaxssl.core.exit_codes import AGAIN

CLUSTER_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # set by launch/local.sh and others
TIMEOUT = 600  # seconds that processes wait for each other at a barrier
FIRST_WORKS = 86400  # and for what only the first one does, such as listing a bucket; if it dies, they notice that before
_AT_ONCE = 2**24  # bytes that are sent


class Lost(Exception):
  """Another process has died, or did not reach a barrier."""


def start(mode: str) -> None:
  """Joins the processes of a cluster before JAX is used. `auto`: if there is a cluster; `on`: must; `off`: never.

  CLUSTER_VARIABLES describe a cluster, or JAX detects it: Slurm, Open MPI, a TPU pod, Kubernetes. Raises UserError or Lost.
  """
  if mode == "off" or jax.distributed.is_initialized():
    return
  values = [os.environ.get(name, "") for name in CLUSTER_VARIABLES]
  described = any(values)
  if described and not all(values):
    missing = ", ".join(name for name, value in zip(CLUSTER_VARIABLES, values, strict=True) if not value)
    raise UserError(f"{missing} is not set, but other {', '.join(CLUSTER_VARIABLES)} are; set all, or use --distributed=off")
  if mode == "auto" and not described and not _cluster():
    return
  try:
    cluster: Any = (values[0], int(values[1]), int(values[2])) if described else ()
    jax.distributed.initialize(*cluster)
  except ValueError as error:
    reason = str(error).splitlines()[0].rstrip(".")
    expected = f"expected Slurm, Open MPI, a TPU pod or Kubernetes, or {', '.join(CLUSTER_VARIABLES)} to be set"
    raise UserError(f"--distributed={mode}: no cluster found: {reason}; {expected}") from error
  except RuntimeError as error:
    raise Lost(f"the other processes did not start: {str(error).splitlines()[0]}") from error


def check_platforms() -> None:
  """Starts the devices that JAX_PLATFORMS names, if it names any. Raises UserError if that fails."""
  platforms = os.environ.get("JAX_PLATFORMS", "")
  if not platforms or platforms == "cpu":
    return
  try:
    jax.devices()
  except (RuntimeError, AssertionError) as error:  # jax asserts that some platform has started
    reason = str(error).partition(" (set JAX")[0].split("\n")[0].rstrip(".") or "JAX finds no such device"
    cuda = "; a GPU needs pip install 'jaxssl[cuda]' and its driver" if "cuda" in platforms or "gpu" in platforms else ""
    raise UserError(f"JAX_PLATFORMS={platforms}: {reason}{cuda}; unset it to use the devices that there are") from error


def _cluster() -> bool:
  slurm, ompi = (int(os.environ.get(name) or 1) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
  pod = len(list(filter(None, os.environ.get("TPU_WORKER_HOSTNAMES", "").split(","))))
  jobs = "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
  return max(slurm if "SLURM_STEP_NODELIST" in os.environ else 1, ompi, pod) > 1 or jobs


def have_others() -> bool:
  """Returns whether there are several processes; does not start the devices of a single one."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def is_primary() -> bool:
  """Returns whether this is the process that writes."""
  return jax.process_index() == 0


def barrier(where: str, timeout: int = TIMEOUT) -> None:
  """Waits until all processes arrive, and logs the wait. Raises Lost after `timeout` seconds."""
  if jax.process_count() == 1:
    return
  with heartbeat(f"waiting for the other processes, {where}"):
    try:
      ocp.multihost.sync_global_processes(f"jaxssl: {where}", timeout=timeout)
    except Exception as error:  # the coordination service's errors have no public type
      raise Lost(f"the other processes did not respond within {timeout} s, {where}: {str(error).splitlines()[0]}") from error


def agreed(value: bytes) -> bool:
  """Returns whether all processes hold the same value, of one length; all must ask."""
  if jax.process_count() == 1:
    return True
  values = np.asarray(multihost_utils.process_allgather(np.frombuffer(value, np.uint8)))
  return bool((values == values[:1]).all())


def same(make: Callable[[], str], problem: str) -> str:
  """Returns make(), a text that all processes make and compare. Raises UserError with `problem` in all of them if it differs.

  A OneLineError that one of them raises is raised by all.
  """
  if not have_others():
    return make()
  text, error = "", None
  try:
    text = make()
  except OneLineError as raised:
    error = raised
  own = np.array([error.exit_code if error else 0, zlib.crc32(text.encode())], np.uint32)
  codes, hashes = np.asarray(multihost_utils.process_allgather(own)).T
  if error:
    raise error
  if codes.any():
    raise _error(int(codes.max()), f"{problem}; see the log of process {int(codes.argmax())}")
  if (hashes != hashes[0]).any():
    raise UserError(f"{problem}, e.g. processes 0 and {int((hashes != hashes[0]).argmax())}")
  return text


def from_first(make: Callable[[], bytes], task: str) -> bytes:
  """Returns make() of the first process in all processes, which must all call this. Its OneLineError is raised by all.

  `task`: what it does, for the others' log.
  """
  if not have_others():
    return make()
  content, code = b"", 0
  if is_primary():
    try:
      content = make()
    except OneLineError as error:
      content, code = str(error).encode(errors="replace"), error.exit_code
  barrier(f"{task}, which the first one does for all", FIRST_WORKS)
  size, high, code = map(int, _broadcast(np.array([len(content) % 2**32, len(content) >> 32, code], np.uint32)))
  parts = []
  for start in range(0, size + (high << 32), _AT_ONCE):
    part = np.zeros(min(_AT_ONCE, size + (high << 32) - start), np.uint8)
    if is_primary():
      part[:] = np.frombuffer(content, np.uint8, len(part), start)
    parts.append(_broadcast(part).tobytes())
  content = b"".join(parts)
  if code:
    raise _error(code, content.decode())
  return content


def _broadcast(array: np.ndarray) -> np.ndarray:
  return np.asarray(multihost_utils.broadcast_one_to_all(array))


def _error(code: int, text: str) -> OneLineError:
  return Unavailable(text) if code == AGAIN else UserError(text)


def exit_with(message: str, code: int) -> int:
  """Prints a message and returns the code. One of several processes exits at once: JAX's joint shutdown might never end."""
  print(message, file=sys.stderr, flush=True)
  if jax.distributed.is_initialized():
    os._exit(code)
  return code
