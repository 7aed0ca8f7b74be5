"""From a folder of labeled images to features, a classifier and predictions, by commands alone."""

import csv
import json
import pathlib

import numpy as np
import pytest

import jaxssl
from jaxssl import main
from jaxssl.core import UserError
from jaxssl.evals import embedding_file, logistic
from jaxssl.export import predictions
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir
from tests import devices
from tests.data.fixtures import coded, folder
from tests.tiny_run import ROOT, TINY

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("classifier")]

LEVELS = {"black": 20, 'gray, "mid"': 120, "white": 230}  # a name that CSV quotes
EACH = 12


def levels(count: int, seed: int) -> dict[str, bytes]:
  """Returns images of one gray level under noise, in class folders."""
  rng = np.random.default_rng(seed)
  noisy = lambda level: np.clip(level + rng.integers(-15, 16, (28, 28)), 0, 255).astype(np.uint8)  # noqa: E731
  return {f"{name}/{k}.png": coded(noisy(level), "PNG") for name, level in LEVELS.items() for k in range(count)}


def run(*words: object) -> None:
  assert main.main(list(map(str, words))) == 0, words


def rows(path: pathlib.Path) -> list[dict[str, str]]:
  with path.open(newline="") as file:
    return list(csv.DictReader(file))


def share_right(table: list[dict[str, str]]) -> float:
  return float(np.mean([row["image"].split("/")[0] == row["class"] for row in table]))


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[pathlib.Path, str]:
  """Trains for one epoch; returns the workdir and the folder of images."""
  root = tmp_path_factory.mktemp("classifier")
  images, workdir = folder(root / "images", levels(EACH, 0)), root / "run"
  words = f"data.source=folder data.path={images} evals.holdout=0.25 evals.final=quality evals.baselines=false train.epochs=1"
  words += " evals.report=false bootstrap.policy=off train.batch_size=16 evals.periodic= optim.schedule.warmup_epochs=0"
  flags = [*TINY, *(f"--config.{word}" for word in words.split())]
  with devices.only(1):
    run("train", f"--config={ROOT}/configs/nnboot.py:runlocal", f"--workdir={workdir}", *flags)
  return workdir, images


def test_from_a_folder_to_features_a_classifier_and_predictions(trained, tmp_path, capfd, fails, monkeypatch):
  workdir, images = trained
  monkeypatch.setattr(logistic, "PENALTIES", (1e-2,))
  monkeypatch.setattr(predictions, "PART", 5)
  words = ["export", f"--workdir={workdir}", "--format=flax", "--classifier", f"--out={tmp_path / 'exported'}"]
  keep = f"--classifier: {workdir} has no classifier; `jaxssl evaluate linear --keep --workdir {workdir}` fits and keeps one"
  fails(words, keep)
  with pytest.raises(UserError, match="has no classifier; `jaxssl evaluate linear --keep"):
    jaxssl.load_pretrained(workdir).predict([np.zeros((28, 28), np.uint8)])

  run("embed", f"--workdir={workdir}", f"--data.path={images}", f"--out={tmp_path / 'features.npz'}")
  embeddings = embedding_file.load(tmp_path / "features.npz")
  assert len(embeddings.features) == 3 * EACH
  capfd.readouterr()
  run("evaluate", "linear", "--keep", f"--workdir={workdir}")
  log = capfd.readouterr().err
  file = workdir / "classifiers" / "linear_lbfgs.safetensors"
  assert f"linear_lbfgs: a classifier of 3 classes is kept in {file}\n" in log and file.stat().st_mode & 0o444 == 0o444
  assert [path.name for path in file.parent.iterdir()] == [file.name]
  (measured,) = (m for m in results.read(Workdir(workdir).results)["measurements"] if m["name"] == "linear_lbfgs")
  assert measured["value"] == 100 and measured["evaluation"] == "linear" and measured["chosen"] == {"penalty": 0.01}

  run(*words)
  about = json.loads((tmp_path / "exported" / "config.json").read_text())
  assert about["classes"] == list(LEVELS) and about["classifier"]["accuracy"] == 100
  (tmp_path / "bad").mkdir()
  others = folder(tmp_path / "others", {**levels(4, 1), "black/broken.png": b"no image"})
  capfd.readouterr()
  run("predict", f"--model={tmp_path / 'exported'}", f"--data={others}", f"--out={tmp_path / 'others.csv'}", "--top=2")
  log = capfd.readouterr().err
  assert log.count("broken.png") == 1
  line = f'12 images (black 4, gray, "mid" 4, white 4): {tmp_path / "others.csv"}; 1 unreadable images are left out\n'
  assert line in log, log
  table = rows(tmp_path / "others.csv")
  assert list(table[0]) == ["image", "class", "probability", "class_2", "probability_2"]
  assert [row["image"] for row in table] == [f"{name}/{k}.png" for name in LEVELS for k in range(4)]
  assert share_right(table) == 1 and all(row["class_2"] != row["class"] for row in table)
  assert all(1 >= float(row["probability"]) > float(row["probability_2"]) >= 0 for row in table)

  run("predict", f"--model={workdir}", f"--data={images}", f"--out={tmp_path / 'own.csv'}")  # without an export
  own = rows(tmp_path / "own.csv")
  assert [row["image"] for row in own] == embeddings.path.tolist() and share_right(own) == 1
  files = [pathlib.Path(images) / row["image"] for row in own]
  predicted = jaxssl.predict(workdir, files)
  assert predicted.class_names == tuple(LEVELS) and predicted.names == [row["class"] for row in own]
  assert predicted.classes.shape == (len(own),) and predicted.probabilities.shape == (len(own), 3)
  np.testing.assert_allclose(predicted.probabilities.sum(1), 1, rtol=1e-5)
  np.testing.assert_allclose(predicted.probabilities.max(1), [float(row["probability"]) for row in own], atol=2e-6)
  for model in (jaxssl.load_pretrained(tmp_path / "exported"), jaxssl.load_pretrained(workdir)):
    np.testing.assert_array_equal(model.predict(files).probabilities, predicted.probabilities)
    assert model.predict(files[0]).probabilities.shape == (1, 3) and model.predict(files[0]).names == ["black"]
    assert jaxssl.predict(model, files[:2]).names == ["black", "black"]
    np.testing.assert_allclose(model.embed(files), embeddings.features, rtol=1e-4, atol=1e-4)
  with pytest.raises(UserError, match="images image 0: not an image of a known format"):
    jaxssl.predict(workdir, [b"no image"])


