import json
import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxssl import main as command
from jaxssl.evals import embed, embedding_file, load_run
from tests import tiny_run
from tests.data.fixtures import coded, flat, folder, photo, zipped

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("embed")]


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
  return tiny_run.make(tmp_path_factory.mktemp("runs") / "resnet", words=["--config.model.name=resnet10"])


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
  return tiny_run.make(tmp_path_factory.mktemp("runs") / "vit", "imagenet,runlocal", steps=(5,))


def run(workdir, out, *more):
  return command.main(["embed", f"--workdir={workdir}", f"--out={out}", *more])


def measured(workdir, *words, step=None):
  """Returns, by split, the features that evaluations use and the source of their images."""
  run = load_run.load(workdir, load_run.read_config(workdir, tiny_run.changes(words)), step)
  splits = {"train": run.evaluator.datasets.train, "test": run.evaluator.datasets.test}
  return {name: (run.extractor.features(split), split.source) for name, split in splits.items() if split}


@pytest.mark.parametrize("words", [(), ("--evals.network=student", "--step=3")], ids=["teacher", "student"])
def test_embedded_features_equal_those_that_evaluations_use(words, resnet, tmp_path):
  assert run(resnet, tmp_path / "a.npz", *words) == 0
  assert run(resnet, tmp_path / "b.parquet", *words) == 0
  embeddings = embedding_file.load(tmp_path / "a.npz")
  expected = measured(resnet, *words[:1], step=3 if words else None)
  assert embeddings.split.tolist() == ["train"] * 256 + ["test"] * 1000
  for split, (features, source) in expected.items():
    rows = embeddings.split == split
    np.testing.assert_allclose(embeddings.features[rows], features, rtol=1e-5, atol=1e-5)
    assert embeddings.index[rows].tolist() == list(range(len(source)))
    assert embeddings.path[rows].tolist() == [source.describe(k) for k in range(len(source))]
    assert embeddings.label[rows].tolist() == [source.classes[label] for label in source.labels]
  assert embeddings.features.dtype == np.float32 and embeddings.index.dtype == np.int64
  meta = {"step": 3 if words else 5, "network": "student" if words else "teacher", "size": 28, "resize": 0}
  assert meta.items() <= embeddings.meta.items() and embeddings.meta["workdir"] == str(resnet)
  other = embedding_file.load(tmp_path / "b.parquet")
  for name in ("features", "path", "index", "split", "label"):
    np.testing.assert_array_equal(getattr(embeddings, name), getattr(other, name))
  assert embeddings.meta == other.meta


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_an_interrupted_command_resumes_and_writes_the_same_file(ending, resnet, tmp_path, monkeypatch):
  monkeypatch.setattr(embed, "PART", 300)
  whole, broken = tmp_path / f"whole{ending}", tmp_path / f"broken{ending}"
  assert run(resnet, whole) == 0
  write, compute, written, encoded = embed.Parts.append, load_run.compute, [], []

  def interrupt(self, features, unreadable):
    if len(written) == 3:
      with (self.folder / "features").open("ab") as file:
        file.write(b"half a part")
      raise KeyboardInterrupt
    written.append(len(features))
    write(self, features, unreadable)

  with monkeypatch.context() as patched:
    patched.setattr(embed.Parts, "append", interrupt)
    assert run(resnet, broken) == 130
  assert not broken.exists() and written == [256, 300, 300]
  monkeypatch.setattr(load_run, "compute", lambda *args: encoded.append(len(args[4])) or compute(*args))
  assert run(resnet, broken) == 0
  assert encoded == [300, 100]  # the last two of the five parts of 256 + 1,000 images
  assert sorted(path.name for path in tmp_path.iterdir()) == sorted([whole.name, broken.name])
  if ending == ".npz":
    assert whole.read_bytes() == broken.read_bytes()
  else:
    assert pq.read_table(whole).equals(pq.read_table(broken), check_metadata=True)


