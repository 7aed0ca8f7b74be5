import json
import pathlib
import re

import pytest

from jaxssl import main as command
from jaxssl.plan import estimate
from tests.tiny_run import LEAN_VIEWS, VIT

pytestmark = pytest.mark.slow

CONFIGS = pathlib.Path(__file__).parent.parent.parent / "configs"
DIGITS = [f"--config={CONFIGS}/nnboot.py:runlocal", *VIT]


def run(*words, recipe=DIGITS):
  return command.main(["plan", *recipe, *LEAN_VIEWS, *words])


def cells(text, label):
  return next(line for line in text.splitlines() if line.strip().startswith(label)).split()[len(label.split()) :]


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
  """Plans for eight CPU devices and eight GPUs; returns the plans in the file."""
  out = tmp_path_factory.mktemp("plan") / "deep" / "plan.json"
  assert run("--topology=cpu:8,gpu:8", "--batch-size=32", f"--out={out}") == 0
  return json.loads(out.read_text())["plans"]


def test_compiled_and_estimated_plans_agree(planned):
  cpu, gpu = (plan["estimate"] for plan in planned)
  assert cpu["compiled"] and not gpu["compiled"]
  assert cpu["flops"] == gpu["flops"] > 0
  state = ("parameters", "optimizer", "teacher", "method_state", "bank", "votes", "images", "batch")
  assert [cpu["memory"][part] for part in state] == [gpu["memory"][part] for part in state]
  for plan in (cpu, gpu):
    assert plan["total"] == sum(plan["memory"].values()) and plan["memory"]["activations"] > 0
  gradients = gpu["traffic"]["all-reduce"]["payload"]
  assert gradients <= cpu["traffic"]["all-reduce"]["payload"] < 1.5 * gradients  # plus batch statistics and neighbors
  assert cpu["fits"] is None and gpu["fits"] is True
  assert gpu["steps"] == 256 // 32 * 3


def test_time_and_cost_follow_from_the_assumptions(planned, tmp_path, monkeypatch, capsys):
  estimates = {plan["estimate"]["topology"]: estimate.Estimate(**plan["estimate"]) for plan in planned}
  monkeypatch.setattr(estimate, "estimate", lambda config, images, target: estimates[target.name])
  out = tmp_path / "plan.json"
  words = ("--topology=cpu:8,gpu:8", "--batch-size=32", f"--out={out}", "--utilization=0.5", "--peak=100", "--price=2")
  words += ("--images=300", "--config.data.source=folder")
  assert run(*words) == 0
  text = capsys.readouterr().out
  assert "300 images (from --images), 3 epochs, resident at 35 pixels, as if their sizes differed" in text
  assert cells(text, "batch size") == ["32", "32"] and cells(text, "memory is") == ["compiled", "estimated"]
  seconds = planned[0]["estimate"]["flops"] / (8 * 100e12 * 0.5 * 4 / (4 + 8))  # 4 images per chip
  assert float(cells(text, "images/s per host")[0].replace(",", "")) == pytest.approx(32 / seconds, rel=0.01)
  assert cells(text, "which is") == ["compute-bound", "latency-bound"]  # a CPU's latency is unknown
  for plan, latency in zip(json.loads(out.read_text())["plans"], (0, 2 * 20e-6), strict=True):
    hours = planned[0]["estimate"]["steps"] * (seconds + latency) / 3600
    assert plan["spent"]["hours"] == pytest.approx(hours)
    assert plan["spent"]["dollars"] == pytest.approx(hours * 8 * 2)
  reached = "a step reaches 50% (--utilization) of a chip's peak, with n images per chip at a time, n / (n + 8) of it"
  assert f"{reached}; TFLOP/s (--peak): cpu 100, gpu 100." in text and "; assumed: cores per host (--cores): gpu 96." in text


