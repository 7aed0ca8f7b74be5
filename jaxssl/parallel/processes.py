"""Several processes as one run, on JAX's multi-controller runtime: how they start, meet, note things down, and leave."""

import logging
import os
import sys

import jax
import orbax.checkpoint as ocp

from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError

LOG = logging.getLogger("jaxssl")
TOLD = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # what launch/local.sh and others set
PATIENCE = 600  # seconds that processes wait for each other where they meet


class Lost(Exception):
  """Another process is gone, or has not come where all of them meet."""


def start(mode: str) -> None:
  """Joins the processes of a cluster, before JAX does anything else; with `auto` where there is one, with `off` never.

  A cluster is what TOLD names, or what JAX finds: Slurm, Open MPI, a Cloud TPU pod, Kubernetes. Raises UserError where there is
  none to be joined, and Lost where the others do not come.
  """
  if mode == "off" or jax.distributed.is_initialized():
    return
  told = [os.environ.get(name, "") for name in TOLD]
  if any(told) and not all(told):
    missing = ", ".join(name for name, value in zip(TOLD, told, strict=True) if not value)
    raise UserError(f"the environment has some of {', '.join(TOLD)}, but not {missing}: set all of them, or --distributed=off")
  if not any(told) and mode == "auto" and not _cluster():
    return
  try:
    if any(told):
      jax.distributed.initialize(told[0], int(told[1]), int(told[2]))
    else:
      jax.distributed.initialize()
  except ValueError as error:
    raise UserError(f"--distributed={mode}: there is no cluster to join: {str(error).splitlines()[0]}") from error
  except RuntimeError as error:
    raise Lost(f"the other processes did not come: {str(error).splitlines()[0]}") from error


def _cluster() -> bool:
  """Whether the environment is that of a cluster with more than one process."""
  slurm, ompi = (int(os.environ.get(name) or 1) for name in ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"))
  pod = len(list(filter(None, os.environ.get("TPU_WORKER_HOSTNAMES", "").split(","))))
  jobs = "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ
  return max(slurm if "SLURM_STEP_NODELIST" in os.environ else 1, ompi, pod) > 1 or jobs


def is_primary() -> bool:
  """Whether this is the process that writes."""
  return jax.process_index() == 0


def barrier(where: str) -> None:
  """Waits until all processes are here, and says so while it waits. Raises Lost after PATIENCE seconds."""
  if jax.process_count() == 1:
    return
  with runlog.heartbeat(f"waiting for the other processes, {where}"):
    try:
      ocp.multihost.sync_global_processes(f"jaxssl: {where}", timeout=PATIENCE)
    except Exception as error:  # the coordination service's errors have no public type
      raise Lost(f"the other processes did not come within {PATIENCE} s, {where}: {str(error).splitlines()[0]}") from error


def exit_with(message: str, code: int) -> int:
  """Prints why, and gives the exit code. One of several processes leaves at once: the end that JAX agrees on may never come."""
  print(message, file=sys.stderr, flush=True)
  if jax.distributed.is_initialized():
    os._exit(code)
  return code
