import json

import numpy as np
import pytest
from PIL import Image

from jaxssl import main as command
from jaxssl.core import UserError
from jaxssl.evals import embedding_file
from jaxssl.evals import nearest_images as nearest
from tests import tiny_run
from tests.data.fixtures import coded, flat, folder, photo, quarters

NAMES = sorted(f"{'cat' if k % 2 else 'dog'}/{k:02d}.png" for k in range(30))


def write(file, features, images=None):
  """Writes embeddings of the images `NAMES` of a folder and returns the file."""
  data = {"source": "folder", "path": str(images or "/nowhere"), "test_path": "", "channels": 3, "bit_depth": 8}
  rows = {"path": np.array(NAMES), "index": np.arange(30), "label": np.array([n[:3] for n in NAMES]), "features": features}
  meta = {"data": data, "seed": 0, "whole": True, "network": "student", "size": 8, "resize": 0}
  embedding_file.write(file, rows, {**meta, "workdir": "/gone"})
  return file


def random_features(seed=0):
  return np.random.default_rng(seed).normal(size=(30, 8)).astype(np.float32)


def search(capsys, file, image, *more):
  """Runs the command and returns the rows of its table: rank, cosine, class, path."""
  assert command.main(["neighbors", f"--embeddings={file}", f"--image={image}", *more]) == 0
  head, *lines = capsys.readouterr().out.splitlines()
  assert head.split() == ["rank", "cosine", "class", "path"]
  return [(int(rank), float(cosine), label, path) for rank, cosine, label, path in map(str.split, lines)]


@pytest.mark.parametrize("ending", [".npz", ".parquet"])
@pytest.mark.parametrize("row", [0, 17])
def test_neighbors_equal_those_of_a_plain_search(ending, row, tmp_path, capsys):
  x = random_features()
  file = write(tmp_path / f"a{ending}", x)
  unit = x / np.linalg.norm(x, axis=1, keepdims=True)
  cosines = unit @ unit[row]
  order = [k for k in np.argsort(-cosines, kind="stable") if k != row][:12]
  neighbors = search(capsys, file, NAMES[row], "--k=12")
  assert neighbors[0] == (0, 1.0, NAMES[row][:3], NAMES[row])
  assert [(rank, label, path) for rank, _, label, path in neighbors[1:]] == [
    (rank, NAMES[k][:3], NAMES[k]) for rank, k in enumerate(order, 1)
  ]
  np.testing.assert_allclose([cosine for _, cosine, _, _ in neighbors[1:]], cosines[order], atol=1e-4)


def test_the_query_precedes_its_duplicates(tmp_path, capsys):
  x = random_features()
  x[[3, 20]] = x[8]
  neighbors = search(capsys, write(tmp_path / "a.npz", x), NAMES[20], "--k=29")
  assert [path for *_, path in neighbors[:3]] == [NAMES[20], NAMES[3], NAMES[8]]
  assert sorted(path for *_, path in neighbors) == sorted(NAMES)


def test_an_absolute_path_equals_the_path_in_the_file(tmp_path, capsys):
  file = write(tmp_path / "a.npz", random_features(), tmp_path / "images")
  full = search(capsys, file, tmp_path / "images" / NAMES[4])
  assert full == search(capsys, file, NAMES[4]) and len(full) == 11


@pytest.mark.parametrize(
  "path, test_path, image, rows",
  [
    ("/sets/a", "/sets/b", "/sets/a/cat/1.png", [0]),
    ("/sets/a", "/sets/b", "/sets/b/cat/1.png", [1]),
    ("/sets/a", "/sets/a/val", "/sets/a/val/cat/1.png", [1]),
    ("/sets/a", "/sets/b", "/sets/a/owl.png", []),  # a test image has that name
    ("/sets/a", "", "/sets/a/owl.png", [2]),
    ("gs://sets/a", "gs://sets/b", "gs://sets/b/owl.png", [2]),
  ],
)
def test_a_full_path_is_that_of_an_image_of_its_set(path, test_path, image, rows):
  names, splits = np.array(["cat/1.png", "cat/1.png", "owl.png"]), np.array(["train", "test", "test"])
  meta = {"data": {"path": path, "test_path": test_path}}
  file = embedding_file.Embeddings(np.zeros((3, 2), np.float32), names, np.arange(3), splits, None, meta)
  assert nearest._rows_of(file, image).tolist() == rows
  with pytest.raises(UserError, match="--image=cat/1.png: the path of 2 images in the file"):
    nearest._rows_of(file, "cat/1.png")


