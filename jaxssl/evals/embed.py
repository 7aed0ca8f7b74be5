"""Writes the features of every image of a dataset to one file, in parts, so that an interrupted command resumes."""

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import shutil
from collections.abc import Iterator, Mapping
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
  parts = Parts(out, request)
  size = request["part"]
  spans = [(split, k, min(k + size, len(x))) for split, x in sources.items() for k in range(0, len(x), size)]
  progress = ImageProgress(request["images"])
  try:
    for number, (split, start, stop) in enumerate(spans):
      missing = number >= len(parts.counts)
      if missing:
        parts.append(_embed(run, sources[split], np.arange(start, stop), patches))
      progress.add(stop - start, missing)
  except KeyboardInterrupt:
    runlog.LOG.info("stopped; rerun the same command to resume from %s", parts.folder)
    raise
  finally:
    progress.close()
  count = sum(parts.counts)
  if not count:
    raise UserError(f"all {request['images']} images are unreadable")
  columns = _names(sources, np.repeat([split for split, _, _ in spans], parts.counts), parts.read("index"))
  columns |= {name: parts.read(name) for name in ("features", *(["patches"] if patches else []))}
  meta = {"workdir": str(workdir), "method": config.method["name"], "model": config.model.name, "whole": whole}
  meta |= {"data": dataclasses.asdict(config.data), "seed": config.train.seed}
  meta |= {name: value for name, value in request.items() if not name.startswith("data.")}
  if patches:
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
    "images": len(names),
    "listing": hashlib.sha256("".join(names).encode(errors="surrogateescape")).hexdigest()[:16],
    "data.path": [source.name for source in sources.values()],
    **data,
  }
  return json.loads(json.dumps(request))


def _embed(run: LoadedRun, source: Source, rows: np.ndarray, patches: bool) -> dict[str, np.ndarray]:
  """Embeds the readable images among rows of a source. Raises UserError if features are not finite."""
  features, tokens, unreadable = run.embed(source, rows, patches)
  arrays = {"index": rows, "features": features, **({} if tokens is None else {"patches": tokens})}
  arrays = {name: np.delete(values, unreadable, axis=0) for name, values in arrays.items()}
  wrong = arrays["index"][~np.isfinite(arrays["features"]).all(1)]
  if len(wrong):
    example = source.describe(int(wrong[0]))
    raise UserError(f"features are not finite: {len(wrong)} of {len(arrays['index'])} images, first: {example}")
  return arrays


def _names(sources: Mapping[str, Source], split: np.ndarray, index: np.ndarray) -> dict[str, np.ndarray]:
  """Returns the columns of text, and `index`, of images at positions in their splits."""
  images = list(zip(split.tolist(), index.tolist(), strict=True))
  columns = {"path": np.array([name_of(sources[name], k) for name, k in images]), "index": index}
  if len(sources) > 1:
    columns["split"] = split
  labels = {name: source.labels for name, source in sources.items()}
  if any(known is not None for known in labels.values()):
    numbers = [-1 if known is None else int(known[k]) for known, k in ((labels[name], k) for name, k in images)]
    classes = ["" if c < 0 else sources[name].classes[c] for c, (name, _) in zip(numbers, images, strict=True)]
    columns["label"] = np.array(classes)
  return columns


class Parts:
  """What is done of a file, in FILE.parts: one binary file per array, and the number of rows of each part in parts.json."""

  def __init__(self, out: pathlib.Path, request: Mapping[str, Any]):
    """Opens the folder. Raises UserError if it holds parts of another request."""
    beside = out if paths.is_local(out) else cache.folder("parts") / hashlib.sha256(str(out).encode()).hexdigest()[:16]
    self.folder = beside.with_name(beside.name + ".parts")
    self._state = self.folder / "parts.json"
    state = json_io.read(self._state) if self._state.exists() else {"request": request, "counts": [], "arrays": {}}
    theirs = state["request"]
    wrong = [f"{k}: {theirs.get(k)} there, {ours} here" for k, ours in request.items() if theirs.get(k) != ours]
    if wrong:
      raise UserError(
        f"{self.folder} holds parts of another request: {'; '.join(wrong)}. Remove it to start over, or name another --out"
      )
    self._request, self.counts, self._arrays = request, state["counts"], state["arrays"]
    for name in self._arrays:
      self.read(name)

  def append(self, arrays: Mapping[str, np.ndarray]) -> None:
    """Adds a part, which counts once parts.json is replaced. Raises UserError."""
    with _writing(self.folder):
      self.folder.mkdir(parents=True, exist_ok=True)
      for name, values in arrays.items():
        self._arrays[name] = [values.dtype.str, *values.shape[1:]]
        with (self.folder / name).open("ab") as file:
          file.truncate(self.read(name).nbytes if self.counts else 0)  # what an interrupted command wrote of this part
          file.write(values.tobytes())
      counts = [*self.counts, len(arrays["index"])]
      atomic.write_text(self._state, json.dumps({"request": self._request, "counts": counts, "arrays": self._arrays}))
    self.counts = counts

  def read(self, name: str) -> np.ndarray:
    """Returns an array of all parts, which stays on the disk. Raises UserError if it is damaged."""
    dtype, *shape = self._arrays[name]
    if not any(self.counts):
      return np.empty((0, *shape), dtype)
    try:
      return np.memmap(self.folder / name, dtype, "r", shape=(sum(self.counts), *shape))
    except (OSError, ValueError) as error:
      raise UserError(f"{self.folder / name} is damaged; remove {self.folder} to start over") from error


@contextlib.contextmanager
def _writing(place: Any) -> Iterator[None]:
  try:
    yield
  except OSError as error:
    raise UserError(f"{place} cannot be written: {error.strerror}; rerun the same command to resume") from error
