"""The translation of jaxprs into ONNX, with onnxruntime as the reference."""

import collections

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core import UserError
from jaxssl.export.onnx_format import to_onnx
from jaxssl.models import network
from tests.pretrained.fixtures import random_variables

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("one_device")
SLIM = 1 / 32


class ConvNet(nn.Module):
  """Grouped and dilated convolutions, LayerNorm, GELU, pooling and channel attention, with one- and two-channel maps."""

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Conv(8, (4, 4), strides=2, padding="SAME")(x)
    y = nn.LayerNorm(1e-6, use_fast_variance=False)(nn.Conv(8, (7, 7), feature_group_count=8, padding=3)(x))
    y = nn.Dense(8)(nn.gelu(nn.Dense(16)(y), approximate=False))
    x = x + self.param("gamma", nn.initializers.constant(0.5), (1, 1, 1, 8)) * y
    gate = nn.sigmoid(nn.Dense(8)(x.mean((1, 2))))
    x = nn.avg_pool(x * gate[:, None, None], (3, 3), (2, 2), "SAME")
    low, high = jnp.split(x, (3,), axis=-1)
    x = jnp.concatenate([high, nn.silu(low), nn.Conv(1, (3, 3), kernel_dilation=2)(x)], axis=-1)
    x = jnp.pad(nn.GroupNorm(3)(x), ((0, 0), (1, 0), (0, 2), (0, 0)), constant_values=0.5)[:, ::2, 1:]
    extremes = jnp.stack([x.max((1, 2)), x.min((1, 2))], axis=1).reshape(len(x), -1)
    return jnp.concatenate([extremes, x[:, 0, -1], jnp.where(x[:, 0, 0] > 0, x[:, 1, 1], 0.25)], axis=1)


class Mixer(nn.Module):
  """Attention by flax, products over several axes, and operations between images and constants of every rank."""

  @nn.compact
  def __call__(self, x, *, train):
    x = nn.Conv(8, (4, 4), strides=4)(x)
    x = x.reshape(x.shape[0], -1, 8)
    x = x + nn.MultiHeadDotProductAttention(2)(nn.LayerNorm()(x))
    x = jnp.einsum("tu,bud->btd", self.param("mix", nn.initializers.normal(1.0), (x.shape[1], x.shape[1])), x)
    x = x + nn.softplus(nn.elu(x)) - jnp.tanh(1 - x) / jnp.arange(1, 9).reshape(1, 1, 8) ** 2
    y = jnp.clip(jnp.abs(x), 0.1, 2.0) ** 1.5 + jnp.tile(jnp.arange(8.0).reshape(1, 1, 8), (x.shape[0], x.shape[1], 1))
    return nn.DenseGeneral(5, axis=(1, 2))(jax.checkpoint(jnp.log1p)(y))


def check(encode, variables, shape):
  """Returns the ONNX model after comparing its features with those of `encode` for one and three images."""
  model = to_onnx(encode, variables, shape)
  session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
  x = np.random.default_rng(1).normal(size=(4, *shape)).astype(np.float32)
  expected = np.asarray(jax.jit(encode)(variables, x))
  for batch in (slice(0, 1), slice(1, 4)):
    (features,) = session.run(["features"], {"images": x[batch].transpose(0, 3, 1, 2)})
    assert features.dtype == np.float32 and features.shape == expected[batch].shape
    np.testing.assert_allclose(features, expected[batch], rtol=0, atol=1e-5 * np.abs(expected).max())
  return model


def count(model):
  return collections.Counter(node.op_type for node in model.graph.node)


@pytest.mark.parametrize("name, stem", [("resnet10", "imagenet"), ("resnet18", "cifar_pad"), ("resnet50", "small")])
def test_resnets_stay_channels_first_and_runtimes_fold_batch_norm(name, stem, tmp_path):
  encoder = network.build(ModelConfig(name=name, width=SLIM, stem=stem), "float32", 36)
  variables = random_variables(encoder, (36, 36, 3))
  model = check(encoder.encode, variables, (36, 36, 3))
  convolutions = sum(x.ndim == 4 for x in jax.tree.leaves(variables.params))
  operators = count(model)
  assert operators["Conv"] == convolutions and operators["Transpose"] == 1  # of the pooled features
  options = onnxruntime.SessionOptions()
  options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
  options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
  onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
  operators = count(onnx.load(tmp_path / "optimized.onnx"))
  assert operators.pop("Conv") == convolutions
  assert set(operators) <= {"Relu", "Add", "MaxPool", "ReduceMean", "Transpose", "Reshape"}


