"""What bounds the time of a step, and how many images a host reads."""

import dataclasses
import pathlib

import pytest

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.plan import host, speed, topology
from jaxssl.plan.estimate import Estimate
from jaxssl.plan.hlo import Traffic
from jaxssl.plan.topology import Topology
from tests import flags

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"
MACHINE = Topology("v5e:4x4", "v5e", 16, 4, None, 100e12, 100e9, 4e-6, 112, None)
# 64 images per chip, 24 ms of computation at 30% x 64/72, 5 ms of traffic, and 200 x 2 x 4 us + 10 x 4 us of latency
STEP = Estimate(
  topology="v5e:4x4",
  chips=16,
  hosts=4,
  batch_size=1024,
  accumulate=1,
  compiled=True,
  memory={},
  total=0,
  available=None,
  fits=None,
  live=0,
  flops=0.024 * 16 * 100e12 * 0.3 * 64 / 72,
  traffic={
    "all-reduce": Traffic(count=200, payload=0, sent=int(0.4e9)),
    "all-gather": Traffic(count=10, payload=0, sent=int(0.1e9)),
  },
  steps=3600,
)


@pytest.mark.parametrize(
  "changes, host_rate, bound, seconds",
  [
    ({}, None, "compute", 0.024 + 0.00164),
    ({}, 10_000, "compute", 0.024 + 0.00164),
    ({}, 5_000, "input", 1024 / 4 / 5_000),
    ({"flops": STEP.flops / 10}, None, "communication", 0.005 + 0.00164),
    ({"flops": STEP.flops / 10, "traffic": {"all-reduce": Traffic(count=1000, payload=0, sent=100)}}, None, "latency", 0.0104),
    ({"traffic": None}, None, "compute", 0.024),  # unknown
    ({"traffic": {}}, None, "compute", 0.024),  # one chip
  ],
)
def test_a_step_is_bound_by_what_takes_the_longest(changes, host_rate, bound, seconds):
  cost = speed.cost_of(dataclasses.replace(STEP, **changes), MACHINE, 0.3, price=2.0, host_rate=host_rate)
  assert cost.bound == bound and cost.step_seconds == pytest.approx(seconds)
  assert cost.hours == pytest.approx(seconds) and cost.dollars == pytest.approx(seconds * 16 * 2)
  assert cost.images_per_second_and_host == pytest.approx(1024 / seconds / 4)


def test_utilization_falls_with_the_images_per_chip():
  costs = [speed.cost_of(dataclasses.replace(STEP, batch_size=16 * n), MACHINE, 0.3) for n in (1, 8, 64, 10**6)]
  assert [round(cost.utilization, 3) for cost in costs] == [0.033, 0.15, 0.267, 0.3]
  parts = speed.cost_of(dataclasses.replace(STEP, accumulate=8), MACHINE, 0.3)
  assert parts.utilization == costs[1].utilization  # of one part


def test_nothing_is_known_of_a_machine_without_a_peak():
  cost = speed.cost_of(STEP, dataclasses.replace(MACHINE, peak=None, link=None, latency=None), 0.3)
  assert (cost.step_seconds, cost.bound, cost.latency_seconds, cost.sending_seconds) == (None, None, None, None)


def config_of(recipe: str, **fields: str) -> Config:
  config, _ = flags.parse([f"--config={CONFIGS}/{recipe}"])
  return tree.replace(config, {"data.placement": "host", **fields})


@pytest.mark.parametrize(
  "recipe, fields, side, milliseconds",
  [
    ("nnboot.py:imagenet", {}, None, 2 * 0.96 + 2 * 0.19),  # the partner is another file
    ("nnboot.py:imagenet", {"data.source": "packed"}, None, 2 * 0.33 + 2 * 0.19),
    ("resa.py:imagenet", {}, None, 0.96 + 2 * 0.19),
    ("dino.py:imagenet", {}, None, 0.96 + (2 + 8 * (96 / 224) ** 2) * 0.19),
    ("resa.py:imagenet", {}, 32, 0.96 * 32**2 / 187_500 + 2 * 0.19),
    ("resa.py:imagenet", {}, 5000, 0.96 + 2 * 0.19),
    ("nnboot.py:imagenet", {"data.placement": "device"}, None, 0),
  ],
)
def test_the_time_to_read_an_image_follows_from_its_files_and_views(recipe, fields, side, milliseconds):
  assert host.seconds_per_image(config_of(recipe, **fields), side) == pytest.approx(milliseconds / 1e3)


def test_a_host_reads_on_its_cores_or_workers():
  config = config_of("resa.py:imagenet")
  assert host.images_per_second(config, None, 112) == pytest.approx(112 / 1.34e-3)
  assert host.images_per_second(tree.replace(config, {"data.workers": 8}), None, 112) == pytest.approx(8 / 1.34e-3)
  assert host.images_per_second(config, None, None) is None
  assert host.images_per_second(tree.replace(config, {"data.placement": "device"}), None, 112) is None


def test_gpus_have_cores_and_latency():
  target = topology.parse("gpu:16")
  assert (target.cores, target.latency) == (96, topology.GPU_LATENCY)
  assert topology.parse("gpu:16", cores=10).cores == topology.parse("cpu:8", cores=10).cores == 10
  assert topology.parse("cpu:8").cores is None
