"""Command lines, config files and the JSON of a workdir with arbitrary content raise at most one-line errors."""

import functools
import html.parser
import itertools
import json
import pathlib
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssl import main as command
from jaxssl import methods
from jaxssl.augment import pipeline
from jaxssl.config import load
from jaxssl.config.parse import read
from jaxssl.config.schedules import TrainingLength
from jaxssl.config.schema import Config
from jaxssl.core import UserError, json_io
from jaxssl.core.tree import flatten
from jaxssl.evals import load_run
from jaxssl.methods.base import Dims
from jaxssl.models import network
from jaxssl.report import charts, neighbors, page
from jaxssl.train.build_step import resolve_schedules
from jaxssl.train.config_changes import ConfigChanges
from jaxssl.train.diagnostics import Diagnostics
from jaxssl.train.optimizer import build_optimizer
from jaxssl.workdir import results, workdir
from tests import flags
from tests.security.damage import GARBAGE, other, text_of
from tests.security.guarded import answer, examples

pytestmark = pytest.mark.slow

DIMS = Dims(features=8, projection=8, batch=8, images=8)
ROOT = pathlib.Path(__file__).parents[2]
CONFIG = f"--config={ROOT}/configs/nnboot.py:runlocal"


@functools.cache
def whole() -> dict:
  """Returns a config as its workdir stores it."""
  return workdir.as_json(flags.parse([CONFIG])[0])


def checked(config: Config) -> None:
  """Builds the parts of a run that do not require images."""
  training_length = TrainingLength(steps_per_epoch=4, epochs=config.train.epochs)
  pipeline.check(config.views, None)
  method = methods.read_method(config.method)
  build_optimizer(config.optim, training_length, config.train.batch_size)
  size = next(iter(config.views.values())).size if config.views else 8
  network.build(config.model, config.train.precision, size)
  resolve_schedules(method, training_length)
  _ = method.forward_spec


def fields() -> st.SearchStrategy[str]:
  """Returns a strategy of names of fields and groups, and of unknown names."""
  names = sorted(flatten(whole()))
  groups = sorted({name.rpartition(".")[0] for name in names})
  made = ["", ".", "..", "a.b", "data", "views.global.size.x", "method.name.x", "views..size", "__class__", "data.__init__"]
  return st.one_of(*(st.sampled_from(some) for some in (names, names, groups, made)), st.text(max_size=5))


ODD = ["(" * 300, "[" * 3000, "-" * 5000 + "1", "9" * 5000, "{[]: 1}", "1if 2else 3", '"\\d"', "1e999", "1_0", "b'a'", "{1}"]
CODE = ["__import__('os').system('true')", "open('ran', 'w')", "(lambda: 1)()", "f'{1}'", "[x for x in (1,)]", "..."]
VALUES = st.one_of(GARBAGE.map(repr), GARBAGE.map(str), st.text(max_size=10), st.sampled_from(ODD), st.sampled_from(CODE))


@examples(150)
@given(st.lists(st.tuples(fields(), VALUES, st.booleans()), min_size=1, max_size=3))
def test_arbitrary_flags_are_parsed_or_raise_one_line(words):
  argv = [[f"--config.{name}={value}"] if joined else [f"--config.{name}", value] for name, value, joined in words]
  config = answer(lambda: flags.parse([CONFIG, *itertools.chain(*argv)])[0])
  if config is not None:
    answer(lambda: checked(config))


OPTIONS = ["--workdir", "--config", "--step", "--out", "--k", "--data", "--embeddings", "--image"]
WORDS = [*OPTIONS, "x" * 300, "--evals.a=1", "\0", "=", "-"]