@pytest.mark.parametrize("size", [16, 32])
def test_a_vit_is_translated_at_its_own_and_another_size(size):
  encoder = network.build(ModelConfig(name="vit_ti", depth=1, patch=8), "float32", 16)
  model = check(encoder.encode, random_variables(encoder, (16, 16, 3)), (size, size, 3))
  operators = count(model)
  assert (operators["MatMul"], operators["Softmax"], operators["Conv"]) == (6, 1, 1)
  (positions,) = (x for x in model.graph.initializer if x.name.endswith("pos_embed"))
  assert list(positions.dims) == [1 + (size // 8) ** 2, 192]


@pytest.mark.parametrize("module", [ConvNet, Mixer])
@pytest.mark.parametrize("channels", [1, 3])
def test_custom_encoders_are_translated(module, channels):
  encoder = network.Network(encoder=module())
  check(encoder.encode, random_variables(encoder, (16, 16, channels)), (16, 16, channels))


def test_the_file_declares_its_version_and_stores_each_weight_once():
  encoder = network.build(ModelConfig(name="resnet10", width=SLIM, stem="cifar"), "float32", 8)
  variables = random_variables(encoder, (8, 8, 3))
  variables.params["encoder"]["layer1_0"]["conv2"] = variables.params["encoder"]["layer1_0"]["conv1"]
  model = check(encoder.encode, variables, (8, 8, 3))
  onnx.checker.check_model(model, full_check=True)
  assert (model.ir_version, [(x.domain, x.version) for x in model.opset_import]) == (8, [("", 17)])
  dims = [x.dim_param or x.dim_value for x in model.graph.input[0].type.tensor_type.shape.dim]
  assert [x.name for x in model.graph.input] == ["images"] and dims == ["batch", 3, 8, 8]
  dims = [x.dim_param or x.dim_value for x in model.graph.output[0].type.tensor_type.shape.dim]
  assert [x.name for x in model.graph.output] == ["features"] and dims == ["batch", 16]
  stored = [(x.data_type, tuple(x.dims), x.raw_data) for x in model.graph.initializer]
  assert len(stored) == len(set(stored))
  assert sum(len(data) for _, _, data in stored) < sum(x.nbytes for x in jax.tree.leaves(variables))
  names = [x.name for x in model.graph.initializer]
  assert len(names) == len(set(names)) and "params.encoder.conv1.kernel" in names


@pytest.mark.parametrize(
  "encode, message",
  [
    (lambda w, x: jnp.sort(x.mean((1, 2))), "the JAX primitive sort, which is not translated; use flax or stablehlo"),
    (lambda w, x: jax.lax.cumsum(x.mean((1, 2)), 1), "uses the JAX primitive cumsum"),
    (lambda w, x: jax.lax.conv_transpose(x, w, (2, 2), "SAME").mean((1, 2)), "conv_general_dilated with lhs_dilation"),
    (lambda w, x: x.mean((1, 2)) + x[:1].mean((1, 2)), "slice with a part of the batch"),
    (lambda w, x: x.mean((1, 2)) - x.mean((0, 1, 2))[None], "reduce_sum with the batch as an axis"),
    (lambda w, x: jnp.concatenate([x.mean((1, 2)), w[0, 0]]), "an axis that is not a multiple of the batch"),
  ],
)
def test_an_untranslated_primitive_is_named(encode, message):
  with pytest.raises(UserError, match=message) as caught:
    to_onnx(encode, np.ones((3, 3, 3, 3), np.float32), (8, 8, 3))
  assert "\n" not in str(caught.value) and str(caught.value).startswith("--format=onnx: the encoder ")
