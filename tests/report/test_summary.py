"""The head of a report states what a run was trained on."""

from jaxssl.config.schema import Config, EvalsConfig
from jaxssl.report import summary
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir


def test_the_overview_states_the_share_that_is_held_out(tmp_path):
  for share, text in ((0.2, "on mnist5k, without the 20% of each class that are held out to test on: "), (0.0, "on mnist5k: ")):
    workdir = Workdir(tmp_path / str(share))
    workdir.stored()
    workdir.write_config(Config(evals=EvalsConfig(holdout=share)))
    assert text in summary.overview(RunRecord(workdir))
