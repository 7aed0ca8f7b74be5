"""Exports that are refused, in one line, and folders that are not exports."""

import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import jaxssl
from jaxssl import main
from jaxssl.core import UserError
from tests.export.fixtures import export

pytestmark = [pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("export")]


@pytest.mark.parametrize(
  "name, words, message",
  [
    ("vit", ["--format=tim"], "--format=tim: unknown format; expected flax, timm, torchvision, onnx, stablehlo; did you mean"),
    (
      "vit",
      ["--format=torchvision"],
      "model.name=vit_ti: out of range; expected a ResNet for --format=torchvision",
    ),
    (
      "cifar_stem",
      ["--format=timm"],
      "model.name=resnet10: out of range; expected resnet18, resnet34 or resnet50 for",
    ),
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
  assert main.main(["export", f"--workdir={runs(name)}", f"--out={tmp_path / 'out'}", *words]) == 2
  errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
  assert len(errors) == 1 and message in errors[0]
  assert not list(tmp_path.iterdir())


def test_a_folder_with_files_is_left_unchanged(runs, tmp_path, capfd):
  (tmp_path / "notes.txt").write_text("mine")
  for out in (tmp_path, tmp_path / "notes.txt"):
    assert export(runs("vit"), out, "flax") == 2
    assert f"--out={out}: exists; expected a new or empty folder" in capfd.readouterr().err
  assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_the_error_without_onnxruntime_names_the_extra(runs, tmp_path, monkeypatch, capfd):
  monkeypatch.setitem(sys.modules, "onnxruntime", None)
  assert export(runs("vit"), tmp_path / "out", "onnx") == 2
  assert "pip install 'jaxssl[onnx]'" in capfd.readouterr().err


def test_load_pretrained_refuses_other_folders(runs, tmp_path):
  with pytest.raises(UserError, match="not an export of the format flax: "):
    jaxssl.load_pretrained(tmp_path)
  assert export(runs("vit"), tmp_path / "timm", "timm") == 0 and export(runs("vit"), tmp_path / "own", "flax") == 0
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
