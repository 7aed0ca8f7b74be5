import jax
import numpy as np
import pytest

from jaxssl.evals import retrieval
from jaxssl.parallel.mesh import make_mesh

KS = (1, 3, 200)


def accuracy(*given, devices: int = 8) -> dict[str, float]:
  mesh = make_mesh(jax.devices()[:devices])
  return {metric.name: value for metric, value in retrieval.accuracy(mesh, *given).items()}


def plain(x, labels):
  """Computes the accuracies image by image; among equal cosines, other classes come first."""
  x = x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
  precisions, recalls = [], []
  for i, image in enumerate(x):
    others = np.arange(len(x)) != i
    cosine, right = (x @ image)[others], (labels == labels[i])[others]
    if right.any():
      right = right[np.lexsort((right, -cosine))]
      places = np.flatnonzero(right)
      precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
      recalls.append([right[:k].any() for k in KS])
  suffix = "_cosine_leave_one_out"
  values = {f"recall{k}{suffix}": 100 * share for k, share in zip(KS, np.mean(recalls, axis=0), strict=True)}
  return values | {f"map{suffix}": 100 * np.mean(precisions), "share_retrievable": len(precisions) / len(x)}


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


def test_collapsed_features_score_0():
  labels = np.arange(40) % 4
  collapsed = accuracy(np.ones((40, 4), np.float32), labels, (1, 30))
  assert collapsed["recall1_cosine_leave_one_out"] == collapsed["recall30_cosine_leave_one_out"] == 0


def test_classes_of_one_image_are_not_retrievable():
  assert accuracy(np.eye(4, dtype=np.float32), np.arange(4), (1,)) == {"share_retrievable": 0}
