"""The `jaxssl` command: `jaxssl COMMAND [options]`; without a command, `train`."""

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from jaxssl import cli
from jaxssl.core import UserError, exit_codes, storage_errors
from jaxssl.core.errors import OneLineError, one_line


def main(argv: list[str] | None = None) -> int:
  """Runs one command; returns its exit code, see `core.exit_codes`."""
  argv = list(sys.argv[1:] if argv is None else argv)
  if not argv or argv[0] in ("-h", "--help", "help"):
    print(cli.overview())
    return exit_codes.DONE
  command = "train" if argv[0].startswith("-") else argv.pop(0)
  try:
    options = vars(cli.parser(command).parse(argv))
    if command == "config":  # needs neither JAX nor a log
      options.pop("run")(**options)
      return exit_codes.DONE
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return error.exit_code
  except SystemExit:  # --help
    return exit_codes.DONE
  return _execute(**options)


def _execute(
  run: Callable[..., int | None],
  distributed: str = "",
  plugins: Sequence[str] = (),
  uses_devices: bool = True,
  **options: Any,
) -> int:
  """Handles signals, joins other processes, sets up log and cache, runs a parsed command, and maps errors to exit codes."""
  from jaxssl.core import log
  from jaxssl.parallel import preemption

  log.start(None)
  log.quiet_tensorflow()
  try:
    with preemption.Preemption(ends_process=True) as signals:
      return _run(signals, run, distributed, plugins, uses_devices, options)
  except preemption.StopRequested as stop:
    print("stopped by a signal", file=sys.stderr, flush=True)
    return stop.code
  except KeyboardInterrupt:
    return exit_codes.INTERRUPTED


def _run(
  signals: Any,
  run: Callable[..., int | None],
  distributed: str,
  plugins: Sequence[str],
  uses_devices: bool,
  options: Mapping[str, Any],
) -> int:
  """Runs a parsed command in `_execute`, with the signals that are handled in it."""
  import jax  # takes a second, in which signals are handled already

  from jaxssl.config.plugins import use
  from jaxssl.core import cache, log, retry
  from jaxssl.parallel import processes

  try:
    if distributed:
      processes.start(distributed)
      signals.joined()
    if uses_devices:
      processes.check_platforms()
    log.start(None, jax.process_index() if distributed else 0)
    cache.keep_compiled()
    retry.limit()
    for file in plugins:
      use(file)
    return run(**options) or exit_codes.DONE
  except OneLineError as error:
    return processes.exit_with(f"error: {error}", error.exit_code)
  except (jax.errors.JaxRuntimeError, processes.Lost) as error:
    if jax.process_count() == 1 and not isinstance(error, processes.Lost):
      raise
    message = f"error: {storage_errors.message(error)}. Another process may have died; rerun the same command to resume"
    return processes.exit_with(message, exit_codes.AGAIN)
  except Exception as error:
    return processes.exit_with(*_storage_error(error))


def _storage_error(error: Exception) -> tuple[str, int]:
  """Returns one line and the exit code for an error of storage that nothing has explained. Raises any other error."""
  from jaxssl.core import retry

  kind, text = storage_errors.kind_of(error), storage_errors.message(error)
  if file := getattr(error, "filename", None):
    text = f"{text}: {file}"
  if kind is storage_errors.Kind.TRANSIENT:
    return f"error: {one_line(text)}. {retry.RERUN}", exit_codes.AGAIN
  if kind in (storage_errors.Kind.REFUSED, storage_errors.Kind.FULL) or isinstance(error, storage_errors.BucketError):
    return f"error: {one_line(text)}", exit_codes.MISTAKE
  raise error


def run() -> NoReturn:
  """Runs one command and exits with its code."""
  try:
    code = main()
  except KeyboardInterrupt:  # while modules are imported
    code = exit_codes.INTERRUPTED
  except Exception:
    traceback.print_exc()
    code = exit_codes.FAILED
  if code:  # nothing is pending; threads of libraries, such as downloads, could continue or print their own errors
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == "__main__":
  run()
