"""Segmentation by features of patches: answers that are known, and counts by hand."""

import pathlib
import types

import jax
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.evals import dense
from jaxssl.evals.evaluator import Evaluator
from jaxssl.evals.features import FeatureExtractor
from jaxssl.models import network
from jaxssl.parallel.mesh import make_mesh
from tests import flags
from tests.data.fixtures import coded, folder
from tests.tiny_run import TINY

CONFIG = pathlib.Path(__file__).parents[2] / "configs/nnboot.py"
SIZE = 28  # of images; the network has 4 x 4 patches


TEXTURES = np.random.default_rng(5).integers(20, 236, (2, 7, 7))  # of a patch


def images(
  root: pathlib.Path, count: int = 15, shuffled: bool = False, border: bool = False, seed: int = 0, last: int = 7
) -> str:
  """Writes images of two textures, of class 3 and of class `last`, whose border is that of patches.

  shuffled: the masks are those of other images; border: the first rows of masks are 255.
  """
  random, files, masks = np.random.default_rng(seed), {}, []
  for i in range(count):
    mask = np.full((SIZE, SIZE), 3, np.uint8)
    part = slice(7 * random.integers(1, 4), None)
    mask[(part, slice(None)) if random.random() < 0.5 else (slice(None), part)] = last
    masks.append(mask)
    first, second = np.tile(TEXTURES, (1, 4, 4))
    pixels = np.where(mask == 3, first, second) + random.integers(-20, 20, mask.shape)
    files[f"images/{i:02}.png"] = coded(pixels.astype(np.uint8), "PNG")
  order = random.permutation(count) if shuffled else range(count)
  for i, k in enumerate(order):
    mask = masks[k].copy()
    if border:
      mask[:3] = 255
    files[f"masks/{i:02}.png"] = coded(mask, "PNG")
  return folder(root, files)


def extractor(root: str, *words: str, raw: bool = False) -> FeatureExtractor:
  """Returns an untrained network of one block, or raw pixels, with masks of that folder."""
  given = [f"--config.evals.dense.images={root}/images", f"--config.evals.dense.masks={root}/masks", "--config.evals.dense.k=5"]
  config, _ = flags.parse([f"--config={CONFIG}:runlocal", *TINY, "--config.model.patch=7", *given, *words])
  mesh = make_mesh(jax.devices()[:1])
  built = network.build(config.model, "float32", SIZE)
  variables = None if raw else jax.jit(built.init, static_argnums=1)(jax.random.key(0), (SIZE, SIZE, 1))
  datasets = types.SimpleNamespace(config=config.data)
  return FeatureExtractor(config, mesh, datasets, built, variables, "raw_pixels" if raw else "untrained")  # type: ignore[arg-type]


def values(given: FeatureExtractor) -> dict[str, float]:
  return {m.name: m.value for m in dense.measure(given)}


@pytest.mark.slow
@pytest.mark.parametrize("raw", [True, False])
def test_two_textures_are_separated(tmp_path, raw, monkeypatch):
  monkeypatch.setattr(dense, "IMAGES", 5)
  given = extractor(images(tmp_path / "set"), raw=raw)
  measured = dense.measure(given)
  assert [m.name for m in measured] == ["dense_knn5_miou", "dense_knn5_pixels", "dense_linear_miou", "dense_linear_pixels"]
  assert all(m.value > 97 and m.subject == given.subject for m in measured)
  protocol = {
    "reference": "set/images", "reference_images": 12, "test": "a fifth of the images, drawn by seed 0", "test_images": 3,
    "patches": 12 * 16, "grid": "4 x 4", "classes": 2, "ignore": "255", "pixels": "scores upsampled bilinearly to image_size",
    "image_size": 28,
  }  # fmt: skip
  assert protocol.items() <= measured[0].protocol.items() and measured[0].protocol["k"] == 5
  assert protocol.items() <= measured[2].protocol.items() and "penalty" in measured[2].chosen


@pytest.mark.slow
def test_masks_of_other_images_are_segmented_as_by_chance(tmp_path):
  given = extractor(images(tmp_path / "set", 60, shuffled=True), raw=True)
  assert all(20 < value < 75 for value in values(given).values())


