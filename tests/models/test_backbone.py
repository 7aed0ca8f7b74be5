"""Networks built from `config.model`, and the fields that the names and shapes in a weights file imply."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core import UserError
from jaxssl.models.backbone import BACKBONES, backbone
from jaxssl.models.heads import MLP, DINOHead
from jaxssl.models.network import build
from jaxssl.pretrained.torch_names import torch_shapes


def test_the_config_sets_the_fields_of_the_modules():
  network = build(ModelConfig(name="resnet50", width=0.5, bn_groups=2, stem="cifar_pad"), "bfloat16", 32)
  assert (network.encoder.channels, network.encoder.bn_groups, network.encoder.stem) == (32, 2, "cifar_pad")
  assert network.encoder.bottleneck and network.encoder.dtype == jnp.bfloat16
  assert network.ungrouped().encoder == network.encoder.clone(bn_groups=1)
  head = HeadConfig(name="mlp", hidden=3, out=4, layers=5, bn=False, last_bn="affine", bias=False)
  network = build(ModelConfig(projector=head), "float32", 32)
  assert network.projector == MLP(hidden=3, out=4, layers=5, bn=False, last_bn="affine", bias=False)
  assert network.predictor is None
  head = HeadConfig(name="dino", hidden=3, out=4, layers=5, bn=True, bottleneck=6, fixed_norm=False)
  options = {"heads": 16, "positions": "sincos", "init": "xavier"}
  config = ModelConfig(name="vit_b", patch=4, drop_path=0.1, position_offset=0.1, projector=head, **options)
  network = build(config, "float32", 32)
  assert network.projector == DINOHead(hidden=3, out=4, layers=5, bn=True, bottleneck=6, fixed_norm=False)
  vit = network.encoder
  assert (vit.dim, vit.heads, vit.depth, vit.patch, vit.image_size) == (768, 16, 12, 4, 32)
  assert (vit.drop_path, vit.position_offset, vit.positions, vit.initialization) == (0.1, 0.1, "sincos", "xavier")
  vit = build(ModelConfig(name="vit_s"), "float32", 32).encoder
  assert (vit.heads, vit.positions, vit.initialization) == (6, "learned", "normal")


@pytest.mark.parametrize("kind", ["mlp", "dino"])
def test_heads_compute_statistics_in_groups(kind):
  head = HeadConfig(name=kind, hidden=3, out=3, layers=2, bn=True, last_bn="plain")
  grouped, whole = (build(ModelConfig(bn_groups=groups, projector=head), "float32", 32).projector for groups in (2, 1))
  x = jax.random.normal(jax.random.key(0), (8, 5))
  variables = whole.init(jax.random.key(1), x, train=False)

  def train(module, x):
    return module.apply(variables, x, train=True, mutable=["batch_stats"])[0]

  halves = jnp.concatenate([train(whole, x[:4]), train(whole, x[4:])])
  np.testing.assert_allclose(train(grouped, x), halves, atol=1e-5)
  assert np.abs(train(whole, x) - halves).max() > 0.01
  network = build(ModelConfig(bn_groups=2, projector=head), "float32", 32)
  np.testing.assert_allclose(train(network.ungrouped().projector, x[:3]), train(whole, x[:3]), atol=1e-5)


@pytest.mark.parametrize(
  "field, config",
  [
    ("model.width=0.01", ModelConfig(width=0.01)),
    ("model.bn_groups=0", ModelConfig(bn_groups=0)),
    ("model.zero_init_residual=True: model.name=vit_s .* resnet50", ModelConfig(name="vit_s", zero_init_residual=True)),
    ("model.zero_init_residual=True", ModelConfig(name="convnext_tiny", zero_init_residual=True)),
    ("model.zero_init_residual=True: model.name=custom", ModelConfig(name="custom", zero_init_residual=True)),
    (
      "model.heads=12: model.name=resnet50 does not have this option; expected 0, or one of ",
      ModelConfig(name="resnet50", heads=12),
    ),
    ("model.positions=sincos: model.name=convnext_tiny", ModelConfig(name="convnext_tiny", positions="sincos")),
    ("model.init=xavier: model.name=resnet18 .* one of vit_b, vit_s, vit_ti", ModelConfig(init="xavier")),
    (r"model.heads=5: .*expected 0 \(6 heads\) or a divisor of 384", ModelConfig(name="vit_s", heads=5)),
    ("model.heads=-1", ModelConfig(name="vit_s", heads=-1)),
    ("model.width=0.01", ModelConfig(name="convnext_tiny", width=0.01)),
    ("model.depth=-1", ModelConfig(name="convnext_tiny", depth=-1)),
    ("model.drop_path=1.0", ModelConfig(name="convnext_tiny", drop_path=1.0)),
    ("model.name='vit_tiny': unknown; expected convnext_tiny, custom, ", ModelConfig(name="vit_tiny")),
    ("model.patch=5: .* 32", ModelConfig(name="vit_s", patch=5)),
    ("model.patch=0", ModelConfig(name="vit_s", patch=0)),
    ("model.depth=-1", ModelConfig(name="vit_s", depth=-1)),
    ("model.drop_path=1.0", ModelConfig(name="vit_s", drop_path=1.0)),
    ("model.position_offset=-0.1", ModelConfig(name="vit_s", position_offset=-0.1)),
    ("model.predictor.name=dino", ModelConfig(predictor=HeadConfig(name="dino"))),
    ("model.projector.layers=0", ModelConfig(projector=HeadConfig(name="mlp", layers=0))),
    ("model.predictor.out=-1", ModelConfig(predictor=HeadConfig(name="mlp", out=-1))),
  ],
)
def test_invalid_values_are_errors_that_name_the_field(field, config):
  with pytest.raises(UserError, match=field):
    build(config, "float32", 32)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name != "custom"])
def test_file_shapes_imply_the_fields(name):
  """The fields that `infer` returns rebuild the encoder, and no other family infers any."""
  fields = {
    "resnet": {"width": 0.5, "stem": "cifar"},
    "vit": {"depth": 3},
    "convnext": {"width": 0.5, "stem": "small", "depth": 2},
  }
  expected = {"name": name} | fields[name.split("_")[0].rstrip("0123456789")]
  network = build(ModelConfig(**expected), "float32", 32)
  made = jax.eval_shape(lambda: network.init(jax.random.key(0), (32, 32, 3)))
  shapes = {f"teacher.{name}": shape for name, shape in torch_shapes(made).items()}
  inferred = {family: fields for family in BACKBONES.values() if (fields := family.infer(shapes))}
  assert inferred == {BACKBONES[name]: expected}


def test_networks_that_torch_libraries_lack_are_refused():
  for field, fields in (
    ("width=0.0625", {"width": 1 / 16}),
    ("stem=cifar", {"stem": "cifar"}),
    ("stem=small", {"name": "convnext_tiny", "stem": "small"}),
  ):
    with pytest.raises(UserError, match=f"model.{field}: .* for --format=timm or torchvision; flax, onnx and stablehlo take"):
      backbone(ModelConfig(**fields)).timm(3, 32)
