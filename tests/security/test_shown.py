"""Names of files and folders that are markup, quotes, line breaks, reversed text or no text are escaped in every output."""

import csv
import json
import os
import pathlib
import re
import shutil

import pytest
import yaml

from jaxssl import main as command
from jaxssl.config import load
from jaxssl.config.parse import read
from jaxssl.config.schema import Config
from jaxssl.data.datasets import open_datasets
from jaxssl.report import page
from tests import devices, tiny_run
from tests.data import fixtures
from tests.export.fixtures import classifier
from tests.security.test_configs import quiet

pytestmark = pytest.mark.slow

MARKUP = "<img src=x onerror=alert(1)>"
NASTY = (
  MARKUP,
  "\"a' onload='b()",
  "line\nbreak",
  "turned\u202egnp",
  os.fsdecode(b"no text \xff"),
  "| `a` | [b](c) \U0001f600",
)
FOLDER = 'q"u\'o"""te \\ back\\slash\nline \u202e \U0001f600 ' + os.fsdecode(b"\xff") + " {x} %s <b>"


def images(root: pathlib.Path, each: int, size: int = 28, classes: tuple[str, ...] = NASTY) -> pathlib.Path:
  """Writes images with such names to class folders with these names and returns the root."""
  for k, name in enumerate(classes):
    for i in range(each):
      path = root / name / f"{root.name[0]}{i}{NASTY[(i + k) % len(NASTY)].replace('/', '')}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(fixtures.coded(fixtures.photo(100 * k + i, 40, 40)[:size, :size], "PNG"))
  return root


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> pathlib.Path:
  """Writes an untrained run on such images to a workdir with such a name."""
  root = tmp_path_factory.mktemp("shown")
  workdir = tiny_run.make(root / f"run {MARKUP} {NASTY[1]}", steps=(3,), words=tiny_run.TINY)
  config = json.loads((workdir / "config.json").read_text())
  config["data"] |= {"source": "folder", "path": str(images(root / FOLDER, 5)), "limit": 0}
  config["data"] |= {"test_path": str(images(root / "test", 3))}
  (workdir / "config.json").write_text(json.dumps(config))
  protocol = {"k": 20, "reference": FOLDER, "<i>|": MARKUP}
  measurement = {"step": 3, "name": "knn20|<b>", "value": 50.0, "protocol": protocol, "subject": "teacher"}
  texts = dict.fromkeys(("title", "description", "unit", "group", "chart"), f"{MARKUP}|")
  metrics = {"knn20|<b>": texts | {"higher_is_better": True}}
  (workdir / "results.json").write_text(json.dumps({"measurements": [measurement], "metrics": metrics}))
  (workdir / "alerts.jsonl").write_text(json.dumps({"step": 3, "alert": MARKUP, "reason": NASTY[3], "active": True}) + "\n")
  (workdir / "train.log").write_text(f"2026-01-01 00:00:00 WARNING cannot read {MARKUP}\x1b[2J: {NASTY[3]}\n")
  return workdir


def test_the_report_escapes_names(run, capfd, monkeypatch):
  with devices.only(1):
    assert command.main(["report", f"--workdir={run}"]) == 0
  text = quiet(run / "report.html")
  assert "<h2>Nearest neighbors</h2>" in text
  assert text.count('class="missing"') == 1 and "metrics.jsonl is missing: there are no curves." in text
  assert MARKUP not in text and "&lt;img src=x onerror=alert(1)&gt;" in text
  assert r"turned\u202egnp" in text and r"line\nbreak" in text and r"no text \udcff" in text and "\U0001f600" in text
  monkeypatch.setattr(page, "load", lambda folder: shutil.rmtree(folder / "none"))
  assert command.main(["report", "--workdir", str(run), str(run), f"--out={run}/two.html"]) == 0
  assert "No such file" in quiet(run / "two.html")
  log = capfd.readouterr().err
  assert "\x1b" not in log and "\u202e" not in log


