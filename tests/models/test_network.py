"""Networks: how views pass through encoder and heads."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding

from jaxssl.core import UserError
from jaxssl.core.types import Variables
from jaxssl.models import convnext, vit
from jaxssl.models.heads import MLP, DINOHead
from jaxssl.models.network import Network
from jaxssl.models.norm import BatchNorm
from jaxssl.models.resnet import ResNet
from jaxssl.parallel.mesh import ROWS, make_mesh
from tests import half_precision
from tests.pretrained.fixtures import random_variables

pytestmark = pytest.mark.slow


def tiny(name: str, dtype: str = "float32", drop_path: float = 0.0) -> Network:
  """Returns a network of one or two blocks with heads."""
  kind = jnp.dtype(dtype)
  if name == "resnet":
    encoder = ResNet(bottleneck=False, stages=(1,), channels=4, stem="cifar", dtype=kind)
    return Network(encoder, MLP(6, 5, 2, bias=False, dtype=kind), MLP(6, 5, 2, bias=False, dtype=kind))
  if name == "convnext":
    encoder = convnext.ConvNeXt(depths=(1, 0, 0, 1), dims=(4, 8, 8, 8), patch=2, drop_path=drop_path, dtype=kind)
    return Network(encoder, MLP(6, 5, 2, dtype=kind))
  encoder = vit.ViT(dim=12, depth=2 if drop_path else 1, heads=2, patch=8, image_size=16, drop_path=drop_path, dtype=kind)
  return Network(encoder, DINOHead(hidden=12, bottleneck=4, out=10, layers=2, dtype=kind))


class Plain(nn.Module):
  """A small custom encoder without batch statistics."""

  @nn.compact
  def __call__(self, x, train):
    return jnp.tanh(nn.Dense(5, name="only")(x.mean((1, 2)).astype(jnp.bfloat16)))


class Normed(nn.Module):
  @nn.compact
  def __call__(self, x, train):
    return BatchNorm(affine=False, name="bn")(x.mean((1, 2)), train=train)


def groups_of(*shapes):
  """Draws groups of views."""
  random = np.random.default_rng(0)
  return [jnp.asarray(random.standard_normal(shape, np.float32)) for shape in shapes]


@functools.cache
def start(network: Network, channels: int) -> Variables:
  """Draws weights, which compiles nothing; the statistics are those of a new network."""
  drawn = random_variables(network, (16, 16, channels))
  stats = jax.tree_util.tree_map_with_path(lambda path, x: np.full_like(x, path[-1].key == "var"), drawn.stats)
  return jax.device_put(Variables(params=drawn.params, stats=stats))


@functools.cache
def compiled(network: Network, joint: bool):
  options = half_precision.COMPILER_OPTIONS if getattr(network.encoder, "dtype", None) == jnp.bfloat16 else None
  return jax.jit(
    lambda variables, groups, key: network.apply(variables, groups, joint=joint, key=key), compiler_options=options
  )


def run(network, groups, joint, key=None, variables=None):
  """Returns variables, outputs and updated statistics."""
  variables = variables or start(network, groups[0].shape[-1])
  return variables, *compiled(network, joint)(variables, groups, key)


@pytest.mark.parametrize("joint", [False, True])
def test_outputs_come_in_group_order(joint):
  """Each view's output is that of the view alone; a custom encoder may compute in half precision."""
  groups = groups_of((4, 2, 8, 8, 3), (4, 3, 6, 6, 3))
  network = Network(Plain(), MLP(7, 6, 2, bn=False), MLP(7, 3, 1))
  variables, outputs, stats = run(network, groups, joint)
  assert stats == variables.stats == {}
  assert {o.dtype for o in jax.tree.leaves(outputs)} == {jnp.dtype("float32")}
  assert (outputs.features.shape, outputs.projection.shape, outputs.prediction.shape) == ((5, 4, 5), (5, 4, 6), (5, 4, 3))
  views = [group[:, v] for group in groups for v in range(group.shape[1])]
  for i, view in enumerate(views):
    np.testing.assert_allclose(outputs.features[i], network.encode(variables, view), atol=1e-6)
    z = network.projector.apply({"params": variables.params["projector"]}, outputs.features[i], train=False)
    p = network.predictor.apply({"params": variables.params["predictor"]}, outputs.projection[i], train=False)
    np.testing.assert_allclose(outputs.projection[i], z, atol=1e-6)
    np.testing.assert_allclose(outputs.prediction[i], p, atol=1e-6)


