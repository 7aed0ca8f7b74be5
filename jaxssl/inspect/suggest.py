"""Suggests a config for a set of images: the lines of a config file, each with its reason."""

import json
import pathlib
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxssl.config.load import load
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.core.errors import one_line
from jaxssl.inspect.facts import Facts

FEW = 5000  # training images below which SimCLR is suggested
LEAST = 16  # training images required for a suggestion
WIDTH = 128

HEAD = '''"""{what}. Suggested by `jaxssl inspect`; no network has been trained with it.

{file}   each value has its reason above it; change what you know better
  jaxssl train --config {file}

Smaller versions: "{file}:cpu" (minutes on two CPU cores), "{file}:runlocal" (a minute, on embedded digits).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Returns the config or one of its smaller versions."""
  config = recipes.choose(recipe, {{"": images}})
  if "cpu" in recipe.split(",") and config.data.source == "folder":  # more epochs on a small set
    config.data.limit = {limit}
    config.train.update({{"batch_size": min(config.train.batch_size, {batch}), "epochs": {epochs}}})
  return config


def images() -> Fields:
  """Returns the values that follow from the images."""
  config = recipes.defaults()
'''
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


class ConfigLine(NamedTuple):
  """Statements of a config file, the first of them not indented, and the reason for them."""

  code: str
  why: str


def text(lines: Sequence[ConfigLine], facts: Facts, file: str, given: Mapping[str, Any]) -> str:
  """Returns the config file named `file`. `given`: fields of data that the user set, which come last."""
  head = HEAD.format(
    what=textwrap.shorten(_quoted(f"Images of {pathlib.PurePath(facts.path).name}"), 60),
    file=_quoted(file),
    limit=10_000 if facts.train > 10_000 else 0,
    batch=facts.batch_size,
    epochs=facts.cpu_epochs,
  )
  if given:
    lines = [*lines, ConfigLine(f"config.data.update({_code(given)})", "as requested")]
  return f"{head}{body(lines)}  return config\n"


def body(lines: Sequence[ConfigLine]) -> str:
  """Returns the lines, each below its reason."""
  reasons = [textwrap.indent(textwrap.fill(line.why, WIDTH - 4), "  # ") for line in lines]
  return "".join(f"{reason}\n  {line.code}\n" for reason, line in zip(reasons, lines, strict=True))


def config_of(text: str) -> Config:
  """Returns the config of a config file's text."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "config.py"
    file.write_text(text, encoding="utf-8")
    return read(Config, load(str(file)))


def _quoted(name: str) -> str:
  """Returns a file's name in a form that a docstring can contain."""
  return one_line(name).replace("\\", "/").replace('"', "'")


def _code(value: Any) -> str:
  """Returns a value as Python code in ASCII, with strings in double quotes."""
  if isinstance(value, Mapping):
    return "{" + ", ".join(f"{_code(name)}: {_code(item)}" for name, item in value.items()) + "}"
  if isinstance(value, str):
    return json.dumps(value, ensure_ascii=False).encode("ascii", "backslashreplace").decode()
  return repr(value)


def suggest(facts: Facts) -> list[ConfigLine]:
  """Returns the lines of a config in order; other fields keep their defaults."""
  parts = (_data, _placement, _method, _network, _schedule, _evals)
  return [ConfigLine(*line) for part in parts for line in part(facts)]


Lines = list[tuple[str, str]]  # code and reason


def _data(facts: Facts) -> Lines:
  data = {"source": "folder", "path": facts.path}
  lines = [(f"config.data.update({_code(data)})", f"{facts.train} training images, {facts.test} test images")]
  if facts.test_path:
    lines.append((f"config.data.test_path = {_code(facts.test_path)}", "as requested"))
  if facts.list_path:
    lines.append((f"config.data.list_path = {_code(facts.list_path)}", f"leaves out {facts.left_out}"))
  if facts.channels != 3:
    why = "all images are gray, whatever their headers say" if facts.channels == 1 else "the channels of all images"
    lines.append((f"config.data.channels = {facts.channels}", why))
  if facts.bit_depth != 8:
    why = f"{facts.deep} files have more than 8 bits per channel, which are kept"
    lines.append((f"config.data.bit_depth = {facts.bit_depth}", why))
  statistics = f'config.data.update({{"mean": {facts.mean}, "std": {facts.std}}})'
  return [*lines, (statistics, "measured: mean and standard deviation of each channel of the training images")]


