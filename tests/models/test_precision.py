"""Compiled networks match eager ones, in the precision that a run on these devices computes in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.models import resnet
from jaxssl.models.network import build
from jaxssl.parallel.mesh import abstract_mesh, compute_precision, make_mesh
from tests.pretrained.fixtures import random_variables

pytestmark = pytest.mark.slow

SIZE = 16
HEAD = HeadConfig(name="mlp", hidden=32, out=16, layers=2)


def test_cpus_compute_in_float32():
  cpus = make_mesh(jax.devices("cpu"))
  assert [compute_precision(cpus, precision) for precision in ("float32", "bfloat16")] == ["float32", "float32"]
  assert compute_precision(abstract_mesh(8), "bfloat16") == "bfloat16"


@pytest.mark.parametrize("name", ["resnet10", pytest.param("resnet50", marks=pytest.mark.full), "vit_ti", "convnext_tiny"])
def test_jit_matches_eager(name, monkeypatch):
  for size in ("resnet10", "resnet50"):
    monkeypatch.setitem(resnet.SIZES, size, (size == "resnet50", (1, 1)))
  config = ModelConfig(name=name, width=0.125, stem="cifar", patch=8, depth=1, projector=HEAD)
  computed = compute_precision(make_mesh(), "bfloat16")  # as in the recipes
  network = build(config, computed, SIZE)
  images = np.random.default_rng(1).normal(size=(8, SIZE, SIZE, 3)).astype(np.float32)
  variables = jax.device_put(random_variables(network, images.shape[1:]))

  def outputs(variables, images):
    trained, stats = network.apply(variables, [images[:, None]], joint=False, key=None)
    return {"evaluated": network.encode(variables, images), "trained": trained.prediction, "stats": stats}

  expected, jitted = outputs(variables, images), jax.jit(outputs)(variables, images)
  tolerance = 1e-3 if computed == "float32" else 2e-2
  for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
    compiled = next(x for p, x in jax.tree_util.tree_leaves_with_path(jitted) if p == path)
    bound = tolerance * float(jnp.abs(leaf).max())
    np.testing.assert_allclose(compiled, leaf, atol=bound, rtol=0, err_msg=jax.tree_util.keystr(path))
