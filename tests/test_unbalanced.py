"""The recipes of the unbalanced protocol, compared on several draws."""

import dataclasses
import json
import pathlib

import pytest

from jaxssl import main as command
from jaxssl.compare import execute
from jaxssl.report import page
from tests import flags
from tests.data.fixtures import coded, noise, zipped
from tests.tiny_run import VIT

pytestmark = pytest.mark.slow

CONFIG = pathlib.Path(__file__).parent.parent / "configs/unbalanced.py"
RUNLOCAL = [f"{CONFIG}:{name},runlocal" for name in ("isd", "moco")]
QUICK = ["train.epochs=1", "evals.baselines=false", "evals.report=false", "evals.final=knn"]
QUICK += ["evals.periodic=", "evals.knn.k=1", "views.strong.jitter_p=0", "views.strong.gray_p=0"]
QUICK = [*VIT, *(f"--config.{word}" for word in QUICK)]


@pytest.mark.parametrize("prefix", ["", "imagenet_"])
@pytest.mark.parametrize("ending", ["", ",cpu", ",runlocal"])
def test_both_methods_have_the_same_budget(prefix, ending):
  isd, moco = (flags.parse([f"--config={CONFIG}:{prefix}{name}{ending}"])[0] for name in ("isd", "moco"))
  assert (isd.method["name"], moco.method["name"]) == ("isd", "mocov2")
  for field in ("data", "optim", "train", "evals", "bootstrap"):
    assert getattr(isd, field) == getattr(moco, field)
  assert dataclasses.replace(isd.model, projector=moco.model.projector, predictor=moco.model.predictor) == moco.model
  assert isd.method["queue"] == moco.method["queue"] and isd.model.projector.out == moco.model.projector.out
  assert isd.data.imbalance.kind == "few_large" and isd.data.limit == 0 and 1 in isd.evals.knn.k


def test_both_methods_are_compared_draw_by_draw(tmp_path, monkeypatch, one_device):
  names = [f"{split}/{c}/{k}.png" for split, count in (("train", 24), ("test", 4)) for c in "abcdef" for k in range(count)]
  images = zipped(tmp_path / "set.zip", {name: coded(noise(k, 28, 28), "PNG") for k, name in enumerate(names)})
  monkeypatch.setattr(execute, "_train", command.main)
  monkeypatch.setattr(page, "write", lambda runs, out: 0)  # half of the time; tests/compare writes one
  words = ["compare", "--configs", *RUNLOCAL, "--sweep=data.imbalance.seed=0,1", f"--workdir={tmp_path / 'runs'}"]
  assert command.main([*words, *QUICK, "--config.data.source=folder", f"--config.data.path={images}"]) == 0
  document = json.loads((tmp_path / "runs/compare.json").read_text())
  isd, moco = document["groups"]
  assert (isd["name"], moco["name"]) == ("unbalanced-isd-runlocal", "unbalanced-moco-runlocal")
  assert [run["seeds"]["data.imbalance.seed"] for run in isd["runs"]] == [0, 1]
  values = {group["name"]: {m["metric"]: m["values"] for m in group["metrics"]} for group in (isd, moco)}
  for metric in ("knn1_cosine", "knn1_cosine_head", "knn1_cosine_tail"):
    (pair,) = [pair for pair in document["differences"] if pair["metric"] == metric]
    ours, theirs = (values[group["name"]][metric] for group in (isd, moco))
    assert pair["values"] == [a - b for a, b in zip(ours, theirs, strict=True)]
