"""Every format computes the run's features and describes its origin; a failed export leaves no files."""

import dataclasses
import json
import sys

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxssl
from jaxssl import main
from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core.errors import UserError
from jaxssl.data.arrays import ArraySource
from jaxssl.evals import load_run
from jaxssl.export import flax_format, onnx_format, stablehlo, torch_formats
from jaxssl.export import formats as command
from tests import tiny_run
from tests.export import fixtures

pytestmark = [pytest.mark.usefixtures("compiled_once", "one_device"), pytest.mark.xdist_group("export")]
SLIM = 1 / 16
HEAD = HeadConfig(name="mlp", hidden=8, out=4, layers=2)
MODELS = {
  **{f"{stem}_stem": ModelConfig(width=SLIM, stem=stem) for stem in ("imagenet", "cifar", "cifar_pad", "small")},
  "bottlenecks": ModelConfig(name="resnet50", width=SLIM),
  "vit": ModelConfig(name="vit_ti", depth=2, patch=8, projector=HEAD, predictor=HEAD),
}
IMAGES = np.random.default_rng(1).integers(0, 256, (5, 40, 48, 3), np.uint8)


class Runs(dict):
  """Workdirs by the name of their model, created on first use."""

  def __init__(self, folder):
    super().__init__()
    self.folder = folder

  def __missing__(self, name):
    self[name] = fixtures.run(self.folder / name, MODELS[name])
    return self[name]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, compiled_once):
  return Runs(tmp_path_factory.mktemp("runs"))


def export(workdir, out, kind, *words):
  return main.main(["export", f"--workdir={workdir}", f"--out={out}", f"--format={kind}", *words])


def measured(workdir, images, *words):
  """Features as evaluations see them."""
  run = load_run.load(workdir, load_run.read_config(workdir, tiny_run.changes(words)))
  return run.embed(ArraySource(images, name="made"))[0]


def load(folder, kind):
  """Loads an export as its users do and returns a function of normalized float32 [b, h, w, c]."""
  if kind == "onnx":
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {"images": x.transpose(0, 3, 1, 2)})[0]
  if kind == "stablehlo":
    return jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).call
  model = jaxssl.load_pretrained(folder)
  return lambda x: model.module.apply(model.variables, x, train=False)


def close(found, expected, tolerance=1e-5):
  found = np.asarray(found)
  assert found.shape == expected.shape and found.dtype == np.float32
  np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


# test_onnx covers the other networks.
@pytest.mark.parametrize(
  "name, kind",
  [*((name, kind) for name in MODELS for kind in ("flax", "stablehlo")), ("imagenet_stem", "onnx"), ("vit", "onnx")],
)
def test_an_export_computes_the_features_of_the_run(name, kind, runs, tmp_path):
  if kind == "onnx":
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
  assert export(runs[name], tmp_path / "out", kind) == 0
  run, small = load(tmp_path / "out", kind), IMAGES[:, :32, :32]
  expected, x = measured(runs[name], small), ((small / 255 - 0.4) / 0.2).astype(np.float32)
  close(run(x), expected)
  close(run(x[:2]), expected[:2])  # another batch size
  assert not [path for path in (tmp_path / "out").iterdir() if path.stat().st_mode & 0o444 != 0o444]
  about = json.loads((tmp_path / "out" / "config.json").read_text())
  assert about["format"] == kind and about["network"] == "teacher" and about["step"] == 7


@pytest.mark.parametrize("words", [(), ("--evals.network=student", "--evals.size=24", "--evals.resize=28")])
@pytest.mark.parametrize("name", ["cifar_stem", "vit"])
def test_a_flax_export_embeds_images_as_evaluations_do(name, words, runs, tmp_path):
  assert export(runs[name], tmp_path, "flax", *words) == 0
  model, expected = jaxssl.load_pretrained(str(tmp_path)), measured(runs[name], IMAGES, *words)
  close(model.embed(IMAGES), expected)
  close(model.embed(IMAGES[3]), expected[3])
  assert list(model.weights.params) == ["encoder"] and model.config["network"] == ("student" if words else "teacher")


def test_embed_refuses_other_arrays(runs, tmp_path):
  assert export(runs["cifar_stem"], tmp_path, "flax") == 0
  model = jaxssl.load_pretrained(tmp_path)
  close(model.embed(IMAGES[..., :1]), model.embed(np.repeat(IMAGES[..., :1], 3, -1)))
  for wrong in (IMAGES / 255, IMAGES[0, 0], np.zeros((9, 9, 4), np.uint8)):
    with pytest.raises(UserError, match=r"expected uint8 or uint16, \[h, w, c\] or \[b, h, w, c\]"):
      model.embed(wrong)


