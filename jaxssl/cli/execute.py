"""Runs a parsed command: joins other processes, sets up log and compilation cache, and maps errors to exit codes."""

import os
from types import ModuleType
from typing import Any


def execute(module: ModuleType, options: dict[str, Any]) -> int:
  """Returns the exit code: 0 done, 1 failed, 2 the user's mistake, 75 or 130 saved on a signal."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
  os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # otherwise TensorFlow logs at every start that it uses oneDNN

  import jax

  from jaxssl.config import plugins
  from jaxssl.core import cache, log, paths
  from jaxssl.core.errors import UserError
  from jaxssl.parallel import preemption, processes

  try:
    process = 0
    if mode := options.pop("distributed", None):  # of commands that several processes run together
      processes.start(mode)
      process = jax.process_index()
    log.start(None, process)
    cache.keep_compiled()
    for file in options.pop("plugins", ()):
      plugins.use(file)
    return module.run(**options)
  except UserError as error:
    return processes.exit_with(f"error: {error}", 2)
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1:
      raise
    reason = str(error).splitlines()[0]
    message = f"error: {reason}. Another process may have died; rerun the same command to resume"
    return processes.exit_with(message, preemption.AGAIN)
  except processes.Lost as error:
    return processes.exit_with(f"error: {error}; rerun the same command to resume from the last checkpoint", preemption.AGAIN)
  except Exception as error:
    if not paths.gcs_error(error):
      raise
    return processes.exit_with(f"error: {paths.gcs_error(error)}", 2 if paths.is_permanent(error) else preemption.AGAIN)
