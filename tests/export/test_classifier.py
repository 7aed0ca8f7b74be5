"""Exports with a classifier compute its logits and name its classes, in every format."""

import csv
import importlib.util
import json
import re

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxssl
from jaxssl.core import UserError
from jaxssl.export import formats
from jaxssl.models.network import Network
from jaxssl.workdir.workdir import Workdir
from tests.data.fixtures import coded, folder
from tests.export import fixtures
from tests.export.fixtures import CLASSES, export
from tests.export.test_export import IMAGES, close, load, measured

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("export")]
needs_onnx = pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="an extra")
KINDS = ["flax", pytest.param("onnx", marks=needs_onnx), "stablehlo"]
SMALL = IMAGES[:, :32, :32]
X = ((SMALL / 255 - 0.4) / 0.2).astype(np.float32)


@pytest.fixture
def classified(runs, tmp_path):
  """Returns a function from the name of a model to a copy of its workdir with a classifier, and the expected logits."""

  def made(model, **fields):
    workdir = tmp_path / "run"
    workdir.mkdir()
    for file in ("config.json", "checkpoints"):
      (workdir / file).symlink_to(runs(model) / file)
    kernel = fixtures.classifier(workdir, **fields)
    return workdir, measured(runs(model), SMALL) @ kernel[:-1] + kernel[-1]

  return made


