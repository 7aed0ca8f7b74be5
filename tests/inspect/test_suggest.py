"""Suggested configs are valid for all kinds of datasets and follow the documentation."""

import dataclasses

import jax
import pytest

from jaxssl.augment import pipeline
from jaxssl.core import tree
from jaxssl.inspect import suggest
from jaxssl.inspect.suggest import Facts
from jaxssl.parallel.mesh import make_mesh
from jaxssl.train import build_step

SET = Facts(path='/a "quoted" place', train=2000, side=300, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), memory=10**11)


def suggested(**changes):
  facts = dataclasses.replace(SET, **changes)
  return suggest.config_of(suggest.text(facts, "x.py", {}))


@pytest.mark.parametrize("train", [16, 10_000, 10_001, 1_300_000])
@pytest.mark.parametrize("side", [9, 32, 100, 3000])
@pytest.mark.parametrize("channels, depth", [(1, 8), (3, 8), (5, 16)])
def test_every_suggestion_is_a_valid_config(train, side, channels, depth):
  config = suggested(train=train, side=side, channels=channels, bit_depth=depth, mean=(0.5,) * channels, std=(0.2,) * channels)
  build_step.build_train_step(config, make_mesh(jax.devices()[:1]), train)
  assert config.data.path == SET.path and (config.data.channels, config.data.bit_depth) == (channels, depth)
  assert bool(pipeline.of_colors(config.views)) == (channels == 3)
  assert config.train.batch_size <= min(train, 256) and 100 <= config.train.epochs <= 1000
  assert config.views["global"].size <= side
  assert config.data.placement == "host" or config.views["global"].size <= (config.data.resident_size or side) <= side
  assert (config.bootstrap.policy == "adaptive") == (train > suggest.FEW)


@pytest.mark.parametrize("devices", [1, 4, 8, 6])
def test_batches_divide_evenly_among_devices(devices):
  assert suggested(devices=devices).train.batch_size % devices == 0
  assert suggested(devices=devices, train=16).train.batch_size % devices == 0


@pytest.mark.parametrize(
  "facts, expected",
  [
    ({"train": 100_000, "memory": 10**12}, {"data.placement": "device", "data.resident_size": 280, "evals.resize": 0}),
    ({"train": 100_000, "memory": 10**10}, {"data.placement": "host", "data.resident_size": 0, "evals.resize": 256}),
    ({"side": 32, "one_size": True}, {"data.resident_size": 0}),
    ({"side": 32, "one_size": False}, {"data.resident_size": 32}),
    *(({"train": n}, {"train.epochs": epochs}) for n, epochs in ((1000, 1000), (20_000, 500), (50_000, 200), (10**6, 100))),
    ({"classes": 3, "test": 100}, {"evals.final": ("knn", "quality", "linear")}),
    ({"classes": 3}, {"evals.final": ("quality",), "evals.holdout": 0.0}),
    ({"classes": 3, "held_out": 400}, {"evals.final": ("knn", "quality", "linear"), "evals.holdout": 0.2}),
    ({"train": 5100, "classes": 3, "held_out": 1020}, {"method.name": "simclr", "train.epochs": 1000}),
    ({"test": 100}, {"evals.final": ("quality",)}),
  ],
)
def test_values_follow_from_the_facts(facts, expected):
  fields = tree.flatten(dataclasses.asdict(suggested(**facts)))
  assert {name: fields[name] for name in expected} == expected


def test_given_fields_override_the_suggestions():
  config = suggest.config_of(suggest.text(SET, "x.py", {"resident_size": 99, "mean": (0.1,)}))
  assert (config.data.resident_size, config.data.mean) == (99, (0.1,))