def _placement(facts: Facts) -> Lines:
  memory = f"{facts.resident_bytes / 1e9:.2f} GB of the {facts.memory / 1e9:.1f} GB of {facts.memory_of}"
  if not facts.resident:
    side = facts.resident_size or facts.side
    return [('config.data.placement = "host"', f"at {side} pixels, all images would take {memory}: read during training")]
  size, why = facts.resident_size, "all images are of one size that is not larger than needed"
  if size:
    why = f"half of the images have {facts.side} pixels or more; 5/4 of a view's side is enough"
  return [
    ('config.data.placement = "device"', f"all images take {memory}, and crops are cut there"),
    (f"config.data.resident_size = {size}", why),
  ]


def _method(facts: Facts) -> Lines:
  size = facts.view_size
  if facts.train < FEW:
    why = f"fewer than {FEW} images: SimCLR with its own recipe, the fastest of all methods in short runs (docs/results.md)"
    lines = [(SIMCLR, why)]
    views, why = f"presets.symmetric({size}, crop=0.08)", "crops of 0.08 of the area or more, as good as 0.2 (docs/data.md)"
  else:
    why = f"at least {FEW} images: AdaSim, whose second view may come from a neighbor, as in configs/nnboot.py:cifar10"
    lines = [(ADASIM, why), (BOOTSTRAP, "enough images to have neighbors; compare with policy off")]
    views, why = f"presets.adasim({size}, blur={size > 64})", "AdaSim's views: crops of 0.4 of the area or more"
  why = f"{why}; {size} pixels, since the median of the shorter sides is {facts.side}"
  lines.append((f"config.views = recipes.views({views})", why))
  if facts.channels != 3:
    colors = "gray" if facts.channels == 1 else f"{facts.channels} channels that are not red, green and blue"
    no_colors = 'config.views["global"].update({"jitter": (0.4, 0.4, 0.0, 0.0), "gray_p": 0.0})'
    lines.append((no_colors, f"{colors}: only brightness and contrast can change"))
  return lines


def _network(facts: Facts) -> Lines:
  size = facts.view_size
  large = facts.train >= 100_000 and size > 64
  why = "many images can fill a larger network" if large else "a larger network needs 100,000 images of more than 64 pixels"
  stem, reason = "imagenet", "large enough for the usual stem"
  if size <= 40:
    stem, reason = "cifar", "so small that the first layer keeps every pixel"
  elif size <= 96:
    stem, reason = "small", "small: the first layer only halves the sides"
  lines = [
    (f'config.model.name = "{"resnet50" if large else "resnet18"}"', why),
    (f'config.model.stem = "{stem}"', f"views of {size} pixels are {reason}"),
  ]
  if facts.accelerator:
    lines.append(('config.train.precision = "bfloat16"', "twice as fast on this machine's accelerator"))
  return lines


def _schedule(facts: Facts) -> Lines:
  epochs = facts.epochs
  limits = {100: "the minimum suggested", 1000: "a small set needs many, and 1000 is the maximum suggested"}
  why = f"{epochs * facts.train / 1e6:.1f} million images seen: {limits.get(epochs, 'about as many as CIFAR-10 in 200 epochs')}"
  return [
    (f"config.train.batch_size = {facts.batch_size}", "256, or less to have at least four steps per epoch"),
    (f"config.train.epochs = {epochs}", why),
    (f"config.train.checkpoint_every_epochs = {epochs // 20}", "twenty checkpoints"),
  ]


def _evals(facts: Facts) -> Lines:
  lines = [(f"config.evals.every = {facts.epochs // 10}", "ten evaluations")]
  if not facts.resident:
    size = facts.view_size
    lines.append((f'config.evals.update({{"resize": {size * 8 // 7}, "size": {size}}})', "the center of each image"))
  if facts.classes and facts.test:
    why = "class folders and a test split: k-NN, linear, quality"
    return [*lines, (f"config.evals.knn.k = ({min(20, facts.train)},)", why)]
  lacks = "a test split" if facts.classes else "class folders"
  why = f"without {lacks}, no k-NN: effective rank, alignment and uniformity instead"
  return [*lines, ('config.evals.update({"periodic": ("quality",), "final": ("quality",)})', why)]
