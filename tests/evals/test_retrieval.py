import jax
import numpy as np
import pytest

from jaxssl.evals import retrieval
from jaxssl.parallel.mesh import make_mesh

KS = (1, 3, 200)


def accuracy(*given) -> dict[str, float]:
  return {metric.name: value for metric, value in retrieval.accuracy(*given).items()}


def plain(reference, reference_labels, queries, labels):
  """The same, query by query; among equal cosines other classes come first."""
  alone, suffix = queries is None, "_cosine_leave_one_out" if queries is None else "_cosine"
  queries, labels = (reference, reference_labels) if alone else (queries, labels)
  reference, queries = (x / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (reference, queries))
  precisions, recalls = [], []
  for i, query in enumerate(queries):
    others = np.arange(len(reference)) != (i if alone else -1)
    cosine, right = (reference @ query)[others], (reference_labels == labels[i])[others]
    if right.any():
      right = right[np.lexsort((right, -cosine))]
      places = np.flatnonzero(right)
      precisions.append(np.mean(np.arange(1, len(places) + 1) / (places + 1)))
      recalls.append([right[:k].any() for k in KS])
  found = {f"recall{k}{suffix}": 100 * share for k, share in zip(KS, np.mean(recalls, axis=0), strict=True)}
  return found | {f"map{suffix}": 100 * np.mean(precisions), "share_retrievable": len(precisions) / len(queries)}


def images(kind: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
  rng = np.random.default_rng(seed)
  labels = np.append(rng.integers(0, 5, n - 1), 10 + seed)  # the last class has one image, and is in no other set
  if kind == "ties":
    return rng.choice([-0.5, 0.5], (n, 4)).astype(np.float32), labels  # cosines are multiples of a half
  return (rng.normal(size=(n, 8)) + np.eye(16, 8)[labels]).astype(np.float32), labels


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("kind", ["random", "ties"])
def test_every_query_by_itself(kind, alone, devices, monkeypatch):
  monkeypatch.setattr(retrieval, "QUERIES", 33)
  reference, (queries, labels) = images(kind, 150, 0), (None, None) if alone else images(kind, 70, 1)
  found = accuracy(make_mesh(jax.devices()[:devices]), *reference, queries, labels, KS)
  expected = plain(*reference, queries, labels)
  assert list(found) == list(expected) and found == pytest.approx(expected, rel=1e-5)
  assert found["share_retrievable"] == pytest.approx(149 / 150 if alone else 69 / 70)


def test_one_device_or_eight():
  reference = images("random", 150, 0)
  one, eight = (accuracy(make_mesh(jax.devices()[:n]), *reference, None, None, KS) for n in (1, 8))
  assert one == pytest.approx(eight, rel=1e-6)


def test_order_of_the_reference_does_not_count():
  features, labels = images("ties", 150, 0)
  order = np.random.default_rng(2).permutation(150)
  mesh = make_mesh()
  one, two = (accuracy(mesh, features[o], labels[o], None, None, KS) for o in (np.arange(150), order))
  assert one == pytest.approx(two, rel=1e-6)


def test_perfect_and_collapsed():
  mesh, labels = make_mesh(), np.arange(40) % 4
  perfect = accuracy(mesh, np.eye(4, dtype=np.float32)[labels], labels, None, None, (1,))
  assert list(perfect.values()) == [100, 100, 1]
  collapsed = accuracy(mesh, np.ones((40, 4), np.float32), labels, None, None, (1, 30))
  assert collapsed["recall1_cosine_leave_one_out"] == collapsed["recall30_cosine_leave_one_out"] == 0


def test_no_class_in_common():
  reference, labels = np.eye(4, dtype=np.float32), np.arange(4)
  assert accuracy(make_mesh(), reference, labels, None, None, (1,)) == {"share_retrievable": 0}
