import jax
import numpy as np
import pytest

from jaxssl.evals import retrieval
from jaxssl.parallel.mesh import make_mesh
from tests.evals.fixtures import extractor

KS = (1, 3, 200)


def accuracy(*given, devices: int = 8) -> dict[str, float]:
  mesh = make_mesh(jax.devices()[:devices])
  return {metric.name: value for metric, value in retrieval.accuracy(mesh, *given).items()}


def plain(x, labels, queries=None):
  """Computes the accuracies image by image; among equal cosines, other classes come first."""
  y, classes = queries or (x, labels)
  x, y = (a / np.linalg.norm(a.astype(np.float64), axis=1, keepdims=True) for a in (x, y))
  precisions, recalls = [], []
  for i, image in enumerate(y):
    others = np.arange(len(x)) != (-1 if queries else i)
    cosine, right = (x @ image)[others], (labels == classes[i])[others]
    if right.any():
      right = right[np.lexsort((right, -cosine))]
      places = np.flatnonzero(right)
      precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
      recalls.append([right[:k].any() for k in KS])
  suffix, share = ("_cosine_gallery", "_gallery") if queries else ("_cosine_leave_one_out", "")
  values = {f"recall{k}{suffix}": 100 * share for k, share in zip(KS, np.mean(recalls, axis=0), strict=True)}
  return values | {f"map{suffix}": 100 * np.mean(precisions), f"share_retrievable{share}": len(precisions) / len(y)}


def images(kind: str) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(0)
  labels = np.append(rng.integers(0, 5, 149), 10)  # the last class has one image
  if kind == "ties":
    return rng.choice([-0.5, 0.5], (150, 4)).astype(np.float32), labels  # cosines are multiples of a half
  return (rng.normal(size=(150, 8)) + np.eye(16, 8)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_accuracies_equal_those_of_a_loop_over_images(kind, devices, monkeypatch):
  monkeypatch.setattr(retrieval, "QUERIES", 33)
  given = images(kind)
  values, expected = accuracy(*given, KS, devices=devices), plain(*given)
  assert list(values) == list(expected) and values == pytest.approx(expected, rel=1e-5)
  assert values["share_retrievable"] == pytest.approx(149 / 150)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_accuracies_in_a_gallery_equal_those_of_a_loop_over_queries(kind, devices, monkeypatch):
  """The last class of the queries has no image in the gallery."""
  monkeypatch.setattr(retrieval, "SORTED", 13 * 100)
  x, labels = images(kind)
  x, labels, y, classes = x[:100], labels[:100], x[100:], labels[100:]
  values, expected = accuracy(x, labels, KS, (y, classes), devices=devices), plain(x, labels, (y, classes))
  assert list(values) == list(expected) and values == pytest.approx(expected, rel=1e-5)
  assert values["share_retrievable_gallery"] == pytest.approx(49 / 50)


def test_a_gallery_by_hand():
  """Of the first query, the first and the third of three images have the class; of the second, none."""
  gallery, labels = np.array([[1, 0.1], [1, 0.5], [0, 1]], np.float32), np.array([0, 1, 0])
  queries, classes = np.array([[1, 0], [0, 1]], np.float32), np.array([0, 2])
  values = accuracy(gallery, labels, (1, 2), (queries, classes))
  expected = {"recall1_cosine_gallery": 100, "recall2_cosine_gallery": 100, "map_cosine_gallery": 100 * (1 / 1 + 2 / 3) / 2}
  assert values == pytest.approx(expected | {"share_retrievable_gallery": 0.5})


def test_a_test_set_is_measured_by_itself_and_against_the_reference_set():
  x, labels = images("random")
  measured = retrieval.measure(extractor(x[:100], labels[:100], x[100:149], labels[100:149], retrieval_k=KS))
  expected = plain(x[100:149], labels[100:149]) | plain(x[:100], labels[:100], (x[100:149], labels[100:149]))
  assert {m.name: m.value for m in measured} == pytest.approx(expected, rel=1e-5)
  protocols = {m.name: m.protocol for m in measured}
  assert protocols["map_cosine_leave_one_out"] == {"similarity": "cosine", "test": "images", "test_images": 49}
  assert protocols["map_cosine_gallery"] == {
    "similarity": "cosine", "queries": "test set", "gallery": "reference set", "reference": "images", "reference_images": 100,
    "test": "images", "test_images": 49,
  }  # fmt: skip
  alone = retrieval.measure(extractor(x, labels, retrieval_k=KS))
  assert {m.name: m.value for m in alone} == pytest.approx(plain(x, labels), rel=1e-5)


def test_collapsed_features_score_0():
  labels = np.arange(40) % 4
  collapsed = accuracy(np.ones((40, 4), np.float32), labels, (1, 30))
  assert collapsed["recall1_cosine_leave_one_out"] == collapsed["recall30_cosine_leave_one_out"] == 0


def test_classes_of_one_image_are_not_retrievable():
  assert accuracy(np.eye(4, dtype=np.float32), np.arange(4), (1,)) == {"share_retrievable": 0}
