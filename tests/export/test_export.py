"""Every format computes the run's features and describes its origin; a failed export leaves no files."""

import copy
import dataclasses
import datetime
import importlib.util
import json

import jax
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

import jaxssl
from jaxssl.config.schema import ModelConfig
from jaxssl.core import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.evals import load_run
from jaxssl.export import formats as command
from jaxssl.pretrained import init_from
from tests import tiny_run
from tests.data.fixtures import coded
from tests.data.stand_ins import Tensor
from tests.export import fixtures
from tests.export.fixtures import MODELS, export

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("export")]
needs_onnx = pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="an extra")
ONNX = pytest.param("onnx", marks=needs_onnx)
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 40, 48, 3), np.uint8)


def measured(workdir, images, *words):
  """Returns the features that evaluations use."""
  run = load_run.load(workdir, load_run.read_config(workdir, tiny_run.changes(words)))
  return run.embed(ArraySource(images, name="made"))[0]


def load(folder, kind):
  """Loads an export as its users do and returns a function of images [b, h, w, c]."""
  if kind == "onnx":
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.transpose(0, 3, 1, 2)})[0]
  if kind == "stablehlo":
    return jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call
  model = jaxssl.load_pretrained(folder)
  return jax.jit(lambda x: model.module.apply(model.variables, x, train=False))


def close(actual, expected, tolerance=1e-5):
  actual = np.asarray(actual)
  assert actual.shape == expected.shape and actual.dtype == np.float32
  np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# Flax exports cover every network; test_onnx.py covers the other translations.
@pytest.mark.parametrize(
  "name, kind",
  [
    *((name, "flax") for name in MODELS),
    *((name, "stablehlo") for name in ("imagenet_stem", "vit")),
    *(pytest.param(name, "onnx", marks=needs_onnx) for name in ("imagenet_stem", "vit")),
  ],
)
def test_an_export_computes_the_features_of_the_run(name, kind, runs, tmp_path):
  assert export(runs(name), tmp_path / "out", kind) == 0
  run, small = load(tmp_path / "out", kind), IMAGES[:, :32, :32]
  expected, x = measured(runs(name), small), ((small / 255 - 0.4) / 0.2).astype(np.float32)
  close(run(x), expected)
  close(run(x[:2]), expected[:2])  # another batch size
  assert not [path for path in (tmp_path / "out").iterdir() if path.stat().st_mode & 0o444 != 0o444]
  about = json.loads((tmp_path / "out" / "config.json").read_text())
  assert about["format"] == kind and about["network"] == "teacher" and about["step"] == 7


@pytest.mark.parametrize("words", [(), ("--evals.network=student", "--evals.size=24", "--evals.resize=28")])
@pytest.mark.parametrize("name", ["cifar_stem", "vit"])
def test_a_flax_export_embeds_images_as_evaluations_do(name, words, runs, tmp_path):
  (tmp_path / "empty").mkdir()
  (out := tmp_path / "link").symlink_to("empty")
  assert export(runs(name), out, "flax", *words) == 0 and out.is_symlink()
  model, expected = jaxssl.load_pretrained(str(out)), measured(runs(name), IMAGES, *words)
  close(model.embed(IMAGES), expected)
  close(model.embed(IMAGES[3]), expected[3])
  assert list(model.weights.params) == ["encoder"] and model.config["network"] == ("student" if words else "teacher")


def test_embed_takes_items_and_rejects_others(runs, tmp_path):
  assert export(runs("cifar_stem"), tmp_path, "flax") == 0
  model = jaxssl.load_pretrained(tmp_path)
  close(model.embed(IMAGES[..., :1]), model.embed(np.repeat(IMAGES[..., :1], 3, -1)))
  expected, pil = model.embed(IMAGES), [Image.fromarray(image) for image in IMAGES]
  (tmp_path / "0.png").write_bytes(coded(IMAGES[0], "PNG"))
  for items in (pil, [(image, 1) for image in pil], [coded(image, "PNG") for image in IMAGES]):
    np.testing.assert_array_equal(model.embed(items), expected)
  tensor = Tensor(IMAGES[0].transpose(2, 0, 1) / 255)
  for one in (IMAGES[0], pil[0], tensor, tmp_path / "0.png", coded(IMAGES[0], "PNG")):
    close(model.embed(one), expected[0])
  assert model.embed([IMAGES[0][:20], IMAGES[1]]).shape == expected[:2].shape and len(model.embed(IMAGES[:0])) == 0
  for wrong, message in (
    (IMAGES / 255, "float64 pixels; scale"),
    (IMAGES[0, 0], ".* are not images; expected integers"),
  ):
    with pytest.raises(UserError, match=f"images: {message}"):
      model.embed(wrong)
  with pytest.raises(UserError, match="images image 0: has 4 channels, but data.channels=3"):
    model.embed(np.zeros((9, 9, 4), np.uint8))
  with pytest.raises(UserError, match="images image 1: not an image of a known format"):
    model.embed([coded(IMAGES[0], "PNG"), b"text"])


