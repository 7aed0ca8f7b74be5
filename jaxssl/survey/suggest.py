"""A config for pictures that were looked at: lines of a config file, each with the reason for it."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

FEW = 5000  # training pictures below which the recipe for few is suggested
LEAST = 16  # training pictures to suggest anything for
SEEN = 10_000_000  # pictures that a run sees: what 200 epochs of CIFAR-10 come to
SIZES = (224, 128, 96, 64, 32)  # sides that views may have
SHARE = 0.5  # of the memory that stored pictures may fill: networks and batches need the rest

ADASIM = """\
config.method = {
    "name": "dino",
    "momentum": {"kind": "cosine", "base": 0.996, "final": 1.0},
    "teacher_temperature": {"base": 0.02},
    "student_temperature": 0.1,
    "centering": "sinkhorn",
  }
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 4096, "bn": True})
  config.optim.update({"name": "adamw", "lr": 2e-3, "reference_batch": 0, "clip": 3.0, "clip_by": "global"})
  config.optim.schedule.final = 0.001"""
BOOTSTRAP = 'config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})'
SIMCLR = """\
config.method = {"name": "simclr", "temperature": 0.2}
  config_files.mlp(config.model.projector, 2048, 128)
  config_files.sgd(config, lr=0.06, weight_decay=5e-4)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What is suggested from. Sides are in pixels, `memory` is in bytes; `mean` and `std` have one value a channel, in 0..1."""

  path: str
  test_path: str = ""
  list_path: str = ""  # of the training pictures to use, where some are left out
  left_out: str = ""  # which those are
  train: int  # pictures to train on
  test: int = 0
  classes: int = 0
  side: int  # the median of the shorter sides
  one_size: bool = False  # whether all pictures have the same height and width, and are nearly square
  channels: int = 3
  depth: int = 8
  deep: int = 0  # files of more than 8 bits a channel
  mean: tuple[float, ...]
  std: tuple[float, ...]
  memory: int
  memory_of: str = "the device"
  devices: int = 1
  accelerator: bool = True


class Line(NamedTuple):
  """Statements of a config file, the first of them not indented, and why they are there."""

  code: str
  why: str


def code(value: Any) -> str:
  """Writes a value as Python that any file can hold: strings in double quotes and in ASCII."""
  if isinstance(value, Mapping):
    return "{" + ", ".join(f"{code(name)}: {code(item)}" for name, item in value.items()) + "}"
  if isinstance(value, str):
    return json.dumps(value, ensure_ascii=False).encode("ascii", "backslashreplace").decode()
  return repr(value)


def view_size(facts: Facts) -> int:
  """The side of a view: no larger than half of the pictures are."""
  return next((size for size in SIZES if size <= facts.side), facts.side)


def store_size(facts: Facts) -> int:
  """The side that pictures are stored with: a quarter more than a view's; 0 where they are no larger, and all of one size."""
  wanted = view_size(facts) * 5 // 4
  return 0 if facts.one_size and facts.side <= wanted else min(wanted, facts.side)


def stored_bytes(facts: Facts) -> int:
  """What all pictures take in memory at that side."""
  return (facts.train + facts.test) * (store_size(facts) or facts.side) ** 2 * facts.channels * facts.depth // 8


def fits(facts: Facts) -> bool:
  """Whether they may stay in memory."""
  return stored_bytes(facts) <= SHARE * facts.memory


