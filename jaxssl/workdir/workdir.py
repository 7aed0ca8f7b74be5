"""The folder of a run: the names of its files, its lock, and the config it belongs to."""

import contextlib
import dataclasses
import fcntl
import json
import pathlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import UserError, json_io, paths, tree

FROM_IMAGES = ("bit_depth", "mean", "std", "resident_size")  # fields of data that a run settles if they are empty or 0


class Workdir:
  """The paths of a run's files, and the lock on them. No other code contains their names."""

  def __init__(self, folder: pathlib.Path):
    self.folder = folder
    self.config = folder / "config.json"
    self.images = folder / "images.json"  # which images the run is trained on; see manifest.py
    self.metrics = folder / "metrics.jsonl"  # one line per logged step or evaluation
    self.results = folder / "results.json"  # all measurements with their protocols
    self.alerts = folder / "alerts.jsonl"  # from train.diagnostics
    self.neighbors = folder / "neighbors.jsonl"  # nearest neighbors of a few images over the epochs
    self.log = folder / "train.log"
    self.report = folder / "report.html"
    self.unreadable = folder / "bad_files.txt"  # names of images that cannot be read
    self.imported = folder / "imported.safetensors"  # what model.init_from read: resuming does not need its file again
    self.checkpoints = folder / "checkpoints"
    self.tensorboard = folder / "tensorboard"
    self.trace = folder / "trace"  # from `profile`

  def image_names(self, sha256: str) -> pathlib.Path:
    """Returns the file with the names and fingerprints of the training images whose manifest has this hash."""
    return self.folder / f"images-{sha256[:16]}.zlib"

  def all_image_names(self) -> set[pathlib.Path]:
    """Returns all files that `image_names` has named."""
    return set(self.folder.glob(f"images-{'[0-9a-f]' * 16}.zlib"))

  def check(self, config: Config, excused: Collection[str] = ()) -> Config:
    """Creates the folder; returns the config, with the fields in FROM_IMAGES that the run has settled.

    Raises UserError if the folder belongs to a config that differs, other than in `excused` fields.
    """
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      stored = json_io.read(self.config) if self.config.exists() else None
    except OSError as error:
      raise UserError(f"--workdir {self.folder} cannot be used: {error}") from error
    if stored is None:
      return config
    with contextlib.suppress(UserError):  # fields that no longer exist are listed below
      known = absolute_paths(read(Config, stored))  # fields that are newer than the run have their defaults
      stored = as_json(known)
      settled = {name: getattr(config.data, name) or getattr(known.data, name) for name in FROM_IMAGES}
      config = tree.replace(config, {f"data.{name}": value for name, value in settled.items()})
    there, here = tree.flatten(stored), tree.flatten(as_json(config))
    if listed := "; ".join(_differences(there, here, [name for name in {*there, *here} if name not in excused]).values()):
      raise UserError(f"--workdir {self.folder} belongs to another config: {listed}. Use another --workdir, or the same values")
    return config

  def differences(self, config: Config, fields: Collection[str]) -> dict[str, str]:
    """Returns those of `fields` that differ from the config in the folder, with both values; none without a readable one."""
    with contextlib.suppress(UserError):
      stored = as_json(absolute_paths(read(Config, self.read_config())))
      return _differences(tree.flatten(stored), tree.flatten(as_json(config)), fields)
    return {}

  @contextlib.contextmanager
  def hold(self) -> Iterator[None]:
    """Locks the folder, at most until the process ends, however it ends. Raises UserError if another run holds it."""
    if not paths.is_local(self.folder):  # a bucket has no locks
      yield
      return
    try:
      lock = (self.folder / "lock").open("a")
    except OSError as error:
      raise UserError(f"--workdir {self.folder} cannot be written to: {error.strerror}") from error
    with lock as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise UserError(f"--workdir {self.folder} is in use by another run; wait for it, or use another") from error
      except OSError:  # a file system without locks
        pass
      yield

  def write_config(self, config: Config, replace: bool = False) -> None:
    """Writes the config unless there is one. From then on, the folder belongs to this config."""
    if replace or not self.config.exists():
      json_io.write(self.config, as_json(config))

  def read_config(self) -> dict:
    """Reads the fields of the config, which may be of any version. Raises UserError if there is none."""
    if not self.config.exists():
      raise UserError(f"--workdir {self.folder} holds no run: there is no {self.config.name}")
    return json_io.read(self.config)


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], fields: Collection[str]) -> dict[str, str]:
  differing = (name for name in sorted(fields) if there.get(name) != here.get(name))
  return {name: f"{name}: {there.get(name)!r} there, {here.get(name)!r} here" for name in differing}


def as_json(config: Config) -> dict:
  """Returns a config as JSON reads it back."""
  return json.loads(json.dumps(dataclasses.asdict(config)))
