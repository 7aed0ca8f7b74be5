"""Evaluations of a run from the command line."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from jaxssl import main
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.evals import linear, linear_presets, load_run, logistic
from jaxssl.evals.evaluator import EVALUATIONS
from jaxssl.report import tables
from jaxssl.workdir import results
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir
from tests import devices
from tests.data.fixtures import coded, folder
from tests.tiny_run import TINY

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"
QUICK = ["--evals.finetune.epochs=1", "--evals.lowshot.shots=2", "--evals.lowshot.draws=2"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_device"), pytest.mark.xdist_group("evaluate")]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
  """Trains a run of two epochs."""
  workdir = tmp_path_factory.mktemp("run")
  words = "train.epochs=2 evals.baselines=false evals.every=1 evals.report=false bootstrap.policy=off views.global.affine=0"
  words += " model.depth=2 data.limit=128 evals.final=knn,quality train.checkpoint_every_epochs=1"
  flags = [*TINY, *(f"--config.{word}" for word in words.split())]
  with devices.only(1):
    assert main.main([f"--config={CONFIG}:runlocal", f"--workdir={workdir}", *flags]) == 0
  return workdir


def measured(workdir: pathlib.Path) -> list[dict]:
  return results.read(workdir / "results.json")["measurements"]


def segmented(root: pathlib.Path) -> str:
  """Writes five images of noise, with masks of two classes."""
  noise = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
  files = {f"images/{i}.png": coded(image, "PNG") for i, image in enumerate(noise)}
  return folder(root, files | {f"masks/{i}.png": coded(image // 128, "PNG") for i, image in enumerate(noise)})


def test_every_evaluation_is_added_to_the_results(run, tmp_path, capfd, monkeypatch):
  monkeypatch.setattr(logistic, "PENALTIES", (1e-2,))
  short = {name: dataclasses.replace(preset, lr=(0.1,), epochs=1) for name, preset in linear_presets.PRESETS.items()}
  monkeypatch.setattr(linear, "PRESETS", short)
  before = measured(run)
  solvers = ["--evals.linear.solvers=lbfgs,sgd,resa_cifar,augmented,resa,isd,custom", "--evals.lowshot.finetune=true"]
  custom = {"blocks": 2, "crops": "random", "epochs": 1, "lr": "0.1,0.2", "normalize": "l2"}
  solvers += [f"--evals.linear.custom.{field}={value}" for field, value in custom.items()]
  solvers += ["--evals.dense.k=3", *(f"--evals.dense.{name}={segmented(tmp_path)}/{name}" for name in ("images", "masks"))]
  assert main.main(["evaluate", *EVALUATIONS, f"--workdir={run}", *QUICK, *solvers]) == 0
  after = measured(run)
  names = {m["name"] for m in after}
  assert {
    "knn20_cosine", "linear_lbfgs", "linear_sgd", "linear_resa_cifar", "linear_augmented", "linear_resa", "linear_isd",
    "linear_custom", "lowshot_2_linear", "lowshot_2_finetune",
    "finetune", "encoder_silhouette", "hidden_1_kmeans_ari", "embedding_davies_bouldin", "recall1_cosine_leave_one_out",
    "map_cosine_leave_one_out", "map_cosine_gallery", "neighbors_purity10", "effective_rank", "lidar", "alignment",
    "dense_knn3_miou", "dense_linear_pixels",
  } <= names  # fmt: skip
  knn = [m for m in after if m["name"] == "knn20_cosine" and m["step"] == 8]
  assert len(knn) == 1 and knn[0] in before  # an equal measurement replaces the first
  assert all(np.isfinite(m["value"]) for m in after)
  log = capfd.readouterr().err
  assert all(name in log for name in names - {m["name"] for m in before})
  assert results.read(run / "results.json")["finished"] is True


def test_other_images_are_evaluated_with_their_own_baselines_and_kept_apart(run, tmp_path, capfd):
  rng = np.random.default_rng(0)
  files = {f"{split}/{c}/{i}.png": coded(rng.integers(0, 256, (28, 28), dtype=np.uint8), "PNG")
           for split, count in (("train", 40), ("test", 8)) for c in "ab" for i in range(count)}  # fmt: skip
  where = folder(tmp_path / "other", files)
  words = [f"--workdir={run}", "--step=4", "--evals.network=student", f"--data.path={where}", "--evals.knn.k=3"]
  before = RunRecord(Workdir(run)).finals()
  assert main.main(["evaluate", "knn", "--evals.baselines=true", *words]) == 0
  measurements = [m for m in measured(run) if m["name"] == "knn3_cosine"]
  found = [(m["step"], m["subject"], m["protocol"]["reference_images"], m["dataset"]) for m in measurements]
  assert found == [(4, "student", 80, "other"), (0, "raw_pixels", 80, "other"), (0, "untrained", 80, "other")]
  assert "on other: knn3_cosine " in (log := capfd.readouterr().err) and "on other images: other; protocols" in log
  record = RunRecord(Workdir(run))
  assert record.finals() == before and len(record.finals("other")) == 1
  assert "<h3>On other images: other</h3>" in (html := tables.other_images(record)) and html.count("<data ") == 3


def test_loaded_weights_are_those_of_the_last_step(run):
  loaded = load_run.load(run)
  (value,) = {m.value for m in loaded.evaluator.measure(loaded.extractor, ["knn"])}
  assert loaded.step == 8 and value == next(m["value"] for m in measured(run) if m["name"] == "knn20_cosine" and m["step"] == 8)
  assert loaded.config == read(Config, json.loads((run / "config.json").read_text()))


def test_without_labels_only_evaluations_that_need_none_run(run, tmp_path, fails):
  images = {f"{i}.png": coded(np.full((28, 28), i, np.uint8), "PNG") for i in range(40)}
  where = f"--data.path={folder(tmp_path / 'flat', images)}"
  fails(["evaluate", "knn", f"--workdir={run}", where], "knn needs labels, which ")
  assert main.main(["evaluate", "neighbors", "quality", f"--workdir={run}", where]) == 0
  assert not any(m["protocol"].get("reference_images") == 40 and "label" in m["name"] for m in measured(run))


@pytest.mark.parametrize(
  "words, message",
  [
    (["knm"], "evaluation='knm': unknown; expected "),
    (["--step=3"], "holds no checkpoint of step 3: [4, 8]"),
    (["--evals.knm.k=3"], "evals.knm.k: unknown field; did you mean evals.knn.k?"),
    (["--evals.periodic=knn,knm"], "evals.periodic='knm': unknown; expected clusters, dense, finetune, knn, "),
    (["--data.mean=0.5"], "data.mean: cannot change after training; the network was trained with data.mean=[0.13]"),
    (["linear", "--data.path=/nowhere"], "data.path=/nowhere"),
    (["dense"], "evals.dense.images is empty; dense needs evals.dense.images, a folder of images, and evals.dense.masks, "),
  ],
)
def test_errors_are_one_line(run, words, message, fails):
  fails(["evaluate", f"--workdir={run}", *words], message)


def test_a_folder_without_a_run_and_one_of_another_version_are_errors(tmp_path, fails):
  fails(["evaluate", f"--workdir={tmp_path / 'none'}"], "holds no run: there is no config.json")
  assert not (tmp_path / "none").exists()
  (tmp_path / "config.json").write_text(json.dumps({"data": {"depth": 8}}))
  message = f"--workdir {tmp_path} was written by another version of jaxssl (data.depth: unknown field; "
  fails(["evaluate", f"--workdir={tmp_path}"], message)


def test_listed_images_are_fine_tuned_on(run, tmp_path):
  rng = np.random.default_rng(0)
  files = {f"{split}/{c}/{c}{i}.png": coded(rng.integers(0, 256, (28, 28), dtype=np.uint8), "PNG")
           for split in ("train", "test") for c in "ab" for i in range(8)}  # fmt: skip
  where, names = folder(tmp_path / "listed", files), tmp_path / "few.txt"
  names.write_text("a0.png\na3\ntrain/b/b1.png\nb7.png\n")
  words = "batch_size=4 epochs=2 crops=random init=normal schedule.kind=step schedule.milestones=1".split()
  words = [*(f"--evals.finetune.{word}" for word in words), "--evals.lowshot.finetune=true", "--evals.lowshot.shots="]
  given = [f"--workdir={run}", f"--data.path={where}", f"--evals.lowshot.lists={names}", "--evals.baselines=false"]
  assert main.main(["evaluate", "lowshot", *given, *words]) == 0
  found = {m["name"]: m["protocol"] for m in measured(run) if m.get("dataset") == "listed"}
  assert set(found) == {"lowshot_list_few_linear", "lowshot_list_few_finetune"}
  expected = {"labeled": "list few", "labeled_images": 4, "schedule": "x 0.1 after 1 epochs", "initialization": "normal"}
  assert (expected | {"crop_area": "0.08 to 1", "flip": 0.5}).items() <= found["lowshot_list_few_finetune"].items()