@pytest.mark.slow
def test_ignored_pixels_are_neither_learned_nor_measured(tmp_path):
  ignored = extractor(images(tmp_path / "set", border=True), "--config.evals.dense.patches=100", raw=True)
  assert min(values(ignored).values()) > 97
  measured = extractor(f"{tmp_path / 'set'}", "--config.evals.dense.ignore=", raw=True)
  assert max(values(measured).values()) < 97 and dense.measure(measured)[0].protocol["classes"] == 3


@pytest.mark.slow
def test_a_test_set_of_its_own_is_used(tmp_path):
  root, test = images(tmp_path / "a", 5), images(tmp_path / "b", 4, seed=1)
  words = [f"--config.evals.dense.test_{name}={test}/{name}" for name in ("images", "masks")]
  measured = dense.measure(extractor(root, *words, raw=True))
  assert min(m.value for m in measured) > 97
  assert {"reference_images": 5, "test": "b/images", "test_images": 4}.items() <= measured[0].protocol.items()


@pytest.mark.parametrize(
  "words, message",
  [
    (
      ["--config.evals.dense.ignore=3,255"],
      "masks=.*: the masks have 1 classes; evals.dense.ignore=3,255 leaves values out; ",
    ),
    (["--config.evals.dense.k=1000"], "evals.dense.k=1000: out of range; expected 1 to 80, the number of patches"),
    (
      ["--config.evals.dense.test_images={}/images", "--config.evals.dense.test_masks={}/masks"],
      r"test_masks=.*: 00.png has class 9, which no training mask has; .* leave the class out by evals.dense.ignore=255,9",
    ),
  ],
)
def test_classes_that_do_not_fit_are_errors(tmp_path, words, message):
  root, other = images(tmp_path / "a", 5), images(tmp_path / "b", 2, seed=1, last=9)
  more = [] if "{}" in words[0] else [f"--config.evals.dense.test_{name}={root}2/{name}" for name in ("images", "masks")]
  images(tmp_path / "a2", 2, seed=2)
  with pytest.raises(UserError, match=message):
    dense.measure(extractor(root, *more, *(word.format(other) for word in words), raw=True))


def test_the_class_of_a_patch_is_that_of_most_of_its_pixels():
  mask = np.array([[0, 0, 1, 1], [2, 0, -1, -1], [2, 1, -1, -1], [1, 2, -1, -1]])
  np.testing.assert_array_equal(dense.majority(mask, (2, 2), 3), [[0, 1], [1, -1]])
  np.testing.assert_array_equal(dense.majority(np.array([[0, 0, 0, 1, 1]]), (1, 2), 2), [[0, 1]])  # sides that do not divide


def test_measures_of_a_confusion_matrix_by_hand():
  """Classes 0 and 1; class 2 is nowhere; class 3 is guessed once."""
  masks, guesses = np.array([[[0, 0, 0, 1, 1, -1]]]), np.array([[[0, 0, 1, 1, 3, 2]]])
  confusion = dense.confusion_matrix(masks, guesses, 4)
  assert confusion.tolist() == [[2, 1, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
  figures = {metric.name: value for metric, value in dense.figures("linear", confusion).items()}
  assert figures == pytest.approx({"dense_linear_miou": 100 * (2 / 3 + 1 / 3 + 0) / 3, "dense_linear_pixels": 60})


def test_scores_are_interpolated_between_the_centers_of_patches():
  scores = np.zeros((1, 2, 2, 2), np.float32)
  scores[0, :, 0, 0] = scores[0, :, 1, 1] = 1
  np.testing.assert_array_equal(dense.upsampled(scores, 6)[0], [[0, 0, 0, 1, 1, 1]] * 6)


def test_a_run_that_lacks_masks_or_patches_fails_before_it_starts(tmp_path):
  given = extractor(images(tmp_path / "set", 5), "--config.evals.final=dense", raw=True)
  dense.check(given.config, given.network)
  (tmp_path / "set/masks/03.png").unlink()
  evaluator = Evaluator.__new__(Evaluator)
  evaluator.config, evaluator.network, evaluator.lacks = given.config, given.network, set()
  with pytest.raises(UserError, match="1 of 5 images have no mask, e.g. 03.png"):
    evaluator.check_run()
