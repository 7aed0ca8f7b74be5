"""Writes the features of every image of a dataset to one file, in parts, so that an interrupted command resumes."""

import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.core import LOG, VERSION, UserError, cache, image_progress, json_io, path_of, paths, retry
from jaxssl.data.datasets import open_splits
from jaxssl.data.source import Source, name_of
from jaxssl.data.worker_pool import WorkerPool, open_pool
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
  sources = open_splits(config.data, config.train.seed, whole, config.evals.holdout)
  run = load_run.load(workdir, config, step)
  request = _request(run, sources, patches)
  parts, size = Parts(out, request), request["part"]
  spans = [(split, np.arange(k, min(k + size, len(x)))) for split, x in sources.items() for k in range(0, len(x), size)]
  finished, pool = len(parts.unreadable), open_pool(list(sources.values()), config.data)
  try:
    with image_progress(request["images"], sum(len(rows) for _, rows in spans[:finished])) as progress:
      for split, rows in spans[finished:]:
        parts.append(*_embed(run, sources[split], rows, patches, pool))
        progress.update(len(rows))
    if not parts.shape[0]:
      raise UserError(f"all {request['images']} images are unreadable")
    readable = [(split, np.setdiff1d(rows, bad)) for (split, rows), bad in zip(spans, parts.unreadable, strict=True)]
    features = parts.features()
    meta = {"workdir": str(workdir), "method": config.method["name"], "model": config.model.name, "whole": whole}
    meta |= {"data": dataclasses.asdict(config.data), "seed": config.train.seed, "holdout": config.evals.holdout}
    meta |= {name: value for name, value in request.items() if not name.startswith("data.")}
    columns = _names(sources, readable) | {"features": features}
    if patches:
      columns |= {"features": features[:, 0], "patches": features[:, 1:]}
      meta["patches"] = columns["patches"].shape[1:]
    with paths.uploaded(out) as made:
      embedding_file.write(made, columns, meta)
  except KeyboardInterrupt:
    LOG.info("stopped; rerun the same command to resume from %s", parts.folder)
    raise
  except OSError as error:
    raise retry.failure(f"--out {out} cannot be written", error, "; rerun the same command to resume") from error
  shutil.rmtree(parts.folder)
  count = len(features)
  left_out = request["images"] - count
  note = f"; {left_out} unreadable images are left out" if left_out else ""
  LOG.info("%d images, step %d, %s network: %s%s", count, run.step, run.which, out, note)
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
    "interpolation": run.preprocessing.interpolation,
    "patches": patches,
    "part": PATCH_PART if patches else PART,
    "images": len(names),
    "listing": hashlib.sha256("".join(names).encode(errors="surrogateescape")).hexdigest()[:16],
    "data.path": [source.name for source in sources.values()],
    **{f"data.{name}": getattr(run.config.data, name) for name in fields},
  }
  return json.loads(json.dumps(request))


def _embed(
  run: LoadedRun, source: Source, rows: np.ndarray, patches: bool, pool: WorkerPool | None
) -> tuple[np.ndarray, list[int]]:
  """Embeds images: (features of the readable ones, rows of the others). Raises UserError if features are not finite."""
  features, unreadable = run.embed(source, rows, "tokens" if patches else "encode", pool)
  wrong = np.delete(rows, unreadable)[~np.isfinite(features).all(axis=tuple(range(1, features.ndim)))]
  if len(wrong):
    example = source.describe(int(wrong[0]))
    raise UserError(f"features are not finite: {len(wrong)} of {len(features)} images, first: {example}")
  return features, rows[unreadable].tolist()


def _names(sources: Mapping[str, Source], parts: Sequence[tuple[str, np.ndarray]]) -> dict[str, np.ndarray]:
  """Returns the columns that identify images, given as splits and rows of these."""
  path, split, label = [], [], []
  for name, rows in parts:
    source, known = sources[name], sources[name].labels
    path += [name_of(source, k) for k in rows.tolist()]
    split += [name] * len(rows)
    label += ["" if known is None or known[k] < 0 else source.classes[known[k]] for k in rows.tolist()]
  columns = {"path": np.array(path), "index": np.concatenate([rows for _, rows in parts])}
  columns |= {"split": np.array(split)} if len(sources) > 1 else {}
  return columns | ({"label": np.array(label)} if any(label) else {})


class Parts:
  """The finished parts of a file, in FILE.parts: features, and parts.json, which lists the unreadable images of each part."""

  def __init__(self, out: pathlib.Path, request: Mapping[str, Any]):
    beside = out if paths.is_local(out) else cache.folder("parts") / hashlib.sha256(str(out).encode()).hexdigest()[:16]
    self.folder, self._request = beside.with_name(beside.name + ".parts"), request
    self._file = self.folder / "parts.json"
    state = json_io.read(self._file) if self._file.exists() else {"request": request, "unreadable": [], "shape": [0]}
    self.unreadable, self.shape, stored = state["unreadable"], state["shape"], state["request"]
    wrong = [f"{k}: {stored.get(k)} there, {value} here" for k, value in request.items() if stored.get(k) != value]
    if wrong:
      advice = "Remove it to start over, or name another --out"
      raise UserError(f"{self.folder} holds parts of another request: {'; '.join(wrong)}. {advice}")
    if self.shape[0]:
      self.features()

  def append(self, features: np.ndarray, unreadable: list[int]) -> None:
    """Adds a part, which takes effect when parts.json is replaced. Raises OSError."""
    self.folder.mkdir(parents=True, exist_ok=True)
    with (self.folder / "features").open("ab") as file:
      file.truncate(math.prod(self.shape) * features.itemsize)  # drops an interrupted part
      file.write(features.tobytes())
    self.unreadable, self.shape = [*self.unreadable, unreadable], [self.shape[0] + len(features), *features.shape[1:]]
    json_io.write(self._file, {"request": self._request, "unreadable": self.unreadable, "shape": self.shape})

  def features(self) -> np.ndarray:
    """Returns features float32 [n, ...], which stay on the disk. Raises UserError if damaged."""
    try:
      return np.memmap(self.folder / "features", np.float32, "r", shape=tuple(self.shape))
    except (OSError, ValueError) as error:
      raise UserError(f"{self.folder} is damaged; remove it to start over") from error
