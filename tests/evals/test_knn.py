import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl import parallel
from jaxssl.evals import knn
from jaxssl.types import UserError
from tests.golden_files import cases, split

(CASES,) = split("knn", r"c\d+")
GOLDEN = cases("knn")


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("name", CASES)
def test_weighted_knn(name, devices, monkeypatch):
  case = GOLDEN[name]
  monkeypatch.setattr(knn, "QUERIES", 33)
  monkeypatch.setattr(knn, "CHUNK", 17)
  mesh = parallel.make_mesh(jax.devices()[:devices])
  ks = tuple(int(k) for k in case["ks"])
  found = knn.accuracy(
    mesh, case["train"], case["train_labels"], case["test"], case["test_labels"], ks, float(case["temperature"])
  )
  assert list(found) == [f"knn{k}_cosine" for k in ks]
  np.testing.assert_allclose(list(found.values()), case["top1"], rtol=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_neighbors_and_scores(name):
  case = GOLDEN[name]
  mesh = parallel.make_mesh(jax.devices()[:1])
  bank = case["train"] / np.linalg.norm(case["train"], axis=1, keepdims=True)
  usable = np.ones(len(bank), bool)
  similarities, ids = knn.neighbors(mesh, bank, usable, case["test"], case["nn20"].shape[1])
  np.testing.assert_array_equal(ids, case["nn20"])
  np.testing.assert_allclose(similarities, case["sim20"], atol=1e-5)
  checked = 0
  for i, k in enumerate(int(k) for k in case["ks"]):
    if k <= ids.shape[1]:
      labels = jnp.asarray(case["train_labels"][np.asarray(ids[:, :k])])
      scores = knn.class_scores(similarities[:, :k], labels, int(case["num_classes"]), float(case["temperature"]))
      np.testing.assert_allclose(scores, case["score"][i], rtol=1e-4, atol=1e-4)
      np.testing.assert_array_equal(scores.argmax(1), case["pred_weighted"][i])
      checked += 1
  assert checked


def test_leave_one_out_is_the_plain_search_without_oneself():
  rng = np.random.default_rng(0)
  features = rng.normal(size=(60, 5)).astype(np.float32)
  features[7] = features[3]  # a twin is a neighbour; oneself is not
  labels = rng.integers(0, 3, 60).astype(np.int32)
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  similarities = unit @ unit.T
  np.fill_diagonal(similarities, -np.inf)
  order = np.argsort(-similarities, axis=1, kind="stable")[:, :4]
  votes = np.zeros((60, 3))
  for row in range(60):
    np.add.at(votes[row], labels[order[row]], np.exp(similarities[row, order[row]] / 0.07))
  mesh = parallel.make_mesh()
  found = knn.accuracy(mesh, features, labels, None, None, (4,), 0.07)
  assert found == {"knn4_cosine_leave_one_out": pytest.approx(100 * (votes.argmax(1) == labels).mean())}


def test_k_larger_than_the_bank_is_an_error():
  with pytest.raises(UserError, match=r"evals\.knn\.k=9 is not allowed; the training split has 8 pictures"):
    knn.accuracy(parallel.make_mesh(), np.eye(8, dtype=np.float32), np.arange(8), np.eye(8), np.arange(8), (9,), 0.07)


@pytest.mark.parametrize("alone", [False, True])
def test_groups_average_the_accuracies_of_their_classes(alone):
  rng = np.random.default_rng(0)
  bank, bank_labels = rng.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 5
  queries = None if alone else rng.normal(size=(40, 3)).astype(np.float32)
  labels = bank_labels if alone else rng.choice(4, 40, p=[0.4, 0.3, 0.2, 0.1])  # none of class 4
  groups = {"large": np.array([0, 3]), "rare": np.array([1, 2, 4]), "none": np.array([7])}
  found = knn.accuracy(parallel.make_mesh(), bank, bank_labels, queries, None if alone else labels, (1, 3), 0.07, groups)
  name = "_cosine_leave_one_out" if alone else "_cosine"
  assert list(found) == [f"knn{k}{name}{group}" for k in (1, 3) for group in ("", "_large", "_rare")]
  shown = bank if queries is None else queries
  cosines = shown @ (bank / np.linalg.norm(bank, axis=1, keepdims=True)).T
  if alone:
    np.fill_diagonal(cosines, -np.inf)
  right = bank_labels[cosines.argmax(1)] == labels
  for group, classes in (("large", [0, 3]), ("rare", [1, 2, 4] if alone else [1, 2])):
    assert found[f"knn1{name}_{group}"] == pytest.approx(100 * np.mean([right[labels == c].mean() for c in classes]))
  assert found[f"knn1{name}"] == pytest.approx(100 * right.mean())
