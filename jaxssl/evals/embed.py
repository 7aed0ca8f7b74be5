"""Writes the features of every image of a dataset to one file, in parts, so that an interrupted command resumes."""

import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxssl.core import atomic, cache, json_io, paths
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of
from jaxssl.core.progress import ImageProgress
from jaxssl.core.version import VERSION
from jaxssl.data.datasets import name_of, open_splits
from jaxssl.data.source import Source
from jaxssl.evals import embedding_file, load_run
from jaxssl.evals.load_run import LoadedRun

PART = 2048  # images per part
PATCH_PART = 256  # with patch tokens, which take about a hundred times the space


def embed_to_file(
  workdir: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  step: int | None = None,
  patches: bool = False,
  changes: Mapping[str, Any] | None = None,
) -> int:
  """Writes features, path, class and split of images to `out`, .npz or .parquet; returns the number of images.

  The images are the run's own, or those named by `changes`, e.g. {"data.path": "FOLDER"}. `patches`: also a ViT's patch tokens.
  Finished parts are kept beside `out`, so that the same call resumes after an interruption. Raises UserError.
  """
  workdir, out, changes = path_of(workdir), path_of(out), changes or {}
  config = load_run.read_config(workdir, changes)
  embedding_file.check_name(out)
  whole = load_run.names_other_images(changes)
  sources = open_splits(config.data, config.train.seed, whole)
  run = load_run.load(workdir, config, step)
  request = _request(run, sources, patches)
  parts = Parts(out, sources, request)
  progress = ImageProgress(request["images"])
  try:
    for number, (split, rows) in enumerate(parts.rows):
      missing = not parts.file(number).exists()
      if missing:
        features, tokens, unreadable = run.embed(sources[split], rows, patches)
        readable = np.delete(rows, unreadable)
        features = np.delete(features, unreadable, axis=0)
        tokens = None if tokens is None else np.delete(tokens, unreadable, axis=0)
        _require_finite(features, readable, sources[split])
        parts.write(number, readable, features, tokens)
      progress.add(len(rows), missing)
  except KeyboardInterrupt:
    runlog.LOG.info("stopped; rerun the same command to resume from %s", parts.folder)
    raise
  finally:
    progress.close()
  meta = {"workdir": str(workdir), "method": config.method["name"], "model": config.model.name, "whole": whole}
  meta |= {"data": dataclasses.asdict(config.data), "seed": config.train.seed}
  count = parts.join({**meta, **{name: value for name, value in request.items() if not name.startswith("data.")}})
  left_out = request["images"] - count
  note = f"; {left_out} unreadable images are left out" if left_out else ""
  runlog.LOG.info("%d images, step %d, %s network: %s%s", count, run.step, run.which, out, note)
  return count


def _request(run: LoadedRun, sources: Mapping[str, Source], patches: bool) -> dict[str, Any]:
  """Returns everything that the features depend on, as JSON reads it back."""
  listing = hashlib.sha256()
  for split, source in sources.items():
    for k in range(len(source)):
      listing.update(f"{split}\0{name_of(source, k)}\n".encode(errors="surrogateescape"))
  data = {f"data.{name}": getattr(run.config.data, name) for name in ("placement", "resident_size", *load_run.OF_THE_NETWORK)}
  request = {
    "jaxssl": VERSION,
    "step": run.step,
    "weights": run.fingerprint,
    "network": run.which,
    "size": run.preprocessing.size,
    "resize": run.preprocessing.resize,
    "patches": patches,
    "part": PATCH_PART if patches else PART,
    "images": sum(map(len, sources.values())),
    "listing": listing.hexdigest()[:16],
    "data.path": [source.name for source in sources.values()],
    **data,
  }
  return json.loads(json.dumps(request))


def _require_finite(features: np.ndarray, rows: np.ndarray, source: Source) -> None:
  """Raises UserError if features are not finite."""
  wrong = rows[~np.isfinite(features).all(1)]
  if len(wrong):
    raise UserError(f"features are not finite: {len(wrong)} of {len(rows)} images, first: {source.describe(int(wrong[0]))}")


