"""The head of a report states what the accuracy was measured on."""

import pytest

from jaxssl.config.schema import Config, EvalsConfig
from jaxssl.core.metric import Metric
from jaxssl.report import summary
from jaxssl.workdir.records import Final, RunRecord
from jaxssl.workdir.workdir import Workdir


@pytest.mark.parametrize(
  "protocol, text",
  [
    ({"test": "birds"}, "give the class of 50.00% of the images;"),
    ({"test": "leave one out"}, "give the class of 50.00% of the images, each compared with the others;"),
    ({"test": "birds", "test_held_out": 0.2}, "give the class of 50.00% of the held-out images;"),
  ],
)
def test_the_answer_names_the_images(protocol, text):
  metric = Metric(name="knn1_cosine", title="k-NN")
  final = Final(step=1, name=metric.name, subject="teacher", value=50.0, protocol=protocol, metric=metric, baselines={})
  assert text in summary.with_labels(final)


def test_the_overview_states_the_share_that_is_held_out(tmp_path):
  for share, text in ((0.2, "on mnist5k, without the 20% of each class that are held out to test on: "), (0.0, "on mnist5k: ")):
    workdir = Workdir(tmp_path / str(share))
    workdir.stored()
    workdir.write_config(Config(evals=EvalsConfig(holdout=share)))
    assert text in summary.overview(RunRecord(workdir))
