"""Packs a dataset: writes its images, smaller if wanted, into a few large files with an index."""

import hashlib
import json
import math
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.core import LOG, UserError, image_progress, one_line, path_of, paths, renamed, require
from jaxssl.core.cores import cores
from jaxssl.data import packed_index, packed_manifest, sampler
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.identity import manifest_of
from jaxssl.data.packed_manifest import LeftOut, PackedManifest, Split
from jaxssl.data.source import Source, decoder_of, names_of, optional
from jaxssl.inspect import summary
from jaxssl.inspect.scan import Unusable
from jaxssl.pack import inputs, out_folder, shards, workers
from jaxssl.pack.shards import Part, Task

SHARD_BYTES = 2**28  # of the images in their source, about
LARGEST_SIDE = 2**16
_SAMPLED = 64  # images whose bytes decide the number of shards


@renamed("data.path", "--data")
def pack(
  data: str | pathlib.Path,
  out: str | pathlib.Path,
  *,
  shorter_side: int = 292,
  quality: int = 90,
  num_shards: int = 0,
  num_workers: int = 0,
  changes: Mapping[str, Any] | None = None,
) -> PackedManifest:
  """Packs the images of `data` into the folder `out`, which may be in a bucket; returns the manifest.

  `shorter_side`: in pixels; larger images are resized to it and encoded as JPEG of that `quality`; 0: all keep their bytes.
  `num_shards`: files of the training images; 0: of about 256 MB of their source. `num_workers`: processes; 0: one per core.
  `changes`: fields of `data`, e.g. {"data.list_path": "FILE"}. The result depends on neither the number of workers nor on
  whether the command was interrupted. Raises UserError.
  """
  require(0 <= shorter_side <= LARGEST_SIDE, "--shorter-side", shorter_side, f"1 to {LARGEST_SIDE}, or 0 to keep the bytes")
  require(1 <= quality <= 100, "--quality", quality, "1 to 100")
  require(num_shards >= 0, "--shards", num_shards, "1 or more, or 0 for files of about 256 MB")
  require(num_workers >= 0, "--workers", num_workers, "1 or more, or 0 for one per core")
  require(bool(str(data)), "--data", data, "a folder, a file or a name")  # an unset variable is not the current folder
  require(bool(str(out)), "--out", out, "a new folder")
  config = inputs.data_config(str(data), changes or {})
  folder = path_of(paths.absolute(str(out)))
  sources = inputs.open_sources(config)
  counts = {name: min(num_shards, len(s)) if num_shards else _number_of_shards(s) for name, s in sources.items()}
  request = _request(sources, counts, shorter_side, quality)
  with out_folder.errors(folder):
    manifest = out_folder.claim(folder, request)
  if manifest:
    print(f"{folder} is packed already")
    return manifest
  number = num_workers or cores()
  with out_folder.errors(folder), out_folder.locked(folder):
    out_folder.remove_partial(folder)
    options = {"request": request, "shorter_side": shorter_side, "quality": quality}
    tasks = _tasks(str(folder), sources, counts, options, number)
    done = _run(sources, tasks, number)
    manifest = _finish(folder, sources, tasks, done, options)
  before = sum(part.before for part in done)
  _report(folder, sources, manifest, before)
  return manifest


def _number_of_shards(source: Source) -> int:
  """Returns how many shards hold about SHARD_BYTES of a source each, judged by the files of a sample."""
  sizes = []
  for row in sampler.evenly_spaced(len(source), _SAMPLED).tolist():
    try:
      data = source.encoded(row)
      sizes.append(len(data) if data is not None else source.stored(row).pixels.nbytes)
    except DecodeError:
      continue
  return min(max(math.ceil(len(source) * float(np.mean(sizes or [0])) / SHARD_BYTES), 1), len(source))


def _request(sources: Mapping[str, Source], counts: Mapping[str, int], shorter_side: int, quality: int) -> str:
  """Hashes all that the bytes of the result depend on."""
  about = {}
  for name, source in sources.items():
    labels = b"" if source.labels is None else source.labels.astype("<i4").tobytes()
    decoder = decoder_of(source)
    about[name] = [manifest_of(source).digest, hashlib.sha256(labels).hexdigest(), list(source.classes), counts[name]]
    about[name] += [decoder.channels, decoder.max_pixels, decoder.allow_truncated]
  options = [packed_manifest.FORMAT, shorter_side, quality if shorter_side else 0]
  return hashlib.sha256(json.dumps([about, options]).encode()).hexdigest()