def test_parts_of_another_request_are_refused(resnet, tmp_path, monkeypatch, fails):
  images = folder(tmp_path / "images", {f"{k}.png": flat(k) for k in range(40)})
  out, request = tmp_path / "out.npz", ["--step=3", f"--data.path={images}"]
  monkeypatch.setattr(embed, "PART", 16)
  with monkeypatch.context() as patched:
    patched.setattr(embedding_file, "write", lambda *_: sys.exit(9))
    with pytest.raises(SystemExit):
      run(resnet, out, *request)

  command = ["embed", f"--workdir={resnet}", f"--out={out}"]
  fails([*command, f"--data.path={images}"], "out.npz.parts holds parts of another request: step: 3 there, 5 here; weights: ")
  fails([*command, *request, "--evals.size=32"], "size: 28 there, 32 here")
  fails([*command, *request, "--evals.network=student"], "network: teacher there, student here")
  twin = folder(tmp_path / "twin", {f"{k}.png": flat(2 * k) for k in range(40)})
  fails([*command, "--step=3", f"--data.path={twin}"], f"data.path: ['{images}'] there, ['{twin}'] here")
  os.rename(f"{images}/7.png", f"{images}/seven.png")
  fails([*command, *request], "listing: ")
  os.rename(f"{images}/seven.png", f"{images}/7.png")
  assert run(resnet, out, *request) == 0
  assert len(embedding_file.load(out).features) == 40
  fails([*command, *request], "out.npz exists")


