"""A config for images that were looked at: lines of a config file, each with the reason for it."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

FEW = 5000  # training images below which the recipe for few is suggested
LEAST = 16  # training images to suggest anything for
SEEN = 10_000_000  # images that a run sees: what 200 epochs of CIFAR-10 come to
SIZES = (224, 128, 96, 64, 32)  # sides that views may have
SHARE = 0.5  # of the memory that stored images may fill: networks and batches need the rest

ADASIM = """\
config.method = {
    "name": "dino",
    "teacher_momentum": {"kind": "cosine", "base": 0.996, "final": 1.0},
    "teacher_temperature": {"base": 0.02},
    "student_temperature": 0.1,
    "centering": "sinkhorn",
  }
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 4096, "bn": True})
  config.optim.update({"name": "adamw", "lr": 2e-3, "lr_base_batch_size": 0, "clip": 3.0, "clip_by": "global"})
  config.optim.schedule.final = 0.001"""
BOOTSTRAP = 'config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})'
SIMCLR = """\
config.method = {"name": "simclr", "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What is suggested from. Sides are in pixels, `memory` is in bytes; `mean` and `std` have one value a channel, in 0..1."""

  path: str
  test_path: str = ""
  list_path: str = ""  # of the training images to use, where some are left out
  left_out: str = ""  # which those are
  train: int  # images to train on
  test: int = 0
  classes: int = 0
  side: int  # the median of the shorter sides
  one_size: bool = False  # whether all images have the same height and width, and are nearly square
  channels: int = 3
  bit_depth: int = 8
  deep: int = 0  # files of more than 8 bits a channel
  mean: tuple[float, ...]
  std: tuple[float, ...]
  memory: int
  memory_of: str = "the device"
  devices: int = 1
  accelerator: bool = True


class ConfigLine(NamedTuple):
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
  """The side of a view: no larger than half of the images are."""
  return next((size for size in SIZES if size <= facts.side), facts.side)


def resident_size(facts: Facts) -> int:
  """The side that images are stored with: a quarter more than a view's; 0 where they are no larger, and all of one size."""
  wanted = view_size(facts) * 5 // 4
  return 0 if facts.one_size and facts.side <= wanted else min(wanted, facts.side)


def stored_bytes(facts: Facts) -> int:
  """What all images take in memory at that side."""
  return (facts.train + facts.test) * (resident_size(facts) or facts.side) ** 2 * facts.channels * facts.bit_depth // 8


def fits(facts: Facts) -> bool:
  """Whether they may stay in memory."""
  return stored_bytes(facts) <= SHARE * facts.memory


def batch_size(facts: Facts) -> int:
  """At most 256, and at most a quarter of the images: a power of two times the devices' number, as far as that goes."""
  most = max(min(256, facts.train // 4), facts.devices)
  return facts.devices * 2 ** int(math.log2(most // facts.devices))


def epochs(facts: Facts) -> int:
  """So many that SEEN images are seen, but 100 at least and 1000 at most; in hundreds."""
  return min(max(round(SEEN / facts.train / 100) * 100, 100), 1000)


def cpu_epochs(facts: Facts) -> int:
  """Epochs of the smaller version for two CPU cores: 150,000 images seen, but 15 epochs at least and 150 at most."""
  return min(max(150_000 // facts.train, 15), 150)


def suggest(facts: Facts) -> list[ConfigLine]:
  """Gives the lines of a config, in order; what they do not name stays at its default."""
  return [*_data(facts), *_method(facts), *_network(facts), *_time(facts), *_evals(facts)]


def _data(facts: Facts) -> list[ConfigLine]:
  data = {"source": "folder", "path": facts.path}
  lines = [ConfigLine(f"config.data.update({code(data)})", f"{facts.train} images to train on, {facts.test} to test on")]
  if facts.test_path:
    lines.append(ConfigLine(f"config.data.test_path = {code(facts.test_path)}", "as asked for"))
  if facts.list_path:
    lines.append(ConfigLine(f"config.data.list_path = {code(facts.list_path)}", f"leaves out {facts.left_out}"))
  if facts.channels != 3:
    why = "every image is gray, whatever its file says" if facts.channels == 1 else "what every image has"
    lines.append(ConfigLine(f"config.data.channels = {facts.channels}", why))
  if facts.bit_depth != 8:
    lines.append(
      ConfigLine(
        f"config.data.bit_depth = {facts.bit_depth}", f"{facts.deep} files have more than 8 bits a channel: all are kept"
      )
    )
  why = "measured: mean and deviation of the training images' channels"
  lines.append(ConfigLine(f'config.data.update({{"mean": {facts.mean}, "std": {facts.std}}})', why))
  gigabytes, memory = stored_bytes(facts) / 1e9, facts.memory / 1e9
  says = f"all images take {gigabytes:.2f} GB of the {memory:.1f} GB of {facts.memory_of}"
  if not fits(facts):
    why = f"{says} at {resident_size(facts) or facts.side} pixels, too much: they are read while training"
    return [*lines, ConfigLine('config.data.placement = "host"', why)]
  lines.append(ConfigLine('config.data.placement = "device"', f"{says}, and crops are cut there"))
  stored = resident_size(facts)
  why = "all have one size, and no more pixels than are needed: stored as they are"
  why = f"half of the images have {facts.side} pixels or more; a quarter more than a view has is enough" if stored else why
  return [*lines, ConfigLine(f"config.data.resident_size = {stored}", why)]


def _method(facts: Facts) -> list[ConfigLine]:
  size, few = view_size(facts), facts.train < FEW
  if few:
    why = f"under {FEW} images: SimCLR, which learned fastest of all methods in short runs (docs/results.md); its own recipe"
    lines = [ConfigLine(SIMCLR, why)]
    views, why = (
      f"presets.symmetric({size}, crop=0.08)",
      "crops of 0.08 of the area or more: no worse than 0.2 where tried (docs/data.md)",
    )
  else:
    lines = [
      ConfigLine(
        ADASIM, f"{FEW} images or more: AdaSim, whose second view may be cut from a neighbor, as configs/nnboot.py:cifar10"
      ),
      ConfigLine(BOOTSTRAP, "enough images to have neighbors; compare with policy off"),
    ]
    views, why = f"presets.adasim({size}, blur={size > 64})", "AdaSim's: crops of two fifths of the area or more"
  why = f"{why}; {size} pixels, since the images' median shorter side is {facts.side}"
  lines.append(ConfigLine(f"config.views = recipes.views({views})", why))
  if facts.channels != 3:
    gray = 'config.views["global"].update({"jitter": (0.4, 0.4, 0.0, 0.0), "gray_p": 0.0})'
    what = "gray" if facts.channels == 1 else f"{facts.channels} channels, not red, green and blue"
    lines.append(ConfigLine(gray, f"{what}: brightness and contrast change, colors cannot"))
  return lines


def _network(facts: Facts) -> list[ConfigLine]:
  size = view_size(facts)
  large = facts.train >= 100_000 and size > 64
  name = "resnet50" if large else "resnet18"
  why = "many images can fill a larger network" if large else "a larger network needs 100,000 images or more of over 64 pixels"
  stem = "cifar" if size <= 40 else "small" if size <= 96 else "imagenet"
  of = {
    "cifar": "so small that the first layer keeps every pixel",
    "small": "small: the first layer halves the sides, not more",
  }
  lines = [
    ConfigLine(f'config.model.name = "{name}"', why),
    ConfigLine(
      f'config.model.stem = "{stem}"', f"views of {size} pixels are {of.get(stem, 'large enough for the usual stem')}"
    ),
  ]
  if facts.accelerator:
    lines.append(ConfigLine('config.train.precision = "bfloat16"', "twice as fast on the accelerator of this machine"))
  return lines


def _time(facts: Facts) -> list[ConfigLine]:
  count, total = batch_size(facts), epochs(facts)
  seen = f"{total * facts.train / 1e6:.1f} million images seen"
  why = {100: "the least that is suggested", 1000: "a small set needs more, and 1000 is the most that is suggested"}
  return [
    ConfigLine(f"config.train.batch_size = {count}", "256, or less where an epoch would be under four steps"),
    ConfigLine(f"config.train.epochs = {total}", f"{seen}: {why.get(total, 'about as many as CIFAR-10 gets in 200 epochs')}"),
    ConfigLine(f"config.train.checkpoint_every_epochs = {total // 20}", "twenty checkpoints"),
  ]


def _evals(facts: Facts) -> list[ConfigLine]:
  size, total = view_size(facts), epochs(facts)
  lines = [ConfigLine(f"config.evals.every = {total // 10}", "ten times in the run")]
  if not fits(facts):
    lines.append(ConfigLine(f'config.evals.update({{"resize": {size * 8 // 7}, "size": {size}}})', "the middle of each image"))
  if facts.classes and facts.test:
    lines.append(
      ConfigLine(f"config.evals.knn.k = ({min(20, facts.train)},)", "class folders and a test split: k-NN, linear, quality")
    )
    return lines
  lacks = "a test split" if facts.classes else "class folders"
  why = f"there is nothing to measure k-NN with, without {lacks}: effective rank, alignment, uniformity"
  return [*lines, ConfigLine('config.evals.update({"periodic": ("quality",), "final": ("quality",)})', why)]
