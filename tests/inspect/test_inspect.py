"""The `inspect` command summarizes generated folders, and its suggested configs train."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from jaxssl import api
from jaxssl import main as command
from jaxssl.config.load import load_config
from jaxssl.data.datasets import open_datasets
from jaxssl.inspect import inspect_images
from jaxssl.train.setup import Experiment
from tests import flags
from tests.data import fixtures

pytestmark = pytest.mark.slow
VIT = ["--config.model.name=vit_ti", "--config.model.depth=1", "--config.model.patch=8"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """Times the host on fewer images, and no steps."""
  monkeypatch.setattr(inspect_images, "IMAGES", 64)
  monkeypatch.setattr(api, "StepTimer", None)


def photo(seed, size=40):
  """Returns an image with details, PIL."""
  return Image.fromarray(fixtures.photo(seed, 8 * size, 8 * size)).resize((size, size))


def images(count, kind="JPEG", size=40, first=0):
  return [fixtures.coded(photo(first + k, size), kind) for k in range(count)]


def output(capfd, *words):
  """Returns the output lines of the command."""
  assert command.main(["inspect", *map(str, words)]) == 0, capfd.readouterr().err
  return capfd.readouterr().out.splitlines()


def starting(lines, start):
  """Returns the only line with this start."""
  [line] = [line for line in lines if line.startswith(start)]
  return line


def classed(tmp_path, **more):
  """Makes twenty training and four test images of two classes."""
  files = {f"train/{'ab'[k % 2]}/{k:02}.jpg": data for k, data in enumerate(images(20))}
  files |= {f"test/{'ab'[k % 2]}/{k:02}.png": data for k, data in enumerate(images(4, "PNG", first=20))}
  return fixtures.folder(tmp_path / "images", files | more)


def train(file, *words):
  """Runs three steps of a config file and returns its config."""
  config, _ = flags.parse([f"--config={file}", *words])
  run = Experiment(config, pathlib.Path(str(file).partition(":")[0]).parent / "run")
  state, logs = run.start_epoch(run.init(), 0), {}
  for number, rows in enumerate(run.batches(state, 0, 0)):
    state, logs = run.step(state, rows)
    if number == 2:
      break
  assert np.isfinite(float(logs["loss"]))
  return config


def test_the_summary_lists_counts_formats_and_sizes(tmp_path, capfd):
  lines = output(capfd, f"--data={classed(tmp_path)}")
  assert "train: 20 images" in lines and "test: 4 images" in lines
  assert lines.count("  2 class folders (for evaluation only): a 10, b 10") == 1
  assert starting(lines, "formats") == "formats: JPEG 20, PNG 4"
  assert starting(lines, "channels") == "channels: color 24"
  assert starting(lines, "bits") == "bits per channel: 8 24"
  assert starting(lines, "sizes").endswith("largest 40 x 40 pixels; 1 different")
  assert starting(lines, "shapes") == "shapes: square 24"
  for heading in ("unreadable", "exact duplicates", "near duplicates", "test images that are in train too"):
    assert starting(lines, heading) == f"{heading}: none"
  assert any(line == "  config.evals.update({'knn': {'k': (20,)}})" for line in lines)


def test_the_measured_mean_and_std_are_those_of_the_pixels(tmp_path, capfd):
  flat = {f"{k:02}.png": fixtures.flat(51 + 102 * (k % 2), size=(16, 24)) for k in range(20)}
  line = starting(output(capfd, f"--data={fixtures.folder(tmp_path, flat)}", "--data.channels=3"), "mean")
  assert line.startswith("mean (0.4, 0.4, 0.4), standard deviation (0.2, 0.2, 0.2)")


def copied(tmp_path):
  """Adds two damaged files to `classed`, and exact and recompressed copies of test images and of training images."""
  files = {"train/a/broken.jpg": images(1)[0][:300], "train/b/empty.png": b""}
  files |= {"train/a/twin.png": fixtures.coded(photo(20), "PNG"), "train/b/near.jpg": images(1, first=21)[0]}
  files |= {"train/b/same.jpg": images(1)[0], "train/b/worse.jpg": fixtures.coded(photo(1), quality=50)}
  return classed(tmp_path, **files)


@pytest.mark.usefixtures("one_device")
def test_the_config_excludes_unreadable_images_and_dropped_duplicates(tmp_path, capfd):
  out = tmp_path / "new" / "mine.py"
  lines = output(capfd, f"--data={copied(tmp_path)}", f"--out={out}", "--drop-duplicates")
  assert "train: 26 images, 2 of them unreadable" in lines
  assert starting(lines, "unreadable") == "unreadable: 2"
  assert sum("train/a/broken.jpg: " in line for line in lines) == 1
  assert starting(lines, "exact duplicates") == "exact duplicates: 2 groups, 4 images"
  assert starting(lines, "near duplicates") == "near duplicates: 2 groups, 4 images that may show the same"
  assert starting(lines, "of the training images, 1 are exact").endswith(": the config leaves them out")
  listed = out.with_suffix(".train.txt").read_text().split()
  assert sorted(listed) == [f"train/{'ab'[k % 2]}/{k:02}.jpg" for k in sorted(range(20), key=lambda k: (k % 2, k))]
  every = out.with_suffix(".found.txt").read_text().splitlines()
  assert [line.split("\t")[0] for line in every] == ["unreadable"] * 2 + ["exact"] * 2 + ["near"] * 2
  assert "without 2 that are unreadable or have other channels and 1 that are exact duplicates of others" in out.read_text()
  config = train(out, *VIT)
  assert config.method["name"] == "simclr" and config.train.epochs == 1000 and config.data.placement == "device"
  smaller = load_config(f"{out}:cpu")
  assert (smaller.train.epochs, smaller.data.limit, smaller.train.batch_size) == (150, 0, 4)


def test_fields_that_are_given_are_in_the_config_as_they_are_read(tmp_path, capfd):
  out = tmp_path / "mine.py"
  output(capfd, f"--data={classed(tmp_path)}", f"--out={out}", "--data.mean=", "--data.std=0.5", "--data.max_pixels=2000000")
  data = load_config(str(out)).data
  assert (data.mean, data.std, data.max_pixels) == ((), (0.5,), 2_000_000)


def test_a_config_that_is_not_written_needs_no_file(tmp_path, capfd):
  config = api.inspect(copied(tmp_path))
  assert not config.data.list_path and "without 2 that are unreadable" in capfd.readouterr().out


def test_duplicates_are_reported_and_drawn_but_trained_on(tmp_path, capfd):
  out = tmp_path / "mine.py"
  lines = output(capfd, f"--data={copied(tmp_path)}", f"--out={out}")
  expected = "test images that are in train too: 1, and 1 that may be, which invalidates the evaluation if they are trained on"
  assert starting(lines, "test images") == expected
  [exact] = [line for line in lines if "test/a/00.png is " in line]
  assert exact.endswith("train/a/twin.png")
  [near] = [line for line in lines if "test/b/01.png may be " in line]
  assert near.endswith("train/b/near.jpg")
  reasons = "1 are exact duplicates of others, 1 may be near duplicates of others, 1 are in the test split too, "
  reasons += "1 may be in the test split too"
  assert starting(lines, "of the training images").startswith("of the training images, ")
  assert sorted(starting(lines, "of the training images, ")[24:].partition(":")[0].split(", ")) == sorted(reasons.split(", "))
  assert starting(lines, "of the training").endswith(": the config trains on them; --drop-duplicates leaves them out")
  assert {"twin.png", "near.jpg", "same.jpg", "worse.jpg"} < {
    pathlib.Path(name).name for name in out.with_suffix(".train.txt").read_text().splitlines()
  }
  assert "2 of the training images are, or may be, test images, which invalidates the evaluation" in out.read_text()
  assert "mine.duplicates.png" in starting(lines, "written: ")
  with Image.open(tmp_path / "mine.duplicates.png") as sheet:
    assert sheet.width > sheet.height > 200


@pytest.mark.usefixtures("one_device")
def test_gray_images_of_many_sizes_in_a_zip_train(tmp_path, capfd):
  gray = [Image.fromarray(fixtures.photo(k, 60 + k, 80)).convert("L") for k in range(30)]
  files = {f"{k:02}.jpg": fixtures.coded(image if k % 2 else image.convert("RGB")) for k, image in enumerate(gray)}
  out = tmp_path / "gray.py"
  lines = output(capfd, f"--data={fixtures.zipped(tmp_path / 'gray.zip', files)}", f"--out={out}")
  assert starting(lines, "channels") == "channels: color 15, gray 15; 15 of them are stored in color but gray"
  config = load_config(str(out))
  assert config.data.channels == 1 and len(config.data.mean) == 1
  assert config.views["global"].jitter == (0.4, 0.4, 0.0, 0.0) and config.views["global"].gray_p == 0
  assert config.evals.final == ("quality",) and not config.data.list_path
  train(f"{out}:runlocal", "--config.data.limit=64")


def test_a_test_split_that_would_stop_a_run_is_reported(tmp_path, capfd):
  files = {f"train/{'ab'[k % 2]}/{k}.jpg": data for k, data in enumerate(images(20))}
  files |= {"test/1.jpg": images(1, first=30)[0], "test/2.jpg": b"x", "test/3.jpg": b"x"}
  lines = output(capfd, f"--data={fixtures.folder(tmp_path, files)}")
  assert "test: 3 images, 2 of them unreadable" in lines
  assert any(line.startswith("  more than 1% of the test images are unreadable") for line in lines)
  assert "  no class folders, but train has some: a run would stop there, so sort them too" in lines


def test_headers_of_files_with_many_bits_or_channels_are_summarized(tmp_path, capfd):
  deep = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
  alpha = Image.fromarray(fixtures.photo(0, 40, 40)).convert("RGBA")
  odd = {"deep.png": fixtures.coded(Image.fromarray(deep), "PNG"), "alpha.png": fixtures.coded(alpha, "PNG")}
  odd |= {"cmyk.jpg": fixtures.coded(Image.fromarray(fixtures.photo(1, 40, 40)).convert("CMYK"))}
  odd["many.tif"] = fixtures.tiff(np.zeros((5, 20, 30), np.uint16), planarconfig="separate")
  odd["float.npy"] = fixtures.npy(np.zeros((20, 30, 5)))
  odd["pages.tif"] = fixtures.tiff(np.zeros((4, 20, 30), np.uint8))
  lines = output(capfd, f"--data={fixtures.folder(tmp_path, odd | {f'{k}.jpg': data for k, data in enumerate(images(20))})}")
  for word in ("color 20", "gray 2", "color with alpha 1", "CMYK 1"):
    assert word in starting(lines, "channels")
  assert "16 1" in starting(lines, "bits") and starting(lines, "bits").endswith("; read as 16")
  assert sum("many.tif: 5 channels; most images have 3" in line for line in lines) == 1
  assert sum("float.npy: " in line and "(NPY, 5 channels, 64 bit)" in line for line in lines) == 1
  assert (
    starting(lines, "pages") == "pages: 1 files have 4, of which the first is used; --data.channels=4 reads them as channels"
  )


@pytest.mark.usefixtures("one_device")
def test_many_channels_of_sixteen_bits_train(tmp_path, capfd):
  rng = np.random.default_rng(0)
  low = rng.integers(0, 256, (24, 40, 40, 5)).astype(np.uint16) * np.arange(1, 6, dtype=np.uint16)
  files = {f"{k:02}.npy": fixtures.npy(image) for k, image in enumerate(low[:12])}
  files |= {f"{k:02}.tif": fixtures.tiff(np.moveaxis(image, -1, 0)) for k, image in enumerate(low[12:], 12)}
  files |= {"photo.jpg": images(1)[0]}
  words = [f"--data={fixtures.folder(tmp_path / 'cells', files)}", f"--out={tmp_path / 'cells.py'}"]
  lines = output(capfd, *words, "--data.channels=5")
  assert starting(lines, "bits") == "bits per channel: 16 24; read as 12"
  assert sum("photo.jpg: has 3 channels, but data.channels=5" in line for line in lines) == 1
  config = train(tmp_path / "cells.py", *VIT)
  assert (config.data.channels, config.data.bit_depth) == (5, 12)
  expected = low.reshape(-1, 5) / 4095
  np.testing.assert_allclose(config.data.mean, expected.mean(0), rtol=1e-3)
  np.testing.assert_allclose(config.data.std, expected.std(0), rtol=1e-3)


@pytest.mark.usefixtures("one_device")
def test_class_folders_without_a_test_split_hold_out_a_fifth(tmp_path, capfd):
  files = {f"{'ab'[k % 2]}/{k:02}.jpg": data for k, data in enumerate(images(30))}
  out = tmp_path / "mine.py"
  lines = output(capfd, f"--data={fixtures.folder(tmp_path / 'images', files)}", f"--out={out}")
  expected = "no test split: the suggested config tests on 6 of 30 images, a fifth of each class (evals.holdout=0.2)"
  assert starting(lines, "no test split").startswith(expected)
  assert any(line.strip() == "# 24 training images; 6 test images, which evals.holdout draws" for line in lines)
  config = load_config(str(out))
  assert config.evals.holdout == 0.2 and config.evals.final == ("knn", "quality", "linear")
  assert load_config(f"{out}:runlocal").evals.holdout == 0
  datasets = open_datasets(config.data, config.train.seed, held_out=config.evals.holdout)
  assert datasets.test is not None and (len(datasets.train), len(datasets.test)) == (24, 6)


def test_classes_of_one_image_are_not_measured(tmp_path, capfd):
  files = {f"{k:02}/1.jpg": data for k, data in enumerate(images(20))}
  lines = output(capfd, f"--data={fixtures.folder(tmp_path, files)}")
  assert any("without two images in any class folder, no k-NN" in line for line in lines)
  assert not any(line.startswith("no test split") for line in lines)