@pytest.mark.parametrize("name", ["train", "evaluate", "embed", "neighbors", "export", "inspect", "report", "profile"])
@examples(40)
@given(words=st.lists(st.one_of(st.text(max_size=6), st.sampled_from(WORDS)), max_size=5))
def test_arbitrary_command_lines_exit_with_at_most_one_line(name, words, tmp_path, capfd, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert command.main([name, *words]) in (0, 2) or "-h" in words or "--help" in words
  log = capfd.readouterr().err
  assert "Traceback" not in log and log.count("\n") <= 1
  assert not list(tmp_path.iterdir())


@examples(150)
@given(other(json.loads(json.dumps(whole()))))
def test_arbitrary_values_are_read_or_raise_one_line(fields):
  config = answer(lambda: read(Config, fields))
  if config is not None:
    answer(lambda: checked(config))


NOT_CONFIGS = (
  *(b"", b"def get_config(:", b"\xff\xfe\0", b"a\0b", b"import nothing_of_this_name", b"raise ValueError('a\\nb')"),
  *(b"get_config = 1", b"def get_config():\n  return 3", b"def get_config(a, b):\n  return 3"),
  *(b"def get_config():\n  return {}['a']", b"def get_config():\n  return get_config()"),
  *(b"(" * 10_000, b"x = " + b"-" * 100_000 + b"1"),
)


@pytest.mark.parametrize("content", NOT_CONFIGS)
def test_invalid_config_files_raise_one_line(content, tmp_path):
  (tmp_path / "c.py").write_bytes(content)
  assert answer(lambda: load.load(str(tmp_path / "c.py")), tmp_path) is None


def test_only_python_files_are_configs(tmp_path):
  flag = tmp_path / "ran"
  for name in ("c.txt", "c.pyc", "c.so", "c", "c.py.txt"):
    (tmp_path / name).write_text(f"open({str(flag)!r}, 'w')")
    with pytest.raises(UserError, match="not a Python file"):
      load.load(str(tmp_path / name))
  for name in ("x" * 300, "a\0b", str(tmp_path), ""):
    with pytest.raises(UserError, match="no such file|a folder"):
      load.load(name)
  assert not flag.exists()


def test_an_error_in_a_config_file_names_its_line(tmp_path):
  (tmp_path / "c.py").write_text("import json\n\n\ndef get_config():\n  return json.loads('{')\n")
  with pytest.raises(UserError, match=r"c\.py, line 5: JSONDecodeError: Expecting"):
    load.load(str(tmp_path / "c.py"))


RECORDS = {
  "results.json": {
    "measurements": [
      {
        "step": step, "name": name, "subject": subject, "evaluation": "knn", "value": 3.5, "std": None,
        "protocol": {"test": "images", "k": 20}, "chosen": {"penalty": 0.1}, "commit": "a",
      }
      for step, name, subject in ((0, "knn20_cosine", "untrained"), (4, "knn20_cosine", "teacher"), (4, "rankme", "teacher"))
    ],
    "metrics": {
      "knn20_cosine": {
        "title": "k-NN", "description": "a vote", "unit": "%", "higher_is_better": True, "group": "Accuracy", "chart": "",
      },
    },
    "finished": True,
  },
  "metrics.jsonl": {"step": 4, "epoch": 1, "loss": 3.25, "knn20_cosine": 10.0},
  "alerts.jsonl": {"step": 4, "alert": "collapsing", "reason": "it collapses", "active": True},
  "neighbors.jsonl": {
    "step": 4, "epoch": 1, "images": [0, 1], "neighbors": [[1, 2], [0, 2]], "similarities": [[0.5, 0.25], [0.5, 0.1]],
    "partners": [[0, 1]],
  },
}  # fmt: skip
LINE = {"step": 2, "epoch": 0, "loss": 4.0, "knn20_cosine": 8.0}


class Quiet(html.parser.HTMLParser):
  """Asserts that a page runs only its own script."""

  scripts = 0

  def handle_starttag(self, tag, attributes):
    self.scripts += tag == "script"
    assert tag not in ("iframe", "object", "embed", "link", "base", "form"), tag
    assert all(value.startswith("data:image/") for name, value in attributes if name == "src")
    assert not [name for name, value in attributes if name.startswith("on") or "javascript:" in (value or "")]


def quiet(path: pathlib.Path) -> str:
  text = path.read_bytes().decode("utf-8")
  parser = Quiet()
  parser.feed(text)
  parser.close()
  assert parser.scripts == 1
  assert not set("\u202e\u2066\u200f\0\x1b") & set(text)
  return text


@pytest.fixture
def without_images(monkeypatch):
  """Leaves out the images and charts of the report."""

  def refuse(path: pathlib.Path):
    raise UserError(f"{path} has none")

  results.commit()  # runs git once
  monkeypatch.setattr(page, "load", refuse)
  monkeypatch.setattr(charts, "image", lambda title, draw: "<svg></svg>")


def files(folder: pathlib.Path, name: str, content: bytes) -> None:
  """Writes a workdir in which the file `name` has this content."""
  shutil.rmtree(folder, ignore_errors=True)
  folder.mkdir()
  (folder / "config.json").write_text(json.dumps(whole()))
  for file, document in RECORDS.items():
    (folder / file).write_text(json.dumps(document) + "\n")
  (folder / "metrics.jsonl").write_text("".join(json.dumps({**LINE, "step": step}) + "\n" for step in (1, 2, 3, 4)))
  (folder / name).write_bytes(content)


@pytest.mark.usefixtures("without_images")
@pytest.mark.parametrize("name", ["config.json", *RECORDS])
@examples(60)
@given(st.data())
def test_damaged_workdirs_are_read_or_raise_one_line(name, tmp_path, data):
  content = data.draw(text_of(whole() if name == "config.json" else RECORDS[name]))
  folder = tmp_path / "run"
  files(folder, name, content + b"\n")
  config = answer(lambda: load_run.read_config(folder, []), folder)
  answer(lambda: load_run.read_config(folder, {"evals.size": 8, "data.path": "/none"}), folder)
  if config is not None:
    answer(lambda: checked(config), folder)
  answer(lambda: ConfigChanges(workdir.Workdir(folder), read(Config, whole()), False), folder)
  if answer(lambda: page.write([(workdir.Workdir(folder), None)], tmp_path / "page.html"), tmp_path) is not None:
    quiet(tmp_path / "page.html")
  for line in json_io.lines(folder / "neighbors.jsonl"):
    if answer(lambda line=line: neighbors._fits(line, 3, 3)):
      assert np.array(line["partners"] or [[0, 0]]).shape[1:] == (2,)
      assert max(map(max, filter(None, line["neighbors"])), default=0) < 3
  answer(lambda: results.add(folder / "results.json", 9, []), folder)
  answer(lambda: Diagnostics(read(Config, whole()).health, DIMS, workdir.Workdir(folder), 2), folder)
  for file in ("metrics.jsonl", "neighbors.jsonl"):
    answer(lambda file=file: json_io.truncate_lines(folder / file, 3), folder)
  answer(lambda: results.cut(folder / "results.json", 3, 4), folder)