@pytest.mark.parametrize("name", ["cifar_stem", "bottlenecks", "vit"])
def test_a_run_can_start_from_a_flax_export(name, runs, tmp_path):
  assert export(runs[name], tmp_path / "out", "flax") == 0
  fixtures.run(tmp_path / "next", dataclasses.replace(MODELS[name], init_from=str(tmp_path / "out")))
  (before, after) = (load_run.load(run).variables for run in (runs[name], tmp_path / "next"))
  jax.tree.map(np.testing.assert_array_equal, before.params["encoder"], after.params["encoder"])
  jax.tree.map(np.testing.assert_array_equal, before.stats.get("encoder"), after.stats.get("encoder"))


@pytest.mark.parametrize("network", ["teacher", "student"])
def test_heads(network, runs, tmp_path):
  assert export(runs["vit"], tmp_path, "flax", "--heads", f"--evals.network={network}") == 0
  model = jaxssl.load_pretrained(tmp_path)
  run = load_run.load(runs["vit"])
  expected = run.student if network == "student" else run.teacher
  jax.tree.map(np.testing.assert_array_equal, model.weights, expected)
  assert list(expected.params) == ["encoder", "predictor", "projector"][:: 1 if network == "student" else 2]
  assert (model.network.predictor is None) == (network == "teacher")


@pytest.mark.parametrize("kind", ["timm", "onnx", "stablehlo"])
def test_positions_are_interpolated_to_the_image_size(kind, runs, tmp_path):
  if kind == "onnx":
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
  assert export(runs["vit"], tmp_path, kind, "--evals.size=48") == 0
  if kind == "timm":
    assert load_file(tmp_path / "model.safetensors")["pos_embed"].shape == (1, 37, 192)
    assert json.loads((tmp_path / "config.json").read_text())["timm"] == {
      "name": "vit_tiny_patch16_224",
      "options": {"img_size": 48, "patch_size": 8, "depth": 2},
    }
  else:
    images = IMAGES[:, :8, :8].repeat(6, 1).repeat(6, 2)
    x = ((images / 255 - 0.4) / 0.2).astype(np.float32)
    close(load(tmp_path, kind)(x), measured(runs["vit"], images, "--evals.size=48"))


def test_a_bfloat16_run_is_exported_in_float32(tmp_path):
  model = MODELS["vit"]
  full, half = (fixtures.run(tmp_path / precision, model, precision=precision) for precision in ("float32", "bfloat16"))
  assert export(half, tmp_path / "out", "flax") == 0
  close(jaxssl.load_pretrained(tmp_path / "out").embed(IMAGES), measured(full, IMAGES))


def test_the_card(runs, tmp_path):
  workdir = fixtures.run(tmp_path / "run", MODELS["small_stem"], channels=1)
  fixtures.results(workdir)
  assert export(workdir, tmp_path / "out", "stablehlo", "--license=mit") == 0
  text = (tmp_path / "out" / "README.md").read_text()
  assert text.startswith("---\nlibrary_name: jaxssl\n") and "\nlicense: mit\n" in text and "No license" not in text
  protocol = "k 20, reference birds/train, reference images 9"
  assert f"| 20 nearest neighbors (knn20_cosine) | 61.25% (penalty 0.01) | {protocol} |" in text
  assert f"| Few labels (lowshot) | 40 ± 1.5 | {protocol} |" in text
  assert "| images | birds |" in text and "somebody" not in text and str(tmp_path) not in text
  assert "hidden" not in text and "13" not in text.partition("## Results")[2]
  assert "1 channel; bicubic with antialiasing: the whole image is resized to 32 x 32" in text
  assert "somebody" not in (tmp_path / "out" / "config.json").read_text()
  assert export(runs["vit"], tmp_path / "other", "flax") == 0
  text = (tmp_path / "other" / "README.md").read_text()
  assert "\nlicense: other\n" in text and "No license was named" in text and "Nothing was measured" in text


@pytest.mark.parametrize(
  "kind, module",
  [("flax", flax_format), ("timm", torch_formats), ("onnx", onnx_format), ("stablehlo", stablehlo)],
  ids=lambda x: str(x)[:9],
)
def test_a_file_with_other_features_is_deleted(kind, module, runs, tmp_path, monkeypatch, capfd):
  if kind == "onnx":
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
  if kind == "stablehlo":
    monkeypatch.setattr(stablehlo.jax.export, "export", _slightly_off(jax.export.export))
  elif kind == "onnx":
    monkeypatch.setattr(onnx_format, "to_onnx", _slightly_off(onnx_format.to_onnx))
  else:
    name = "params.encoder.norm.bias" if kind == "flax" else "norm.bias"
    monkeypatch.setattr(module, "save_file", lambda tensors, *rest: save_file(_corrupt(tensors, name), *rest))
  assert export(runs["vit"], tmp_path / "out", kind) == 1
  assert "features of the exported file differ by " in capfd.readouterr().err
  assert not list(tmp_path.iterdir())


