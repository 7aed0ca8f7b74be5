import jax
import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.evals import knn
from jaxssl.parallel.mesh import make_mesh
from tests.evals.fixtures import extractor
from tests.golden_files import cases, split

(CASES,) = split("knn", r"c\d+")
GOLDEN = cases("knn")
PROTOCOLS = {  # name -> (accuracies in percent, predictions), as the golden file names them
  "cosine": ("top1", 1, "pred_weighted"),
  "unweighted": ("isd_acc", 1, "pred_majority"),
  "euclidean": ("euclid_acc", 100, "pred_euclid"),
}


@pytest.mark.parametrize("name, devices", list(zip(CASES, (8, 1), strict=True)))
def test_accuracies_match_the_reference_in_every_protocol(name, devices, monkeypatch):
  case = GOLDEN[name]
  monkeypatch.setattr(knn, "PARTS", 2)
  monkeypatch.setattr(knn, "PART_QUERIES", 17)
  monkeypatch.setattr(knn, "CHUNK", 17)
  ks = tuple(int(k) for k in case["ks"])
  config = {"temperature": float(case["temperature"]), "k": ks, "unweighted_k": ks, "euclidean": ks}
  mesh = make_mesh(jax.devices()[:devices])
  results = knn.measure(
    extractor(case["train"], case["train_labels"], case["test"], case["test_labels"], mesh=mesh, knn=config)
  )
  assert [m.name for m in results] == [f"knn{k}_{protocol}" for protocol in PROTOCOLS for k in ks]
  expected = np.concatenate([case[accuracy] * factor for accuracy, factor, _ in PROTOCOLS.values()])
  np.testing.assert_allclose([m.value for m in results], expected, rtol=1e-7)  # the stored values are float32


@pytest.mark.parametrize("name", CASES)
def test_neighbors_scores_and_predictions_match_the_reference(name):
  case, mesh = GOLDEN[name], make_mesh(jax.devices()[:1])
  for protocol, (_, _, predictions) in PROTOCOLS.items():
    similarities, ids = knn.neighbors(mesh, case["train"], case["test"], case["nn20"].shape[1], protocol == "euclidean")
    if protocol != "euclidean":
      np.testing.assert_array_equal(ids, case["nn20"])
      np.testing.assert_allclose(similarities, case["sim20"], atol=1e-5)
    temperature = float(case["temperature"]) if protocol == "cosine" else None
    for i, k in enumerate(case["ks"].tolist()):
      if k <= ids.shape[1]:
        labels = case["train_labels"][ids[:, :k]]
        scores = knn.class_scores(similarities[:, :k], labels, int(case["num_classes"]), temperature)
        np.testing.assert_array_equal(scores.argmax(1), case[predictions][i])
        if protocol == "cosine":
          expected = case["score"][i]
          shares = (x / x.sum(1, keepdims=True) for x in (scores, expected))
          np.testing.assert_allclose(*shares, rtol=1e-4, atol=1e-4)


def test_votes_are_finite_at_low_temperatures():
  similarities, labels = np.array([[0.99, 0.985, 0.984, 0.983, 0.982]], np.float32), np.array([[2, 3, 3, 3, 3]])
  scores = knn.class_scores(similarities, labels, 4, 0.01)
  assert np.isfinite(scores).all() and scores.argmax() == 3


@pytest.mark.parametrize("euclidean", [False, True])
def test_leave_one_out_equals_a_plain_search_without_the_query(euclidean):
  features = np.random.default_rng(0).normal(3, 1, size=(60, 5)).astype(np.float32)
  features[7] = features[3]  # a duplicate is a neighbor; the query itself is not
  unit = features / np.linalg.norm(features, axis=1, keepdims=True)
  far = ((features[:, None] - features[None]) ** 2).sum(2) if euclidean else -unit @ unit.T
  np.fill_diagonal(far, np.inf)
  _, ids = knn.neighbors(make_mesh(), features, features, 4, euclidean, own=np.arange(60))
  np.testing.assert_array_equal(ids, np.argsort(far, axis=1, kind="stable")[:, :4])


@pytest.mark.parametrize("rows", [1, 3])
def test_every_row_of_a_small_reference_set_is_a_neighbor(rows):
  rng = np.random.default_rng(0)
  reference, queries = rng.normal(size=(rows, 4)).astype(np.float32), rng.normal(size=(9, 4)).astype(np.float32)
  similarities, ids = knn.neighbors(make_mesh(), reference, queries, rows)
  np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(rows), (9, 1)))
  unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, reference)]
  np.testing.assert_allclose(similarities, -np.sort(-unit[0] @ unit[1].T, axis=1), atol=1e-6)


@pytest.mark.parametrize("field, k", [("k", 8), ("unweighted_k", 9), ("euclidean", 8)])
def test_k_outside_of_the_reference_set_is_an_error(field, k):
  features = np.eye(8, dtype=np.float32)
  message = rf"evals\.knn\.{field}={k}: out of range; expected 1 to 7, the number of images to compare with"
  with pytest.raises(UserError, match=message):
    knn.measure(extractor(features, np.arange(8), knn={"k": (), field: (k,)}))


@pytest.mark.parametrize("alone", [False, True])
def test_groups_average_the_accuracies_of_their_classes(alone):
  rng = np.random.default_rng(0)
  reference, reference_labels = rng.normal(size=(80, 3)).astype(np.float32), np.arange(80) % 5
  queries = None if alone else rng.normal(size=(40, 3)).astype(np.float32)
  labels = reference_labels if alone else rng.choice(4, 40, p=[0.4, 0.3, 0.2, 0.1])  # none of class 4
  groups = {"head": np.array([0, 3]), "tail": np.array([1, 2, 4]), "none": np.array([7])}
  given = extractor(reference, reference_labels, queries, None if alone else labels, groups=groups, knn={"k": (1, 3)})
  measured = knn.measure(given)
  accuracies = {m.name: m.value for m in measured}
  assert {m.protocol["test"] for m in measured} == {"leave one out" if alone else "images"}
  name = "_cosine_leave_one_out" if alone else "_cosine"
  assert list(accuracies) == [f"knn{k}{name}{group}" for k in (1, 3) for group in ("", "_head", "_tail")]
  queried = reference if queries is None else queries
  cosines = queried @ (reference / np.linalg.norm(reference, axis=1, keepdims=True)).T
  if alone:
    np.fill_diagonal(cosines, -np.inf)
  right = reference_labels[cosines.argmax(1)] == labels
  for group, classes in (("head", [0, 3]), ("tail", [1, 2, 4] if alone else [1, 2])):
    assert accuracies[f"knn1{name}_{group}"] == pytest.approx(100 * np.mean([right[labels == c].mean() for c in classes]))
  assert accuracies[f"knn1{name}"] == pytest.approx(100 * right.mean())
