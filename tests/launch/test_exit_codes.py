"""launch/common.sh: the exit codes are those of the command, and what follows each of them."""

import re

import pytest

from tests.launch.scripts import ROOT, follow


def test_the_codes_are_those_of_the_command():
  codes = pytest.importorskip("jaxssl.core.exit_codes")
  expected = {name: value for name, value in vars(codes).items() if name.isupper() and isinstance(value, int)}
  lines = re.findall(r"^readonly ([A-Z]+)=(\d+) *# .+$", (ROOT / "launch" / "common.sh").read_text(), re.MULTILINE)
  assert {name: int(value) for name, value in lines if name != "CALM"} == expected


@pytest.mark.parametrize("code", [0, 2, 3, 130])
def test_a_code_that_ends_the_run(code):
  assert follow(code) == ("stop", 5, "")


def test_a_saved_run_restarts_up_to_a_hundred_times():
  assert follow(75) == ("restart", 5, "restart 1 of --restarts=100")
  assert follow(75, before="used[restarts]=99;") == ("restart", 5, "restart 100 of --restarts=100")
  assert follow(75, before="used[restarts]=100;") == ("stop", 5, "giving up after --restarts=100")


@pytest.mark.parametrize("code", [1, 4, 129, 134, 137, 139, 255])
def test_a_crash_restarts_three_times_in_a_row_each_time_later(code):
  found = [follow(code, before="follow 1 0;" * earlier) for earlier in range(4)]
  assert [action for action, _, _ in found] == ["restart"] * 3 + ["stop"]
  assert [pause for _, pause, _ in found[:3]] == [5, 30, 180]
  assert found[3][2] == "giving up after --crashes=3"


def test_a_long_run_ends_the_row_of_crashes():
  three = "follow 1 0;" * 3
  assert follow(1, 599, three)[0] == "stop"
  assert follow(1, 600, three) == ("restart", 5, "restart 1 of --crashes=3")
  assert follow(1, 0, three + "follow 75 600;") == ("restart", 5, "restart 1 of --crashes=3")
  assert follow(1, 0, three + "follow 75 599;")[0] == "stop"
