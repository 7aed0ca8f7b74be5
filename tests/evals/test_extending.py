"""The documented evaluation appears in results, report and model card."""

import numpy as np
import pytest

from jaxssl.evals import features
from jaxssl.export import model_card
from jaxssl.report import tables
from jaxssl.workdir import results
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir
from tests.evals.test_evaluator import opened
from tests.extending_page import example as code_of


@pytest.fixture
def example():
  exec(compile(code_of("Add an evaluation"), "norm.py", "exec"), {"__name__": "norm"})
  yield
  del features.EVALUATIONS["norm"], features.NEEDS["norm"]


def test_the_documented_evaluation_appears_in_results_report_and_card(example, tmp_path):
  run, evaluator = opened("device", "--config.evals.final=norm")
  extractor = evaluator.extractor(run.init().student, "student")
  measured = evaluator.measure(extractor, run.config.evals.final)
  assert extractor.test is not None
  assert [m.value for m in measured] == [pytest.approx(np.linalg.norm(extractor.test.x, axis=1).mean())]

  workdir = Workdir(tmp_path)
  workdir.write_config(run.config)
  results.add(workdir.results, 3, measured)
  assert "Norm of the features" in tables.evaluations(RunRecord(workdir))
  about = {"step": 3, "network": "student"}
  table = model_card.results_table(results.read(workdir.results), about)
  assert "| Norm of the features (feature_norm) |" in table and "norm L2, test test array, test images 60" in table
