"""Inspects a folder of images: counts, sizes, damaged files, duplicates; and suggests a config to train on it."""

import collections
import dataclasses
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.config.parse import read
from jaxssl.config.schema import Config, DataConfig
from jaxssl.core import log as runlog
from jaxssl.core import paths, tree
from jaxssl.core.errors import UserError, one_line
from jaxssl.core.paths import path_of
from jaxssl.data.folder import open_folder
from jaxssl.data.source import Subset
from jaxssl.inspect import duplicates, suggest, summary, throughput
from jaxssl.inspect.facts import Facts, bit_depth, measured
from jaxssl.inspect.scan import GRID, ScannedFile, scan
from jaxssl.inspect.summary import Group


def inspect(
  images: str | pathlib.Path, *, out: str | pathlib.Path | None = None, changes: Mapping[str, Any] | None = None
) -> Config:
  """Prints what a folder or zip of images holds and returns a config to train on it; writes it to `out` (.py) if given.

  `changes`: fields of `data` that the config takes over, e.g. {"data.test_path": "FOLDER"}. Raises UserError.
  """
  out, given = path_of(out) if out else None, _data_fields(str(images), changes or {})
  if out and (out.suffix != ".py" or not paths.is_local(out)):
    raise UserError(f"--out={out}: a config is a local Python file; expected a name such as configs/mine.py")
  if out and out.exists():
    raise UserError(f"--out={out}: exists; remove it or choose another name")
  config = read(DataConfig, given, "data.")
  train, test = open_folder(config)  # raises what training would raise
  sources = {"train": train} | ({"test": test} if test else {})
  files = scan(sources, given.get("channels", 0), given.get("bit_depth", 0))
  stats = [file.stats for file in files if file.stats]
  _print_escaped(train.name, *summary.counts(sources, files))
  if not stats:
    raise UserError(f"data.path={config.path}: all {len(files)} images are unreadable, e.g. {files[0].name}")
  _print_escaped(*summary.kinds(stats, bit_depth(given, stats)), *summary.unreadable(files))
  exact, near = _duplicates(files)
  _print_escaped(*summary.twins(exact, "exact duplicates"), *summary.twins(near, "near duplicates"))
  if test:
    _print_escaped(*summary.overlap([*exact, *near]))
  left_out = _left_out(files, [*exact, *near], train.name)
  usable = [file for file in files if file.split == "train" and file.name not in left_out]
  if len(usable) < suggest.LEAST:
    raise UserError(f"data.path={config.path}: {len(usable)} usable training images; expected at least {suggest.LEAST}")
  beside = (out or pathlib.Path("CONFIG.py")).absolute()
  facts = Facts(
    path=train.name,
    list_path=str(beside.with_suffix(".train.txt")) if left_out else "",
    left_out=" and ".join(f"{n} that {reason}" for reason, n in collections.Counter(left_out.values()).items()),
    test=len(test) if test else 0,
    classes=len(train.classes),
    **measured(given, stats, [file.stats for file in usable if file.stats]),
  )
  print(f"mean {facts.mean}, standard deviation {facts.std}: of all training images, at most {GRID} x {GRID} pixels of each")
  copied = {name: value for name, value in given.items() if name not in ("source", "path", "test_path")}
  text = suggest.text(facts, str(out or "CONFIG.py"), copied)
  suggested = suggest.config_of(text)
  if (facts.channels, facts.bit_depth) != (config.channels, config.bit_depth):  # reopened as training will read them
    train, _ = open_folder(dataclasses.replace(config, channels=facts.channels, bit_depth=facts.bit_depth))
  try:
    with runlog.heartbeat("timing how fast images are read and cropped"):
      rate = throughput.speed(Subset(train, np.array([file.index for file in usable])), suggested.views)
    print(summary.speed(rate, suggested, len(usable)))
  except UserError as error:  # no TensorFlow, no host pipeline
    print(f"reading: not timed: {error}")
  print("\nsuggested:", text.partition("recipes.defaults()\n")[2].rpartition("  return")[0], sep="\n")
  if out is None:
    print("--out CONFIG.py writes it to a config file, and the files that are counted above to CONFIG.found.txt")
    return suggested
  names = [file.name.removeprefix(train.name + "/") for file in usable] if left_out else []
  lists = {beside.with_suffix(".found.txt"): summary.in_full(files, exact, near), beside.with_suffix(".train.txt"): names}
  lists = {file: "\n".join(lines) + "\n" for file, lines in lists.items() if lines}
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    for file, lines in {**lists, out: text}.items():
      file.write_text(lines, encoding="utf-8", errors="surrogateescape")
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written: {error}") from error
  _print_escaped(f"written: {' and '.join([str(out), *(file.name for file in lists)])}")
  for version in ("",) if facts.accelerator else ("", ":cpu"):
    _print_escaped(f"  jaxssl train --config {shlex.quote(f'{out}{version}')}")
  return suggested


def _data_fields(images: str, changes: Mapping[str, Any]) -> dict[str, Any]:
  for name in changes:
    if not name.startswith("data."):
      raise UserError(f"{name}: does not change an inspection; expected a field of data")
  given = {"source": "folder", **{name.removeprefix("data."): value for name, value in changes.items()}, "path": images}
  given = tree.updated({}, given)
  if given["source"] != "folder":
    raise UserError(f"data.source={given['source']}: inspect reads a folder or a zip; expected folder")
  if given.get("list_path"):
    raise UserError(f"data.list_path={given['list_path']}: inspect reads all images of --data; expected no list")
  return given


def _duplicates(files: Sequence[ScannedFile]) -> tuple[list[Group], list[Group]]:
  usable, stats = [file for file in files if file.stats], [file.stats for file in files if file.stats]
  with runlog.heartbeat(f"comparing {len(usable)} images with each other"):
    exact = duplicates.exact(image.digest for image in stats)
    near = duplicates.joined(exact, np.stack([image.fingerprint for image in stats]))
  return [[usable[k] for k in group] for group in exact], [[usable[k] for k in group] for group in near]


def _left_out(files: Sequence[ScannedFile], groups: Sequence[Group], root: str) -> dict[str, str]:
  """Returns why training images are not used, by name: those that cannot be read or listed, or are in the test set too."""
  in_test = {file.name for group in groups if any(file.split == "test" for file in group) for file in group}
  reasons = {}
  for file in files:
    if file.split == "test":
      continue
    if file.stats is None:
      reasons[file.name] = "are unreadable or have other channels"
    elif {"\n", "\r"} & set(file.name.removeprefix(root)):
      reasons[file.name] = "have a line break in their name"
    elif file.name in in_test:
      reasons[file.name] = "are in the test split too"
  return reasons


def _print_escaped(*lines: str) -> None:
  print(*map(one_line, lines), sep="\n")
