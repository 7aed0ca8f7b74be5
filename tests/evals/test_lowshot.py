import numpy as np
import pytest

from jaxssl.core import UserError
from jaxssl.evals import lowshot
from tests.evals.fixtures import extractor, features

LABELS = np.repeat(np.arange(3), [200, 100, 30]).astype(np.int32)
REFERENCE = features(np.random.default_rng(0).normal(size=(330, 4)) + LABELS[:, None], LABELS, "reference")


@pytest.mark.parametrize("shots, sizes", [(0.01, [2, 1, 1]), (0.1, [20, 10, 3]), (1, [1, 1, 1]), (30, [30, 30, 30])])
def test_a_draw_is_balanced_or_proportional(shots, sizes):
  rows = lowshot.draw(REFERENCE, shots, 0)
  assert np.bincount(LABELS[rows]).tolist() == sizes and len(set(rows.tolist())) == sum(sizes)
  assert (rows == lowshot.draw(REFERENCE, shots, 0)).all()
  assert (rows != lowshot.draw(REFERENCE, shots, 1)).any()


@pytest.mark.parametrize("shots", [31, 0, -1])
def test_impossible_shots_are_an_error(shots):
  with pytest.raises(
    UserError, match=rf"evals\.lowshot\.shots={shots}: out of range; expected at most 30, the size of the smallest class"
  ):
    lowshot.draw(REFERENCE, shots, 0)


def test_measurements_are_mean_and_deviation_over_draws():
  queries = np.random.default_rng(1).normal(size=(90, 4)) + np.arange(90)[:, None] % 3
  given = extractor(REFERENCE.x, LABELS, queries, np.arange(90) % 3, lowshot={"shots": (0.1, 5), "draws": 4})
  percent, five = lowshot.measure(given)
  assert (percent.name, five.name) == ("lowshot_10percent_linear", "lowshot_5_linear")
  assert percent.std and five.std and 40 < five.value < 100
  expected = {"labeled": "5 of each class", "labeled_images": 15, "draws": 4, "reference": "images", "reference_images": 330}
  assert expected.items() <= five.protocol.items()
