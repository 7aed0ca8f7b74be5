"""Damaged checkpoints, exports and embedding files."""

import gc
import json
import pathlib
import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxssl.config.schema import ModelConfig
from jaxssl.core.types import Variables
from jaxssl.evals import embedding_file, kept_classifier
from jaxssl.evals.kept_classifier import KeptClassifier
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export import flax_format
from jaxssl.models import network
from jaxssl.workdir.checkpoint import Checkpoints
from jaxssl.workdir.workdir import Workdir
from tests.security.damage import damaged, text_of
from tests.security.guarded import answer, examples


def state(value: float) -> dict:
  variables = Variables(params={"encoder": {"w": jnp.full((8, 5), value)}}, stats={})
  return {"student": variables, "teacher": variables}


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("saved") / "checkpoints"
  checkpoints = Checkpoints(folder, keep=5)
  for step in (3, 5):
    checkpoints.save(step, state(float(step)))
  checkpoints.close()
  return folder


@pytest.fixture
def ignored_collector_errors(monkeypatch):
  """Ignores the errors that failed reads of orbax raise again in the garbage collector."""
  monkeypatch.setattr(sys, "unraisablehook", lambda *_: None)
  yield
  gc.collect()


@pytest.mark.usefixtures("ignored_collector_errors")
@examples(30)
@given(st.data())
def test_damaged_checkpoints_are_skipped_or_raise_one_line(saved, tmp_path, data):
  """A damaged checkpoint is read, or the one before is read, or a one-line error is raised."""
  folder = tmp_path / "checkpoints"
  shutil.rmtree(folder, ignore_errors=True)
  shutil.copytree(saved, folder)
  inside = sorted(path for path in (folder / "5").rglob("*") if path.is_file())
  for path in data.draw(st.lists(st.sampled_from(inside), min_size=1, max_size=2, unique=True)):
    if data.draw(st.booleans()):
      path.write_bytes(data.draw(damaged(path.read_bytes())))
    else:
      path.unlink()
  restored = answer(lambda: Checkpoints(folder, keep=5).weights(), tmp_path)
  assert restored is None or float(restored[0].params["encoder"]["w"][0, 0]) == restored[2]
  like = jax.eval_shape(lambda: state(0.0))
  restored = answer(lambda: Checkpoints(folder, keep=5).restore(like), tmp_path)
  assert restored is not None and restored[1] in (3, 5)
  np.testing.assert_array_equal(restored[0]["student"].params["encoder"]["w"], float(restored[1]))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("exported")
  model = ModelConfig(name="vit_ti", depth=1, patch=8)
  built = network.build(model, "float32", 16)
  made = jax.jit(lambda: built.init(jax.random.key(0), (16, 16, 3)))()
  made = network.with_classifier(made, jnp.ones((193, 2)))
  tensors = {name: np.ascontiguousarray(x) for name, x in network.named(made).items()}
  flax_format.save_file(tensors, folder / flax_format.FILE)
  fields = {"channels": 3, "depth": 8, "resident_size": 0, "resize": 0, "size": 16, "interpolation": "bicubic"}
  preprocessing = {**fields, "mean": [0.5] * 3, "std": [0.5] * 3}
  about: dict = {"format": "flax", "precision": "float32", "image_size": 16, "preprocessing": preprocessing}
  about["classes"] = ["a", "b"]
  about["model"] = {"name": "vit_ti", "depth": 1, "patch": 8, "projector": {"name": "none"}, "predictor": {"name": "none"}}
  (folder / flax_format.CONFIG).write_text(json.dumps(about))
  return folder


@pytest.mark.parametrize("file", [flax_format.CONFIG, flax_format.FILE])
@examples(60)
@given(st.data())
def test_damaged_exports_load_or_raise_one_line(file, exported, tmp_path, data):
  shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
  content = (exported / file).read_bytes()
  damage = text_of(json.loads(content)) if file == flax_format.CONFIG else damaged(content)
  (tmp_path / file).write_bytes(data.draw(damage))
  loaded = answer(lambda: flax_format.load_pretrained(tmp_path))
  if loaded is not None and loaded.config["preprocessing"]["size"] <= 64:  # larger images only take longer
    image = np.zeros((1, 9, 7, loaded.config["preprocessing"]["channels"]), np.uint8)
    features = answer(lambda: loaded.embed(image))
    assert features is None or features.dtype == np.float32
    predictions = answer(lambda: loaded.predict(image))
    assert predictions is None or predictions.probabilities.shape == (1, 2)


INVALID = (
  *(("model.depth", 10**9), ("model.patch", 0), ("model.name", "resnet18"), ("model.name", "custom"), ("model.width", "wide")),
  *(("model", {"name": "resnet10", "width": float("inf")}), ("model.projector", {"name": "mlp", "layers": 10**9})),
  *(("image_size", 2**40), ("precision", "float64"), ("preprocessing.size", 0), ("preprocessing.resize", 8)),
  *(("preprocessing.std", [0, 0, 0]), ("preprocessing.mean", [])),
)


@pytest.mark.parametrize("field, value", INVALID)
def test_exports_with_invalid_configs_raise_one_line(field, value, exported, tmp_path):
  shutil.copytree(exported, tmp_path, dirs_exist_ok=True)
  about = json.loads((exported / flax_format.CONFIG).read_text())
  *path, last = field.split(".")
  (about[path[0]] if path else about)[last] = value
  (tmp_path / flax_format.CONFIG).write_text(json.dumps(about))
  assert answer(lambda: flax_format.load_pretrained(tmp_path)) is None


@examples(100)
@given(st.data())
def test_damaged_classifiers_load_or_raise_one_line(tmp_path, data):
  preprocessing = Preprocessing(
    channels=1, bit_depth=8, resident_size=0, resize=0, size=8, interpolation="bicubic", mean=(0.5,), std=(0.5,)
  )
  about = KeptClassifier(
    name="c", title="t", fine_tuned=False, classes=("a", "b"), accuracy=1.0, protocol={"k": 1}, chosen={}, step=3,
    network="student", preprocessing=preprocessing,
  )  # fmt: skip
  kept_classifier.write(Workdir(tmp_path), about, {"params.classifier.bias": np.ones(2, np.float32)})
  path = Workdir(tmp_path).classifier("c")
  path.write_bytes(data.draw(damaged(path.read_bytes())))
  loaded = answer(lambda: kept_classifier.load(Workdir(tmp_path)))
  assert loaded is None or (loaded[0].name == "c" and isinstance(loaded[0].step, int))


@pytest.fixture(scope="module", params=[".npz", ".parquet"])
def embeddings_file(request, tmp_path_factory) -> pathlib.Path:
  file = tmp_path_factory.mktemp("embeddings") / f"e{request.param}"
  columns = {"path": np.array(["a.png", "b.png"]), "index": np.arange(2), "label": np.array(["x", "y"])}
  columns["features"] = np.eye(2, 3, dtype=np.float32)
  embedding_file.write(file, columns, {"workdir": "w"})
  return file


@examples(100)
@given(st.data())
def test_damaged_embeddings_load_or_raise_one_line(embeddings_file, tmp_path, data):
  path = tmp_path / embeddings_file.name
  path.write_bytes(data.draw(damaged(embeddings_file.read_bytes())))
  embeddings = answer(lambda: embedding_file.load(path))
  if embeddings is not None:
    assert embeddings.features.ndim == 2 and len(embeddings.features) == len(embeddings.path) == len(embeddings.index)
