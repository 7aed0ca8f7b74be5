"""Suggests a config file for a set of images and a machine, with the reason above each value."""

import dataclasses
import math
import os
import pathlib
import statistics
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxssl.config.load import load_config
from jaxssl.config.schema import Config
from jaxssl.core import one_line
from jaxssl.data.image_io import dtype_of
from jaxssl.data.statistics import of_moments
from jaxssl.inspect.scan import ImageStats
from jaxssl.parallel.mesh import make_mesh

FEW = 10_000  # training images up to which SimCLR is suggested: the most with which methods were compared (docs/results.md)
LEAST = 16  # training images required for a suggestion
SIZES = (224, 128, 96, 64, 32)  # sides that views may have; half of the images reach the one that is suggested
SHARE = 0.5  # of the memory that resident images may take: networks and batches need the rest
SEEN = 10_000_000  # images seen by a run, about as in 200 epochs of CIFAR-10
NEARLY_SQUARE = 1.25  # images up to this ratio of long to short side may be kept at their size
HOLDOUT = 0.2  # of each class, if there are class folders and no test split

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
  config.optim.schedule.final = 0.001
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})"""
SIMCLR = """\
config.method = {"name": "simclr", "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)"""
NO_COLORS = """\
  # without red, green and blue only brightness and contrast can change
  config.views["global"].update({"jitter": (0.4, 0.4, 0.0, 0.0), "gray_p": 0.0})
"""
NO_EXPORT = """\
  # timm and torchvision have no such stem: export to flax, onnx or stablehlo, or set "imagenet" here, which is coarser
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Small:
  """The version `:cpu` of a config."""

  epochs: int
  about: str = ""  # how long it takes, and where that was measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
  """What the values follow from. Sides are in pixels, and `memory` is in bytes; `mean` and `std` have one value per channel."""

  path: str
  list_path: str = ""  # of the training images to use, if some are left out
  left_out: str = ""  # which are left out
  train: int  # training images
  held_out: int = 0  # training images that HOLDOUT turns into test images
  test: int = 0
  in_test: int = 0  # training images that are, or may be, in the test split too
  classes: int = 0
  side: int  # median of the shorter sides
  one_size: bool = False  # all images have the same height and width, and are nearly square
  channels: int = 3
  bit_depth: int = 8
  mean: tuple[float, ...]
  std: tuple[float, ...]
  memory: int  # of a device; of the machine without accelerators
  devices: int = 1
  accelerator: bool = True

  @property
  def trained(self) -> int:
    """The number of images that are trained on."""
    return self.train - self.held_out


def measure(channels: int, images: Sequence[ImageStats], train: Sequence[ImageStats], **known: Any) -> Facts:
  """Measures the pixels of all images and of the training images, and the machine.

  `channels`: as set by the user; 0: 1 if all images are gray, else those of the images. `known`: further facts.
  """
  channels = channels or (1 if all(image.gray for image in images) else train[0].channels)
  moments = np.frombuffer(b"".join(image.moments for image in train)).reshape(len(train), 2, -1).mean(axis=0)
  mean, std = of_moments(*(moments if moments.shape[1] == channels else moments.mean(axis=1, keepdims=True)))
  sizes = {(image.height, image.width) for image in images}
  of_device, of_machine = jax.devices()[0].memory_stats() or {}, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
  return Facts(
    train=len(train),
    side=round(statistics.median(min(image.height, image.width) for image in train)),
    one_size=len(sizes) == 1 and all(max(size) <= NEARLY_SQUARE * min(size) for size in sizes),
    channels=channels,
    mean=mean,
    std=std,
    memory=of_device.get("bytes_limit", of_machine),
    devices=make_mesh().size,
    accelerator=jax.default_backend() != "cpu",
    **known,
  )


def small_epochs(facts: Facts) -> int:
  """Returns the epochs of `:cpu` if the speed of the machine is not known: 150,000 images seen, but from 15 to 150 epochs."""
  return min(max(150_000 // facts.trained, 15), 150)  # docs/results.md, few images


def text(facts: Facts, file: str, given: Mapping[str, Any], small: Small | None = None) -> str:
  """Returns the config file named `file`.

  `given`: fields of data that the user set, which come last; `small`: the length of `:cpu`, if it was measured.
  """
  title = textwrap.shorten(_quoted(f"Images of {pathlib.PurePath(facts.path).name}"), 60)
  file = _quoted(file)
  left_out = f", without {facts.left_out}" if facts.left_out else ""
  test = f"{facts.test + facts.held_out} test images" + (", which evals.holdout draws" if facts.held_out else "")
  if facts.in_test:
    test += f"\n  # {facts.in_test} of the training images are, or may be, test images, which invalidates the evaluation"
  paths = {"source": "folder", "path": facts.path, "list_path": facts.list_path}
  size = next((size for size in SIZES if size <= facts.side), facts.side)
  trained = facts.trained
  larger = not facts.one_size or facts.side > size * 5 // 4
  side = min(size * 5 // 4, facts.side)  # of resident images
  memory = (facts.train + facts.test) * side**2 * facts.channels * dtype_of(facts.bit_depth).itemsize
  resident = memory <= SHARE * facts.memory
  placement, resident_size = ("device", side if larger else 0) if resident else ("host", 0)
  resize, center = (0, 0) if resident else (size * 8 // 7, size)
  batch_size = facts.devices * 2 ** int(math.log2(max(min(256, trained // 4) // facts.devices, 1)))
  epochs = min(max(round(SEEN / trained / 100) * 100, 100), 1000)
  seen = epochs * trained / 1e6
  cpu_limit = 10_000 if trained > 10_000 else 0
  small = small or Small(epochs=small_epochs(facts))
  network = "resnet50" if trained >= 100_000 and size > 64 else "resnet18"
  stem = "cifar" if size <= 40 else "small" if size <= 96 else "imagenet"
  no_export = "" if stem == "imagenet" else NO_EXPORT
  if trained <= FEW:
    method, views = SIMCLR, f"symmetric({size}, crop=0.08)"
    method_why = f"up to {FEW} images: SimCLR with its own recipe, the most accurate in short runs (docs/results.md)"
    views_why = "crops of 0.08 of the area or more, better than 0.2 in a small trial (docs/data.md)"
  else:
    method, views = ADASIM, f"adasim({size}, blur={size > 64})"
    method_why = f"more than {FEW} images: AdaSim, whose second view may come from a neighbor, as in configs/nnboot.py:cifar10"
    views_why = "crops of 0.4 of the area or more"
  if facts.classes and facts.test + facts.held_out:
    evals: dict[str, Any] = {"knn": {"k": (min(20, trained),)}}
    evals_why = "class folders and a test split: k-NN, linear, quality"
    if facts.held_out:
      evals["holdout"] = HOLDOUT
      evals_why = "class folders without a test split: a fifth of each is only tested on; k-NN, linear, quality"
  else:
    evals = {"periodic": ("quality",), "final": ("quality",)}
    lacks = "two images in any class folder" if facts.classes else "class folders"
    evals_why = f"without {lacks}, no k-NN: how alike crops of an image are instead"
  no_colors = "" if facts.channels == 3 else NO_COLORS
  requested = f"  # as requested\n  config.data.update({ascii(given)})\n" if given else ""
  return f'''"""{title}. Suggested by `jaxssl inspect`; no network has been trained with it.

{file}   values have their reason above them; change what you know better
  jaxssl train --config {file}

Smaller versions: "{file}:cpu" ({small.about or "a narrow ResNet-10, 32 pixels"}), "{file}:runlocal" (on digits, to try it).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Returns the config or one of its smaller versions."""
  config = recipes.choose(recipe, {{"": images}})
  if "cpu" in recipe.split(",") and config.data.source == "folder":  # more epochs on a small set
    config.data.limit = {cpu_limit}
    config.train.update({{"batch_size": min(config.train.batch_size, {batch_size}), "epochs": {small.epochs}}})
    config.train.checkpoint_every_epochs = config.evals.every = {max(small.epochs // 5, 1)}
  return config


def images() -> Fields:
  """Returns the values that follow from the images."""
  config = recipes.defaults()
  # {trained} training images{left_out}; {test}
  config.data.update({ascii(paths)})
  # gray if all images are, whatever their headers say; the bits that cover the values of the images
  config.data.update({{"channels": {facts.channels}, "bit_depth": {facts.bit_depth}}})
  # measured: mean and standard deviation of each channel of the training images
  config.data.update({{"mean": {facts.mean}, "std": {facts.std}}})
  # at {side} pixels all images take {memory / 1e9:.2f} GB of the {facts.memory / 1e9:.1f} GB of the device
  config.data.update({{"placement": "{placement}", "resident_size": {resident_size}}})
  # {method_why}
  {method}
  # {views_why}; {size} pixels, since the median of the shorter sides is {facts.side}
  config.views = recipes.views(presets.{views})
{no_colors}\
  # ResNet-50 from 100,000 images of more than 64 pixels; the stem halves sides above 40 pixels, and again above 96
{no_export}\
  config.model.update({{"name": "{network}", "stem": "{stem}"}})
  # twice as fast in bfloat16 on an accelerator; at most 256 images, and at least four steps per epoch
  config.train.update({{"precision": "{"bfloat16" if facts.accelerator else "float32"}", "batch_size": {batch_size}}})
  config.train.lower_to_fit = True  # in a shorter run, the warm-up is shorter
  # {seen:.1f} million images seen: as in 200 epochs of CIFAR-10, but from 100 to 1000 epochs; twenty checkpoints
  config.train.update({{"epochs": {epochs}, "checkpoint_every_epochs": {epochs // 20}}})
  # ten evaluations, of the center of images that are not resident
  config.evals.update({{"every": {epochs // 10}, "resize": {resize}, "size": {center}}})
  # {evals_why}
  config.evals.update({evals})
{requested}\
  return config
'''


def _quoted(name: str) -> str:
  return one_line(name).replace("\\", "/").replace('"', "'")


def config_of(text: str, recipe: str = "") -> Config:
  """Returns the config of a config file's text, or one of its smaller versions."""
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder) / "config.py"
    file.write_text(text, encoding="utf-8")
    return load_config(f"{file}:{recipe}")