def test_a_fine_tuned_classifier_is_kept_with_its_network(trained, tmp_path, fails):
  workdir, images = trained
  finetune = {"evals.finetune.epochs": 2, "evals.finetune.batch_size": 9}
  value = jaxssl.evaluate(workdir, ["finetune"], keep=True, changes=finetune)["finetune"]
  model = jaxssl.load_pretrained(workdir, classifier="finetune")
  held_out = embedded_test_set(workdir, tmp_path)
  predicted = model.predict([pathlib.Path(images) / name for name in held_out])
  right = [name.split("/")[0] == guess for name, guess in zip(held_out, predicted.names, strict=True)]
  assert 100 * np.mean(right) == pytest.approx(value) and model.config["classifier"]["fine_tuned"] is True
  frozen = jaxssl.load_pretrained(workdir)
  image = np.zeros((28, 28, 1), np.uint8)
  assert not np.allclose(model.embed(image), frozen.embed(image))
  jaxssl.evaluate(workdir, ["linear"], keep=True)
  several = f"--classifier: {workdir} has 2 classifiers; expected one of finetune, linear_lbfgs"
  fails(["export", f"--workdir={workdir}", "--format=flax", "--classifier", f"--out={tmp_path / 'out'}"], several)
  fails(["predict", f"--model={workdir}", f"--data={images}", f"--out={tmp_path / 'a.csv'}"], several)
  run("predict", f"--model={workdir}", "--classifier=finetune", f"--data={images}", f"--out={tmp_path / 'a.csv'}")
  assert len(rows(tmp_path / "a.csv")) == 3 * EACH


def embedded_test_set(workdir: pathlib.Path, folder: pathlib.Path) -> list[str]:
  """Returns the paths of the held-out images."""
  jaxssl.embed_to_file(workdir, folder / "sets.npz")
  embeddings = embedding_file.load(folder / "sets.npz")
  assert embeddings.split is not None
  return embeddings.path[embeddings.split == "test"].tolist()


@pytest.mark.parametrize(
  "words, message",
  [
    (["evaluate", "knn", "--keep"], "--keep: knn fits no classifier that could be kept; expected linear or finetune"),
    (
      ["evaluate", "linear", "--keep", "--evals.linear.solvers=isd"],
      "--keep: evals.linear.solvers=isd takes features of unit",
    ),
    (["evaluate", "--keep"], "--keep: quality fits no classifier that could be kept; expected linear or finetune"),
  ],
)
def test_evaluations_without_a_classifier_are_errors(words, message, trained, fails):
  fails([*words, f"--workdir={trained[0]}"], message)


@pytest.mark.parametrize(
  "words, message",
  [
    (["--out=a.txt"], "--out=a.txt: unknown kind of file; expected a name that ends in .csv"),
    (["--out=there.csv"], "--out=there.csv: exists; remove it, or name another"),
    (["--out=no/folder.csv"], "--out=no/folder.csv: cannot be written: No such file or directory"),
    (["--model=nowhere"], "--model=nowhere: neither an export (there is no config.json) nor a workdir with a classifier"),
    (["--data=nowhere"], "--data=nowhere: does not exist"),
    (["--data=unreadable"], "--data=unreadable: all 1 images are unreadable"),
    (["--top=4"], "--top=4: out of range; expected 1 to 3, the number of classes"),
    (["--top=0"], "--top=0: out of range; expected 1 to 3, the number of classes"),
    (["--data.channels=3"], "data.channels=3: cannot be set here; expected another field of data, e.g. data.list_path"),
    (["--classifier=lbfgs"], "--classifier=lbfgs: not in "),
    (["--data.source=mnist5k"], "data.source=mnist5k: cannot be set here; expected another field of data"),
  ],
)
def test_errors_of_predict_are_one_line(words, message, trained, tmp_path, fails, monkeypatch):
  workdir, images = trained
  if not (workdir / "classifiers").exists():
    jaxssl.evaluate(workdir, ["linear"], keep=True)
  monkeypatch.chdir(tmp_path)
  (tmp_path / "there.csv").write_text("mine")
  folder(tmp_path / "unreadable", {"a.png": b"no image"})
  name = "linear_lbfgs"
  fails(["predict", f"--model={workdir}", f"--classifier={name}", f"--data={images}", "--out=out.csv", *words], message)
  assert {path.name for path in tmp_path.iterdir()} == {"there.csv", "unreadable"}
  assert (tmp_path / "there.csv").read_text() == "mine"