def test_missing_heads_are_the_identity():
  groups = groups_of((4, 2, 8, 8, 3))
  _, outputs, _ = run(Network(Plain()), groups, False)
  np.testing.assert_array_equal(outputs.prediction, outputs.features)
  variables, outputs, _ = run(Network(Plain(), projector=MLP(7, 6, 1)), groups, False)
  assert set(variables.params) == {"encoder", "projector"}
  np.testing.assert_array_equal(outputs.prediction, outputs.projection)


def test_separate_passes_share_no_statistics():
  (group,) = groups_of((6, 3, 4, 4, 5))
  group = group * jnp.array([1.0, 3.0, 0.2]).reshape(1, 3, 1, 1, 1) + jnp.array([0.0, 1.0, 5.0]).reshape(1, 3, 1, 1, 1)
  variables, outputs, stats = run(Network(Normed()), [group], joint=False)
  np.testing.assert_allclose(outputs.features.mean(1), 0, atol=1e-4)
  mean, var = np.zeros(5), np.ones(5)
  for view in np.asarray(group.mean((2, 3))).transpose(1, 0, 2):  # running statistics are threaded from pass to pass
    mean, var = 0.9 * mean + 0.1 * view.mean(0), 0.9 * var + 0.1 * view.var(0, ddof=1)
  np.testing.assert_allclose(stats["encoder"]["bn"]["mean"], mean, rtol=1e-4)
  np.testing.assert_allclose(stats["encoder"]["bn"]["var"], var, rtol=1e-4)
  jax.tree.map(np.testing.assert_array_equal, variables.stats, {"encoder": {"bn": {"mean": np.zeros(5), "var": np.ones(5)}}})


def test_joint_passes_share_statistics():
  """The encoder shares them within a group, the heads over all views."""
  first, second = groups_of((6, 2, 4, 4, 5), (6, 3, 4, 4, 5))
  groups = [first, 9 + second]
  _, outputs, _ = run(Network(Normed()), groups, joint=True)
  for group in (outputs.features[:2], outputs.features[2:]):
    np.testing.assert_allclose(group.mean((0, 1)), 0, atol=1e-4)
    assert np.abs(group.mean(1)).max() > 0.01
  _, outputs, _ = run(Network(Plain(), MLP(4, 4, 1, last_bn="plain")), groups, joint=True)
  np.testing.assert_allclose(outputs.projection.mean((0, 1)), 0, atol=1e-4)
  assert np.abs(outputs.projection[:2].mean((0, 1))).max() > 0.1


@pytest.mark.parametrize("joint", [pytest.param(False, marks=pytest.mark.full), True])
@pytest.mark.parametrize("name", ["resnet", "vit", "convnext"])
def test_gradient_reaches_every_weight(name, joint):
  network, groups = tiny(name), groups_of((4, 1, 16, 16, 3))
  variables = start(network, 3)

  def objective(params):
    outputs, stats = network.apply(Variables(params=params, stats=variables.stats), groups, joint=joint, key=None)
    return jnp.sum(outputs.prediction * np.random.default_rng(1).standard_normal(outputs.prediction.shape)), stats

  grads, stats = jax.device_get(jax.jit(jax.grad(objective, has_aux=True))(variables.params))
  assert all(np.isfinite(g).all() and np.any(g != 0) for g in jax.tree.leaves(grads))
  assert jax.tree.map(np.shape, stats) == jax.tree.map(np.shape, variables.stats)
  changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), stats, jax.device_get(variables.stats))
  assert all(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", ["resnet", "vit", "convnext"])
def test_bfloat16_is_near_float32(name):
  groups = groups_of((8, 2, 16, 16, 3))
  variables, full, _ = run(tiny(name), groups, False)
  network = tiny(name, "bfloat16")
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), (16, 16, 3)))
  assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
  _, half, stats = run(network, groups, False, variables=variables)
  assert {leaf.dtype for leaf in jax.tree.leaves((half, stats))} <= {jnp.dtype("float32")}
  for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
    relative = float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b))
    assert 1e-5 < relative < 0.05  # another computation of the same network


