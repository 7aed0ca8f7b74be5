"""`inspect`: what a folder of images holds, what is wrong with it, and a config to train with."""

import dataclasses
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxssl.config import flags
from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig
from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError, one_line
from jaxssl.core.paths import path_of
from jaxssl.data.folder import open_folder
from jaxssl.data.source import Subset
from jaxssl.inspect import duplicates, suggest, summary, throughput
from jaxssl.inspect.facts import depth_of, gather
from jaxssl.inspect.scan import GRID, ScannedFile, scan


def inspect(argv: Sequence[str]) -> int:
  """Runs `inspect --data FOLDER_OR_ZIP [--out CONFIG.py] [--data.FIELD=VALUE ...]`."""
  given, out = _parse(argv)
  config = read(DataConfig, given, "data.")
  runlog.start(None)
  try:
    _inspect(config, given, out)
  except KeyboardInterrupt:
    runlog.LOG.info("stopped; nothing is written")
    return 130
  return 0


def _parse(argv: Sequence[str]) -> tuple[dict[str, Any], pathlib.Path | None]:
  """Gives the fields of data that were asked for, and the file to write."""
  parser = flags.Parser(add_help=False, allow_abbrev=False)
  parser.add_argument("--data", required=True)
  parser.add_argument("--out", type=path_of)
  known, words = flags.known(parser, argv)
  for word in words:
    if not word.startswith("--data."):
      raise UserError(f"{word} is not allowed here; allowed: --data, --out, --data.FIELD=VALUE")
  fields: dict[str, Any] = {}
  flags.override(fields, [f"--config.{word.removeprefix('--')}" for word in words])
  given = {"source": "folder", **fields.get("data", {}), "path": known.data}
  if given["source"] != "folder":
    raise UserError(f"data.source={given['source']} is not allowed here: inspect looks at a folder or a zip")
  if given.get("list_path"):
    raise UserError(f"data.list_path={given['list_path']} is not allowed here: inspect looks at everything under --data")
  if known.out and known.out.suffix != ".py":
    raise UserError(f"--out {known.out} is not allowed; it ends in .py, such as configs/mine.py")
  if known.out and not paths.is_local(known.out):
    raise UserError(f"--out {known.out} is not allowed; a config is read from this machine")
  if known.out and known.out.exists():
    raise UserError(f"--out {known.out} is there already: remove it, or name another file")
  return given, known.out


def _inspect(config: DataConfig, given: Mapping[str, Any], out: pathlib.Path | None) -> None:
  train, test = open_folder(config)  # raises for what would stop a run
  sources = {"train": train} | ({"test": test} if test else {})
  found = scan(sources, given.get("channels", 0), given.get("bit_depth", 0))
  seen = [one.stats for one in found if one.stats]
  _tell(train.name, *summary.counts(sources, found))
  if not seen:
    raise UserError(f"data.path={config.path}: none of its {len(found)} images can be read, first: {found[0].name}")
  _tell(*summary.kinds(seen, depth_of(given, seen)), *summary.unreadable(found))
  exactly, nearly = _duplicates(found)
  _tell(*summary.twins(found, exactly, "exact duplicates"), *summary.twins(found, nearly, "near duplicates"))
  if test:
    _tell(*summary.overlap(found, [*exactly, *nearly]))
  kept = _kept(found, [*exactly, *nearly], train.name)
  if len(kept) < suggest.LEAST:
    raise UserError(
      f"data.path={config.path}: {len(kept)} images to train on are left; a config takes {suggest.LEAST} at least"
    )
  beside = (out or pathlib.Path("CONFIG.py")).absolute()
  facts = gather(given, found, train, test, kept, str(beside.with_suffix(".train.txt")))
  if (facts.channels, facts.bit_depth) != (config.channels, config.bit_depth):  # as training will read them
    train, test = open_folder(dataclasses.replace(config, channels=facts.channels, bit_depth=facts.bit_depth))
  print(f"mean {facts.mean}, deviation {facts.std}: of every training image, at most {GRID} x {GRID} pixels of each")
  lines = suggest.suggest(facts)
  asked = {name: value for name, value in given.items() if name not in ("source", "path", "test_path")}
  text = suggest.text(lines, facts, str(out or "CONFIG.py"), asked)
  views = suggest.config_of(text).views
  try:
    with runlog.heartbeat("timing how fast images are read and cut"):
      rate = throughput.speed(Subset(train, np.array([found[k].index for k in kept])), views)
    print(summary.speed(rate, sum(view.count for view in views.values()), facts))
  except UserError as error:  # without TensorFlow there is no host pipeline to time
    print(f"reading: not timed: {error}")
  print("\nsuggested:", suggest.body(lines), sep="\n")
  if out is None:
    print("--out CONFIG.py writes it as a config to train with, and every file that is counted above to CONFIG.found.txt")
    return
  names = [found[k].name.removeprefix(train.name + "/") for k in kept] if facts.list_path else []
  lists = {beside.with_suffix(".found.txt"): summary.in_full(found, exactly, nearly), pathlib.Path(facts.list_path): names}
  try:
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, rows in lists.items():
      if rows:
        path.write_text("\n".join(rows) + "\n", encoding="utf-8", errors="surrogateescape")
    out.write_text(text, encoding="utf-8")
  except OSError as error:
    raise UserError(f"--out {out} cannot be written: {error}") from error
  _tell(f"written: {out}" + "".join(f" and {path.name}" for path, rows in lists.items() if rows))
  for version in ("",) if facts.accelerator else ("", ":cpu"):
    _tell(f"  python -m jaxssl.main --config {shlex.quote(f'{out}{version}')}")


def _tell(*lines: str) -> None:
  """Prints lines, in which files of any names may stand."""
  print(*map(one_line, lines), sep="\n")


def _duplicates(found: Sequence[ScannedFile]) -> tuple[list[list[int]], list[list[int]]]:
  """Groups of exact and of near duplicates, as places in `found`."""
  places = [k for k, one in enumerate(found) if one.stats]
  seen = [one.stats for one in found if one.stats]
  with runlog.heartbeat(f"comparing {len(seen)} images with each other"):
    exactly = duplicates.exact(one.digest for one in seen)
    nearly = duplicates.joined(exactly, np.stack([one.fingerprint for one in seen]))
  return [[places[k] for k in group] for group in exactly], [[places[k] for k in group] for group in nearly]


def _kept(found: Sequence[ScannedFile], groups: Sequence[Sequence[int]], root: str) -> list[int]:
  """Places in `found` of training images that can be read, can be listed, and are not in the test split too."""
  spoiled = {k for group in groups if "test" in {found[k].split for k in group} for k in group}
  return [k for k, one in enumerate(found) if one.split == "train" and one.stats and one.listable(root) and k not in spoiled]
