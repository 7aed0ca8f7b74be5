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
