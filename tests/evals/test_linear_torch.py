"""Published linear protocols give the accuracy of plain PyTorch loops on the same features, in the same order of batches."""

import dataclasses
import math

import numpy as np
import pytest

from jaxssl.evals import gradient_descent, linear
from jaxssl.evals.features import EVALUATIONS
from jaxssl.evals.linear_presets import PRESETS
from tests.evals.fixtures import extractor

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.full, pytest.mark.slow]
CLASSES, WIDTH, EPOCHS, SEED = 12, 48, 20, 3


def features(count: int, seed: int, largest: float) -> tuple[np.ndarray, np.ndarray]:
  """Returns overlapping classes with features of scales up to `largest`, none below 0, as after a ReLU."""
  rng, labels = np.random.default_rng(seed), np.arange(count) % CLASSES
  centers = np.random.default_rng(99).normal(size=(CLASSES, WIDTH))
  x = np.maximum(centers[labels] + 2.0 * rng.normal(size=(count, WIDTH)) + 0.5, 0)
  return (x * largest * np.logspace(-1, 0, WIDTH)).astype(np.float32), labels.astype(np.int32)


def loop(x, labels, prepare, start, batch_size: int, rate, weight_decay: float = 0.0):
  """Trains torch.nn.Linear by SGD with momentum 0.9; rate: epoch -> learning rate. Returns the classifier of features."""
  layer = torch.nn.Linear(x.shape[1], CLASSES)
  with torch.no_grad():
    layer.weight.copy_(torch.tensor(start[:-1].T.copy()))
    layer.bias.copy_(torch.tensor(start[-1]))
  optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9, weight_decay=weight_decay)
  x, labels = torch.tensor(x), torch.tensor(labels, dtype=torch.long)
  for epoch in range(EPOCHS):
    optimizer.param_groups[0]["lr"] = rate(epoch)
    for rows in gradient_descent.batches(np.arange(len(x)), SEED, epoch, batch_size):
      optimizer.zero_grad()
      torch.nn.functional.cross_entropy(layer(prepare(x[rows])), labels[rows]).backward()
      optimizer.step()
  return lambda queries: layer(prepare(torch.tensor(queries))).argmax(1).numpy()


def isd_normalization(x):
  """Returns ISD's normalization: unit length, then mean 0 and variance 1 with 1e-5 added to the variance."""
  variance, mean = torch.var_mean(torch.nn.functional.normalize(torch.tensor(x), dim=1), dim=0)
  return lambda batch: (batch / batch.norm(2, dim=1, keepdim=True) - mean) / torch.sqrt(variance + 1e-5)


# The published settings, with milestones in proportion to fewer epochs: initialization, batch size, rate, weight decay.
# The last number is the largest scale of the features: with larger ones ReSA's steps are unstable, and rounding decides.
SETTINGS = {
  "resa": ("normal", 256, lambda epoch: 40 * 0.1 ** ((epoch >= 12) + (epoch >= 16)), 0.0, 0.2),  # 60 and 80 of 100
  "isd": ("uniform", 256, lambda epoch: 0.01 * 0.1 ** ((epoch >= 7) + (epoch >= 15)), 1e-4, 1.0),  # 15 and 30 of 40
  "dino": ("normal", 1024, lambda epoch: 0.001 * 1024 / 256 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2, 0.0, 4.0),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_preset_agrees_with_a_pytorch_loop_within_a_tenth_of_a_point(name, monkeypatch):
  init, batch_size, rate, weight_decay, largest = SETTINGS[name]
  (x, labels), (test, truth) = features(20_000, 0, largest), features(10_000, 1, largest)
  schedule = PRESETS[name].schedule
  shorter = tuple(m * EPOCHS // PRESETS[name].epochs for m in schedule.milestones)
  short = {"epochs": EPOCHS, "schedule": dataclasses.replace(schedule, milestones=shorter), "crops": "none", "blocks": 1}
  monkeypatch.setattr(linear, "PRESETS", {name: dataclasses.replace(PRESETS[name], **short)})
  given = extractor(x, labels, test, truth, seed=SEED, linear={"solvers": (name,)})
  (measured,) = EVALUATIONS["linear"](given)

  (start,) = gradient_descent.first_kernels(init, (1, WIDTH + 1, CLASSES), SEED)
  prepare = isd_normalization(x) if name == "isd" else lambda batch: batch
  predicted = loop(x, labels, prepare, start, batch_size, rate, weight_decay)(test)
  theirs = 100 * (predicted == truth).mean()
  assert 60 < theirs < 90 and abs(measured.value - theirs) <= 0.1
