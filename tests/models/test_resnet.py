"""ResNets against torch, and the shapes of the larger ones."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core.types import Variables
from jaxssl.models.network import build, named
from jaxssl.models.resnet import SIZES, ResNet
from tests.golden_files import cases, split, tensors
from tests.models.compare import near, nhwc
from tests.torch_weights import to_state, to_variables

pytestmark = pytest.mark.slow

RESNETS = cases("backbones_resnet")
CIFAR, PLAIN, IMAGENET = split("backbones_resnet", r"cifar_(?!.*_nopad$).*", r"cifar_.*_nopad", r"imagenet_.*")
STEMS = {**dict.fromkeys(CIFAR, "cifar_pad"), **dict.fromkeys(PLAIN, "cifar"), **dict.fromkeys(IMAGENET, "imagenet")}


def formula_weights(case: dict) -> dict[str, np.ndarray]:
  """Computes weights by the integer hash that the README of the golden files describes."""
  mask, state = np.uint64(0xFFFFFFFF), {}
  for k, (name, padded) in enumerate(zip(case["names"], case["shapes"], strict=True)):
    shape = tuple(padded[padded >= 0])
    h = (np.arange(np.prod(shape), dtype=np.uint64) + np.uint64(0x9E3779B9) * np.uint64(k + int(case["salt"]) + 1)) & mask
    h = ((h ^ h >> np.uint64(16)) * np.uint64(0x85EBCA6B)) & mask
    h = ((h ^ h >> np.uint64(13)) * np.uint64(0xC2B2AE35)) & mask
    u = (h ^ h >> np.uint64(16)) / 2.0**32 - 0.5
    leaf = str(name).rpartition(".")[2]
    if len(shape) == 4:
      u = u * (12**0.5 * (2 / np.prod(shape[1:])) ** 0.5)
    else:
      u = {"running_mean": 0.2 * u, "running_var": 1 + u, "weight": 1 + 0.4 * u, "bias": 0.4 * u}[leaf]
    state[str(name)] = u.astype(np.float32).reshape(shape)
  return state


def golden_case(name: str) -> tuple[dict, dict[str, np.ndarray]]:
  """Returns a case and its weights."""
  case = RESNETS[name]
  if "salt" not in case:
    case = {**RESNETS[name.removesuffix("_nopad")], **case}  # the same weights and images
  return case, formula_weights(case) if "salt" in case else tensors(case, "w")


def module_of(weights: dict, stem: str) -> ResNet:
  """Builds the network that the weights belong to."""
  blocks = [m.groups() for name in weights if (m := re.fullmatch(r"layer(\d)\.(\d+)\.conv1\.weight", name))]
  stages = tuple(sum(stage == str(i) for stage, _ in blocks) for i in range(1, 5))
  bottleneck = any(name.endswith("conv3.weight") for name in weights)
  return ResNet(bottleneck=bottleneck, stages=stages, channels=weights["conv1.weight"].shape[0], stem=stem)


@pytest.mark.parametrize("name", STEMS)
def test_outputs_gradients_and_statistics_match_the_reference(name):
  case, weights = golden_case(name)
  given = to_variables(weights)
  module = module_of(weights, STEMS[name])
  x = nhwc(case["x"])
  shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
  assert jax.tree.map(jnp.shape, {"params": given.params, "batch_stats": given.stats}) == jax.tree.map(jnp.shape, shapes)

  @jax.jit
  def evaluate(x):
    tree = {"params": given.params, "batch_stats": given.stats}
    return module.apply(tree, x, train=False, capture_intermediates=True, mutable=["intermediates"])

  def train(params, x):
    tree = {"params": params, "batch_stats": given.stats}
    out, changed = module.apply(tree, x, train=True, mutable=["batch_stats"])
    return out, changed["batch_stats"]

  def objective(params, x):
    out, stats = train(params, x)
    return jnp.sum(out * case["cotangent"]), (out, stats)

  out, captured = evaluate(x)
  near(out, case["out_eval"], 1e-5)
  last = [f"layer{i + 1}_{blocks - 1}" for i, blocks in enumerate(module.stages)]
  for ours, theirs, side in zip(["conv1", *last], ["conv1", *(b.split("_")[0] for b in last)], case["stage_hw"], strict=True):
    y = np.asarray(captured["intermediates"][ours]["__call__"][0], np.float64)
    assert y.shape[1] == side
    expected = case[f"eval_mean_{theirs}"]
    mean = y.mean((1, 2) if expected.ndim == 2 else (1, 2, 3))
    np.testing.assert_allclose(mean, expected, rtol=1e-5, atol=1e-6 * np.abs(y).mean())

  if "cotangent" in case:
    (_, (out, stats)), (grads, grad_x) = jax.jit(jax.value_and_grad(objective, (0, 1), has_aux=True))(given.params, x)
    near(grad_x.transpose(0, 3, 1, 2), case["grad_x"], 5e-5)
    state = to_state(Variables(params=grads, stats={}), weights)
    near(state["conv1.weight"], case["grad_conv1"], 5e-5)
    near(state["bn1.weight"], case["grad_bn1_weight"], 5e-5)
    last_bn = f"layer4.{module.stages[3] - 1}.bn{3 if module.bottleneck else 2}.weight"
    near(state[last_bn], case["grad_layer4_last_bn_weight"], 5e-5)
  else:
    out, stats = jax.jit(train)(given.params, x)
  near(out, case["out_train"], 5e-5)
  state = to_state(Variables(params={}, stats=stats), weights)
  for kind in ("running_mean", "running_var"):
    near(np.concatenate([state[f"{bn}.{kind}"] for bn in case["bn_names"]]), case[f"{kind}_after"], 1e-5)


@pytest.mark.parametrize(
  "name, features, parameters", [("resnet18", 512, 11.18e6), ("resnet34", 512, 21.28e6), ("resnet50", 2048, 23.51e6)]
)
def test_features_and_parameters_match_torchvision(name, features, parameters):
  bottleneck, stages = SIZES[name]
  module = ResNet(bottleneck=bottleneck, stages=stages)
  x = jnp.zeros((1, 64, 64, 3))
  out, made = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, train=False))
  assert (out.shape, out.dtype) == ((1, features), jnp.float32)
  assert sum(p.size for p in jax.tree.leaves(made["params"])) == pytest.approx(parameters, rel=1e-3)  # as torchvision, less fc


def test_initialization_matches_torchvision():
  module = ResNet(bottleneck=False, stages=(1, 1), channels=32, stem="cifar")
  params = jax.jit(lambda: module.init(jax.random.key(0, impl="rbg"), jnp.zeros((1, 8, 8, 1)), train=False))()["params"]
  kernel = params["layer2_0"]["conv1"]["kernel"]  # 32 -> 64
  assert np.std(kernel) == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.03)
  assert np.abs(kernel).max() > 3 * np.std(kernel)  # not truncated
  assert set(np.unique(params["layer2_0"]["bn2"]["scale"])) == {1}


@pytest.mark.parametrize(("name", "last"), [("resnet10", "bn2"), ("resnet50", "bn3")])
@pytest.mark.parametrize("zero", [False, True])
def test_only_the_last_scale_of_each_block_starts_at_zero(name, last, zero):
  config = ModelConfig(name=name, width=1 / 16, stem="cifar", zero_init_residual=zero)
  network = build(config, "float32", 8)
  scales = {p: s for p, s in named(network.init(jax.random.key(0), (8, 8, 3))).items() if p.endswith("scale")}
  zeros = {path for path, scale in scales.items() if not scale.any()}
  assert zeros == {path for path in scales if zero and f".{last}." in path and ".layer" in path}
  assert len(zeros) == zero * sum(SIZES[name][1])
  assert all((scales[path] == 1).all() for path in scales.keys() - zeros)
