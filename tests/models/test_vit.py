"""ViTs match DINO's reference implementation, and drop-path its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schedules import ScheduleConfig, TrainingLength
from jaxssl.config.schema import ModelConfig, OptimConfig
from jaxssl.core import UserError
from jaxssl.models import attention
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network
from jaxssl.models.positions import positions, sincos
from jaxssl.models.vit import Block, ViT
from jaxssl.train.optimizer import build_optimizer
from tests.golden_files import cases, split, tensors
from tests.models.compare import near, nhwc
from tests.torch_weights import join, to_variables

pytestmark = pytest.mark.slow

VITS = cases("backbones_vit")
(WEIGHTS,), INPUTS, MULTICROPS = split("backbones_vit", r"vit", r"vit_in\d+", r"multicrop\d*")
GIVEN = to_variables(tensors(VITS[WEIGHTS], "w"))


def golden_vit() -> ViT:
  case = VITS[WEIGHTS]
  fields = ("embed_dim", "num_heads", "depth", "patch_size", "img_size")
  return ViT(*(int(case[field]) for field in fields), position_offset=0.1)


@pytest.mark.parametrize("name", INPUTS)
def test_features_gradients_and_attention_match_the_reference(name):
  case, module = VITS[name], golden_vit()
  x = nhwc(case["x"])
  shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
  assert jax.tree.map(jnp.shape, GIVEN.params) == jax.tree.map(jnp.shape, shapes["params"])

  grid = (x.shape[1] // module.patch, x.shape[2] // module.patch)
  near(positions(GIVEN.params["pos_embed"], grid, module.position_offset)[0], case["pos"], 1e-5)

  @jax.jit
  def run(x, cotangent):
    out, pull = jax.vjp(lambda x: module.apply({"params": GIVEN.params}, x, train=True), x)
    tokens, captured = module.apply({"params": GIVEN.params}, x, method="tokens", mutable=["intermediates"])
    return out, pull(cotangent)[0], tokens, captured

  out, grad_x, tokens, captured = run(x, case["cotangent"])
  near(out, case["cls"], 1e-5)
  near(grad_x.transpose(0, 3, 1, 2), case["grad_x"], 1e-5)
  if "tokens" in case:
    near(tokens, case["tokens"], 1e-5)
  if "attention" in case:
    (attention,) = captured["intermediates"][f"blocks_{module.depth - 1}"]["attention"]
    near(attention, case["attention"], 1e-5)


@pytest.mark.parametrize("name", MULTICROPS)
def test_multicrop_features_match_the_reference(name):
  """Crops of two sizes, in the order of DINO's wrapper."""
  case = VITS[name]
  views = {"x_global": int(case["n_global"]), "x_local": int(case["n_local"])}
  groups = [jnp.moveaxis(nhwc(case[n]).reshape(v, -1, *nhwc(case[n]).shape[1:]), 0, 1) for n, v in views.items()]
  network = Network(golden_vit())
  outputs, stats = jax.jit(lambda groups: network.apply(join(encoder=GIVEN), groups, joint=True, key=None))(groups)
  assert stats == {}
  near(outputs.features.reshape(case["features"].shape), case["features"], 1e-5)


def test_interpolated_positions_preserve_a_ramp():
  """A ramp stays a ramp away from the border, and rows and columns are not swapped."""
  ramp = np.stack(np.meshgrid(np.arange(8.0), 10 * np.arange(8.0), indexing="ij"), axis=-1)
  embedding = jnp.concatenate([jnp.full((1, 1, 2), 7.0), jnp.asarray(ramp.reshape(1, 64, 2), jnp.float32)], axis=1)
  out = positions(embedding, (16, 8), 0.0)
  np.testing.assert_array_equal(out[0, 0], [7, 7])
  grid = np.asarray(out[0, 1:]).reshape(16, 8, 2)
  np.testing.assert_allclose(grid[..., 1], np.broadcast_to(10 * np.arange(8.0), (16, 8)), atol=1e-4)
  np.testing.assert_allclose(
    grid[4:-4, :, 0], np.broadcast_to(((np.arange(16) + 0.5) / 2 - 0.5)[4:-4, None], (8, 8)), atol=0.05
  )
  np.testing.assert_array_equal(positions(embedding, (8, 8), 0.1), embedding)