@pytest.mark.parametrize("name", ["imagenet_stem", "vit"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_export_computes_the_logits_and_names_the_classes(name, kind, classified, tmp_path, capfd):
  workdir, expected = classified(name)
  out = tmp_path / "out"
  assert export(workdir, out, kind, "--classifier") == 0
  assert re.search(r"step 7, teacher network, linear_lbfgs: \S+; logits agree to ", capfd.readouterr().err)
  if kind == "flax":
    model = jaxssl.load_pretrained(out)
    close(jax.jit(Network.classify, static_argnums=0)(model.network, model.weights, X), expected, 1e-4)
  else:
    run = load(out, kind)
    close(run(X), expected, 1e-4)
    close(run(X[:2]), expected[:2], 1e-4)
  about, card = json.loads((out / "config.json").read_text()), (out / "README.md").read_text()
  assert about["classes"] == list(CLASSES) and about["step"] == 7 and about["heads"] == []
  assert about["classifier"] == {
    "name": "linear_lbfgs", "title": "Linear classifier (lbfgs)", "fine_tuned": False, "accuracy": 91.25,
    "protocol": {"classifier": "logistic regression", **fixtures.SETS}, "chosen": {"penalty": 0.01},
  }  # fmt: skip
  assert "| trained on | 90 images of birds/train, with labels |" in card
  assert "| accuracy | 91.25% of 30 images of birds/test |" in card and "| 3: crow, owl, jay \\| tit; all" in card
  assert "| protocol | classifier logistic regression (penalty 0.01) |" in card and "image-classification" in card
  code = "print(predictions.names" if kind == "flax" else "print([classes[k] for k in logits.argmax(1)])"
  assert code in card and "The encoder was trained without labels; the classifier was fitted" in card
  if kind == "onnx":
    import onnx

    model = onnx.load(out / "model.onnx")
    assert json.loads({entry.key: entry.value for entry in model.metadata_props}["classes"]) == list(CLASSES)
    assert [output.name for output in model.graph.output] == ["logits"]


@pytest.mark.parametrize(
  "kind, words",
  [("flax", []), *(pytest.param("onnx", words, marks=needs_onnx) for words in ([], ["--with-preprocessing"]))],
)
def test_exports_classify_images(kind, words, classified, tmp_path):
  workdir, expected = classified("vit")
  assert export(workdir, tmp_path / "out", kind, "--classifier=linear_lbfgs", *words) == 0
  images = folder(tmp_path / "images", {f"{k}.png": coded(image, "PNG") for k, image in enumerate(SMALL)})
  assert jaxssl.predict_to_file(tmp_path / "out", images, tmp_path / "classes.csv", top=3) == len(SMALL)
  with (tmp_path / "classes.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  probabilities = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
  assert [row["class"] for row in rows] == [CLASSES[k] for k in probabilities.argmax(1)]
  for column, place in (("probability", -1), ("probability_3", 0)):
    np.testing.assert_allclose([float(row[column]) for row in rows], np.sort(probabilities)[:, place], atol=1e-3)
  np.testing.assert_allclose(jaxssl.predict(tmp_path / "out", SMALL).probabilities, probabilities, atol=1e-3)


def test_a_fine_tuned_classifier_of_an_older_step_brings_its_own_encoder(classified, tmp_path):
  workdir, _ = classified("imagenet_stem", name="finetune", step=3, fine_tuned=True)  # the only checkpoint is of step 7
  kept = load_file(Workdir(workdir).classifier("finetune"))
  assert export(workdir, tmp_path / "out", "flax", "--classifier", "--step=3") == 0
  exported = load_file(tmp_path / "out" / "model.safetensors")
  assert exported.keys() == kept.keys() and all((exported[name] == kept[name]).all() for name in kept)
  close(jaxssl.load_pretrained(workdir).embed(SMALL), measured(workdir, SMALL))  # which is not that of the classifier
  own = jaxssl.load_pretrained(workdir, classifier=True)
  np.testing.assert_array_equal(own.embed(SMALL), jaxssl.load_pretrained(tmp_path / "out").embed(SMALL))
  assert not np.allclose(own.embed(SMALL), measured(workdir, SMALL), atol=1e-3)
  card = (tmp_path / "out" / "README.md").read_text()
  assert "then both were trained with labels" in card and "Of the network before it was fine-tuned" in card
  assert own.config["step"] == 3


def test_a_run_can_start_from_an_export_with_a_classifier(classified, tmp_path):
  workdir, _ = classified("cifar_stem")
  assert export(workdir, tmp_path / "out", "flax", "--classifier") == 0
  fixtures.run(tmp_path / "next", fixtures.started_from("cifar_stem", tmp_path / "out"))
  close(measured(tmp_path / "next", SMALL), measured(workdir, SMALL))


def test_other_logits_are_not_exported(classified, tmp_path, monkeypatch, capfd):
  workdir, _ = classified("vit")
  write = formats.FORMATS["flax"].write

  def inexact(folder, bundle):
    head = bundle.variables.params["classifier"]
    head["bias"] = head["bias"] + np.float32([0, 0.1, 0])
    write(folder, bundle)

  monkeypatch.setattr(formats.FORMATS["flax"], "write", lambda folder, bundle: inexact(folder, fixtures.copied(bundle)))
  assert export(workdir, tmp_path / "out", "flax", "--classifier") == 1
  assert "--format=flax: logits of the exported file differ by" in capfd.readouterr().err
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
  "words, message",
  [
    (["--classifier=lbfgs"], "not in {run}/classifiers; expected linear_lbfgs; did you mean linear_lbfgs?"),
    (
      ["--classifier", "--step=5"],
      "--step=5: the classifier linear_lbfgs belongs to step 7; leave it out, or evaluate",
    ),
    (["--classifier", "--evals.size=24"], "evals.size=24: the classifier linear_lbfgs has its own; leave it out, or evaluate"),
    (["--classifier", "--heads"], "--heads: not available with --classifier"),
  ],
)
def test_options_that_contradict_a_classifier_are_errors(words, message, classified, tmp_path, fails):
  workdir, _ = classified("vit")
  words = ["export", f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--format=flax", *words]
  fails(words, message.format(run=workdir))
  assert not (tmp_path / "out").exists()


def test_folders_without_a_classifier_are_errors(classified, tmp_path, monkeypatch):
  workdir, _ = classified("vit")
  for kind, words in (("flax", ()), ("timm", ("--classifier",))):
    assert export(workdir, tmp_path / kind, kind, *words) == 0
  for wrong in (tmp_path / "flax", jaxssl.load_pretrained(tmp_path / "flax")):
    with pytest.raises(UserError, match="without a classifier; `jaxssl export --classifier` writes one with it"):
      jaxssl.predict(wrong, SMALL)
  with pytest.raises(UserError, match="an export of the format timm, for other libraries; expected flax or onnx, or the run's"):
    jaxssl.predict(tmp_path / "timm", SMALL)
  path = Workdir(workdir).classifier("linear_lbfgs")
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(UserError, match="linear_lbfgs.safetensors: damaged, or of another version of jaxssl: .*; keep the"):
    jaxssl.predict(workdir, SMALL)
  fixtures.classifier(workdir, rows=5)
  message = (
    r"safetensors: 1 tensors do not match the run's network: params.classifier.kernel: float32 \(4, 3\) in the file, float32"
  )
  with pytest.raises(UserError, match=message):
    jaxssl.predict(workdir, SMALL)