@pytest.mark.parametrize(
  "words, kinds",
  [
    (
      ("--images=2e6", "--memory=6.6", "--batch-size=64", "--config.data.placement=device", "--config.bootstrap.window=20"),
      {"data.placement", "bootstrap.window"},
    ),
    (
      ("--images=1e5", "--memory=0.1", "--batch-size=4096", "--config.data.placement=host", "--config.bootstrap.policy=off"),
      {"train.accumulate", "train.batch_size", "topology"},
    ),
  ],
)
def test_every_proposed_change_makes_the_run_fit(words, kinds, tmp_path, capsys):
  words, recipe = ("--topology=gpu:8", *words), [f"--config={CONFIGS}/nnboot.py:imagenet,runlocal"]
  words += ("--config.data.source=mnist5k", "--config.model.depth=1")
  assert run(*words, f"--out={tmp_path / 'plan.json'}", recipe=recipe) == 0
  text = capsys.readouterr().out
  assert cells(text, "fits") == ["NO"] and "Any of these changes should make it fit:" in text
  plan = json.loads((tmp_path / "plan.json").read_text())["plans"][0]
  proposed = {re.split("[ =]", change)[0].removeprefix("--").removeprefix("config."): change for change in plan["fits_with"]}
  assert proposed.keys() >= kinds
  for kind in kinds & {"topology", "train.batch_size"}:  # two of them: each plan takes seconds
    change = [*proposed[kind].split(" "), *(["--batch-size="] if kind == "train.batch_size" else [])]
    assert run(*words, *change, recipe=recipe) == 0
    assert cells(capsys.readouterr().out, "fits") == ["yes"], kind


def test_no_change_is_proposed_if_the_network_is_too_large(capsys):
  assert run("--topology=gpu:8", "--config.data.placement=host", "--memory=0.0001") == 0
  assert "No single change makes it fit; the largest part is" in capsys.readouterr().out


@pytest.mark.parametrize(
  "words, message",
  [
    ([], "--topology: missing; expected names of machines, e.g. --topology v5e:4x4,gpu:8"),
    (["--topology=gpu:8", "--batch-size=36"], "train.batch_size=36: must be a multiple of the number of devices, 8"),
    (["--topology=gpu:8", "--batch-size=many"], "--batch-size: 'many' is not a list of sizes; expected numbers of images"),
    (["--topology=gpu:8", "--utilization=2"], "--utilization=2: out of range; expected a number above 0, at most 1"),
    (["--topology=gpu:8", "--images=imagnet"], "--images=imagnet: neither a number nor a known dataset; expected imagenet, "),
    (["--topology=gpu:8", "--out={}/plan.json"], "plan.json: the file exists and is not a file of plans; remove it"),
  ],
)
def test_errors_are_one_line(words, message, tmp_path, fails):
  (tmp_path / "plan.json").write_text('{"loss": 1}')
  fails(["plan", *DIGITS, *(word.format(tmp_path) for word in words)], message)


@pytest.mark.full
def test_a_plan_is_compiled_for_a_tpu(tmp_path, capsys):
  pytest.importorskip("libtpu")
  out = tmp_path / "plan.json"
  assert command.main(["plan", f"--config={CONFIGS}/simclr.py:runlocal", "--topology=v5e:2x2", f"--out={out}"]) == 0
  (plan,) = json.loads(out.read_text())["plans"]
  estimated = plan["estimate"]
  assert estimated["compiled"] and estimated["fits"] and estimated["total"] == sum(estimated["memory"].values())
  assert estimated["memory"]["padding"] >= 0 and estimated["traffic"]["all-reduce"]["sent"] > 0
  assert cells(capsys.readouterr().out, "memory is") == ["compiled"]


def test_the_compilers_memory_error_is_parsed():
  words = "on HBM, the total memory required for HLO temporaries (28.20G) exceeds available HBM (15.75G)."
  assert estimate.refusal(f"RESOURCE_EXHAUSTED: Ran out of memory {words}") == (int(28.2 * 2**30), int(15.75 * 2**30))
  words = "in memory space hbm. Used 901.5M of 15.75G hbm. Exceeded hbm capacity by 4.5G."
  assert estimate.refusal(f"RESOURCE_EXHAUSTED: Ran out of memory {words}") == (int(901.5 * 2**20), int(15.75 * 2**30))
  assert estimate.refusal("INTERNAL: 3 of 4") is None