def test_images_of_any_size_are_embedded_and_unreadable_ones_left_out(resnet, tmp_path, capfd):
  files = {f"photos/train/{'cat' if k % 2 else 'dog'}/{k}.jpg": coded(photo(k, 40 + 20 * k, 60)) for k in range(6)}
  files |= {"photos/test/owl/é.png": flat(9, (5, 90)), "photos/val/cat/v.png": flat(90), "photos/train/dog/bad.png": b"no"}
  source = zipped(tmp_path / "all.zip", files)
  assert run(resnet, tmp_path / "a.npz", f"--data.path={source}") == 0
  log = capfd.readouterr().err
  assert log.count("bad.png") == 1 and "8 images, step 5, teacher network" in log and "1 unreadable images are left out" in log
  embeddings = embedding_file.load(tmp_path / "a.npz")
  names = [f"photos/train/{name}.jpg" for name in ("cat/1", "cat/3", "cat/5", "dog/0", "dog/2", "dog/4")]
  assert embeddings.path.tolist() == [*names, "photos/test/owl/é.png", "photos/val/cat/v.png"]
  assert embeddings.split.tolist() == ["train"] * 6 + ["test", "val"]
  assert embeddings.label.tolist() == ["cat"] * 3 + ["dog"] * 3 + ["owl", "cat"]
  assert embeddings.index.tolist() == [0, 1, 2, 3, 4, 5, 0, 0]  # bad.png would be the seventh
  single = folder(tmp_path / "one", {"1.jpg": files["photos/train/cat/1.jpg"]})
  assert run(resnet, tmp_path / "one.npz", f"--data.path={single}") == 0
  alone = embedding_file.load(tmp_path / "one.npz")
  assert alone.split is None and alone.label is None and alone.path.tolist() == ["1.jpg"]
  np.testing.assert_allclose(alone.features[0], embeddings.features[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("placement", [["--data.placement=device", "--data.resident_size=28"], ["--data.placement=host"]])
def test_features_of_other_images_equal_those_that_evaluations_use(placement, resnet, tmp_path):
  files = {f"{'ab'[k % 2]}/{k}.png": coded(photo(k, 40 + 20 * (k % 3), 60), "PNG") for k in range(12)}
  words = [f"--data.path={folder(tmp_path / 'images', files)}", *placement]
  assert run(resnet, tmp_path / "a.npz", *words) == 0
  features, _ = measured(resnet, *words)["train"]
  np.testing.assert_allclose(embedding_file.load(tmp_path / "a.npz").features, features, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
def test_patches_have_the_grid_shape_and_leave_the_features_unchanged(ending, vit, tmp_path, monkeypatch):
  monkeypatch.setattr(embed, "PATCH_PART", 3)
  images = folder(tmp_path / "images", {f"{k}.jpg": coded(photo(k)) for k in range(5)})
  out = tmp_path / f"a{ending}"
  assert run(vit, out, f"--data.path={images}", "--patches") == 0
  embeddings = embedding_file.load(out)
  shape = embeddings.meta["patches"]
  assert shape == [16, embeddings.features.shape[1]]  # 28 pixels, patches of 7
  if ending == ".npz":
    patches = np.load(out)["patches"]
  else:
    patches = np.stack(pq.read_table(out).column("patches").to_numpy()).reshape(-1, *shape)
  assert patches.shape == (5, *shape) and patches.dtype == np.float32
  np.testing.assert_allclose(patches.std(-1), 1, atol=0.01)  # the last norm is applied
  features, _ = measured(vit, f"--data.path={images}", "--data.placement=host")["train"]
  np.testing.assert_allclose(embeddings.features, features, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  "words, message",
  [
    (["--out=x.csv"], "--out x.csv is not allowed; it ends in .npz or .parquet"),
    (["--patches"], "ResNet has no patch tokens; expected a ViT"),
    (["--step=4"], "holds no checkpoint of step 4: [3, 5]"),
    (["--data.path=/nowhere"], "data.path=/nowhere: does not exist"),
    (["--data.source=array"], "name other images with --data.path"),
    (["--evals.size=30", "--evals.resize=20"], "evals.resize=20: smaller than evals.size=30"),
    (["--workdir=nowhere"], "--workdir nowhere holds no run"),
  ],
)
def test_errors_are_one_line(words, message, resnet, tmp_path, fails):
  fails(["embed", f"--workdir={resnet}", f"--out={tmp_path / 'a.npz'}", *words], message)
  assert not list(tmp_path.iterdir())  # the corrected command can use the name


def test_images_without_finite_features_are_errors(resnet, tmp_path, fails):
  empty, bad = folder(tmp_path / "empty", {"a.txt": b""}), folder(tmp_path / "bad", {"a.png": b"", "b.png": b"x"})
  command = ["embed", f"--workdir={resnet}", f"--out={tmp_path / 'a.npz'}"]
  for path, message in ((empty, "has no images"), (bad, "all 2 images are unreadable")):
    fails([*command, f"--data.path={path}"], message)
  images = folder(tmp_path / "images", {"a.png": flat(3), "b.png": flat(4)})
  broken = pathlib.Path(shutil.copytree(resnet, tmp_path / "broken"))
  fields = json.loads((broken / "config.json").read_text())
  fields["data"]["std"] = [1e-60]  # zero as a float32
  (broken / "config.json").write_text(json.dumps(fields))
  command = ["embed", f"--workdir={broken}", f"--out={tmp_path / 'b.npz'}"]
  fails([*command, f"--data.path={images}"], "features are not finite: 2 of 2 images, first: ")
  assert not list(tmp_path.glob("*.npz"))


def test_embed_and_neighbors_do_not_import_tensorflow(resnet, tmp_path):
  images = folder(tmp_path / "images", {f"{k}.jpg": coded(photo(k)) for k in range(3)})
  words = [
    ["embed", f"--workdir={resnet}", f"--data.path={images}", "--out=a.parquet"],
    ["neighbors", "--embeddings=a.parquet", "--image=1.jpg", "--k=2", "--sheet=a.png"],
  ]
  code = f"import sys; from jaxssl.main import main; assert not any(map(main, {json.dumps(words)}))"
  code += "; assert 'tensorflow' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tiny_run.ROOT)})