def _tasks(
  out: str, sources: Mapping[str, Source], counts: Mapping[str, int], options: Mapping[str, Any], number: int
) -> list[Task]:
  tasks = []
  threads = max(2, -(-number // max(sum(counts.values()), 1)))
  for split, source in sources.items():
    bounds = np.linspace(0, len(source), counts[split] + 1).round().astype(int).tolist()
    for k, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
      place = {"out": out, "split": split, "number": k, "first": first, "last": last, "total": len(source)}
      tasks.append(Task(**place, **options, threads=threads))
  return tasks


def _run(sources: Mapping[str, Source], tasks: Sequence[Task], number: int) -> list[Part]:
  """Writes all shards and shows the progress; returns their parts in order. Raises UserError."""
  done, left_out = dict[int, Part](), {split: list[LeftOut]() for split in sources}
  with image_progress(sum(map(len, sources.values()))) as progress:
    try:
      for k, part in workers.parts(sources, tasks, number, progress.update):
        done[k] = part
        left_out[tasks[k].split] += part.left_out
        shards.check_left_out(left_out[tasks[k].split], tasks[k].total)
    except KeyboardInterrupt:
      LOG.info("stopped; rerun the same command to resume")
      raise
  return [done[k] for k in range(len(tasks))]


def _finish(
  folder: pathlib.Path, sources: Mapping[str, Source], tasks: Sequence[Task], done: Sequence[Part], options: Mapping[str, Any]
) -> PackedManifest:
  """Writes the indexes and then the manifest, and removes what only an unfinished dataset needs."""
  splits = {}
  for split, source in sources.items():
    own = [part for part, task in zip(done, tasks, strict=True) if task.split == split]
    if not sum(part.shard.images for part in own):
      raise UserError(f"{source.name}: none of the {len(source)} images of {split} is readable")
    splits[split] = _write_index(folder, split, source, own, bool(options["shorter_side"]))
  classes = next(iter(sources.values())).classes if sources["train"].labels is not None else ()
  manifest = PackedManifest(splits=splits, classes=tuple(classes), **options)
  with shards.written(folder / packed_manifest.NAME) as temporary:
    packed_manifest.write(temporary, manifest)
  out_folder.clean(folder)
  return packed_manifest.read(str(folder), "--out")


def _write_index(folder: pathlib.Path, split: str, source: Source, own: Sequence[Part], changed: bool) -> Split:
  columns = dict(zip(shards.COLUMNS, np.concatenate([part.table for part in own]).T, strict=True))
  rows = columns.pop("row")
  names = names_of(source, rows)
  lengths = [part.table[:, shards.COLUMNS.index("length")] for part in own]
  columns["offset"] = np.concatenate([np.cumsum(length) - length for length in lengths])
  columns["label"] = np.full(len(rows), -1) if source.labels is None else source.labels[rows]
  version = ""
  if names is None:
    kept = optional(source, "version") if not changed and len(rows) == len(source) else None
    digests = hashlib.sha256("".join(part.shard.sha256 for part in own).encode()).hexdigest()
    version = kept or f"packed {digests[:32]}"
  path = folder / packed_manifest.index_name(split)
  with shards.written(path) as temporary:
    packed_index.write(temporary, columns, names)
    digest, size = paths.sha256(temporary), temporary.stat().st_size
  left_out = tuple(image for part in own for image in part.left_out)
  shard_list = tuple(part.shard for part in own)
  return Split(images=len(rows), index_bytes=size, index_sha256=digest, shards=shard_list, version=version, left_out=left_out)


def _report(folder: pathlib.Path, sources: Mapping[str, Source], manifest: PackedManifest, before: int) -> None:
  """Prints what was packed, as `inspect` does, and how to train on it."""
  lines, unusable = [], []
  for name, split in manifest.splits.items():
    number = f", {len(split.left_out)} of them unreadable and left out" if split.left_out else ""
    lines.append(f"{name}: {len(sources[name])} images{number}")
    unusable += [Unusable(name, image.name, image.reason) for image in split.left_out]
  size = sum(split.bytes for split in manifest.splits.values())
  instead = f" instead of {_amount(before)}" if before else ""
  lines += [*summary.unreadable(unusable), f"bytes: {_amount(size)}{instead}"]
  lines.append(f"train on them: --config.data.source=packed --config.data.path={shlex.quote(str(folder))}")
  print(*map(one_line, lines), sep="\n")


def _amount(size: int) -> str:
  return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.2f} MB"
