"""The recipes of the unbalanced protocol, and the table over draws."""

import dataclasses
import json
import pathlib
import statistics

import pytest

from benchmarks import unbalanced
from jaxssl import main as command
from tests import flags
from tests.data.fixtures import coded, noise, zipped

pytestmark = pytest.mark.slow

CONFIG = pathlib.Path(__file__).parent.parent / "configs/unbalanced.py"
RUNLOCAL = [f"{CONFIG}:{name},runlocal" for name in ("isd", "moco")]
QUICK = ["train.epochs=1", "evals.baselines=false", "evals.report=false", "evals.final=knn"]
QUICK += ["evals.periodic=knn", "evals.knn.k=1", "model.name=vit_ti", "model.depth=1"]
QUICK = [f"--config.{word}" for word in (*QUICK, "views.strong.jitter=(0,0,0,0)", "views.strong.gray_p=0")]


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


def test_the_table_has_mean_and_deviation_over_two_draws(tmp_path, capsys, one_device):
  names = [f"{split}/{c}/{k}.png" for split, count in (("train", 24), ("test", 4)) for c in "abcdef" for k in range(count)]
  images = zipped(tmp_path / "set.zip", {name: coded(noise(k, 28, 28), "PNG") for k, name in enumerate(names)})
  outputs = [f"--workdir={tmp_path / 'runs'}", f"--json={tmp_path / 'table.json'}"]
  source = ["--config.data.source=folder", f"--config.data.path={images}"]
  assert unbalanced.main(["--draws=2", *outputs, "--configs", *RUNLOCAL, *QUICK, *source]) == 0
  table = capsys.readouterr().out
  runs = json.loads((tmp_path / "table.json").read_text())["runs"]
  assert list(runs) == ["unbalanced-isd-runlocal", "unbalanced-moco-runlocal"]
  configs = [json.loads((tmp_path / "runs" / f"{name}-{draw}/config.json").read_text()) for draw in range(2) for name in runs]
  assert [config["data"]["imbalance"]["seed"] for config in configs] == [0, 0, 1, 1]
  heading, *rows = table.splitlines()
  assert heading.split() == ["1-NN,", "draws:", "2", "all", "head", "tail"]
  for row, (name, draws) in zip(rows, runs.items(), strict=False):
    tail = [draw["tail"] for draw in draws]
    assert row.startswith(name) and row.endswith(f"{statistics.mean(tail):.2f} ± {statistics.stdev(tail):.2f}")
  gains = [a["all"] - b["all"] for a, b in zip(*runs.values(), strict=True)]
  assert rows[2].split()[:4] == ["difference", f"{statistics.mean(gains):.2f}", "±", f"{statistics.stdev(gains):.2f}"]


def test_a_run_that_fails_or_is_stopped_ends_the_table(tmp_path, monkeypatch, capsys):
  for code in (2, 0):  # an error; a signal, after which there are no results
    calls = []
    monkeypatch.setattr(command, "main", lambda argv, code=code, calls=calls: calls.append(argv) or code)
    assert unbalanced.main([f"--workdir={tmp_path}", "--configs", *RUNLOCAL, "--config.train.epochs=7"]) == code
    assert len(calls) == 1 and "--config.train.epochs=7" in calls[0] and not capsys.readouterr().out