class Parts:
  """The finished parts of a file: FILE.parts/NNNNN.npz, each with its images' positions in their split and their features."""

  def __init__(self, out: pathlib.Path, sources: Mapping[str, Source], request: Mapping[str, Any]):
    """Opens the folder of parts. Raises UserError if it holds parts of another request."""
    self._out, self._sources, self._request = out, sources, request
    beside = out if paths.is_local(out) else cache.folder("parts") / hashlib.sha256(str(out).encode()).hexdigest()[:16]
    self.folder = beside.with_name(beside.name + ".parts")
    self.rows = [  # of each part: split, int [m]
      (split, np.arange(start, min(start + request["part"], len(source))))
      for split, source in sources.items()
      for start in range(0, len(source), request["part"])
    ]
    if any(self.folder.glob("*.npz")):
      self._check()

  def _check(self) -> None:
    try:
      theirs = json_io.read(self.folder / "request.json")
    except UserError:
      theirs = {}
    wrong = [f"{k}: {theirs.get(k)} there, {ours} here" for k, ours in self._request.items() if theirs.get(k) != ours]
    if wrong:
      raise UserError(
        f"{self.folder} holds parts of another request: {'; '.join(wrong)}. Remove it to start over, or name another --out"
      )

  def file(self, number: int) -> pathlib.Path:
    """Returns the path of a part."""
    return self.folder / f"{number:05d}.npz"

  def write(self, number: int, rows: np.ndarray, features: np.ndarray, patches: np.ndarray | None) -> None:
    """Writes a part; its file appears when it is complete. Raises UserError."""
    columns: dict[str, Any] = {"rows": rows, "features": features} | ({} if patches is None else {"patches": patches})
    try:
      self.folder.mkdir(parents=True, exist_ok=True)
      if not any(self.folder.glob("*.npz")):
        (self.folder / "request.json").write_text(json.dumps(self._request, indent=2) + "\n")
      with atomic.replacing(self.file(number)) as temporary, temporary.open("wb") as file:
        np.savez(file, **columns)
    except OSError as error:
      raise UserError(f"{self.folder} cannot be written: {error.strerror}; rerun the same command to resume") from error

  def read(self, number: int, column: str) -> np.ndarray:
    """Reads one column of a part. Raises UserError if it is damaged."""
    try:
      with self.file(number).open("rb") as file, np.load(file, allow_pickle=False) as part:
        if column in part:
          return part[column]
        rows = part["rows"]
    except Exception as error:  # zipfile and numpy raise nearly any type on a damaged file
      raise UserError(f"{self.file(number)} is damaged; remove it and rerun the same command") from error
    if column == "index":
      return rows
    split = self.rows[number][0]
    source = self._sources[split]
    if column == "path":
      return np.array([name_of(source, int(k)) for k in rows], str)
    if column == "label":
      labels = source.labels
      return np.array(["" if labels is None or labels[k] < 0 else source.classes[labels[k]] for k in rows], str)
    return np.full(len(rows), split)

  def join(self, meta: Mapping[str, Any]) -> int:
    """Joins all parts into the file, removes them, and returns the number of images. Raises UserError if there are none."""
    count = sum(len(self.read(number, "index")) for number in range(len(self.rows)))
    if not count:
      raise UserError(f"all {self._request['images']} images are unreadable")
    columns = ["path", "index"]
    columns += ["split"] if len(self._sources) > 1 else []
    columns += ["label"] if any(source.labels is not None for source in self._sources.values()) else []
    columns += ["features", "patches"] if self._request["patches"] else ["features"]
    if self._request["patches"]:
      meta = {**meta, "patches": list(self.read(0, "patches").shape[1:])}
    try:
      with paths.uploaded(self._out) as made:
        embedding_file.write(made, columns, len(self.rows), self.read, meta)
    except OSError as error:
      raise UserError(f"--out {self._out} cannot be written: {error.strerror}; rerun the same command to try again") from error
    shutil.rmtree(self.folder)
    return count