def _corrupt(tensors, name):
  """Changes one value of one tensor slightly."""
  tensors[name] = tensors[name] + 1e-3 * (np.arange(tensors[name].size) == 5)[None].reshape(tensors[name].shape)
  return {key: np.float32(value) for key, value in tensors.items()}


def _slightly_off(export):
  """Changes one feature of the function that `export` is called with."""
  error = 1e-3 * (np.arange(192) == 5)[None]
  return lambda function, *rest, **options: export(jax.jit(lambda *x: function(*x) + error), *rest, **options)


def test_weights_that_are_not_finite_are_not_kept(tmp_path, monkeypatch, capfd):
  exact = command.open_bundle

  def broken(*given):
    subject = exact(*given)
    subject.variables.params["encoder"]["conv1"]["kernel"] = np.full_like(
      subject.variables.params["encoder"]["conv1"]["kernel"], np.nan
    )
    return subject

  monkeypatch.setattr(command, "open_bundle", broken)
  workdir = fixtures.run(tmp_path / "run", MODELS["small_stem"])
  assert export(workdir, tmp_path / "out", "flax") == 1
  assert "differ by nan" in capfd.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "name, words, message",
  [
    (
      "vit",
      ["--format=tim"],
      "--format: 'tim' is unknown; expected flax, timm, torchvision, onnx, stablehlo; did you mean timm?",
    ),
    ("vit", ["--format=torchvision"], "torchvision cannot express model.name=vit_ti; timm, flax, onnx and stablehlo can"),
    ("cifar_stem", ["--format=timm"], "--format timm cannot express model.stem=cifar; flax, onnx and stablehlo can"),
    ("imagenet_stem", ["--format=torchvision"], "cannot express model.width=0.0625; flax, onnx and stablehlo can"),
    ("vit", ["--format=onnx", "--heads"], "--heads: not available with --format=onnx; expected --format=flax"),
    ("vit", ["--format=timm", "--evals.size=30"], "evals.size=30 is not allowed: model.patch=8 does not divide it"),
    ("vit", ["--format=flax", "--step=3"], "holds no checkpoint of step 3: [7]"),
    ("vit", ["--format=flax", "--evals.k=3"], "evals.k: unknown field; did you mean evals.knn.k?"),
    ("vit", ["--format=flax", "--data.path=x"], "--data.path=x: unknown option of jaxssl export"),
    ("vit", ["--format=flax", "twice"], "twice: unexpected argument"),
    ("vit", ["--format=flax", "--workdir=nowhere"], "--workdir nowhere holds no run"),
    ("vit", ["--out=x"], "the following arguments are required: --format"),
  ],
)
def test_errors_are_one_line(name, words, message, runs, tmp_path, capfd):
  assert main.main(["export", f"--workdir={runs[name]}", f"--out={tmp_path / 'out'}", *words]) == 2
  errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
  assert len(errors) == 1 and message in errors[0]
  assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_unchanged(runs, tmp_path, capfd):
  (tmp_path / "notes.txt").write_text("mine")
  for out in (tmp_path, tmp_path / "notes.txt"):
    assert export(runs["vit"], out, "flax") == 2
    assert f"--out={out}: exists; expected a new or empty folder" in capfd.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_error_without_onnxruntime_names_the_extra(runs, tmp_path, monkeypatch, capfd):
  monkeypatch.setitem(sys.modules, "onnxruntime", None)
  assert export(runs["vit"], tmp_path / "out", "onnx") == 2
  assert "pip install 'jaxssl[onnx]'" in capfd.readouterr().err


def test_load_pretrained_refuses_other_folders(runs, tmp_path):
  with pytest.raises(UserError, match="not an export of the format flax: "):
    jaxssl.load_pretrained(tmp_path)
  assert export(runs["vit"], tmp_path / "timm", "timm") == 0 and export(runs["vit"], tmp_path / "own", "flax") == 0
  with pytest.raises(UserError, match="an export of the format timm; load_pretrained expects the format flax"):
    jaxssl.load_pretrained(tmp_path / "timm")
  file = tmp_path / "own" / "model.safetensors"
  tensors = load_file(file)
  tensors["params.encoder.norm.bias"] = np.zeros(3, np.float32)
  save_file(tensors | {"more": np.zeros(2)}, file)
  norm = r"params.encoder.norm.bias: float32 \(3,\)"
  with pytest.raises(
    UserError, match=rf"2 tensors do not match config.json: more: float64 \(2,\) in the file, None in the network; {norm}"
  ):
    jaxssl.load_pretrained(tmp_path / "own")
  file.write_bytes(b"nonsense")
  with pytest.raises(UserError, match="not an export of the format flax: "):
    jaxssl.load_pretrained(tmp_path / "own")