@pytest.mark.parametrize("name, blocks", [("vit", {"depth": 3}), ("convnext", {"depths": (1, 0, 0, 2)})])
def test_drop_path_rates_increase_linearly(name, blocks):
  encoder, rates = tiny(name, drop_path=0.4).encoder.clone(**blocks), {}

  def record(call, args, kwargs, context):
    if isinstance(context.module, (convnext.Block, vit.Block)):
      rates[context.module.name] = context.module.drop_path
    return call(*args, **kwargs)

  with nn.intercept_methods(record):
    jax.eval_shape(lambda: encoder.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False))
  assert list(rates.values()) == [0, pytest.approx(0.2), pytest.approx(0.4)]


def test_each_pass_draws_its_own_paths():
  (group,) = groups_of((16, 1, 8, 8, 3))
  twice = jnp.concatenate([group, group], axis=1)
  network = tiny("vit", drop_path=0.5)
  variables, still, _ = run(network, [twice], False)
  np.testing.assert_array_equal(still.features[0], still.features[1])
  for joint in (False, True):
    _, drawn, _ = run(network, [twice], joint, jax.random.key(3), variables)
    _, again, _ = run(network, [twice], joint, jax.random.key(3), variables)
    _, other, _ = run(network, [twice], joint, jax.random.key(4), variables)
    np.testing.assert_array_equal(drawn.features, again.features)
    assert jnp.any(drawn.features[0] != drawn.features[1])
    assert jnp.any(drawn.features != other.features)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("name", ["resnet", "vit", "convnext"])
def test_rows_stay_on_their_devices(name, joint):
  """Eight devices match one, and no pass gathers the batch."""
  network, groups = tiny(name), groups_of((8, 2, 16, 16, 3), (8, 1, 8, 8, 3))
  variables, outputs, stats = run(network, groups, joint)
  split = jax.device_put(groups, NamedSharding(make_mesh(), ROWS))
  step = compiled(network, joint).lower(variables, split, None).compile()
  for a, b in zip(jax.tree.leaves(step(variables, split, None)), jax.tree.leaves((outputs, stats)), strict=True):
    np.testing.assert_allclose(a, b, atol=2e-4)
  for word in ("all-gather", "all-to-all", "collective-permute"):
    assert word not in step.as_text()


def test_attention_is_that_of_the_last_block():
  images = jax.random.normal(jax.random.key(1), (3, 16, 24, 3))
  network = tiny("vit", drop_path=0.1)  # of two blocks
  variables = start(network, 3)
  attention = jax.jit(network.attention)(variables, images)
  assert attention is not None and attention.shape == (3, 2, 2, 3)
  apply = functools.partial(network.encoder.apply, train=False, mutable=["intermediates"])
  _, sown = jax.jit(apply)({"params": variables.params["encoder"]}, images)
  (last,) = sown["intermediates"]["blocks_1"]["attention"]
  np.testing.assert_allclose(attention.reshape(3, 2, 6), last[:, :, 0, 1:], rtol=1e-5)
  np.testing.assert_allclose(attention.sum((2, 3)) + last[:, :, 0, 0], 1, rtol=1e-5)


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_encoders_without_patches_have_no_attention_and_no_tokens(name):
  network = tiny(name)
  assert network.attention(start(network, 3), jnp.zeros((1, 16, 16, 3))) is None
  with pytest.raises(UserError, match="has no patch tokens; expected a ViT"):
    network.tokens(start(network, 3), jnp.zeros((1, 16, 16, 3)))
  assert network.resized(start(network, 3), 99)[0] is network
