"""The folder of a run: the names of its files, its lock, and the config it belongs to."""

import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jaxssl.config.absolute import absolute_paths
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core import UserError, json_io, paths, retry, tree

HISTORY = "history"  # the name in config.json of the changes of the config
LOWERED = "lowered_from"  # and of the values that were given, by dotted path, where the run uses lower ones
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
    self.classifiers = folder / "classifiers"  # from `evaluate --keep`
    self.tensorboard = folder / "tensorboard"
    self.trackers = folder / "trackers.json"  # the runs of Weights & Biases and MLflow that belong to this one
    self.trace = folder / "trace"  # from `profile`

  def log_lines(self) -> list[str]:
    """Returns the lines of the log so far."""
    return paths.read_bytes(self.log).decode(errors="replace").splitlines() if self.log.exists() else []

  def classifier(self, name: str) -> pathlib.Path:
    """Returns the file of a classifier, which is named as the metric of its accuracy, such as linear_lbfgs."""
    return self.classifiers / f"{name}.safetensors"

  def kept_classifiers(self) -> list[str]:
    """Returns the names of all classifiers that are in the folder."""
    return sorted(path.stem for path in self.classifiers.glob("*.safetensors"))

  def image_names(self, sha256: str) -> pathlib.Path:
    """Returns the file with the names and fingerprints of the training images whose manifest has this hash."""
    return self.folder / f"images-{sha256[:16]}.zlib"

  def listing(self, root: str) -> pathlib.Path:
    """Returns the file with the names of all images in a folder of a bucket, as they were when the run started."""
    return self.folder / f"listing-{hashlib.sha256(root.encode(errors='surrogateescape')).hexdigest()[:16]}.zlib"

  def all_image_names(self) -> set[pathlib.Path]:
    """Returns all files that `image_names` has named."""
    return set(self.folder.glob(f"images-{'[0-9a-f]' * 16}.zlib"))

  def stored(self) -> Config | None:
    """Creates the folder; returns the config of the run in it, if there is one. Raises UserError if it cannot be used."""
    try:
      retry.call(f"creating {self.folder}", functools.partial(self.folder.mkdir, parents=True, exist_ok=True))
      if not self.config.exists():
        self._require_no_checkpoints()
        return None
    except FileExistsError as error:
      raise UserError(f"--workdir {self.folder} is a file; expected a folder") from error
    except OSError as error:
      raise retry.failure(f"--workdir {self.folder} cannot be used", error, "; use another") from error
    try:
      return absolute_paths(read(Config, self.read_config()))  # fields that are newer than the run have their defaults
    except UserError as error:
      raise UserError(f"--workdir {self.folder} belongs to another version of jaxssl ({error}); use another") from error

  def _require_no_checkpoints(self) -> None:
    """Raises UserError if the folder holds checkpoints, which a run of another config would continue."""
    if self.checkpoints.is_dir() and any(self.checkpoints.iterdir()):
      problem = f"holds checkpoints but no {self.config.name}, so which run they belong to is not known"
      raise UserError(f"--workdir {self.folder} {problem}; restore that file, or use another --workdir")

  @staticmethod
  def settled(config: Config, before: Config) -> Config:
    """Returns the config with the fields in FROM_IMAGES that are left open as the run before has settled them."""
    values = {f"data.{name}": getattr(config.data, name) or getattr(before.data, name) for name in FROM_IMAGES}
    return tree.replace(config, values)

  @contextlib.contextmanager
  def hold(self) -> Iterator[None]:
    """Locks the folder, at most until the process ends, however it ends. Raises UserError if another run holds it."""
    if not paths.is_local(self.folder):  # a bucket has no locks
      yield
      return
    try:
      lock = (self.folder / "lock").open("a")
    except OSError as error:
      raise retry.failure(f"--workdir {self.folder} cannot be written to", error) from error
    with lock as file:
      try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
      except BlockingIOError as error:
        raise UserError(f"--workdir {self.folder} is in use by another run; wait for it, or use another") from error
      except OSError:  # a file system without locks
        pass
      yield

  def write_config(
    self, config: Config, history: Sequence[Mapping[str, Any]] = (), lowered_from: Mapping[str, Any] | None = None
  ) -> None:
    """Writes the config, to which the folder belongs from then on, its changes: step, field, from, to; and `lowered_from`."""
    document = as_json(config) | ({HISTORY: list(history)} if history else {})
    document |= {LOWERED: dict(lowered_from)} if lowered_from else {}
    if not self.config.exists() or json_io.read(self.config) != document:
      json_io.write(self.config, document)

  def read_config(self) -> dict[str, Any]:
    """Reads the fields of the config, which may be of any version. Raises UserError if there is none."""
    return {name: value for name, value in self._document().items() if name not in (HISTORY, LOWERED)}

  def history(self) -> list[dict[str, Any]]:
    """Reads the changes of the config since the run began: step, field, from, to. Raises UserError if there is no run."""
    entries = self._document().get(HISTORY, [])
    if not isinstance(entries, list) or not all(isinstance(x, dict) and json_io.count(x.get("step")) for x in entries):
      raise UserError(f"{self.config} cannot be read: {HISTORY} is not a list of changes")
    return entries

  def lowered_from(self) -> dict[str, Any]:
    """Reads the values that were given, by dotted path, where the run uses lower ones. Raises UserError if there is no run."""
    values = self._document().get(LOWERED, {})
    if not isinstance(values, dict):
      raise UserError(f"{self.config} cannot be read: {LOWERED} is not a group of fields")
    return values

  def _document(self) -> dict[str, Any]:
    if not self.config.exists():
      raise UserError(f"--workdir {self.folder} holds no run: there is no {self.config.name}")
    return json_io.read(self.config)


def as_json(config: Config) -> dict:
  """Returns a config as JSON reads it back."""
  return json.loads(json.dumps(dataclasses.asdict(config)))
