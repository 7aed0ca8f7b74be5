"""Heads against the reference implementations, and their initialization."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.core.types import Variables
from jaxssl.models.heads import MLP, DINOHead
from tests.golden_files import cases, split, tensors
from tests.models.compare import near
from tests.torch_weights import to_state, to_variables

HEADS = cases("heads")
DINO_CASES, MLP_CASES = split("heads", r"dino\d+", r"(resaproj|resapred|isd|isdpred)\d+")


def head_of(case: dict, weights: dict):
  """Builds the module that the case's weights belong to."""
  sizes = [w.shape for name, w in weights.items() if name.endswith("weight") and w.ndim == 2]
  hidden = sizes[0][0]
  if "nlayers" in case:
    prototypes, bottleneck = weights["last_layer.weight_v"].shape
    options = {"bn": bool(case["use_bn"]), "fixed_norm": bool(case["norm_last_layer"])}
    return DINOHead(hidden=hidden, bottleneck=bottleneck, out=prototypes, layers=int(case["nlayers"]), **options)
  last = max(int(name.split(".")[0]) for name in weights)
  plain = f"{last}.running_mean" in weights and f"{last}.weight" not in weights
  return MLP(hidden=hidden, out=sizes[-1][0], layers=len(sizes), last_bn="plain" if plain else "none", bias="0.bias" in weights)


@pytest.mark.parametrize("name", DINO_CASES + MLP_CASES)
def test_outputs_gradients_and_statistics_match_the_reference(name):
  case = HEADS[name]
  weights = tensors(case, "w")
  head = head_of(case, weights)
  if "norm_last_layer" in case and case["norm_last_layer"]:
    np.testing.assert_array_equal(weights.pop("last_layer.weight_g"), 1)  # not a parameter here
  given = to_variables(weights)
  assert jax.tree.map(jnp.shape, given) == jax.tree.map(jnp.shape, jax.eval_shape(lambda: init(head, case["x"].shape[-1])))

  @jax.jit
  def run(x, cotangent):
    def train(params, stats, x):
      out, changed = head.apply({"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"])
      return out, changed.get("batch_stats", {})

    first, pull, stats = jax.vjp(lambda params, x: train(params, given.stats, x), given.params, x[0], has_aux=True)
    second, stats = train(given.params, stats, x[1])
    evaluated = head.apply({"params": given.params, "batch_stats": stats}, x[0], train=False)
    return jnp.stack([first, second]), pull(cotangent), stats, evaluated

  out, (grads, grad_x), stats, evaluated = run(case["x"], case["cotangent"])
  near(out, case["out_train"], 5e-6)
  near(evaluated, case["out_eval"], 5e-6)
  near(grad_x, case["grad_x"], 5e-6)
  expected = tensors(case, "gw", "param_names")
  state = to_state(Variables(params=grads, stats={}), weights)
  assert set(state) == {str(n) for n, trained in zip(case["param_names"], case["trainable"], strict=True) if trained}
  for n, value in state.items():
    near(value, expected[n], 5e-6, zero=1e-6 * np.abs(case["cotangent"]).sum())  # a bias before a BatchNorm has no gradient
  expected = tensors(case, "after")
  state = to_state(Variables(params={}, stats=stats), weights)
  assert set(state) == {n for n in expected if "num_batches" not in n}
  for n, value in state.items():
    near(value, expected[n], 5e-6)


def init(head, width: int) -> Variables:
  key = jax.random.key(0, impl="rbg")  # compiles in a fifth of the time
  made = jax.jit(lambda: head.init(key, jnp.zeros((1, width)), train=False))()
  return Variables(params=made["params"], stats=made.get("batch_stats", {}))


def test_mlp_initialization_matches_torch():
  params = init(MLP(hidden=400, out=30, layers=2), 100).params
  for layer, fan_in in (("linear_0", 100), ("linear_1", 400)):
    for value in params[layer].values():
      bound = fan_in**-0.5
      assert np.abs(value).max() <= bound
      assert np.std(value) == pytest.approx(bound / 3**0.5, rel=0.25 if value.size < 100 else 0.05)


def test_dino_head_initialization_matches_the_reference():
  params = init(DINOHead(hidden=300, bottleneck=64, out=500, layers=3), 200).params
  for i in range(3):
    assert np.std(params[f"linear_{i}"]["kernel"]) == pytest.approx(0.02, rel=0.03)
    np.testing.assert_array_equal(params[f"linear_{i}"]["bias"], 0)
  direction = params["last_layer"]["direction"]
  assert list(params["last_layer"]) == ["direction"]
  assert np.abs(direction).max() <= 64**-0.5
  assert np.std(direction) == pytest.approx(64**-0.5 / 3**0.5, rel=0.03)
  loose = init(DINOHead(hidden=8, bottleneck=4, out=5, layers=1, fixed_norm=False), 6).params
  np.testing.assert_array_equal(loose["last_layer"]["norm"], np.ones((1, 5)))


def test_dino_logits_are_cosines():
  head = DINOHead(hidden=16, bottleneck=8, out=40, layers=2, dtype=jnp.bfloat16)
  params = init(head, 12).params
  params["last_layer"]["direction"] *= 7.0  # norms do not matter
  x = 100 * np.random.default_rng(0).standard_normal((20, 12), np.float32)
  logits = head.apply({"params": params}, x, train=True)
  assert logits.dtype == jnp.float32
  kernel = params["last_layer"]["direction"]
  kernel = np.asarray(kernel / jnp.linalg.norm(kernel, axis=0, keepdims=True))
  # Solve for the bottleneck, which lies on the unit sphere.
  bottleneck = np.linalg.lstsq(kernel.T, np.asarray(logits).T)[0]
  np.testing.assert_allclose(np.linalg.norm(bottleneck, axis=0), 1, atol=1e-5)


@pytest.mark.parametrize("last_bn", ["none", "plain", "affine"])
def test_the_last_norm_is_absent_plain_or_affine(last_bn):
  head = MLP(hidden=8, out=6, layers=2, last_bn=last_bn)
  made = init(head, 5)
  assert (("bn_1" in made.stats), ("bn_1" in made.params)) == (last_bn != "none", last_bn == "affine")
  x = np.random.default_rng(0).standard_normal((64, 5), np.float32)
  out, _ = head.apply({"params": made.params, "batch_stats": made.stats}, x, train=True, mutable=["batch_stats"])
  assert (np.abs(out.mean(0)).max() < 1e-5) == (last_bn != "none")
