"""The Python API: the code of docs/python.md runs, and mistakes raise one-line errors."""

import pathlib
import re
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
from flax import nnx
from PIL import Image

import jaxssl
from jaxssl.config.load import load_config
from jaxssl.core import UserError
from jaxssl.data.file_kinds import DecodeError, UnsupportedImage
from jaxssl.data.image_io import Decoder
from jaxssl.data.inputs import as_source
from jaxssl.data.items import ItemSource
from tests.data.fixtures import coded, flat, folder, noise, quarters
from tests.data.stand_ins import ClassLabel, HuggingFace, Tensor, TorchDataset
from tests.test_main import measurements

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs" / "python.md"


@pytest.mark.usefixtures("one_device")
def test_the_code_of_docs_python_runs(tmp_path, monkeypatch, capsys):
  (tmp_path / "configs").symlink_to(ROOT / "configs")
  monkeypatch.chdir(tmp_path)
  tiny = {"model.name": "vit_ti", "model.depth": 1, "model.patch": 14}  # traced in a third of a ResNet's time
  tiny |= {"views.global.affine": 0.0, "views.global.thicken": 0.0}
  tiny |= {"data.limit": 96}  # as many as the page's own images, so that its runs share compiled functions
  monkeypatch.setattr("jaxssl.api.load_config", lambda file, changes: load_config(file, {**changes, **tiny}))
  names: dict = {"__name__": "page"}
  parts = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
  assert len(parts) == 10
  rows = {"img": [Image.fromarray(noise(k, 32, 32)) for k in range(96)], "label": [k % 2 for k in range(96)]}
  dataset = HuggingFace(rows, {"img": None, "label": ClassLabel(["cat", "dog"])})
  digits = TorchDataset([(image, 1) for image in rows["img"][:4]], targets=[1] * 4)
  torchvision = types.SimpleNamespace(datasets=types.SimpleNamespace(MNIST=lambda root, train, download: digits))
  monkeypatch.setitem(sys.modules, "torchvision", torchvision)
  splits = types.SimpleNamespace(load_dataset=lambda name: {"train": dataset, "test": dataset})
  monkeypatch.setitem(sys.modules, "datasets", splits)
  folder(tmp_path / "photos", {f"{k}.png": flat(k) for k in range(5)})
  for part in parts:
    exec(compile(part, "python.md", "exec"), names)
  folders = {path.name for path in (tmp_path / "runs").iterdir()}
  assert folders == {"first", "watched", "arrays", "cifar10", "patches", "small"}
  assert "knn20_cosine" in {m["name"] for m in measurements(tmp_path / "runs" / "cifar10")}
  assert "knn20_cosine" in {m["name"] for m in measurements(tmp_path / "runs" / "arrays")}
  assert names["run"]["finished"] is True and names["features"].shape[0] == 5
  first, measured, history, *watched, shape, of_table, predicted, small = capsys.readouterr().out.splitlines()
  assert history.startswith("[3] [") and [line.split()[0] for line in watched] == [str(step) for step in range(1, 4)]
  assert first.startswith("True {") and "knn20_cosine" in measured and shape.endswith("float32") and small == "(5, 32)"
  assert "knn1_cosine" in of_table and predicted.endswith("] (5, 3)")
  with pytest.raises(UserError, match="images: there are none; expected at least one"):
    jaxssl.embed(tmp_path / "runs" / "first", [])
  with pytest.raises(
    UserError, match=r"images: item 1 is the path or bytes of a file, but the first is an array; expected one kind"
  ):
    jaxssl.embed(tmp_path / "runs" / "first", [names["images"][0], "photos/0.png"])
  with pytest.raises(UserError, match="model.name=custom is not allowed without an encoder"):
    jaxssl.evaluate(tmp_path / "runs" / "small")


