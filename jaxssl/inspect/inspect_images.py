"""Inspects a folder of images: counts, sizes, damaged files, duplicates; and suggests a config to train on it."""

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
from jaxssl.inspect.facts import depth_of, gather
from jaxssl.inspect.scan import GRID, ScannedFile, scan


def inspect(
  images: str | pathlib.Path, *, out: str | pathlib.Path | None = None, changes: Mapping[str, Any] | None = None
) -> Config:
  """Prints what a folder or zip of images holds and returns a config to train on it; writes it to `out` (.py) if given.

  `changes`: fields of `data` that the config takes over, e.g. {"data.test_path": "FOLDER"}. Raises UserError.
  """
  out, changes = path_of(out) if out else None, changes or {}
  for name in changes:
    if not name.startswith("data."):
      raise UserError(f"{name}: does not change an inspection; expected a field of data")
  given = {"source": "folder", **{name.removeprefix("data."): value for name, value in changes.items()}, "path": str(images)}
  given = tree.updated({}, given)
  if given["source"] != "folder":
    raise UserError(f"data.source={given['source']}: inspect reads a folder or a zip; expected folder")
  if given.get("list_path"):
    raise UserError(f"data.list_path={given['list_path']}: inspect reads all images of --data; expected no list")
  if out and (out.suffix != ".py" or not paths.is_local(out)):
    raise UserError(f"--out={out}: a config is a local Python file; expected a name such as configs/mine.py")
  if out and out.exists():
    raise UserError(f"--out={out}: exists; remove it or choose another name")
  config = read(DataConfig, given, "data.")
  train, test = open_folder(config)  # raises what training would raise
  sources = {"train": train} | ({"test": test} if test else {})
  found = scan(sources, given.get("channels", 0), given.get("bit_depth", 0))
  seen = [one.stats for one in found if one.stats]
  _tell(train.name, *summary.counts(sources, found))
  if not seen:
    raise UserError(f"data.path={config.path}: all {len(found)} images are unreadable, e.g. {found[0].name}")
  _tell(*summary.kinds(seen, depth_of(given, seen)), *summary.unreadable(found))
  exactly, nearly = _duplicates(found)
  _tell(*summary.twins(found, exactly, "exact duplicates"), *summary.twins(found, nearly, "near duplicates"))
  if test:
    _tell(*summary.overlap(found, [*exactly, *nearly]))
  kept = _kept(found, [*exactly, *nearly], train.name)
  if len(kept) < suggest.LEAST:
    raise UserError(f"data.path={config.path}: {len(kept)} usable training images; expected at least {suggest.LEAST}")
  beside = (out or pathlib.Path("CONFIG.py")).absolute()
  facts = gather(given, found, train, test, kept, str(beside.with_suffix(".train.txt")))
  if (facts.channels, facts.bit_depth) != (config.channels, config.bit_depth):  # reopened as training will read them
    train, test = open_folder(dataclasses.replace(config, channels=facts.channels, bit_depth=facts.bit_depth))
  print(f"mean {facts.mean}, standard deviation {facts.std}: of all training images, at most {GRID} x {GRID} pixels of each")
  lines = suggest.suggest(facts)
  asked = {name: value for name, value in given.items() if name not in ("source", "path", "test_path")}
  text = suggest.text(lines, facts, str(out or "CONFIG.py"), asked)
  suggested = suggest.config_of(text)
  views = suggested.views
  try:
    with runlog.heartbeat("timing how fast images are read and cut"):
      rate = throughput.speed(Subset(train, np.array([found[k].index for k in kept])), views)
    print(summary.speed(rate, sum(view.count for view in views.values()), facts))
  except UserError as error:  # no TensorFlow, no host pipeline
    print(f"reading: not timed: {error}")
  print("\nsuggested:", suggest.body(lines), sep="\n")
  if out is None:
    print("--out CONFIG.py writes it to a config file, and the files that are counted above to CONFIG.found.txt")
    return suggested
  names = [found[k].name.removeprefix(train.name + "/") for k in kept] if facts.list_path else []
  lists = {beside.with_suffix(".found.txt"): summary.in_full(found, exactly, nearly), pathlib.Path(facts.list_path): names}
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    for file, rows in lists.items():
      if rows:
        file.write_text("\n".join(rows) + "\n", encoding="utf-8", errors="surrogateescape")
    out.write_text(text, encoding="utf-8")
  except OSError as error:
    raise UserError(f"--out={out}: cannot be written: {error}") from error
  _tell(f"written: {out}" + "".join(f" and {file.name}" for file, rows in lists.items() if rows))
  for version in ("",) if facts.accelerator else ("", ":cpu"):
    _tell(f"  jaxssl train --config {shlex.quote(f'{out}{version}')}")
  return suggested


def _tell(*lines: str) -> None:
  """Prints lines, which may contain names of files, escaped."""
  print(*map(one_line, lines), sep="\n")


def _duplicates(found: Sequence[ScannedFile]) -> tuple[list[list[int]], list[list[int]]]:
  """Returns groups of exact and of near duplicates, as positions in `found`."""
  places = [k for k, one in enumerate(found) if one.stats]
  seen = [one.stats for one in found if one.stats]
  with runlog.heartbeat(f"comparing {len(seen)} images with each other"):
    exactly = duplicates.exact(one.digest for one in seen)
    nearly = duplicates.joined(exactly, np.stack([one.fingerprint for one in seen]))
  return [[places[k] for k in group] for group in exactly], [[places[k] for k in group] for group in nearly]


def _kept(found: Sequence[ScannedFile], groups: Sequence[Sequence[int]], root: str) -> list[int]:
  """Returns positions in `found` of training images that are readable, can be listed, and are not in the test set too."""
  spoiled = {k for group in groups if "test" in {found[k].split for k in group} for k in group}
  return [k for k, one in enumerate(found) if one.split == "train" and one.stats and one.listable(root) and k not in spoiled]
