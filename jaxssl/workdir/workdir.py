"""Whose workdir it is: a folder belongs to the config in its config.json."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Iterator

from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import json_io, paths, tree
from jaxssl.core.errors import UserError

CONFIG = "config.json"


def check_workdir(workdir: pathlib.Path, config: Config) -> Config:
  """Makes the workdir; raises UserError when it holds a run of another config, naming the differing fields.

  Gives the config; where `data.mean` or `data.std` is empty, with what the run in the workdir has measured.
  """
  path = workdir / CONFIG
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    theirs = json_io.read(path) if path.exists() else None
  except OSError as error:
    raise UserError(f"--workdir {workdir} cannot be used: {error}") from error
  if theirs is None:
    return config
  try:
    known = read(Config, theirs)  # fields that are newer than the run have their defaults
    theirs, data = as_json(known), config.data
    data = dataclasses.replace(data, mean=data.mean or known.data.mean, std=data.std or known.data.std)
    config = dataclasses.replace(config, data=data)
  except UserError:
    pass  # it has fields that there are no more: they are listed
  differing = list(tree.differences(theirs, as_json(config)))
  if differing:
    listed = "; ".join(f"{name}: {theirs!r} there, {ours!r} here" for name, theirs, ours in differing)
    raise UserError(f"--workdir {workdir} belongs to another config: {listed}. Use another --workdir, or the same values")
  return config


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other runs out of a workdir while this one uses it. Raises UserError where one is at work there.

  The lock is the operating system's, and ends with the process that has it, however that ends.
  """
  if not paths.is_local(workdir):  # a bucket has no locks
    yield
    return
  try:
    lock = (workdir / "lock").open("a")
  except OSError as error:
    raise UserError(f"--workdir {workdir} cannot be written to: {error.strerror}") from error
  with lock as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
      raise UserError(f"--workdir {workdir} is used by another run at this moment; wait for it, or use another") from error
    except OSError:  # a file system without locks
      pass
    yield


def write_config(workdir: pathlib.Path, config: Config) -> None:
  """Writes config.json, where there is none yet: from then on the workdir belongs to this config."""
  if not (workdir / CONFIG).exists():
    temporary = (workdir / CONFIG).with_suffix(".tmp")
    temporary.write_text(json.dumps(as_json(config), indent=2) + "\n")
    temporary.replace(workdir / CONFIG)


def as_json(config: Config) -> dict:
  """Gives a config as JSON reads it back."""
  return json.loads(json.dumps(dataclasses.asdict(config)))
