"""Folders that cannot be the workdir of a run."""

import pytest

from jaxssl.config.schema import Config
from jaxssl.core import UserError
from jaxssl.workdir.workdir import Workdir


def test_a_file_is_an_error(tmp_path):
  (tmp_path / "a").touch()
  with pytest.raises(UserError, match="--workdir .*/a is a file; expected a folder"):
    Workdir(tmp_path / "a").stored()
  with pytest.raises(UserError, match="--workdir .*/a/b cannot be used: Not a directory; use another"):
    Workdir(tmp_path / "a/b").stored()


def test_checkpoints_of_an_unknown_run_are_not_continued(tmp_path):
  workdir = Workdir(tmp_path)
  workdir.checkpoints.mkdir()
  assert workdir.stored() is None
  (workdir.checkpoints / "5").mkdir()
  with pytest.raises(UserError, match="holds checkpoints but no config.json, .*; restore that file, or use another --workdir"):
    workdir.stored()
  workdir.write_config(Config())
  assert workdir.stored() == Config()
