"""`model.remat` changes neither parameters nor results, and takes less memory."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core.types import PyTree
from jaxssl.models import convnext, resnet
from jaxssl.models.network import build
from jaxssl.plan.jaxpr_memory import live
from tests.models.compare import near

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).standard_normal((16, 1, 16, 16, 3), np.float32)


def run(config: ModelConfig) -> tuple[PyTree, int]:
  """Returns variables, loss, batch statistics and gradient of a network, and the bytes that their program needs at once."""
  network = build(config, "float32", IMAGES.shape[2])
  variables = jax.jit(lambda: network.init(KEY, IMAGES.shape[2:]))()

  def loss(params):
    outputs, stats = network.apply(dataclasses.replace(variables, params=params), [IMAGES], joint=False, key=KEY)
    return (outputs.features**2).mean(), stats

  traced = jax.jit(jax.value_and_grad(loss, has_aux=True)).trace(variables.params)
  # An estimate, since XLA merges what is computed twice if it compiles for a CPU.
  return (variables, *traced.lower().compile()(variables.params)), live(traced.jaxpr.jaxpr, traced.jaxpr.jaxpr, chips=1)


@pytest.mark.parametrize("name", ["resnet10", "convnext_tiny", "vit_ti"])
def test_results_are_the_same_in_less_memory(name, monkeypatch):
  """Drop-path draws the same numbers again, and batch statistics are updated once."""
  monkeypatch.setitem(resnet.SIZES, "resnet10", (False, (3, 2)))
  monkeypatch.setitem(convnext.SIZES, "convnext_tiny", ((3, 2), (96, 192)))
  config = ModelConfig(name=name, width=0.125, stem="cifar", patch=2, depth=4, drop_path=0.5)
  (expected, more), (actual, less) = (run(dataclasses.replace(config, remat=remat)) for remat in (False, True))
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(lambda a, b: near(a, b, 1e-5), actual, expected)
  assert less < 0.6 * more
