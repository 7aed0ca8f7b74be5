"""Runs several processes as one run on JAX's multi-controller runtime: start, barriers, exit."""

import os
import sys
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jaxssl.core import UserError, heartbeat

CLUSTER_VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # set by launch/local.sh and others
TIMEOUT = 600  # seconds that processes wait for each other at a barrier


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


def is_primary() -> bool:
  """Returns whether this is the process that writes."""
  return jax.process_index() == 0


def barrier(where: str) -> None:
  """Waits until all processes arrive, and logs the wait. Raises Lost after TIMEOUT seconds."""
  if jax.process_count() == 1:
    return
  with heartbeat(f"waiting for the other processes, {where}"):
    try:
      ocp.multihost.sync_global_processes(f"jaxssl: {where}", timeout=TIMEOUT)
    except Exception as error:  # the coordination service's errors have no public type
      raise Lost(f"the other processes did not respond within {TIMEOUT} s, {where}: {str(error).splitlines()[0]}") from error


def agreed(value: bytes) -> bool:
  """Returns whether all processes hold the same value, of one length; all must ask."""
  if jax.process_count() == 1:
    return True
  values = np.asarray(multihost_utils.process_allgather(np.frombuffer(value, np.uint8)))
  return bool((values == values[:1]).all())


def exit_with(message: str, code: int) -> int:
  """Prints a message and returns the code. One of several processes exits at once: JAX's joint shutdown might never end."""
  print(message, file=sys.stderr, flush=True)
  if jax.distributed.is_initialized():
    os._exit(code)
  return code