def test_the_sheet_shows_query_and_neighbors(tmp_path, capsys):
  grays = [8 * k for k in range(30)]
  root = folder(tmp_path / "images", {name: flat(gray) for name, gray in zip(NAMES, grays, strict=True)})
  file = write(tmp_path / "a.npz", random_features(), root)
  neighbors = search(capsys, file, NAMES[5], "--k=8")
  (tmp_path / "images" / neighbors[3][3]).write_bytes(b"no image")  # listed, but no longer readable
  assert search(capsys, file, NAMES[5], "--k=8", f"--sheet={tmp_path / 'a.png'}") == neighbors
  sheet = np.asarray(Image.open(tmp_path / "a.png"))
  wide, high = nearest.SIDE + nearest.GAP, nearest.SIDE + 2 * nearest.TEXT + nearest.GAP
  assert sheet.shape == (2 * high + nearest.GAP, 6 * wide + nearest.GAP, 3)
  for rank, (*_, path) in enumerate(neighbors):
    top, left = nearest.GAP + rank // 6 * high, nearest.GAP + rank % 6 * wide
    tile = sheet[top : top + nearest.SIDE, left : left + nearest.SIDE]
    assert (tile == (211 if rank == 3 else grays[NAMES.index(path)])).all()
    assert (sheet[top + nearest.SIDE : top + high - nearest.GAP, left : left + nearest.SIDE] < 100).any()  # the text
  (tmp_path / "images").rename(tmp_path / "gone")
  search(capsys, file, NAMES[5], "--k=3", f"--sheet={tmp_path / 'a.png'}")
  assert (np.asarray(Image.open(tmp_path / "a.png"))[50, 50] == 211).all()


def test_a_new_image_is_encoded_by_the_network_of_the_file(tmp_path, capfd, fails):
  workdir = tiny_run.make(tmp_path / "run", steps=(3, 5))
  files = {f"{'ab'[k % 2]}/{k}.png": coded(photo(k, 60, 40 + 20 * (k % 3)), "PNG") for k in range(9)}
  root, out = folder(tmp_path / "images", files), tmp_path / "a.parquet"
  embed = ["embed", f"--workdir={workdir}", f"--data.path={root}", f"--out={out}", "--step=3"]
  assert command.main([*embed, "--data.resident_size=50", "--evals.size=24", "--evals.network=student"]) == 0
  copy = tmp_path / "copy.png"
  copy.write_bytes(files["b/7.png"])
  neighbors = search(capfd, out, copy, "--k=9", f"--sheet={tmp_path / 'a.png'}")
  assert neighbors[0] == (1, 1.0, "b", "b/7.png") and len(neighbors) == 9
  assert [path for *_, path in neighbors] == [path for *_, path in search(capfd, out, "b/7.png", "--k=8")]
  workdir.rename(tmp_path / "moved")
  fails(["neighbors", f"--embeddings={out}", f"--image={copy}", "--k=3"], "holds no run")
  assert search(capfd, out, copy, "--k=9", f"--workdir={tmp_path / 'moved'}") == neighbors
  config = json.loads((tmp_path / "moved/config.json").read_text())
  other = tiny_run.make(tmp_path / "other", steps=(4,))
  assert json.loads((other / "config.json").read_text()) == config
  (other / "checkpoints/4").rename(other / "checkpoints/3")  # the same config and step, other weights
  words = ["neighbors", f"--embeddings={out}", f"--image={copy}", "--k=3", f"--workdir={other}"]
  fails(words, "other weights than those that made the file")


@pytest.mark.parametrize(
  "words, message",
  [
    (["--k=30"], "--k=30: expected 1 to 29"),
    (["--k=0"], "--k=0: expected 1 to"),
    (["--image=none.png"], "--image=none.png: neither a path in the file nor a readable image: No such file"),
    (["--image={}/no.png"], "no.png: not an image of a known format"),
    (["--embeddings={}/no.png"], "no.png is not a file of embeddings"),
    (["--embeddings={}/other.npz"], "other.npz is not a file of embeddings"),
    (["--embeddings={}/no.parquet"], "no.parquet is not a file of embeddings"),
    (["--embeddings={}/none.npz"], "none.npz does not exist"),
    (["--embeddings={}/wild.npz"], "holds features that are not finite"),
    (["--embeddings={}/twice.npz", "--image=a.png", "--k=1"], "--image=a.png: the path of 2 images in the file"),
    (["--sheet=a.jpg"], "--sheet=a.jpg: unknown kind of file; expected .png"),
    (["--sheet=/nowhere/a.png"], "--sheet=/nowhere/a.png: cannot be written: No such file or directory"),
    (["--image={}/quarters.png"], "--workdir /gone holds no run"),
  ],
)
def test_errors_are_one_line(words, message, tmp_path, fails):
  file = write(tmp_path / "a.npz", random_features())
  write(tmp_path / "wild.npz", np.where(random_features() > 2, np.inf, random_features()))
  np.savez(tmp_path / "other.npz", features=random_features())
  twice = {"path": np.array(["a.png", "a.png"]), "index": np.arange(2), "features": random_features()[:2]}
  embedding_file.write(tmp_path / "twice.npz", twice, {"data": {"path": "", "test_path": ""}})
  folder(tmp_path, {"no.png": b"no", "no.parquet": b"PAR1no", "quarters.png": coded(quarters(), "PNG")})
  words = [word.format(tmp_path) for word in words]
  fails(["neighbors", f"--embeddings={file}", f"--image={NAMES[2]}", *words], message)
