"""The size of resident images follows from the views if the images differ in size."""

import dataclasses
import logging

import numpy as np
import pytest

from jaxssl.config.schema import Config, DataConfig, ViewConfig
from jaxssl.core.log import LOG
from jaxssl.data import resident_size
from jaxssl.data.arrays import ArraySource
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.train.setup import Experiment
from jaxssl.workdir.workdir import Workdir
from tests import flags
from tests.data.fixtures import Images, coded, exif, flat, folder, photo
from tests.tiny_run import ROOT, TINY

VIEWS = {"local": ViewConfig(size=14), "global": ViewConfig(size=30)}
SAME, OTHER = Images([flat(k, (16, 16)) for k in range(5)]), Images([flat(1, (16, 16))] * 4 + [flat(2, (16, 20))])


@pytest.fixture
def logged(caplog, monkeypatch):
  """Captures what is logged."""
  monkeypatch.setattr(LOG, "propagate", True)  # a command of another test may have switched it off
  caplog.set_level(logging.INFO, LOG.name)
  return caplog


def settled(*sources, **fields):
  return resident_size.settled(DataConfig(**fields), VIEWS, sources).resident_size


def test_images_of_several_sizes_get_five_quarters_of_the_largest_view(logged):
  assert settled(SAME, OTHER) == 38  # round(37.5)
  [line] = logged.records
  expected = "data.resident_size=38: images differ in size (made 0 is 16 x 16, made 4 is 20 x 16); 5/4 of views.global.size=30"
  assert (line.levelname, line.getMessage()) == ("INFO", expected)


def test_images_of_one_size_stay_as_they_are(logged):
  assert settled(SAME, ArraySource(np.zeros((3, 9, 9, 3), np.uint8))) == 0 and not logged.records


def test_a_rotation_in_exif_counts(logged):
  upright, turned = (coded(photo(0, 40, 60), exif=exif(turn)) for turn in (1, 6))
  assert settled(Images([upright, upright])) == 0 and settled(Images([upright, turned])) == 38


def test_images_on_the_host_and_a_given_size_are_not_read(logged):
  source = Images([None])
  assert settled(source, placement="host") == 0 and settled(source, resident_size=30) == 30
  assert not source.reads and not logged.records


def test_a_size_below_the_largest_view_is_a_warning(logged):
  assert settled(SAME, resident_size=29) == 29
  [line] = logged.records
  assert line.levelname == "WARNING"
  assert line.getMessage().startswith("data.resident_size=29 is smaller than views.global.size=30: crops are enlarged")


def test_many_images_are_compared_only_until_two_differ():
  source = Images([flat(1, (16, 16 + k % 2)) for k in range(5000)])
  assert settled(source) == 38 and source.reads <= 3 * resident_size._AHEAD


def test_a_run_resumes_with_the_size_that_it_chose(tmp_path):
  config = Config(data=DataConfig(), views=VIEWS)
  chosen = dataclasses.replace(config, data=DataConfig(resident_size=38))
  Workdir(tmp_path).write_config(chosen)
  assert Workdir(tmp_path).settled(config, chosen) == chosen == Workdir(tmp_path).stored()


@pytest.mark.slow
@pytest.mark.usefixtures("one_device")
def test_a_run_records_the_size_for_training_and_evaluations(tmp_path):
  path = folder(tmp_path / "images", {f"{k:02}.png": flat(k, (40 + k % 2, 48)) for k in range(40)})
  words = [f"--config={ROOT}/configs/nnboot.py:runlocal", "--config.data.limit=0", *TINY]
  config, _ = flags.parse([*words, "--config.data.source=folder", f"--config.data.path={path}"])
  run = Experiment(config, tmp_path)
  assert config.data.resident_size == 0 and run.config.data.resident_size == 35  # 5/4 of 28
  assert run.train.resident is not None and run.train.resident.shape[:3] == (40, 35, 35)
  assert Preprocessing.of(run.config).resident_size == 35
