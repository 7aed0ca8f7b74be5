"""Inspects a folder of images: counts, sizes, damaged files, duplicates; and suggests a config to train on it."""

import collections
import contextlib
import dataclasses
import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import Config, DataConfig, TrainConfig
from jaxssl.core import UserError, heartbeat, one_line, path_of, paths, renamed, retry, tree
from jaxssl.core.log import duration
from jaxssl.data import holdout, value_range
from jaxssl.data.file_kinds import DecodeError
from jaxssl.data.folder import FolderSource
from jaxssl.data.image_io import Decoder
from jaxssl.data.input_pipeline import training
from jaxssl.data.open_folder import open_folder
from jaxssl.data.source import Source, Subset
from jaxssl.data.worker_pool import open_pool
from jaxssl.inspect import contact_sheet, estimate, suggest, summary
from jaxssl.inspect.copies import IN_TEST, MAY_BE_IN_TEST, find_copies
from jaxssl.inspect.scan import GRID, ImageStats, Unusable, read_header, scan

SECONDS = 8.0  # duration of the measurement of speed
BATCH, IMAGES = 32, 4096  # images per batch, and at most in all, with repetition
LIST, FOUND, DRAWN = ".train.txt", ".found.txt", ".duplicates.png"  # endings of the files beside the config
WRITTEN = (".py", LIST, FOUND, DRAWN)


@renamed("data.path", "--data")
def inspect(
  images: str | pathlib.Path,
  *,
  out: str | pathlib.Path | None = None,
  drop_duplicates: bool = False,
  changes: Mapping[str, Any] | None = None,
  open_timer: estimate.OpenTimer | None = None,
) -> Config:
  """Prints what a folder or zip of images holds and returns a config to train on it; writes it to `out` (.py) if given.

  `drop_duplicates`: the config leaves out training images that are, or may be, duplicates of others or of test images; needs
  `out`, beside which the others are listed.
  `changes`: fields of `data` that the config takes over, e.g. {"data.test_path": "FOLDER"}. `open_timer`: times steps of a
  config, to estimate how long it takes on this machine; None: it is not estimated. Raises UserError.
  """
  out, given = path_of(out) if out else None, _data_fields(changes or {})
  if out and (out.suffix != ".py" or not paths.is_local(out)):
    raise UserError(f"--out={out}: a config is a local Python file; expected a name such as configs/mine.py")
  for file in (out.with_suffix(ending) for ending in WRITTEN) if out else ():
    if file.exists():
      raise UserError(f"--out={out}: {file.name} exists; remove it or choose another name")
  if drop_duplicates and not out:
    raise UserError("--drop-duplicates: needs --out=CONFIG.py, beside which the images to train on are listed")
  config = read(DataConfig, {**given, "source": "folder", "path": str(images)}, "data.")
  given = _typed(given, config)
  if config.test_path:
    given["test_path"] = paths.absolute(config.test_path)
  train, test = open_folder(config)  # raises what training would raise
  sources = {"train": train} | ({"test": test} if test else {})
  config = dataclasses.replace(config, channels=given.get("channels") or _channels(train))
  train.use(Decoder.of(config))
  config = value_range.settled(config, train, tolerant=True)
  decoder = dataclasses.replace(Decoder.of(config), channels=given.get("channels", 0))
  scanned, unusable = scan(sources, decoder)
  _print_escaped(train.name, *summary.counts(sources, unusable))
  if not scanned:
    _print_escaped(*summary.unreadable(unusable))
    example = f"{unusable[0].name}: {unusable[0].reason}"
    raise UserError(f"data.path={config.path}: all {len(unusable)} images are unreadable, e.g. {example}")
  _print_escaped(*summary.kinds(scanned, config.bit_depth), *summary.unreadable(unusable))
  copies = find_copies(sources, scanned, decoder)
  redundant = {scanned[k].name: reason for k, reason in copies.redundant().items()}
  _print_escaped(*summary.copies(copies, scanned), *summary.redundant(list(redundant.values()), drop_duplicates))
  left_out = _left_out(scanned, unusable, redundant if drop_duplicates else {}, train.name)
  usable = [image for image in scanned if image.split == "train" and image.name not in left_out]
  if len(usable) < suggest.LEAST:
    raise UserError(f"data.path={config.path}: {len(usable)} usable training images; expected at least {suggest.LEAST}")
  held_out = _held_out(train, usable) if test is None else 0
  if held_out:
    share = f"a fifth of each class (evals.holdout={suggest.HOLDOUT:g})"
    print(f"no test split: the suggested config tests on {held_out} of {len(usable)} images, {share}, and trains on the others")
  facts = suggest.measure(
    given.get("channels", 0),
    scanned,
    usable,
    path=train.name,
    list_path=str(out.absolute().with_suffix(LIST)) if out and left_out else "",
    left_out=" and ".join(f"{n} that {reason}" for reason, n in collections.Counter(left_out.values()).items()),
    held_out=held_out,
    test=len(test) if test else 0,
    in_test=sum(redundant.get(image.name) in (IN_TEST, MAY_BE_IN_TEST) for image in usable),
    classes=len(train.classes),
    bit_depth=config.bit_depth,
  )
  print(f"mean {facts.mean}, standard deviation {facts.std}: of all training images, at most {GRID} x {GRID} pixels of each")
  text = suggest.text(facts, str(out or "CONFIG.py"), given)
  suggested = suggest.config_of(text)
  train.use(Decoder.of(suggested.data))  # as training will read them
  rate = 0.0
  try:
    with heartbeat("timing how fast images are read and cropped"):
      rate = _reading_rate(Subset(train, np.array([image.index for image in usable])), suggested)
    print(_speed(rate, len(usable), suggested))
  except UserError as error:  # no TensorFlow, no host pipeline
    print(f"reading: not timed: {error}")
  print("\nsuggested:", text.partition("recipes.defaults()\n")[2].rpartition("  return")[0], sep="\n")
  if out is None:
    print(
      "--out CONFIG.py writes it to a config file, and the files that are counted above to CONFIG.found.txt; "
      "near duplicates are drawn in CONFIG.duplicates.png"
    )
  else:
    files = {FOUND: _lines(summary.in_full(unusable, copies, scanned))}
    if left_out:
      files[LIST] = _lines([train.relative_name(image.index) for image in usable])
    if copies.near:
      files[DRAWN] = contact_sheet.near_duplicates(sources, scanned, copies.near, decoder)
    _print_escaped(f"written: {' and '.join([str(out), *_write(out, text, files)])}")
  if open_timer:  # the config is written already, for those who do not wait
    rate = rate if suggested.data.placement == "host" else 0.0
    runs = suggested, suggest.config_of(text, "cpu"), facts.trained
    lines, short = estimate.estimate(str(out or "CONFIG.py"), *runs, rate, facts.memory, open_timer)
    _print_escaped(*lines)
    if out and short:
      measured = suggest.Small(epochs=short.epochs, about=f"about {duration(short.total)} on {estimate.machine()}")
      _write(out, suggest.text(facts, str(out), given, measured), {})
  if out:
    for version in ("",) if facts.accelerator else (":cpu", ""):
      _print_escaped(f"  jaxssl train --config {shlex.quote(f'{out}{version}')}")
  return suggested


