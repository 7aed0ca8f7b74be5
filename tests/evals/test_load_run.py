"""Changes of a run's config that its evaluations accept."""

import pytest

from jaxssl.core import UserError
from jaxssl.evals.load_run import read_config
from jaxssl.workdir.workdir import Workdir
from tests import flags
from tests.tiny_run import ROOT


@pytest.fixture
def run(tmp_path):
  """Writes the config of a run that held out a fifth."""
  config, _ = flags.parse([f"--config={ROOT}/configs/nnboot.py:runlocal", "--config.evals.holdout=0.2"])
  Workdir(tmp_path).write_config(config)
  return tmp_path


@pytest.mark.parametrize(
  "changes, share",
  [
    ({}, 0.2),
    ({"evals.holdout": 0.0}, 0.0),
    ({"data.path": "other"}, 0.0),  # other images, which may have a test set
    ({"data.path": "other", "evals.holdout": 0.3}, 0.3),
  ],
)
def test_held_out_images_stay_those_of_the_run(run, changes, share):
  assert read_config(run, changes).evals.holdout == share


def test_images_that_were_trained_on_are_not_tested_on(run):
  match = "evals.holdout=0.3: would test on images that the run was trained on; expected 0.2, or 0 for no test set"
  with pytest.raises(UserError, match=match):
    read_config(run, {"evals.holdout": 0.3})
