"""An encoder is found in the files of all families, and its features match torch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.core import UserError
from jaxssl.models.backbone import backbone
from jaxssl.models.network import Network
from jaxssl.models.vit import resize_patches
from jaxssl.pretrained.match import find
from jaxssl.pretrained.torch_names import to_torch
from tests.golden_files import tensors
from tests.models.compare import near, nhwc
from tests.models.test_resnet import STEMS, golden_case, module_of
from tests.models.test_vit import INPUTS, VITS, WEIGHTS, golden_vit
from tests.pretrained.fixtures import FAMILIES, family, random_encoder, read_variables, write


def check_all_families(weights, name, module, image, inputs, tmp_path):
  """Reads the weights from the files of all families and compares the features with the expected ones."""
  network, (first, *rest) = Network(module), FAMILIES
  variables = read_variables(write(tmp_path / first, family(first, weights)), name, network, image)
  for kind in rest:
    again = read_variables(write(tmp_path / kind, family(kind, weights)), name, network, image)
    jax.tree.map(np.testing.assert_array_equal, again, variables)
  for x, expected in inputs:
    near(jax.jit(network.encode)(variables, nhwc(x)), expected, 1e-5)


@pytest.mark.parametrize("name", [name for name in STEMS if "full" not in name])
def test_resnets_of_all_families_match_torch(name, tmp_path):
  case, weights = golden_case(name)
  module, image = module_of(weights, STEMS[name]), nhwc(case["x"]).shape[1:]
  check_all_families(weights, "resnet18", module, image, [(case["x"], case["out_eval"])], tmp_path)


def test_vits_of_all_families_match_torch(tmp_path):
  module = golden_vit()
  image, inputs = (module.image_size, module.image_size, 3), [(VITS[name]["x"], VITS[name]["cls"]) for name in INPUTS]
  check_all_families(tensors(VITS[WEIGHTS], "w"), "vit_s", module, image, inputs, tmp_path)


def random_weights(name: str, size: int = 32, channels: int = 3, **fields):
  """Returns random weights of a backbone under torch names, and their shapes."""
  weights = to_torch(random_encoder(ModelConfig(**{"name": name, **fields}), size, channels))
  return weights, {name: x.shape for name, x in weights.items()}


SLIM = {"width": 1 / 16}
SMALL = {"depth": 2, "patch": 8}
NEXT = {"name": "convnext_tiny", "width": 1 / 8, "depth": 1}


def search(tensors, shapes, partial=False):
  """Finds the tensors of the encoder that has these shapes."""
  name = "vit_ti" if "cls_token" in shapes else "convnext_tiny" if "stem.0.weight" in shapes else "resnet10"
  return find("FILE", tensors, shapes, backbone(ModelConfig(name=name)), partial)


def refused(tensors, shapes, *words):
  with pytest.raises(UserError) as error:
    search(tensors, shapes)
  message = str(error.value)
  assert message.startswith("model.init_from=FILE") and "\n" not in message
  for word in words:
    assert word in message, message


def test_the_log_lists_read_and_ignored_tensors(caplog):
  weights, shapes = random_weights("resnet10", **SLIM)
  caplog.set_level("INFO")
  matched = search(family("dino", weights), shapes)
  assert matched.keys() == weights.keys()
  assert f"{len(weights)} of {len(weights)} tensors of FILE (teacher.backbone.)" in caplog.messages
  assert any("left out" in m and "teacher.head" in m and "student.module" in m for m in caplog.messages)


def test_missing_and_extra_tensors_are_errors():
  weights, shapes = random_weights("resnet10", **SLIM)
  some = dict(list(weights.items())[:-7])
  refused(some, shapes, f"7 of {len(shapes)} tensors are missing", *list(weights)[-7:-2], "and 2 more", "allow_partial")
  assert search(some, shapes, True).keys() == some.keys()
  more = weights | {"layer4.0.se.weight": np.ones(3, np.float32), "fc.weight": np.ones(3, np.float32)}
  refused(more, shapes, "1 tensors are not part of this encoder: layer4.0.se.weight;")
  assert search(more, shapes, True).keys() == weights.keys()


@pytest.mark.parametrize(
  "there, here, flag",
  [
    ({"name": "resnet18", **SLIM}, {"name": "resnet10", **SLIM}, "--config.model.name=resnet18"),
    ({"name": "resnet10", **SLIM}, {"name": "resnet18", **SLIM}, "--config.model.name=resnet10"),
    ({"name": "resnet50", **SLIM}, {"name": "resnet34", **SLIM}, "--config.model.name=resnet50"),
    ({"name": "resnet10", "width": 0.5}, {"name": "resnet10", "width": 0.25}, "--config.model.width=0.5"),
    ({"name": "resnet10", **SLIM}, {"name": "resnet10", **SLIM, "stem": "cifar"}, "--config.model.stem=imagenet"),
    ({"name": "vit_s", **SMALL}, {"name": "vit_ti", **SMALL}, "--config.model.name=vit_s"),
    ({"name": "vit_ti", "depth": 3, "patch": 8}, {"name": "vit_ti", **SMALL}, "--config.model.depth=3"),
    ({"name": "vit_ti", **SMALL}, {"name": "resnet10", **SLIM}, "--config.model.name=vit_ti"),
    ({"name": "resnet10", **SLIM}, {"name": "vit_ti", **SMALL}, "--config.model.name=resnet10 --config.model.width=0.0625"),
    (NEXT, {"name": "vit_ti", **SMALL}, "--config.model.name=convnext_tiny"),
    (NEXT, {**NEXT, "width": 1 / 16}, "--config.model.width=0.125"),
    (NEXT, {**NEXT, "depth": 2}, "--config.model.depth=1"),
    (NEXT, {**NEXT, "stem": "small"}, "model.stem=imagenet"),
  ],
)
def test_weights_of_another_network_suggest_the_flag(there, here, flag):
  weights, _ = random_weights(**there)
  _, shapes = random_weights(**here)
  refused(family("mocov3", weights), shapes, flag)


def test_the_error_shows_the_differing_shapes():
  weights, _ = random_weights("vit_s", **SMALL)
  _, shapes = random_weights("vit_ti", **SMALL)
  refused(weights, shapes, "30 of 30 tensors have another shape: ", " 1536 x 384 instead of 768 x 192, ", " and 25 more; ")


def test_patches_and_positions_are_resized(caplog):
  caplog.set_level("INFO")
  weights, _ = random_weights("vit_ti", size=32, **SMALL)
  _, shapes = random_weights("vit_ti", size=48, depth=2, patch=12)
  resized = search(weights, shapes)
  np.testing.assert_array_equal(resized["pos_embed"], weights["pos_embed"])  # 4 x 4 patches both
  assert resized["patch_embed.proj.weight"].shape[2:] == (12, 12)
  assert "patch_embed.proj.weight: fitted from 192 x 3 x 8 x 8 to 192 x 3 x 12 x 12" in caplog.messages
  _, shapes = random_weights("vit_ti", size=64, **SMALL)
  resized = search(weights, shapes)
  assert resized["pos_embed"].shape == (1, 65, 192)
  np.testing.assert_array_equal(resized["pos_embed"][:, 0], weights["pos_embed"][:, 0])
  assert "pos_embed: fitted from 1 x 17 x 192 to 1 x 65 x 192" in caplog.messages


def test_a_resized_patch_has_the_response_of_the_original():
  rng = np.random.default_rng(0)
  patches, kernel = rng.normal(size=(9, 6, 6, 2)), rng.normal(size=(4, 2, 6, 6)).astype(np.float32)
  larger = jax.image.resize(jnp.asarray(patches), (9, 10, 10, 2), "bicubic", antialias=False)
  before = np.einsum("bhwc,ochw->bo", patches, kernel)
  np.testing.assert_allclose(np.einsum("bhwc,ochw->bo", larger, resize_patches(kernel, 10)), before, atol=1e-4)
  np.testing.assert_allclose(resize_patches(kernel, 6), kernel, atol=1e-5)


@pytest.mark.parametrize(
  "name, fields", [("resnet10", SLIM), ("vit_ti", SMALL), ("convnext_tiny", {"width": 1 / 8, "depth": 1})]
)
def test_the_first_convolution_adapts_to_gray_images(name, fields):
  weights, _ = random_weights(name, **fields)
  first = backbone(ModelConfig(name=name)).first_conv
  summed = search(weights, random_weights(name, channels=1, **fields)[1])
  np.testing.assert_array_equal(summed[first], weights[first].sum(1, keepdims=True))
  refused(weights, random_weights(name, channels=4, **fields)[1], f"1 of {len(weights)} tensors have another shape: {first}")
  assert first not in search(weights, random_weights(name, channels=4, **fields)[1], True)


def test_flax_names_are_converted():
  """Flax trees joined by slashes are converted."""
  variables = random_encoder(ModelConfig(name="resnet10", **SLIM))
  flat = {
    f"{kind}/{jax.tree_util.keystr(path, simple=True, separator='/')}": x
    for kind, tree in (("params", variables.params), ("batch_stats", variables.stats))
    for path, x in jax.tree_util.tree_leaves_with_path(tree)
  }
  expected = to_torch(variables)
  matched = search(flat, {name: x.shape for name, x in expected.items()})
  jax.tree.map(np.testing.assert_array_equal, matched, expected)
