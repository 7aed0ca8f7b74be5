"""Writes workdirs of networks with random weights and statistics, and exports them."""

import copy
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxssl import main
from jaxssl.config.schema import Config, DataConfig, EvalsConfig, HeadConfig, ModelConfig, TrainConfig, ViewConfig
from jaxssl.core.metric import Measurement, Metric
from jaxssl.evals import kept_classifier, load_run
from jaxssl.export.bundle import ExportBundle
from jaxssl.models import network
from jaxssl.pretrained import init_from
from jaxssl.pretrained.torch_names import from_torch
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.results import add
from jaxssl.workdir.workdir import Workdir
from tests.pretrained.fixtures import random_variables

SLIM = {"name": "resnet10", "width": 1 / 16}
HEAD = HeadConfig(name="mlp", hidden=8, out=4, layers=2)
MODELS = {
  **{f"{stem}_stem": ModelConfig(**SLIM, stem=stem) for stem in ("imagenet", "cifar", "cifar_pad", "small")},
  "bottlenecks": ModelConfig(name="resnet50", width=1 / 16),
  "vit": ModelConfig(name="vit_ti", depth=2, patch=8, projector=HEAD, predictor=HEAD),
}

CLASSES = ("crow", "owl", "jay | tit")
SETS = {"reference": "birds/train", "reference_images": 90, "test": "birds/test", "test_images": 30}  # of a protocol


def export(workdir: pathlib.Path, out: pathlib.Path, kind: str, *words: str) -> int:
  """Runs the command and returns its exit code."""
  return main.main(["export", f"--workdir={workdir}", f"--out={out}", f"--format={kind}", *words])


def run(
  workdir: pathlib.Path,
  model: ModelConfig,
  size: int = 32,
  channels: int = 3,
  precision="float32",
  data: Mapping[str, Any] | None = None,
  **evals,
) -> pathlib.Path:
  """Writes a MoCo v2 config, which has a teacher, and a checkpoint of step 7 with the encoder of `model.init_from`, if any."""
  of_data = {"source": "folder", "path": "/home/somebody/birds", "channels": channels}
  config = Config(
    data=DataConfig(**of_data | {"mean": (0.4,) * channels, "std": (0.2,) * channels} | (data or {})),
    views={"strong": ViewConfig(size=size)},
    model=model,
    method={"name": "mocov2", "teacher_momentum": {"base": 0.99}},
    train=TrainConfig(precision=precision),
    evals=EvalsConfig(**evals),
  )
  workdir.mkdir(parents=True)
  Workdir(workdir).write_config(config)
  built = network.build(model, "float32", size)
  shape = (size, size, channels)
  student, teacher = (random_variables(built, shape, seed) for seed in (0, 1))
  if imported := init_from.load(model, built, shape, workdir):
    student, teacher = from_torch(imported, student), from_torch(imported, teacher)
  checkpoints = Checkpoints(workdir / "checkpoints", keep=1)
  checkpoints.save(7, {"student": student, "teacher": built.teacher(teacher)})
  checkpoints.close()
  return workdir


def results(workdir: pathlib.Path) -> None:
  """Writes measurements of the exported network at its step, and others that a card must leave out."""
  knn = Metric(name="knn20_cosine", title="20 nearest neighbors", unit="%", higher_is_better=True)
  lowshot, hidden = Metric(name="lowshot", title="Few labels"), Metric(name="hidden", title="Hidden")
  path, protocol = Workdir(workdir).results, {"k": 20, "reference": "birds/train", "reference_images": 9}
  measurement = functools.partial(Measurement, protocol=protocol)
  add(path, 7, [measurement(metric=knn, value=61.25, subject="teacher", evaluation="knn", chosen={"penalty": 0.01})])
  add(path, 7, [measurement(metric=lowshot, value=40.0, std=1.5, subject="teacher")])
  for step, subject in ((7, "student"), (5, "teacher"), (0, "untrained")):
    add(path, step, [measurement(metric=hidden, value=13.0, subject=subject)])


def classifier(
  workdir: pathlib.Path,
  name: str = "linear_lbfgs",
  step: int = 7,
  fine_tuned: bool = False,
  rows: int = 0,
  classes: tuple[str, ...] = CLASSES,
) -> np.ndarray:
  """Keeps a random classifier with the run's encoder or, if fine-tuned, with one that differs; returns its kernel.

  `rows`: of the kernel, if it does not fit the encoder.
  """
  run = load_run.load(workdir)
  variables, prep = jax.device_get(run.variables), run.preprocessing
  images = np.zeros((1, prep.size, prep.size, prep.channels), np.float32)
  width = jax.eval_shape(run.network.encode, variables, images).shape[1]
  kernel = np.random.default_rng(3).normal(size=(rows or width + 1, len(classes))).astype(np.float32)
  if fine_tuned:
    variables = jax.tree.map(lambda x: 1.1 * x, variables)
  about = kept_classifier.KeptClassifier(
    name=name,
    title="Fine-tuned" if fine_tuned else "Linear classifier (lbfgs)",
    fine_tuned=fine_tuned,
    classes=classes,
    accuracy=91.25,
    protocol={"classifier": "logistic regression", **SETS},
    chosen={"penalty": 0.01},
    step=step,
    network="teacher",
    preprocessing=prep,
  )
  tensors = network.named(network.with_classifier(variables, kernel))
  kept_classifier.write(Workdir(workdir), about, {name: np.asarray(x, np.float32) for name, x in tensors.items()})
  return kernel


def started_from(name: str, export: pathlib.Path) -> ModelConfig:
  """Returns the model of MODELS that starts from an export."""
  return dataclasses.replace(MODELS[name], init_from=str(export))


def copied(bundle: ExportBundle) -> ExportBundle:
  """Returns a bundle whose variables can be changed."""
  return dataclasses.replace(bundle, variables=copy.deepcopy(bundle.variables))