def test_an_image_size_that_the_patch_does_not_divide_is_an_error():
  with pytest.raises(UserError, match="model.patch=4 does not divide an image of 32 x 30"):
    golden_vit().apply({"params": GIVEN.params}, jnp.zeros((1, 32, 30, 3)), train=False)


def test_drop_path_drops_branches_independently():
  """Each branch of each row is kept with probability 1 - rate and scaled by 1 / (1 - rate), independently."""
  rate, rows = 0.3, 4000
  block = Block(heads=2, drop_path=rate, initialization="normal", dtype=jnp.float32)
  x = jnp.ones((rows, 3, 4))
  params = jax.jit(lambda: block.init(jax.random.key(0), x[:1], train=False))()["params"]
  # Both branches add constants: attention 1, the MLP 10.
  params = jax.tree.map(jnp.zeros_like, params)
  params["proj"]["bias"] += 1.0
  params["fc2"]["bias"] += 10.0
  drop = jax.jit(lambda x: block.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(1)}) - x)
  out = np.asarray(drop(x))
  assert np.ptp(out, axis=(1, 2)).max() == 0  # whole rows
  attention, mlp = (np.isclose(out[:, 0, 0] * (1 - rate) % 10, 1), out[:, 0, 0] * (1 - rate) > 5)
  np.testing.assert_allclose(out[:, 0, 0], (attention * 1.0 + mlp * 10.0) / (1 - rate), rtol=1e-5)
  spread = 4 * (rate * (1 - rate) / rows) ** 0.5
  assert abs(attention.mean() - (1 - rate)) < spread
  assert abs(mlp.mean() - (1 - rate)) < spread
  assert abs((attention & mlp).mean() - (1 - rate) ** 2) < spread
  np.testing.assert_array_equal(block.apply({"params": params}, x, train=False), x + 11)


def test_drop_path_needs_a_rate_and_a_key():
  x = np.random.default_rng(0).standard_normal((4, 16, 16, 3), np.float32)

  def out(rate, train, **kwargs):
    return np.asarray(golden_vit().clone(drop_path=rate).apply({"params": GIVEN.params}, x, train=train, **kwargs))

  plain, key = out(0.0, False), {"dropout": jax.random.key(1)}
  np.testing.assert_array_equal(out(0.0, True, rngs=key), plain)
  np.testing.assert_array_equal(out(0.9, True), plain)
  np.testing.assert_array_equal(out(0.9, False, rngs=key), plain)
  assert np.abs(out(0.9, True, rngs=key) - plain).max() > 0.01


def test_initialization_matches_the_reference():
  module = ViT(dim=96, depth=1, heads=3, patch=8, image_size=64)
  params = jax.jit(lambda: module.init(jax.random.key(0, impl="rbg"), jnp.zeros((1, 16, 16, 3)), train=False))()["params"]
  for value in (params["pos_embed"], params["blocks_0"]["qkv"]["kernel"], params["blocks_0"]["fc2"]["kernel"]):
    assert np.std(value) == pytest.approx(0.02, rel=0.05)
  assert not params["blocks_0"]["qkv"]["bias"].any()
  bound = (8 * 8 * 3) ** -0.5  # the patch embedding is initialized as torch's Conv2d
  for value in params["patch_embed"].values():
    assert 0.9 * bound < np.abs(value).max() <= bound


def test_attention_weights_are_computed_only_if_they_are_asked_for(monkeypatch):
  module, x, calls = golden_vit(), jnp.ones((1, 16, 16, 3)), []
  expected = module.apply({"params": GIVEN.params}, x, train=False)

  def attend(q, k, v, padding):
    calls.append(q.shape)
    return attention.average(attention.weights(q, k), v)

  monkeypatch.setattr(attention, "attend", attend)
  np.testing.assert_array_equal(module.apply({"params": GIVEN.params}, x, train=False), expected)
  assert len(calls) == module.depth
  weights, _ = module.apply({"params": GIVEN.params}, x, method="attention", mutable=["intermediates"])
  assert len(calls) == module.depth and weights.shape[:2] == (1, module.heads)