def test_every_row_of_the_table_of_items_is_read_as_the_same_image(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  image = quarters()
  folder(tmp_path, {"photos/0.png": coded(image, "PNG")})
  names = {"image": image, "Image": Image, "pathlib": pathlib, "torch": types.SimpleNamespace(from_numpy=Tensor)}
  table = PAGE.read_text().partition("| item | for example | read as |\n")[2].partition("\n\n")[0]
  examples = re.findall(r"^\| [^|]+ \| `([^`|]+)` \|", table, flags=re.MULTILINE)
  assert len(examples) == 7 == table.count("\n")
  for example in examples:
    np.testing.assert_array_equal(as_source([eval(example, names)], "page", Decoder()).read(0), image, err_msg=example)


def test_importing_is_cheap_and_public_names_are_functions():
  code = """
import sys, jaxssl
assert not {"jax", "flax", "numpy", "argparse"} & set(sys.modules)
from jaxssl.train import loop
from jaxssl.report import page
from jaxssl.inspect import scan
from jaxssl.export import bundle
from jaxssl.plan import topology
import jaxssl.train.step
for name in jaxssl.__all__:
  assert callable(getattr(jaxssl, name)) and getattr(jaxssl, name).__doc__, name
from jaxssl import train
assert train is jaxssl.train is sys.modules["jaxssl.api"].train
assert loop is sys.modules["jaxssl.train.loop"] and loop.train is not train
assert jaxssl.__version__ == jaxssl.core.version.VERSION  # other subpackages stay attributes
"""
  subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
  with pytest.raises(AttributeError, match="nonsense"):
    jaxssl.nonsense  # noqa: B018


class Modern(nnx.Module):
  """An encoder of flax.nnx."""

  def __init__(self, rngs):
    self.linear, self.bn = nnx.Linear(1, 8, rngs=rngs), nnx.BatchNorm(8, rngs=rngs)

  def __call__(self, x):
    return self.bn(self.linear(x.mean((1, 2))))


@pytest.mark.usefixtures("one_device")
def test_an_exception_in_on_metrics_is_raised_after_saving_also_in_a_thread(tmp_path, capfd):
  changes = {"train.epochs": 3, "train.log_every": 1, "evals.baselines": False, "evals.report": False, "data.limit": 64}
  changes |= {"views.global.affine": 0.0, "views.global.thicken": 0.0, "evals.periodic": (), "evals.final": ("quality",)}
  config = jaxssl.load_config(ROOT / "configs/nnboot.py:runlocal", changes)
  lines, raised, encoder = [], [], Modern(nnx.Rngs(0))

  def on_metrics(line):
    lines.append(line)
    if line["step"] == 1:
      raise ValueError("mine")

  def train():
    try:
      jaxssl.train(config, tmp_path / "run", encoder=encoder, on_metrics=on_metrics)
    except ValueError as error:
      raised.append(error)

  thread = threading.Thread(target=train)  # in which signals cannot be handled
  thread.start()
  thread.join()
  assert [str(error) for error in raised] == ["mine"] and raised[0].__traceback__ is not None
  assert lines[-1]["step"] == 1  # it is not called again
  assert "on_metrics raised ValueError, which ends the run; its steps are saved" in capfd.readouterr().err
  lines.clear()
  run = jaxssl.train(config, tmp_path / "run", encoder=encoder, on_metrics=lines.append)
  first = next(line for line in lines if "loss" in line["values"])
  assert run["finished"] and first["step"] in (2, 3)  # step 2 may have been under way when it failed
  history = {name: values[run.history["step"] > 0] for name, values in run.history.items()}
  assert history["step"].tolist() == list(range(1, 7)) and np.isfinite(history["loss"]).all()
  assert (np.diff(history["seconds"]) >= 0).all() and history["seconds"][0] > 0  # over the pause, too
  schedules = {"learning_rate", "weight_decay", "teacher_momentum", "teacher_temperature"}
  assert schedules <= set(first["values"]) and np.isfinite(history["learning_rate"]).all()
  assert history["learning_rate"][0] == 0.0 and run.results["metrics"]["learning_rate"]["group"] == "Schedules"
  assert first["values"]["loss"] == history["loss"][first["step"] - 1]
  assert jaxssl.embed(tmp_path / "run", np.zeros((2, 28, 28), np.uint8), encoder=encoder).shape == (2, 8)


def test_plan_returns_an_estimate_and_invalid_arguments_raise(tmp_path, one_device):
  config = jaxssl.load_config(str(ROOT / "configs/simclr.py:runlocal"), {"views.global.jitter_p": 0.0})
  (plan,), text = jaxssl.plan(config, ["gpu:1"], utilization=0.5)
  assert plan.estimate.total > 0 and plan.cost.hours and "gpu:1" in text
  with pytest.raises(UserError, match="--memory=-1: out of range; expected a number above 0"):
    jaxssl.plan(config, ["gpu:1"], memory=-1)
  with pytest.raises(UserError, match="--data=.* has no images"):
    jaxssl.inspect(tmp_path)
  with pytest.raises(UserError, match="evals.every: does not change an inspection"):
    jaxssl.inspect(tmp_path, changes={"evals.every": 3})
  with pytest.raises(UserError, match="holds no run"):
    jaxssl.report(tmp_path)
  with pytest.raises(UserError, match="--format=onx: unknown format; .*; did you mean onnx"):
    jaxssl.export(tmp_path, tmp_path / "out", "onx")


def test_invalid_arguments_raise():
  with pytest.raises(UserError, match=r"optim\.rate: unknown field; did you mean optim\.schedule\.rate\?"):
    jaxssl.load_config(str(ROOT / "configs/nnboot.py"), {"optim.rate": 1})
  with pytest.raises(UserError, match="images: an int has no length or no items by index; expected an array, or an object"):
    as_source(3, "images", Decoder())  # type: ignore[arg-type]
  config = jaxssl.load_config(str(ROOT / "configs/nnboot.py:runlocal"))
  with pytest.raises(UserError, match="test: given without source; expected both or neither"):
    jaxssl.train(config, "nowhere", test=np.zeros((4, 8, 8), np.uint8))


def test_items_of_different_shapes_are_a_source():
  items = [np.full((4, 5), 7, np.uint8), np.zeros((2, 3, 3), np.uint8), np.zeros((2, 2)), np.zeros((2, 2, 4), np.uint8)]
  source = as_source((items, np.array([0, 1, 1, 0])), "mine", Decoder())
  assert isinstance(source, ItemSource) and len(source) == 4 and source.classes == ("0", "1")
  assert source.read(0).shape == (4, 5, 3) and source.read(1).shape == (2, 3, 3) and source.encoded(0) is None
  with pytest.raises(UnsupportedImage, match=r"mine image 2: float64 pixels; scale them to integers"):
    source.read(2)
  with pytest.raises(DecodeError, match="mine image 4: IndexError"):
    source.read(4)
  with pytest.raises(UserError, match="mine image 3: has 4 channels, but data.channels=3"):
    source.read(3)
  assert as_source(source, "other", Decoder()) is source
  expected = "data.channels=1, data.bit_depth=8: other is a source of 3 channels of uint8; set the fields to match"
  with pytest.raises(UserError, match=expected):
    as_source(source, "other", Decoder(channels=1))


def test_notebooks_show_errors_in_one_line():
  with pytest.raises(UserError) as error:
    load_config("configs/nothing.py")
  (line,) = error.value._render_traceback_()  # what IPython calls
  assert line == f"UserError: {error.value}"


NO_CONFIG = r'; expected a config, such as jaxssl.load_config\("configs/nnboot.py:cpu"\)'


@pytest.mark.parametrize(
  "call, message",
  [
    (lambda config, folder: jaxssl.train("configs/nnboot.py", folder), f"config: a str{NO_CONFIG}"),
    (lambda config, folder: jaxssl.train({"train.epochs": 5}, folder), f"config: a dict{NO_CONFIG}"),
    (lambda config, folder: jaxssl.train(folder, config), f"config: a PosixPath{NO_CONFIG}"),
    (lambda config, folder: jaxssl.train(config, None), "None is not a path: expected text or a pathlib.Path"),
    (
      lambda config, folder: jaxssl.train(config, folder, on_metrics=5),
      "on_metrics: a int; expected a function of one ",
    ),
    (lambda config, folder: jaxssl.plan("configs/nnboot.py", "gpu:8"), f"config: a str{NO_CONFIG}"),
    (lambda config, folder: jaxssl.plan(config, "gppu:8"), "--topology=gppu:8: unknown"),
    (lambda config, folder: jaxssl.report(), "workdirs: there are none; expected at least one"),
    (lambda config, folder: jaxssl.report([folder]), r"\[.*\] is not a path: expected text or a pathlib.Path"),
    (lambda config, folder: jaxssl.load_pretrained("resnet50"), "resnet50 does not exist; expected the folder of an export"),
    (lambda config, folder: jaxssl.load_pretrained(None), "None is not a path: expected text or a pathlib.Path"),
    (lambda config, folder: jaxssl.load_config({"train": 5}), "config: a dict; expected the path of a config file, such as"),
    (lambda config, folder: jaxssl.load_config(f"{ROOT}/configs/byol.py", "train.epochs=5"), "changes: a str; expected fields"),
    (lambda config, folder: jaxssl.compare("a.py", folder, {"train.seed": 3}), "sweeps: train.seed=3: one value; expected a"),
    (lambda config, folder: jaxssl.compare("a.py", folder, {"train.seed": [0, 1]}), "--config=a.py: no such file"),
    (
      lambda config, folder: jaxssl.compare("a.py:x,b.py", folder),
      "--configs a.py:x,b.py: more than one config; expected spaces",
    ),
  ],
)
def test_arguments_of_another_type_are_errors_of_one_line(call, message, tmp_path):
  with pytest.raises(UserError, match=message):
    call(jaxssl.load_config(f"{ROOT}/configs/nnboot.py:runlocal"), tmp_path)