def batch_size(facts: Facts) -> int:
  """At most 256, and at most a quarter of the pictures: a power of two times the devices' number, as far as that goes."""
  most = max(min(256, facts.train // 4), facts.devices)
  return facts.devices * 2 ** int(math.log2(most // facts.devices))


def epochs(facts: Facts) -> int:
  """So many that SEEN pictures are seen, but 100 at least and 1000 at most; in hundreds."""
  return min(max(round(SEEN / facts.train / 100) * 100, 100), 1000)


def cpu_epochs(facts: Facts) -> int:
  """Epochs of the smaller version for two CPU cores: 150,000 pictures seen, but 15 epochs at least and 150 at most."""
  return min(max(150_000 // facts.train, 15), 150)


def suggest(facts: Facts) -> list[Line]:
  """Gives the lines of a config, in order; what they do not name stays at its default."""
  return [*_data(facts), *_method(facts), *_network(facts), *_time(facts), *_evals(facts)]


def _data(facts: Facts) -> list[Line]:
  data = {"source": "folder", "path": facts.path}
  lines = [Line(f"config.data.update({code(data)})", f"{facts.train} pictures to train on, {facts.test} to test on")]
  if facts.test_path:
    lines.append(Line(f"config.data.test_path = {code(facts.test_path)}", "as asked for"))
  if facts.list_path:
    lines.append(Line(f"config.data.list_path = {code(facts.list_path)}", f"leaves out {facts.left_out}"))
  if facts.channels != 3:
    why = "every picture is grey, whatever its file says" if facts.channels == 1 else "what every picture has"
    lines.append(Line(f"config.data.channels = {facts.channels}", why))
  if facts.depth != 8:
    lines.append(
      Line(f"config.data.depth = {facts.depth}", f"{facts.deep} files have more than 8 bits a channel: all are kept")
    )
  why = "measured: mean and deviation of the training pictures' channels"
  lines.append(Line(f'config.data.update({{"mean": {facts.mean}, "std": {facts.std}}})', why))
  gigabytes, memory = stored_bytes(facts) / 1e9, facts.memory / 1e9
  says = f"all pictures take {gigabytes:.2f} GB of the {memory:.1f} GB of {facts.memory_of}"
  if not fits(facts):
    why = f"{says} at {store_size(facts) or facts.side} pixels, too much: they are read while training"
    return [*lines, Line('config.data.placement = "host"', why)]
  lines.append(Line('config.data.placement = "device"', f"{says}, and crops are cut there"))
  stored = store_size(facts)
  why = "all have one size, and no more pixels than are needed: stored as they are"
  why = f"half of the pictures have {facts.side} pixels or more; a quarter more than a view has is enough" if stored else why
  return [*lines, Line(f"config.data.store_size = {stored}", why)]


def _method(facts: Facts) -> list[Line]:
  size, few = view_size(facts), facts.train < FEW
  if few:
    why = f"under {FEW} pictures: SimCLR, which learned fastest of all methods in short runs (docs/results.md); its own recipe"
    lines = [Line(SIMCLR, why)]
    views, why = (
      f"presets.symmetric({size}, crop=0.08)",
      "crops of 0.08 of the area or more: no worse than 0.2 where tried (docs/data.md)",
    )
  else:
    lines = [
      Line(
        ADASIM, f"{FEW} pictures or more: AdaSim, whose second view may be cut from a neighbour, as configs/nnboot.py:cifar10"
      ),
      Line(BOOTSTRAP, "enough pictures to have neighbours; compare with policy off"),
    ]
    views, why = f"presets.adasim({size}, blur={size > 64})", "AdaSim's: crops of two fifths of the area or more"
  why = f"{why}; {size} pixels, since the pictures' median shorter side is {facts.side}"
  lines.append(Line(f"config.views = config_files.views({views})", why))
  if facts.channels != 3:
    grey = 'config.views["global"].update({"jitter": (0.4, 0.4, 0.0, 0.0), "gray": 0.0})'
    what = "grey" if facts.channels == 1 else f"{facts.channels} channels, not red, green and blue"
    lines.append(Line(grey, f"{what}: brightness and contrast change, colours cannot"))
  return lines


def _network(facts: Facts) -> list[Line]:
  size = view_size(facts)
  large = facts.train >= 100_000 and size > 64
  name = "resnet50" if large else "resnet18"
  why = (
    "many pictures can fill a larger network" if large else "a larger network needs 100,000 pictures or more of over 64 pixels"
  )
  stem = "cifar" if size <= 40 else "small" if size <= 96 else "imagenet"
  of = {
    "cifar": "so small that the first layer keeps every pixel",
    "small": "small: the first layer halves the sides, not more",
  }
  lines = [
    Line(f'config.model.name = "{name}"', why),
    Line(f'config.model.stem = "{stem}"', f"views of {size} pixels are {of.get(stem, 'large enough for the usual stem')}"),
  ]
  if facts.accelerator:
    lines.append(Line('config.train.precision = "bfloat16"', "twice as fast on the accelerator of this machine"))
  return lines


def _time(facts: Facts) -> list[Line]:
  count, total = batch_size(facts), epochs(facts)
  seen = f"{total * facts.train / 1e6:.1f} million pictures seen"
  why = {100: "the least that is suggested", 1000: "a small set needs more, and 1000 is the most that is suggested"}
  return [
    Line(f"config.train.batch_size = {count}", "256, or less where an epoch would be under four steps"),
    Line(f"config.train.epochs = {total}", f"{seen}: {why.get(total, 'about as many as CIFAR-10 gets in 200 epochs')}"),
    Line(f"config.train.checkpoint_every = {total // 20}", "twenty checkpoints"),
  ]


def _evals(facts: Facts) -> list[Line]:
  size, total = view_size(facts), epochs(facts)
  lines = [Line(f"config.evals.every = {total // 10}", "ten times in the run")]
  if not fits(facts):
    lines.append(Line(f'config.evals.update({{"resize": {size * 8 // 7}, "size": {size}}})', "the middle of each picture"))
  if facts.classes and facts.test:
    lines.append(
      Line(f"config.evals.knn.k = ({min(20, facts.train)},)", "class folders and a test split: k-NN, linear, quality")
    )
    return lines
  lacks = "a test split" if facts.classes else "class folders"
  why = f"there is nothing to measure k-NN with, without {lacks}: effective rank, alignment, uniformity"
  return [*lines, Line('config.evals.update({"during": ("quality",), "end": ("quality",)})', why)]
