"""ConvNeXt: names and sizes, small images, drop-path, and timm's features if timm is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.models.backbone import backbone
from jaxssl.models.convnext import Block, ConvNeXt
from jaxssl.models.network import build
from jaxssl.pretrained.torch_names import from_torch, to_torch, torch_shapes
from tests import flags
from tests.models.compare import near
from tests.test_main import CONFIG

TINY = ConvNeXt(depths=(1, 1, 2, 1), dims=(4, 6, 8, 10), patch=2)


def variables_of(module, size=32):
  return jax.jit(lambda: module.init(jax.random.key(0, impl="rbg"), jnp.zeros((1, size, size, 3)), train=False))()


def shapes_of(**fields):
  """Returns the shape of each weight of convnext_tiny by its torch name, and that of the features."""
  network = build(ModelConfig(name="convnext_tiny", **fields), "float32", 64)
  variables = jax.eval_shape(lambda: network.init(jax.random.key(0), (64, 64, 3)))
  return torch_shapes(variables), jax.eval_shape(network.encode, variables, jnp.zeros((2, 64, 64, 3)))


def test_names_and_shapes_are_those_of_timm():
  """The expected ones are from the state_dict of timm's convnext_tiny without classifier."""
  shapes, features = shapes_of()
  assert (features.shape, features.dtype) == ((2, 768), jnp.float32) and len(shapes) == 180
  assert sum(np.prod(shape) for shape in shapes.values()) == 27_820_128  # the 28.6 M of the paper without the classifier
  weights = {"stem.0": (96, 3, 4, 4), "stem.1": (96,), "head.norm": (768,)}
  weights |= {"stages.2.downsample.0": (192,), "stages.2.downsample.1": (384, 192, 2, 2)}
  block = {"conv_dw": (384, 1, 7, 7), "norm": (384,), "mlp.fc1": (1536, 384), "mlp.fc2": (384, 1536)}
  weights |= {f"stages.2.blocks.8.{name}": shape for name, shape in block.items()}
  expected = {f"{name}.weight": shape for name, shape in weights.items()}
  expected |= {f"{name}.bias": shape[:1] for name, shape in weights.items()} | {"stages.2.blocks.8.gamma": (384,)}
  assert expected.items() <= shapes.items()


def test_width_depth_and_stem_set_the_shapes():
  shapes, features = shapes_of(width=1 / 8, depth=2, stem="small")
  assert features.shape == (2, 96) and shapes["stem.0.weight"] == (12, 3, 2, 2)
  blocks = {name.split(".mlp")[0] for name in shapes if "fc1" in name}
  assert blocks == {f"stages.{s}.blocks.{i}" for s in range(4) for i in (0, 1)}
  assert shapes["stages.3.blocks.1.mlp.fc1.weight"] == (384, 96)
  half, _ = shapes_of(width=0.5)
  assert all(tuple(2 * n for n in half[name]) == shape for name, shape in shapes_of()[0].items() if len(shape) == 1)


def test_images_of_any_size_have_finite_features():
  """Maps of one pixel are padded, so that small local views have features."""
  module = TINY.clone(depths=(0, 0, 0, 1))
  variables = variables_of(module)
  for size in (2, 33):
    x = jax.random.normal(jax.random.key(1), (2, size, size, 3))
    features = np.asarray(jax.jit(lambda x: module.apply(variables, x, train=True))(x))
    assert features.shape == (2, 10) and np.isfinite(features).all() and np.abs(features[0] - features[1]).max() > 1e-3


def test_initialization_has_the_documented_scale():
  params = variables_of(ConvNeXt(depths=(1, 1, 1, 1), dims=(32, 32, 32, 32)))["params"]
  block = params["stages_1_blocks_0"]
  for kernel in (block["conv_dw"]["kernel"], block["fc1"]["kernel"], params["stages_2_downsample_1"]["kernel"]):
    assert np.std(kernel) == pytest.approx(0.02, rel=0.06)
  assert not block["conv_dw"]["bias"].any() and not block["fc2"]["bias"].any()
  np.testing.assert_array_equal(block["gamma"], np.float32(1e-6))


def test_drop_path_drops_whole_branches():
  """A row drops a whole branch or scales it by 1 / (1 - rate)."""
  block = Block(drop_path=0.3, dtype=jnp.float32)
  x = jnp.ones((2000, 1, 2, 2))
  shapes = jax.eval_shape(lambda: block.init(jax.random.key(0), x[:1], train=False))["params"]
  params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes)
  params = params | {"gamma": jnp.full(2, 10.0), "fc2": params["fc2"] | {"bias": jnp.ones(2)}}  # the branch is 10
  branch = block.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.key(1)}) - x
  assert np.ptp(branch, axis=(1, 2, 3)).max() == 0
  active = branch[:, 0, 0, 0] > 0
  np.testing.assert_allclose(branch[:, 0, 0, 0], active * 10 / 0.7, rtol=1e-5)
  assert abs(active.mean() - 0.7) < 4 * (0.3 * 0.7 / 2000) ** 0.5
  for rngs in (None, {"dropout": jax.random.key(1)}):
    np.testing.assert_allclose(block.apply({"params": params}, x, train=rngs is None, rngs=rngs), x + 10)


@pytest.mark.parametrize("smaller, dims", [("runlocal", (12, 24, 48, 96)), ("cpu", (24, 48, 96, 192))])
def test_smaller_recipes_keep_the_backbone(smaller, dims):
  config, _ = flags.parse([f"{CONFIG}:{smaller}", "--config.model.name=convnext_tiny"])
  encoder = build(config.model, "float32", 28).encoder
  assert encoder.dims == dims and encoder.depths == ((2, 2, 2, 2) if smaller == "runlocal" else (3, 3, 9, 3))


@pytest.mark.full
@pytest.mark.parametrize(
  "size, fields",
  [(64, {}), (37, {"width": 0.25, "depth": 2, "stem": "cifar"}), (32, {"width": 0.125})],
)
def test_features_are_those_of_timm(size, fields, torchvision):
  torch, timm = pytest.importorskip("torch"), pytest.importorskip("timm")
  config = ModelConfig(name="convnext_tiny", **fields)
  name, options = backbone(config).timm(3, size)
  torch.manual_seed(0)
  theirs = timm.create_model(name, num_classes=0, **options).eval()
  with torch.no_grad():
    for key, x in theirs.named_parameters():
      if x.ndim == 1:  # LayerScale starts at 1e-6, which would hide the branches
        x.copy_(torch.rand(x.shape) - 0.5 * key.endswith("bias"))
      elif "mlp" in key or "conv_dw" in key:
        x.mul_(5)
  tensors = {key: x.numpy() for key, x in theirs.state_dict().items()}
  network = build(config, "float32", size)
  x = np.random.default_rng(0).standard_normal((3, size, size, 3), np.float32)
  variables = from_torch(tensors, jax.eval_shape(lambda: network.init(jax.random.key(0), (size, size, 3))))
  with torch.no_grad():
    expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
  near(jax.jit(network.encode)(variables, x), expected, 1e-5)
  jax.tree.map(np.testing.assert_array_equal, to_torch(variables), tensors)
