import numpy as np
import pytest

from jaxssl.evals.rank import effective_rank
from tests.golden_files import cases

WITH_RANK = [(name, case) for name, case in cases("clustering_metrics").items() if "effective_rank" in case]


@pytest.mark.parametrize("name, case", WITH_RANK)
def test_effective_rank(name, case):
  assert effective_rank(case["features"]) == pytest.approx(float(case["effective_rank"]), rel=1e-6)


def test_bounds():
  rng = np.random.default_rng(0)
  assert effective_rank(np.zeros((5, 3))) == 1
  assert effective_rank(np.ones((50, 8))) == pytest.approx(1)
  assert 7.5 < effective_rank(rng.normal(size=(5000, 8))) <= 8