@pytest.mark.parametrize("name", ["cifar_stem", "vit"])
def test_a_run_can_start_from_a_flax_export(name, runs, tmp_path):
  assert export(runs(name), tmp_path / "out", "flax") == 0
  fixtures.run(tmp_path / "next", dataclasses.replace(MODELS[name], init_from=str(tmp_path / "out")))
  (before, after) = (load_run.load(run).variables for run in (runs(name), tmp_path / "next"))
  jax.tree.map(np.testing.assert_array_equal, before.params["encoder"], after.params["encoder"])
  jax.tree.map(np.testing.assert_array_equal, before.stats.get("encoder"), after.stats.get("encoder"))


def test_heads_and_fixed_positions_of_a_vit_are_exported(tmp_path):
  model = ModelConfig(name="vit_ti", depth=1, patch=8, heads=12, positions="sincos", init="xavier")
  workdir = fixtures.run(tmp_path / "run", model)
  assert export(workdir, tmp_path / "timm", "timm") == export(workdir, tmp_path / "flax", "flax") == 0
  options = json.loads((tmp_path / "timm" / "config.json").read_text())["model_args"]
  assert (options["num_heads"], options["depth"]) == (12, 1)
  assert load_file(tmp_path / "timm" / "model.safetensors")["pos_embed"].shape == (1, 17, 192)
  assert jaxssl.load_pretrained(tmp_path / "flax").network.encoder.heads == 12
  for folder in ("run", "timm", "flax"):
    other = dataclasses.replace(model, heads=0, init_from=str(tmp_path / folder))
    with pytest.raises(UserError, match=f"model.heads=0: model.init_from=.*{folder} has model.heads=12; expected the same"):
      fixtures.run(tmp_path / f"from_{folder}", other)
  (tmp_path / "config.json").write_text('{"model": {"name": "vit_ti", "heads": 0}}')
  init_from._require_attention_heads(ModelConfig(name="vit_ti", heads=3), tmp_path)  # what 0 stands for


@pytest.mark.parametrize("network", ["teacher", "student"])
def test_heads_are_exported_on_request(network, runs, tmp_path):
  assert export(runs("vit"), tmp_path, "flax", "--heads", f"--evals.network={network}") == 0
  model = jaxssl.load_pretrained(tmp_path)
  expected = load_run.load(runs("vit"), load_run.read_config(runs("vit"), {"evals.network": network})).variables
  jax.tree.map(np.testing.assert_array_equal, model.weights, expected)
  assert list(expected.params) == ["encoder", "predictor", "projector"][:: 1 if network == "student" else 2]
  assert (model.network.predictor is None) == (network == "teacher")


@pytest.mark.parametrize(
  "resident_size, resize, crop",
  [(0, 0, ("squash", 1.0)), (40, 0, ("center", 1.0)), (0, 40, ("center", 0.8)), (48, 40, ("center", 0.8))],
)
def test_timm_crops_as_evaluations_do(resident_size, resize, crop, tmp_path):
  workdir = fixtures.run(tmp_path / "run", MODELS["vit"], data={"resident_size": resident_size}, resize=resize)
  assert export(workdir, tmp_path / "out", "timm") == 0
  entry = json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]
  assert (entry["crop_mode"], entry["crop_pct"]) == crop


