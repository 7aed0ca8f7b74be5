"""Python files of the user that register methods, augmentations, sources, backbones or evaluations.

A config file that registers something becomes a plugin of its runs: `config.plugins` names it, so that every command that opens
the run executes it first. Files named in a workdir are executed only if they were trained with on this machine, or are named on
the command line: a workdir from elsewhere must not run code.
"""

import hashlib
import importlib.util
import json
import pathlib
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from jaxssl.core import cache
from jaxssl.core.errors import UserError
from jaxssl.core.registry import loading

_executed: dict[str, str] = {}  # path -> digest


def execute(file: str | pathlib.Path, flag: str) -> tuple[ModuleType, list[str]]:
  """Executes a Python file: (its module, what it has registered). `flag` names it in errors.

  Raises UserError, in one line with the line number, for whatever its code raises.
  """
  path = pathlib.Path(file).absolute()
  spec = importlib.util.spec_from_file_location(f"jaxssl_plugin_{path.stem}", path) if path.suffix == ".py" else None
  if spec is None or spec.loader is None:
    raise UserError(f"{flag} {file}: not a Python file; expected a file such as configs/nnboot.py")
  module = importlib.util.module_from_spec(spec)
  try:
    with loading(str(path)) as registered:
      spec.loader.exec_module(module)
  except Exception as error:
    raise failure(error, f"{flag} {file}", str(path)) from error
  if registered:
    _executed[str(path)] = _digest(path)
  return module, registered


def failure(error: Exception, what: str, path: str) -> UserError:
  """Returns what code of the user has raised as an error of one line."""
  if isinstance(error, UserError):
    return error
  if isinstance(error, SyntaxError):
    return UserError(f"{what}, line {error.lineno}: {error.msg}")
  lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == path]
  return UserError(f"{what}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {error}")


def trust(path: pathlib.Path) -> None:
  """Allows a file, with its present content, to be executed for the workdirs that name it."""
  known = _trusted()
  known[str(path.absolute())] = _digest(path)
  try:
    _store().parent.mkdir(parents=True, exist_ok=True)
    _store().write_text(json.dumps(known, indent=2) + "\n")
  except (OSError, RuntimeError):  # without a home or a writable cache, the command line names the file each time
    return


def load(files: Sequence[str]) -> None:
  """Executes the plugins of a workdir, once per process.

  Raises UserError for a file that is missing, or that was neither trained with here nor named by --plugins.
  """
  for file in files:
    path = pathlib.Path(file)
    if not path.is_file():
      raise UserError(f"plugins={file}: the file does not exist; the run's code is in it, name its place with --plugins FILE")
    if _executed.get(str(path.absolute())) == (digest := _digest(path)):
      continue
    if _trusted().get(str(path.absolute())) != digest:
      raise UserError(
        f"plugins={file}: not executed, since no run on this machine used this version; read it, then add --plugins {file}"
      )
    execute(path, "plugins")


def _digest(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()


def _store() -> pathlib.Path:
  return cache.folder("plugins") / "trusted.json"


def _trusted() -> dict[str, Any]:
  try:
    known = json.loads(_store().read_text())
  except (OSError, ValueError, RuntimeError):
    return {}
  return known if isinstance(known, dict) else {}
