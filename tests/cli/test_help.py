"""A command shows only its own options, and the error about an unknown word suggests the nearest one."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from jaxssl import cli, main
from jaxssl.export.formats import FORMATS

ROOT = pathlib.Path(__file__).parents[2]
OPTIONS = {
  "train": "--config --workdir --config.FIELD --accept-changes --distributed",
  "evaluate": "--workdir --step --plugins --keep --evals.FIELD --data.FIELD --distributed",
  "report": "--workdir --out --plugins",
  "compare": "--configs --seeds --policies --sweep --workdir --dry-run --config.FIELD",
  "embed": "--workdir --step --plugins --out --patches --data.FIELD --evals.FIELD",
  "neighbors": "--embeddings --image --k --sheet --workdir --plugins",
  "export": "--workdir --step --plugins --format --out --heads --classifier --with-preprocessing --license --evals.FIELD",
  "predict": "--model --data --out --top --classifier --data.FIELD --plugins",
  "inspect": "--data --drop-duplicates --out --no-estimate --data.FIELD",
  "profile": "--config --workdir --config.FIELD",
  "plan": "--config --config.FIELD --topology --batch-size --images --utilization --price --memory --peak --cores --out",
  "pack": "--data --out --shorter-side --quality --shards --workers --data.FIELD",
  "config": "",
  "doctor": "",
}


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_a_command_shows_only_its_own_options(command, capsys):
  assert main.main([command, "--help"]) == 0
  text = capsys.readouterr().out
  assert text.startswith(f"usage: jaxssl {command} ")
  assert re.findall(r"^  (--[\w.-]+)", text, re.MULTILINE) == OPTIONS[command].split()
  entries = re.split(r"^  (?=-|NAME|ACTION|ARGUMENT)", text, flags=re.MULTILINE)[1:]
  assert all(len(entry.split()) > 2 for entry in entries), "an option without help"
  assert command != "export" or all(name in text for name in FORMATS)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_the_overview_lists_every_command(words, capsys):
  assert main.main(words) == 0
  text = capsys.readouterr().out
  assert re.findall(r"^  (\w+) +\w", text, re.MULTILINE) == list(cli.COMMANDS) and "jaxssl COMMAND --help" in text
  assert main.main(["--workdir", "a", "--help"]) == 0  # of the default command
  assert capsys.readouterr().out.startswith("usage: jaxssl train ")


def test_help_imports_no_large_library():
  lines = [["--help"], *([command, "--help"] for command in cli.COMMANDS), ["config", "list"]]
  heavy = {"jax", "flax", "tensorflow", "orbax", "matplotlib", "sklearn", "ml_collections", "tqdm"}
  code = f"import sys; from jaxssl.main import main; assert not any(map(main, {json.dumps(lines)}))"
  code += f"; print(sorted({heavy} & set(sys.modules)))"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
  assert run.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
  "words, message",
  [
    (["evalute"], "evalute: unknown command; expected train, evaluate, .*; did you mean evaluate?"),
    (["--epochs=5"], "--epochs=5: unknown option of jaxssl train; did you mean --config.train.epochs?"),
    (["--config.optim.lr"], "--config.optim.lr: expected one argument; see jaxssl train --help"),
    (["--workdir"], "--workdir: expected one argument; see jaxssl train --help"),
    (["--lr", "3"], "--lr: unknown option of jaxssl train; did you mean --config.optim.lr?"),
    (["--config", "configs/nnboot.py", "--config.epochs=5"], "epochs: unknown field; did you mean train.epochs?"),
    (["--config", "configs/nboot.py"], "--config=configs/nboot.py: no such file; did you mean configs/nnboot.py? See .*"),
    (["--config", "nnboot.py"], "--config=nnboot.py: no such file; did you mean configs/nnboot.py? See .*"),
    (["--config", "simcl"], "--config=simcl: no such file; did you mean simclr? See jaxssl config list"),
    (["--config", "configs"], "--config=configs: a folder; did you mean configs/.*.py? See jaxssl config list"),
    (["configs/byol.py:cpu"], "configs/byol.py:cpu: a config, but no command; did you mean jaxssl train --config .*?"),
    (["train", "configs/byol.py"], "configs/byol.py: unexpected argument; did you mean --config configs/byol.py?"),
    (["-config", "configs/byol.py"], "-config: unexpected argument; did you mean --config?"),
    (["--data", "images"], "--data: unknown option of jaxssl train; did you mean --config.data.path?"),
    (["--method=byol"], "--method=byol: unknown option of jaxssl train; did you mean --config.method.name?"),
    (["--config", "configs/byol.py", "--config.method=isd"], "method='isd': a value; expected a group .* as method.name"),
    (["--config", "configs/byol.py", "--config.optim=sgd"], "optim='sgd': a value; expected a group .*, such as optim.name"),
    (["--config.views.size=32"], "views.size: names no group of views; expected a field such as views.global.size"),
    (["--config", "configs/byol.py", "--workdir="], "a path is empty; expected .*, or . for the current folder"),
    (["train"], "--config: missing; expected FILE[:RECIPE], e.g. --config configs/nnboot.py"),
    (["train", "knn"], "knn: unexpected argument; see jaxssl train --help"),
    (["--distributed=yes"], "--distributed: invalid choice: 'yes' (choose from .*auto.*); see jaxssl train --help"),
    (
      ["report", "--workdir", "a", "b", "--out=x.md"],
      "--out=x.md: the page is HTML, and .csv .*; expected a name such as runs.html",
    ),
    (["embed", "--distributed=on"], "--distributed=on: unknown option of jaxssl embed; did you mean .*?"),
    (["evaluate", "--workdirr", "a"], "--workdirr: unknown option of jaxssl evaluate; did you mean --workdir?"),
    (["evaluate", "--knn.k=3"], "--knn.k=3: unknown option of jaxssl evaluate; did you mean --evals.knn.k?"),
    (["evaluate", "--evals.FIELD=3"], "evals.FIELD: unknown field; did you mean .*?"),
    (["export"], "the following arguments are required: --workdir, --format, --out; see jaxssl export --help"),
    (["evaluate", "--step=a"], "--step: invalid int value: 'a'; see jaxssl evaluate --help"),
    (["config", "cpy"], "cpy: unknown action; expected list, fields, copy; did you mean copy?"),
    (["config", "copy", "nnboot"], "jaxssl config copy: 1 arguments; see jaxssl config --help"),
    (["config", "copy", "nboot", "mine.py"], "nboot: no such config file; did you mean nnboot? See jaxssl config list"),
    (["config", "copy", "nnboot", "mine.txt"], "mine.txt: unknown kind of file; expected a Python file such as mine.py"),
    (["config", "fields", "optm"], "optm: no such field; did you mean optim?"),
  ],
)
def test_errors_are_one_line_and_suggest_the_nearest_name(words, message, capfd, monkeypatch):
  monkeypatch.chdir(ROOT)
  assert main.main(words) == 2
  pattern = ".*".join(map(re.escape, f"error: {message}\n".split(".*")))
  assert re.fullmatch(pattern, error := capfd.readouterr().err), error


def test_config_lists_recipes_and_fields(capsys):
  assert main.main(["config", "list"]) == 0
  lines = capsys.readouterr().out.splitlines()
  assert any(re.match(r"\S*configs/nnboot\.py:cifar10 +CIFAR-10", line) for line in lines)
  assert main.main(["config", "fields", "optim.schedule"]) == 0
  text = capsys.readouterr().out
  assert "optim.schedule.kind=cosine\n    constant | cosine | step | exponential: " in text and "train.epochs" not in text
  assert main.main(["config", "fields"]) == 0
  text = capsys.readouterr().out
  assert (
    "train.epochs=100\n    int: length of the run [grow]" in text
    and "views.GROUP.size=224" in text
    and "# method.name=dino: " in text
  )
  assert main.main(["config", "fields", "simclr"]) == 0
  assert re.findall(r"^[#\w].*", capsys.readouterr().out, re.MULTILINE)[1:] == ["method.temperature=0.2"]


def test_config_copies_a_file_that_trains(tmp_path, capfd, fails):
  copy = tmp_path / "new" / "mine.py"
  assert main.main(["config", "copy", "nnboot.py:cifar10", str(copy)]) == 0
  assert f"jaxssl train --config {copy}" in capfd.readouterr().out
  assert copy.read_bytes() == (ROOT / "configs/nnboot.py").read_bytes()
  fails(["config", "copy", "nnboot", str(copy)], "mine.py: exists")


def test_names_may_follow_options():
  parsed = cli.parser("evaluate").parse(["knn", "--workdir=a", "linear", "--step", "3"])
  assert parsed.names == ["knn", "linear"] and parsed.step == 3


@pytest.mark.parametrize(
  "code, recipe, message",
  [
    ("def get_config():\n  return 3", "", "mine.py: get_config returns a int; expected a config"),
    ("def get_config():\n  return {}", ":cpu", "mine.py:cpu: get_config takes no recipe; expected the file alone"),
  ],
)
def test_errors_of_a_config_file_are_one_line(code, recipe, message, tmp_path, fails):
  (tmp_path / "mine.py").write_text(code)
  fails([f"--config={tmp_path}/mine.py{recipe}"], message)
