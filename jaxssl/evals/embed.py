"""Writes the features of every image of a dataset to one file, in parts, so that an interrupted command resumes."""

import contextlib
import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxssl.core import atomic, cache, json_io, paths
from jaxssl.core import log as runlog
from jaxssl.core.errors import UserError
from jaxssl.core.paths import path_of
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
  config, whole = load_run.read_config(workdir, changes), load_run.names_other_images(changes)
  if out.suffix not in (".npz", ".parquet"):
    raise UserError(f"--out {out} is not allowed; it ends in .npz or .parquet")
  if out.exists():
    raise UserError(f"--out {out} exists; remove it, or name another")
  sources = open_splits(config.data, config.train.seed, whole)
  run = load_run.load(workdir, config, step)
  request = _request(run, sources, patches)
  parts, size = Parts(out, request), request["part"]
  spans = [(split, k, min(k + size, len(x))) for split, x in sources.items() for k in range(0, len(x), size)]
  finished = len(parts.counts)
  try:
    with runlog.image_progress(request["images"], sum(stop - start for _, start, stop in spans[:finished])) as progress:
      for split, start, stop in spans[finished:]:
        parts.append(*_embed(run, sources[split], np.arange(start, stop), patches))
        progress.update(stop - start)
  except KeyboardInterrupt:
    runlog.LOG.info("stopped; rerun the same command to resume from %s", parts.folder)
    raise
  count = sum(parts.counts)
  if not count:
    raise UserError(f"all {request['images']} images are unreadable")
  index, features = parts.read()
  meta = {"workdir": str(workdir), "method": config.method["name"], "model": config.model.name, "whole": whole}
  meta |= {"data": dataclasses.asdict(config.data), "seed": config.train.seed}
  meta |= {name: value for name, value in request.items() if not name.startswith("data.")}
  columns = _names(sources, np.repeat([split for split, _, _ in spans], parts.counts), index) | {"features": features}
  if patches:
    columns |= {"features": features[:, 0], "patches": features[:, 1:]}
    meta["patches"] = columns["patches"].shape[1:]
  with _writing(f"--out {out}"), paths.uploaded(out) as made:
    embedding_file.write(made, columns, meta)
  shutil.rmtree(parts.folder)
  left_out = request["images"] - count
  note = f"; {left_out} unreadable images are left out" if left_out else ""
  runlog.LOG.info("%d images, step %d, %s network: %s%s", count, run.step, run.which, out, note)
  return count


def _request(run: LoadedRun, sources: Mapping[str, Source], patches: bool) -> dict[str, Any]:
  """Returns everything that the features depend on, as JSON reads it back."""
  names = [f"{split}\0{name_of(source, k)}\n" for split, source in sources.items() for k in range(len(source))]
  fields = ("placement", "resident_size", *load_run.OF_THE_NETWORK)
  request = {
    "jaxssl": VERSION,
    "step": run.step,
    "weights": run.fingerprint,
    "network": run.which,
    "size": run.preprocessing.size,
    "resize": run.preprocessing.resize,
    "patches": patches,
    "part": PATCH_PART if patches else PART,
    "images": len(names),
    "listing": hashlib.sha256("".join(names).encode(errors="surrogateescape")).hexdigest()[:16],
    "data.path": [source.name for source in sources.values()],
    **{f"data.{name}": getattr(run.config.data, name) for name in fields},
  }
  return json.loads(json.dumps(request))


def _embed(run: LoadedRun, source: Source, rows: np.ndarray, patches: bool) -> tuple[np.ndarray, np.ndarray]:
  """Embeds the readable images among rows of a source: (their rows, features). Raises UserError if they are not finite."""
  features, unreadable = run.embed(source, rows, "tokens" if patches else "encode")
  rows, features = (np.delete(values, unreadable, axis=0) for values in (rows, features))
  wrong = rows[~np.isfinite(features).all(axis=tuple(range(1, features.ndim)))]
  if len(wrong):
    example = source.describe(int(wrong[0]))
    raise UserError(f"features are not finite: {len(wrong)} of {len(rows)} images, first: {example}")
  return rows, features


def _names(sources: Mapping[str, Source], split: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the columns that identify the images at these ascending positions of their splits."""
  path, label = [], []
  for name, source in sources.items():
    rows, known = index[split == name].tolist(), source.labels
    path += [name_of(source, k) for k in rows]
    label += ["" if known is None or known[k] < 0 else source.classes[known[k]] for k in rows]
  columns = {"path": np.array(path), "index": index}
  columns |= {"split": split} if len(sources) > 1 else {}
  return columns | ({"label": np.array(label)} if any(label) else {})


class Parts:
  """The finished parts of a file, in FILE.parts: positions, features, and parts.json, which counts the images of each part."""

  def __init__(self, out: pathlib.Path, request: Mapping[str, Any]):
    beside = out if paths.is_local(out) else cache.folder("parts") / hashlib.sha256(str(out).encode()).hexdigest()[:16]
    self.folder, self._request = beside.with_name(beside.name + ".parts"), request
    self._file = self.folder / "parts.json"
    state = json_io.read(self._file) if self._file.exists() else {"request": request, "counts": [], "shape": []}
    self.counts, self._shape, stored = state["counts"], state["shape"], state["request"]
    wrong = [f"{k}: {stored.get(k)} there, {value} here" for k, value in request.items() if stored.get(k) != value]
    if wrong:
      advice = "Remove it to start over, or name another --out"
      raise UserError(f"{self.folder} holds parts of another request: {'; '.join(wrong)}. {advice}")
    if any(self.counts):
      self.read()

  def append(self, index: np.ndarray, features: np.ndarray) -> None:
    """Adds a part, which takes effect when parts.json is replaced. Raises UserError."""
    with _writing(self.folder):
      self.folder.mkdir(parents=True, exist_ok=True)
      for name, values in (("index", index), ("features", features)):
        with (self.folder / name).open("ab") as file:
          file.truncate(sum(self.counts) * values.itemsize * math.prod(values.shape[1:]))  # drops an interrupted part
          file.write(values.tobytes())
      self.counts, self._shape = [*self.counts, len(index)], features.shape[1:]
      atomic.write_text(self._file, json.dumps({"request": self._request, "counts": self.counts, "shape": self._shape}))

  def read(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns positions int64 [n] and features float32 [n, ...], which stay on the disk. Raises UserError if damaged."""
    count = sum(self.counts)
    try:
      index = np.memmap(self.folder / "index", np.int64, "r", shape=(count,))
      return index, np.memmap(self.folder / "features", np.float32, "r", shape=(count, *self._shape))
    except (OSError, ValueError) as error:
      raise UserError(f"{self.folder} is damaged; remove it to start over") from error


@contextlib.contextmanager
def _writing(place: Any) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise UserError(f"{place} cannot be written: {error.strerror}; rerun the same command to resume") from error
