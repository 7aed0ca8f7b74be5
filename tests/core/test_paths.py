"""gs:// paths in every command; tests/bucket.py maps them to a local folder."""

import json
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf
from etils.epath import gpath

import jaxssl
from jaxssl import main as command
from jaxssl.compare import execute
from jaxssl.core import UserError, paths
from jaxssl.data.datasets import DataConfig, open_datasets
from jaxssl.data.file_kinds import DecodeError
from jaxssl.evals import embedding_file, load_run
from jaxssl.pretrained.read import read_tensors
from jaxssl.report import page
from jaxssl.workdir.checkpoint import Checkpoints
from tests import bucket, faults, tiny_run
from tests.data import fixtures

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path, monkeypatch) -> pathlib.Path:
  """Maps gs:// to a local folder; returns the folder of gs://store."""
  bucket.install(tmp_path / "buckets", monkeypatch)
  (tmp_path / "buckets/store").mkdir(parents=True)
  return tmp_path / "buckets/store"


@pytest.fixture
def run(store, monkeypatch) -> str:
  """Writes a run to the bucket; orbax, which reads gs:// itself, receives the local folder."""
  tiny_run.make(store / "run", steps=(5,), words=tiny_run.TINY)
  (store / "run/train.log").write_bytes(b"2026-01-02 03:04:05,000 WARNING \xff is not Unicode\n")
  monkeypatch.setattr(load_run, "Checkpoints", lambda folder, keep: Checkpoints(store / "run/checkpoints", keep))
  return "gs://store/run"


def test_invalid_paths_are_errors():
  assert paths.path_of("a/b") == pathlib.Path("a/b") and str(paths.path_of("gs://a/b")) == "gs://a/b"
  assert paths.is_local(paths.path_of("a")) and not paths.is_local(paths.path_of("gs://a"))
  assert paths.absolute("gs://a/b/") == "gs://a/b" and paths.absolute("~/x") == str(pathlib.Path.home() / "x")
  for text in ("a\0b", "x" * 256, "a/" * 2500, "s3://a/b"):
    with pytest.raises(UserError, match="is not a path|is not supported"):
      paths.path_of(text)


def test_an_empty_path_is_an_error():
  with pytest.raises(UserError, match="a path is empty; expected the name of a folder or a file, or . for the current folder"):
    paths.path_of("")


def test_images_equal_those_of_a_local_folder(store, tmp_path):
  read = {f"{split}/{name}/{i}.png": fixtures.flat(40 * i) for split in ("train", "test") for name in "ab" for i in range(3)}
  here = fixtures.folder(store / "set", {**read, ".hidden/x.png": fixtures.flat(1), "train/notes.txt": b"no image"})
  (store / "few.txt").write_text("a/1.png\nb/2.png\n")
  for path, names in (("gs://store/set", "gs://store/few.txt"), ("gs://store/set/", "")):
    theirs = open_datasets(DataConfig(source="folder", path=path, list_path=names), 0)
    ours = open_datasets(DataConfig(source="folder", path=here, list_path=names and str(store / "few.txt")), 0)
    assert len(theirs.train) == len(ours.train) == (2 if names else 6) and theirs.test is not None and ours.test is not None
    for a, b in ((theirs.train.source, ours.train.source), (theirs.test.source, ours.test.source)):
      assert a.classes == b.classes and a.labels is not None
      np.testing.assert_array_equal(a.labels, b.labels)
      for k in range(len(a)):
        np.testing.assert_array_equal(a.read(k), b.read(k))
        assert a.describe(k).replace("gs://store/set", here) == b.describe(k)


def test_errors_about_missing_images_name_the_path(store, monkeypatch):
  path = fixtures.folder(store / "set", {f"{i}.png": fixtures.flat(i) for i in range(3)})
  fixtures.zipped(store / "set.zip", {"a.png": fixtures.flat(1)})
  for name, message in (("gs://store/none", "does not exist"), ("gs://store/set.zip", "for folders only")):
    with pytest.raises(UserError, match=f"data.path={name}: .*{message}"):
      open_datasets(DataConfig(source="folder", path=name), 0)
  source = open_datasets(DataConfig(source="folder", path="gs://store/set"), 0).train.source.source
  gone = pathlib.Path(source.describe(1)).name
  pathlib.Path(path, gone).unlink()
  with pytest.raises(DecodeError, match=f"gs://store/set/{gone}"):
    source.read(1)


