import importlib.util

import jax
import pytest

from jaxssl.core import UserError
from jaxssl.plan import topology

GIB = topology.GIB


@pytest.mark.parametrize(
  "name, options, expected",
  [
    ("gpu:12", {}, (12, 2, 60 * GIB, 312e12, False)),
    ("gpu:8", {"memory": 40, "peak": 1000}, (8, 1, 30 * GIB, 1e15, False)),
    ("cpu:8", {}, (8, 1, None, None, True)),
    ("cpu:8", {"memory": 2}, (8, 1, 2 * GIB, None, True)),
    ("cpu:16", {}, (16, 1, None, None, False)),  # the tests have eight fake devices
  ],
)
def test_gpus_and_cpus_are_parsed(name, options, expected):
  target = topology.parse(name, **options)
  assert (target.chips, target.hosts, target.memory, target.peak, target.compiles) == expected


def test_larger_doubles_the_number_of_gpus():
  assert topology.larger(topology.parse("gpu:8"))[:2] == [("gpu:16", 16), ("gpu:32", 32)]
  assert topology.larger(topology.parse("cpu:8")) == []


@pytest.mark.parametrize(
  "name, message",
  [
    ("v5x:4x4", "--topology=v5x:4x4: unknown; expected v4:2x2x1, 2x2x2"),
    ("v5litepod-16", "did you mean v5e:4x4?"),
    ("h100:8", "did you mean gpu:8?"),
    ("gpu:0", "did you mean gpu:1?"),
    ("v5e", "; did you mean v5e:1x1?"),
    ("v5e:16", "; did you mean v5e:4x4?"),
    ("v5p:4*4", "; did you mean v5p:2x2x4?"),
  ],
)
def test_unknown_names_suggest_the_nearest(name, message):
  with pytest.raises(UserError) as error:
    topology.parse(name)
  assert message in str(error.value) and "\n" not in str(error.value)


def test_tpus_require_libtpu(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.delenv("TPU_LIBRARY_PATH", raising=False)
  with pytest.raises(UserError, match=r"--topology=v5e:4x4: requires libtpu, .*; run pip install 'jaxssl\[tpu-plan\]'"):
    topology.parse("v5e:4x4")


def test_prepare_does_not_change_an_initialized_process():
  devices = jax.devices()
  topology.prepare(["cpu:64"])
  assert jax.devices() == devices


@pytest.mark.full
@pytest.mark.parametrize(
  "name, chips, hosts", [("v5e:4x4", 16, 4), ("v5e:1x1", 1, 1), ("v5p:4x4x4", 64, 16), ("v4:2x2x1", 4, 1)]
)
def test_tpu_slices_are_parsed(name, chips, hosts):
  pytest.importorskip("libtpu")
  target = topology.parse(name)
  assert (target.chips, target.hosts, target.compiles) == (chips, hosts, True)
  assert target.memory == topology.TPUS[target.kind].memory


@pytest.mark.full
def test_tpu_slices_that_libtpu_refuses_are_errors():
  pytest.importorskip("libtpu")
  with pytest.raises(UserError, match=r"--topology=v5e:3x5: unknown \(.* is not divisible.*; did you mean v5e:4x4\?"):
    topology.parse("v5e:3x5")