@pytest.mark.parametrize("kind", ["timm", ONNX, "stablehlo"])
def test_positions_are_interpolated_to_the_image_size(kind, runs, tmp_path):
  assert export(runs("vit"), tmp_path, kind, "--evals.size=48") == 0
  if kind == "timm":
    assert load_file(tmp_path / "model.safetensors")["pos_embed"].shape == (1, 37, 192)
    options = {"in_chans": 3, "img_size": 48, "patch_size": 8, "depth": 2}
    entry = json.loads((tmp_path / "config.json").read_text())
    assert (entry["architecture"], entry["model_args"], entry["num_features"]) == ("vit_tiny_patch16_224", options, 192)
    assert entry["pretrained_cfg"]["input_size"] == [3, 48, 48]
  else:
    images = IMAGES[:, :8, :8].repeat(6, 1).repeat(6, 2)
    x = ((images / 255 - 0.4) / 0.2).astype(np.float32)
    close(load(tmp_path, kind)(x), measured(runs("vit"), images, "--evals.size=48"))


def test_a_bfloat16_run_is_exported_in_float32(runs, tmp_path):
  half = fixtures.run(tmp_path / "run", MODELS["vit"], precision="bfloat16")
  assert export(half, tmp_path / "out", "flax") == 0
  close(jaxssl.load_pretrained(tmp_path / "out").embed(IMAGES), measured(runs("vit"), IMAGES))


@pytest.mark.parametrize(
  "error, kind",
  [*((1e-3, kind) for kind in ("flax", "timm", "stablehlo")), pytest.param(1e-3, "onnx", marks=needs_onnx), (np.nan, "flax")],
)
def test_an_export_with_different_features_is_deleted(kind, error, runs, tmp_path, monkeypatch, capfd):
  write = command.FORMATS[kind].write

  def inexact(folder, bundle):
    variables = copy.deepcopy(bundle.variables)
    variables.params["encoder"]["norm"]["bias"][5] += error
    return write(folder, dataclasses.replace(bundle, variables=variables))

  monkeypatch.setattr(command.FORMATS[kind], "write", inexact)
  assert export(runs("vit"), tmp_path / "out", kind) == 1
  assert f"features of the exported file differ by {'nan' if np.isnan(error) else ''}" in capfd.readouterr().err
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [ONNX, "stablehlo"])
@pytest.mark.parametrize("bits, dtype", [(8, np.uint8), (12, np.uint16)])
def test_a_file_with_preprocessing_takes_values_of_images(kind, bits, dtype, tmp_path):
  workdir = fixtures.run(tmp_path / "run", MODELS["cifar_stem"])
  config = json.loads((workdir / "config.json").read_text())
  config["data"]["bit_depth"] = bits
  (workdir / "config.json").write_text(json.dumps(config))
  for name, words in (("plain", ()), ("values", ("--with-preprocessing",))):
    assert export(workdir, tmp_path / name, kind, *words) == 0
  values = np.random.default_rng(0).integers(0, 2**bits, (2, 32, 32, 3)).astype(dtype)
  normalized = ((values / (2**bits - 1) - 0.4) / 0.2).astype(np.float32)
  close(load(tmp_path / "values", kind)(values), np.asarray(load(tmp_path / "plain", kind)(normalized)))
  card = (tmp_path / "values" / "README.md").read_text()
  assert f"x: {dtype.__name__} [b," in card and "values of files" in card
  assert json.loads((tmp_path / "values" / "config.json").read_text())["with_preprocessing"]


def test_preprocessing_is_inside_of_programs_only(runs, tmp_path, capsys):
  assert export(runs("cifar_stem"), tmp_path / "out", "timm", "--with-preprocessing") == 2
  assert (
    "--with-preprocessing: not available with --format=timm; expected --format=onnx or stablehlo" in capsys.readouterr().err
  )


def test_a_stablehlo_file_names_its_versions_and_its_end(runs, tmp_path):
  assert export(runs("cifar_stem"), tmp_path / "out", "stablehlo") == 0
  about = json.loads((tmp_path / "out" / "config.json").read_text())["stablehlo"]
  exported = jax.export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
  assert about["jax"] == jax.__version__ and all(value in exported.fun_name for value in about.values())
  written = datetime.datetime.now(datetime.UTC).date()
  assert (datetime.date.fromisoformat(about["guaranteed_until"]) - written).days in (179, 180)
  assert about["guaranteed_until"] in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("name", ["cifar_stem", "vit"])
def test_an_export_is_a_module_of_nnx(name, runs, tmp_path):
  assert export(runs(name), tmp_path / "out", "flax") == 0
  model, x = jaxssl.load_pretrained(tmp_path / "out"), np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
  close(model.nnx()(x, train=False), np.asarray(model.module.apply(model.variables, x, train=False)))
