"""Executes the user's Python files that register methods, augmentations, sources, backbones or evaluations.

A config file that registers something becomes a plugin of its runs: `config.plugins` names it, so that every command that opens
the run executes it first. A file named in a workdir is executed only if a run on this machine used it or the command line names
it, because a workdir from elsewhere must not run code.
"""

import contextlib
import hashlib
import importlib.util
import pathlib
import traceback
from types import ModuleType

from jaxssl.core import UserError, cache, json_io, registry

_executed: dict[str, str] = {}  # path -> digest
_used: dict[str, pathlib.Path] = {}  # file name -> the path that the user gave


def execute(file: str | pathlib.Path, flag: str) -> tuple[ModuleType, bool]:
  """Executes a Python file. Returns its module, and whether it or a module that it imports registers something.

  `flag` names the file in errors. Raises UserError, with the line number, for any exception that its code raises.
  """
  path = pathlib.Path(file).absolute()
  spec = importlib.util.spec_from_file_location(str(path), path) if path.suffix == ".py" else None
  if spec is None or spec.loader is None:
    raise UserError(f"{flag}={file}: not a Python file; expected a file such as configs/nnboot.py")
  module, before = importlib.util.module_from_spec(spec), len(registry.registered)
  try:
    spec.loader.exec_module(module)
  except Exception as error:
    raise failure(error, f"{flag}={file}", str(path)) from error
  _executed[str(path)] = _digest(path)
  # A module that was imported before, by this file or another, does not register again.
  held = {getattr(value, "__module__", None) or getattr(value, "__name__", None) for value in vars(module).values()}
  return module, len(registry.registered) > before or not held.isdisjoint(registry.registered)


def failure(error: Exception, setting: str, path: str) -> UserError:
  """Converts an exception from the user's code to an error of one line."""
  if isinstance(error, UserError):
    return UserError(f"{setting}: {error}")
  if isinstance(error, SyntaxError):
    return UserError(f"{setting}, line {error.lineno}: {error.msg}")
  lines = [step.lineno for step in traceback.extract_tb(error.__traceback__) if step.filename == path]
  return UserError(f"{setting}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {error}")


def use(file: str | pathlib.Path, trusted: bool = True) -> None:
  """Executes a plugin, once per process. Workdirs that name it may execute its content from then on if the user named it.

  `trusted=False`: a workdir names it. Raises UserError for a file that is missing, fails, or was never used on this machine.
  """
  path = pathlib.Path(file) if trusted else _used.get(pathlib.Path(file).name, pathlib.Path(file))
  path = path.absolute()
  if not path.is_file():
    raise UserError(f"plugins={file}: no such file; add --plugins FILE, with the file's place on this machine")
  digest, known = _digest(path), {}
  with contextlib.suppress(UserError, RuntimeError):  # no file, or no home
    known = json_io.read(_store())
  if _executed.get(str(path)) != digest:
    if not trusted and known.get(str(path)) != digest:
      raise UserError(
        f"plugins={file}: not executed, since no run on this machine used this version; read it, then add --plugins {file}"
      )
    execute(path, "plugins")
  if trusted:
    _used[path.name] = path
    with contextlib.suppress(OSError, RuntimeError):  # no home or no writable cache: the command line must name it each time
      _store().parent.mkdir(parents=True, exist_ok=True)
      json_io.write(_store(), {**known, str(path): digest})


def _store() -> pathlib.Path:
  return cache.folder("plugins") / "trusted.json"


def _digest(path: pathlib.Path) -> str:
  return hashlib.sha256(path.read_bytes()).hexdigest()