def _lines(lines: Sequence[str]) -> bytes:
  return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _write(out: pathlib.Path, config: str, files: Mapping[str, bytes]) -> list[str]:
  """Writes the config, and beside it the files, by ending, that are not empty; returns the names of those. Raises UserError."""
  written = {out.with_suffix(ending): data for ending, data in files.items() if data}
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    for file, data in {**written, out: config.encode(errors="surrogateescape")}.items():
      file.write_bytes(data)
  except OSError as error:
    raise retry.failure(f"--out={out}: cannot be written", error) from error
  return [file.name for file in written]


def _data_fields(changes: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields of `data` that the user set, except for the source and the path of the images."""
  for name in changes:
    if not name.startswith("data."):
      raise UserError(f"{name}: does not change an inspection; expected a field of data")
  given = {"source": "folder", **tree.updated({}, changes).get("data", {})}
  if given["source"] != "folder":
    raise UserError(f"data.source={given['source']}: inspect reads a folder or a zip; expected folder")
  if given.get("list_path"):
    raise UserError(f"data.list_path={given['list_path']}: inspect reads all images of --data; expected no list")
  return {name: value for name, value in given.items() if name not in ("source", "path")}


def _typed(given: Mapping[str, Any], config: DataConfig) -> dict[str, Any]:
  """Returns the fields as `config` has read them, such as () for an empty text; groups of fields as they are."""
  return {name: value if isinstance(value, Mapping) else getattr(config, name) for name, value in given.items()}


def _channels(source: FolderSource) -> int:
  """Returns the number of channels to read the images with, by the header of the first readable file."""
  for index in range(min(len(source), 100)):
    try:
      return read_header(source.encoded(index)).wanted
    except DecodeError:
      continue
  return 3


def _left_out(
  images: Sequence[ImageStats], unusable: Sequence[Unusable], redundant: Mapping[str, str], root: str
) -> dict[str, str]:
  """Returns why training images are not used, by name: those that cannot be read or listed, and redundant ones."""
  reasons = {file.name: "are unreadable or have other channels" for file in unusable if file.split == "train"} | dict(redundant)
  names = [image.name for image in images if image.split == "train"]
  return reasons | {name: "have a line break in their name" for name in names if {"\n", "\r"} & set(name.removeprefix(root))}


def _held_out(train: FolderSource, usable: Sequence[ImageStats]) -> int:
  """Returns how many of the usable images the suggested evals.holdout draws; 0 without class folders."""
  if train.labels is None:
    return 0
  with contextlib.suppress(UserError):  # no class has two images
    return len(holdout.draw(train, suggest.HOLDOUT, TrainConfig().seed, np.array([image.index for image in usable])))
  return 0


def _reading_rate(source: Source, config: Config) -> float:
  """Measures how many random images per second the host reads and crops into all views."""
  batch = min(BATCH, len(source))
  index = np.random.default_rng(0).integers(0, len(source), (1 + IMAGES // batch, batch)).astype(np.int32)
  pool = open_pool([source], config.data)
  with training(source, index, index, config.views, seed=0, epoch=0, pool=pool) as batches:
    next(batches)  # not timed: it includes imports
    start, images = time.monotonic(), 0
    for _ in batches:
      images += batch
      if time.monotonic() - start > SECONDS:
        break
    return images / (time.monotonic() - start)


def _speed(rate: float, images: int, config: Config) -> str:
  """Describes what it means that the host reads so many images per second."""
  views, size = sum(view.count for view in config.views.values()), config.train.batch_size
  text = f"reading: {rate:.0f} images/s into {views} views each on the host: {size / rate:.2f} s per batch of {size}"
  if config.data.placement == "device":
    return f"{text}; but they fit in memory, which takes about {images / rate:.0f} s once"
  return f"{text}, {images / rate:.0f} s per epoch; a faster training step waits for it"


def _print_escaped(*lines: str) -> None:
  print(*map(one_line, lines), sep="\n")