MOCOV3 = ViT(dim=96, depth=1, heads=12, patch=8, image_size=48, positions="sincos", initialization="xavier")


def test_fixed_positions_are_sines_and_cosines_of_row_and_column():
  table = sincos(3, 16)
  assert table.shape == (1, 10, 16) and table.dtype == np.float32
  np.testing.assert_array_equal(table[0, 0], 0)  # the class token's
  for row in range(3):
    for column in range(3):
      expected = []
      for function, place in ((np.sin, row), (np.cos, row), (np.sin, column), (np.cos, column)):
        expected += [function(place / 10_000 ** (i / 4)) for i in range(4)]
      np.testing.assert_allclose(table[0, 1 + 3 * row + column], expected, atol=1e-7)


def test_the_initialization_of_mocov3_is_xaviers():
  params = jax.jit(lambda: MOCOV3.init(jax.random.key(0, impl="rbg"), jnp.zeros((1, 48, 48, 3)), train=False))()["params"]
  np.testing.assert_array_equal(params["pos_embed"], sincos(6, 96))
  block = params["blocks_0"]
  bounds = [(block["qkv"], 96 + 96), (block["proj"], 96 + 96), (block["fc1"], 96 + 384), (block["fc2"], 384 + 96)]
  for layer, fans in [*bounds, (params["patch_embed"], 8 * 8 * 3 + 96)]:
    bound = (6 / fans) ** 0.5
    assert 0.99 * bound < np.abs(layer["kernel"]).max() <= bound
    assert np.std(layer["kernel"]) == pytest.approx(bound / 3**0.5, rel=0.03)
    assert not layer["bias"].any()
  assert 0.5e-6 < np.std(params["cls_token"]) < 2e-6


def test_fixed_positions_are_never_trained():
  """Neither by a gradient nor by weight decay of all parameters."""
  family = backbone(ModelConfig(name="vit_ti", positions="sincos"))
  assert family.frozen == ("pos_embed",) and backbone(ModelConfig(name="vit_ti")).frozen == ()
  images = jax.random.normal(jax.random.key(1), (2, 48, 48, 3))
  params = jax.jit(MOCOV3.init, static_argnames="train")(jax.random.key(0), images, train=False)["params"]
  gradient = jax.grad(lambda p: MOCOV3.apply({"params": p}, images, train=True)[:, 0].sum())(params)
  assert not gradient["pos_embed"].any() and gradient["cls_token"].any()
  optim = OptimConfig(name="adamw", lr=0.1, decay_mask="all", weight_decay=ScheduleConfig(base=0.1))
  optimizer = build_optimizer(optim, TrainingLength(steps_per_epoch=9, epochs=100), 256, family.frozen)
  updates, _ = optimizer.update(gradient, optimizer.init(params), params, step=jnp.int32(400))
  assert not updates["pos_embed"].any() and updates["cls_token"].any()


def test_heads_change_the_output_and_no_shape():
  images = jax.random.normal(jax.random.key(1), (2, 48, 48, 3))
  tree = jax.jit(MOCOV3.init, static_argnames="train")(jax.random.key(0), images, train=False)
  twelve, six = (MOCOV3.clone(heads=heads).apply(tree, images, train=False) for heads in (12, 6))
  assert np.abs(twelve - six).max() > 1e-4


def test_timm_gets_the_number_of_heads():
  name, options = backbone(ModelConfig(name="vit_s", heads=12, positions="sincos", init="xavier")).timm(3, 224)
  assert (name, options["num_heads"]) == ("vit_small_patch16_224", 12)
  assert "num_heads" not in backbone(ModelConfig(name="vit_s")).timm(3, 224)[1]
