"""One table of exit codes: the launchers' numbers and the documentation are those of `core.exit_codes`."""

import pathlib
import re

import pytest

from jaxssl.core import Unavailable, UserError, exit_codes
from jaxssl.parallel import preemption
from jaxssl.train.diagnostics import Stopped

ROOT = pathlib.Path(__file__).parents[2]
CODES = {name: code for name, code in vars(exit_codes).items() if isinstance(code, int)}


def test_every_code_has_a_meaning_and_no_two_are_the_same():
  assert CODES == {"DONE": 0, "FAILED": 1, "MISTAKE": 2, "DIVERGED": 3, "AGAIN": 75, "INTERRUPTED": 130}
  assert list(exit_codes.MEANINGS) == list(CODES.values())


def test_the_launchers_use_the_same_numbers_by_the_same_names():
  text = (ROOT / "launch/common.sh").read_text()
  theirs = {name: int(code) for name, code in re.findall(r"\b([A-Z]+)=(\d+)\b", text) if name in CODES}
  assert theirs == {name: CODES[name] for name in theirs}
  assert {"FAILED", "MISTAKE", "DIVERGED", "AGAIN"} <= set(theirs), "launch/common.sh lacks codes by which it decides"


@pytest.mark.parametrize("code", exit_codes.MEANINGS)
def test_the_documentation_has_the_meanings(code):
  meaning, rerun = exit_codes.MEANINGS[code]
  assert f"| {code} | {meaning} | {rerun} |".replace("  |", " |") in (ROOT / "docs/reliability.md").read_text()


def test_errors_end_with_their_codes():
  assert UserError("a").exit_code == exit_codes.MISTAKE and Stopped("a").exit_code == exit_codes.DIVERGED
  assert Unavailable("a").exit_code == preemption.AGAIN == exit_codes.AGAIN
  assert not issubclass(Unavailable, UserError | OSError | ValueError | RuntimeError)