def test_the_model_card_escapes_names(run, tmp_path, capfd):
  words = ["export", f"--workdir={run}", f"--out={tmp_path / 'out'}", "--format=flax", '--license=mit\ntags: [evil] # "x"']
  assert command.main(words) == 0, capfd.readouterr().err
  text = (tmp_path / "out/README.md").read_bytes().decode("utf-8")
  _, head, body = text.split("---\n", 2)
  assert yaml.safe_load(head) == {
    "library_name": "jaxssl", "pipeline_tag": "image-feature-extraction",
    "license": 'mit\ntags: [evil] # "x"', "tags": ["self-supervised", "dino"],
  }  # fmt: skip
  assert "<" not in re.sub(r"\\.", "", body.replace("```python", "")) and "\u202e" not in body and "\U0001f600" in body
  for line in body.splitlines():
    if line.startswith("|"):
      assert len(re.findall(r"(?<!\\)\|", re.sub(r"\\\\", "", line))) in (3, 4)
  assert "/tmp" not in body and str(run.parent) not in body


def test_classes_of_any_name_are_exported_and_predicted(run, tmp_path, capfd):
  workdir = pathlib.Path(shutil.copytree(run, tmp_path / "run"))
  classifier(workdir, classes=(*NASTY, "=1+1"))
  words = ["export", f"--workdir={workdir}", f"--out={tmp_path / 'out'}", "--format=flax", "--classifier"]
  assert command.main(words) == 0, capfd.readouterr().err
  body = (tmp_path / "out/README.md").read_bytes().decode("utf-8").replace("```python", "")
  assert "<" not in re.sub(r"\\.", "", body) and "\u202e" not in body and r"turned\\u202egnp" in body
  path = json.loads((workdir / "config.json").read_text())["data"]["path"]
  words = ["predict", f"--model={tmp_path / 'out'}", f"--data={path}", f"--out={tmp_path / 'classes.csv'}"]
  assert command.main(words) == 0, capfd.readouterr().err
  log = capfd.readouterr().err
  assert "30 images" in log and "\u202e" not in log
  with (tmp_path / "classes.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 30 and {row["class"] for row in rows} <= {*NASTY, "=1+1"}
  assert all((pathlib.Path(path) / row["image"]).is_file() for row in rows)


def test_a_suggested_config_opens_the_folder(tmp_path, capfd):
  classes = tuple(name for name in NASTY if "\n" not in name)
  folder = images(tmp_path / FOLDER, 8, 40, classes)
  (folder / NASTY[0] / "bad.png").write_bytes(b"no image")
  for name in ('c"""x\\.py', "a\\\"; raise SystemExit # \n'.py", "plain.py", os.fsdecode(b"\xff.py")):
    out = tmp_path / "written" / name
    assert command.main(["inspect", f"--data={folder}", f"--out={out}", "--no-estimate"]) == 0, capfd.readouterr().err
    captured = capfd.readouterr()
    assert "\u202e" not in captured.out + captured.err and "have a line break in their name" in out.read_text()
    config = read(Config, load.load(str(out)))
    assert config.data.path == str(folder)
    train = open_datasets(config.data, 0).train.source
    assert train.classes == tuple(sorted(classes)) and not any(
      "\n" in train.describe(k)[len(str(folder)) :] for k in range(len(train))
    )
    assert 30 < len(train) < 40
    lines = out.with_suffix(".found.txt").read_text(errors="surrogateescape").splitlines()
    assert [line.partition("\t")[0] for line in lines].count("unreadable") == 1


def test_embeddings_keep_names_and_tables_show_them(run, tmp_path, capfd):
  assert command.main(["embed", f"--workdir={run}", f"--out={tmp_path / 'e.npz'}"]) == 0, capfd.readouterr().err
  with devices.only(1):
    image = sorted((pathlib.Path(json.loads((run / "config.json").read_text())["data"]["path"]) / MARKUP).iterdir())[0]
    words = ["neighbors", f"--embeddings={tmp_path / 'e.npz'}", f"--image={image}", "--k=35", f"--sheet={tmp_path / 's.png'}"]
    assert command.main(words) == 0, capfd.readouterr().err
  table = capfd.readouterr().out.rstrip("\n")
  assert table.count("\n") == 36 and table.replace("\n", "").isprintable()