def test_commands_read_and_write_buckets(run, store, monkeypatch, capfd):
  monkeypatch.setattr(page, "MAPPED", 50)  # t-SNE of more images takes seconds
  images = fixtures.folder(store / "set", {f"{i}.png": fixtures.flat(40 * i, (28, 28)) for i in range(6)})
  data = "--data.path=gs://store/set"

  def call(*words: str) -> None:
    assert command.main(list(words)) == 0, capfd.readouterr().err

  call("embed", "--workdir", run, "--out=gs://store/new/e.parquet", data)
  embeddings = embedding_file.load(paths.path_of("gs://store/new/e.parquet"))
  call("embed", f"--workdir={store}/run", f"--out={store}/here.parquet", f"--data.path={images}")
  np.testing.assert_array_equal(embeddings.features, embedding_file.load(store / "here.parquet").features)
  assert len(embeddings.path) == 6 and not list(store.rglob("*.parts")) and not list(store.rglob("*.tmp"))
  search = ["neighbors", "--embeddings=gs://store/new/e.parquet", "--image=gs://store/set/1.png", "--k=3"]
  call(*search, "--sheet=gs://store/sheet.png")
  (store / "other.png").write_bytes(fixtures.flat(99, (28, 28)))
  call("neighbors", search[1], "--image=gs://store/other.png", "--k=3")
  call("export", "--workdir", run, "--format=flax", "--out=gs://store/exported/net")
  shown = np.zeros((1, 28, 28, 1), np.uint8)
  features = [jaxssl.load_pretrained(folder).embed(shown) for folder in ("gs://store/exported/net", store / "exported/net")]
  np.testing.assert_array_equal(*features)
  remote, local = (read_tensors(paths.path_of(f"{place}/exported/net")) for place in ("gs://store", store))
  assert remote.keys() == local.keys() and all(np.array_equal(remote[name], local[name]) for name in local)
  call("evaluate", "quality", "--workdir", run)
  assert json.loads((store / "run/results.json").read_text())["measurements"]
  call("report", "--workdir", run)
  assert "\ufffd is not Unicode" in (store / "run/report.html").read_text()
  assert (store / "run/report.html").stat().st_size > 1000 and (store / "sheet.png").stat().st_size > 1000
  assert "gs://store/run/report.html" in capfd.readouterr().err
  monkeypatch.setattr(execute, "execute", lambda planned, folder: (0, {}))
  monkeypatch.setattr(execute, "finished", lambda planned, folder: [run.name for run in planned])
  (store / "run").rename(store / "simclr-runlocal")
  call("compare", "--configs", f"{tiny_run.ROOT}/configs/simclr.py:runlocal", "--workdir=gs://store")
  assert "| simclr-runlocal |" in (store / "compare.md").read_text() and (store / "compare.json").exists()


@pytest.mark.parametrize("kind", [tf.errors.PermissionDeniedError, tf.errors.NotFoundError, tf.errors.InvalidArgumentError])
def test_errors_of_a_bucket_are_one_line(kind, run, monkeypatch, capfd):
  def refuse(self, *_):
    raise kind(None, None, "the bucket says\n\tno to gs://store/run")

  monkeypatch.setattr(bucket.Backend, "exists", refuse, raising=False)
  assert command.main(["report", "--workdir", run]) == 2
  assert capfd.readouterr().err == "error: the bucket says no to gs://store/run\n"


def test_a_bucket_that_does_not_respond_is_asked_again_and_then_an_error(run, monkeypatch, capfd):
  faults.Clock(monkeypatch)
  real, error = bucket.Backend.__getattr__, tf.errors.UnavailableError(None, None, "503 from\nthe bucket")
  failing = {"exists": faults.Faults(lambda *args: real(backend, "exists")(*args), 1, error)}
  backend = gpath._PREFIX_TO_BACKEND["gs"]
  monkeypatch.setattr(bucket.Backend, "__getattr__", lambda self, name: failing.get(name) or real(self, name))
  assert command.main(["report", "--workdir", run]) == 75
  last = capfd.readouterr().err.splitlines()[-1]
  assert re.fullmatch(
    r"error: looking for gs://store/run/config.json: storage does not respond within 5 min, \d+ tries: 503 from the bucket. "
    "Rerun the same command to resume",
    last,
  )
  failing["exists"].share = 0.3  # a temporary failure changes nothing
  assert command.main(["report", "--workdir", run]) == 2
  assert "nothing to report" in capfd.readouterr().err
  assert failing["exists"].count > 1


def test_a_folder_of_a_bucket_is_no_file_when_the_bucket_does_not_respond(store, monkeypatch):
  """TensorFlow's `isdir` answers no then, and its `listdir` raises NotFoundError."""
  clock = faults.Clock(monkeypatch)
  fixtures.folder(store / "set", {f"{name}/{i}.png": fixtures.flat(i) for name in "ab" for i in range(3)})
  backend = gpath._PREFIX_TO_BACKEND["gs"]
  real = bucket.Backend.__getattr__
  failing = {
    "isdir": lambda path: False,
    "stat": faults.Faults(lambda *args: real(backend, "stat")(*args), 0.5),
    "listdir": faults.Faults(
      lambda *args: real(backend, "listdir")(*args), 0.5, tf.errors.NotFoundError(None, None, "Could not find directory")
    ),
  }
  monkeypatch.setattr(bucket.Backend, "__getattr__", lambda self, name: failing.get(name) or real(self, name))
  assert len(open_datasets(DataConfig(source="folder", path="gs://store/set"), 0).train) == 6
  assert failing["stat"].count and failing["listdir"].count and clock.waits


@pytest.mark.parametrize(
  "words",
  [
    ["inspect", "--data=gs://store/set", "--out=gs://store/c.py"],
    ["profile", f"--config={tiny_run.ROOT}/configs/nnboot.py:runlocal", "--workdir=gs://store/run"],
  ],
)
def test_commands_that_need_a_local_path_refuse_a_bucket(words, store, fails):
  fixtures.folder(store / "set", {f"{i}.png": fixtures.flat(i) for i in range(3)})
  fails(words, "local")


def test_an_incomplete_file_is_not_uploaded(store):
  (store / "x.png").write_bytes(b"old")
  with pytest.raises(RuntimeError), paths.uploaded(paths.path_of("gs://store/x.png")) as file:
    file.write_bytes(b"half")
    raise RuntimeError
  assert (store / "x.png").read_bytes() == b"old"
