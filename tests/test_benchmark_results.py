"""Benchmarks are resumed, skipped and rendered; docs/performance.md shows what the JSONs hold."""

import json

import pytest

from benchmarks import correctness, render, table
from benchmarks.results import ResultFile, Row, Skip, Target, Unavailable

HEADER = {
  "benchmark": "step",
  "machine": {"cpu": "A CPU", "cores": 2, "memory_gb": 8, "accelerator": None},
  "versions": {"python": "3.11.1", "jax": "0.10.2"},
  "commit": "abc",
  "dirty": "",
  "code": "123",
  "date": "2026-01-01T00:00:00+00:00",
}
TARGETS = [
  Target(key="fast*", number=0.5, source="a paper"),
  Target(key="fast", number=9, unit="images/s", source="", jax="0.1"),
]


def measure(path, cases, left=100.0, header=HEADER):
  """Runs cases as a benchmark does; returns the JSON."""
  file = ResultFile(path, header)
  for case in cases:
    table.run_case(file, case, TARGETS, left)
  return json.loads(path.read_text())


def case(key, *results, seconds=1.0, error=None):
  """Returns a case that yields results, then raises an error if there is one."""

  def run():
    yield from results
    if error:
      raise error

  return table.Case(key=key, run=run, cpu=seconds)


def row(key, value=2.0, **more):
  return Row(key=key, value=value, unit="images/s", **more)


def test_what_is_not_measured_is_named_and_the_rest_is_measured(tmp_path):
  cases = [
    case("slow", row("slow"), seconds=200),
    case("broken", row("half of it"), error=ValueError("no such thing\nand more")),
    case("absent", error=Unavailable("faiss is missing")),
    table.Case(key="gpu", run=list, gpu=1),
    case("fast", row("fast", peer="PyTorch", peer_value=4.0), Skip(key="fast: peer", reason="no torch")),
  ]
  document = measure(tmp_path / "step.json", cases)
  assert [r["key"] for r in document["rows"]] == ["half of it", "fast"] and document["done"] == ["fast"]
  assert {entry["key"]: entry["reason"] for entry in document["skipped"]} == {
    "slow": "takes about 200 s, 100 s left",
    "broken": "failed with ValueError: no such thing",
    "absent": "faiss is missing",
    "gpu": "needs an accelerator",
    "fast: peer": "no torch",
  }
  (target,) = document["rows"][1]["targets"]  # the other one is for another version of JAX: 0.1 is not 0.10
  assert target["met"] and target["number"] == 0.5 and document["rows"][1]["ratio"] == 0.5


def test_a_stopped_benchmark_keeps_its_rows_and_resumes(tmp_path):
  path = tmp_path / "step.json"
  with pytest.raises(KeyboardInterrupt):
    measure(path, [case("first", row("first", 1.0)), case("second", row("second", 1.0), error=KeyboardInterrupt())])
  stopped = json.loads(path.read_text())
  assert [r["key"] for r in stopped["rows"]] == ["first", "second"]
  assert stopped["skipped"] == [{"key": "second", "reason": "stopped before it ended"}]
  again = [case("first", row("first", 5.0)), case("second", row("second", 5.0))]
  resumed = measure(path, again)
  assert [(r["key"], r["value"]) for r in resumed["rows"]] == [("first", 1.0), ("second", 5.0)] and not resumed["skipped"]
  other = measure(path, again[1:], header={**HEADER, "commit": "def"})
  assert [r["key"] for r in other["rows"]] == ["second"]


def test_a_failing_test_is_counted_and_named():
  report = "<testsuites><testsuite><testcase name='a'/><testcase name='b'><failure/></testcase>"
  report += "<testcase name='c'><skipped/></testcase></testsuite></testsuites>"
  result = correctness.row("tests/x", report)
  assert (result.value, result.peer_value, result.note) == (1, 2, "1 failed: b; 1 skipped")


def test_folders_become_columns(tmp_path):
  for folder, commit, value in (("before", "old", 2.0), ("now", "new", 3.0)):
    (tmp_path / folder).mkdir()
    measured = [case("fast", row("fast", value, peer="PyTorch", peer_value=4.0))]
    measure(tmp_path / folder / "step.json", measured, header={**HEADER, "commit": commit})
  text = "Text.\n<!-- step on cpu: -->\n<!-- end -->\n<!-- step on gpu: -->\n<!-- end -->\nMore text.\n"
  page = render.page(text, ["before", "now"], tmp_path)
  lines = page.splitlines()
  assert lines[0] == "Text." and lines[-1] == "More text." and "<!-- step on cpu: before now -->" in lines
  assert "| row | 1: old | 2: new | 2 / 1 | peer | target |" in lines
  cells = "| fast | 2 images/s (0.5) | 3 images/s (0.75) | 1.50 | PyTorch: 4 images/s | ratio of at least 0.5: met |"
  assert cells in lines and any("A CPU, 2 cores" in line and "commit new" in line for line in lines)
  assert "Not measured yet: `python -m benchmarks.step`." in lines  # on a GPU
  assert render.page(page, [], tmp_path) == page
  (tmp_path / "now" / "step.json").unlink()
  with pytest.raises(SystemExit, match="now: has no step.json"):
    render.page(page, [], tmp_path)


def test_columns_with_one_difference_are_compared(tmp_path):
  versions = [("old", "0.10"), ("new", "0.10"), ("old", "0.12"), ("new", "0.12")]
  for value, (commit, jax) in enumerate(versions, 1):
    header = {**HEADER, "commit": commit, "versions": {"python": "3.11.1", "jax": jax}}
    (tmp_path / f"{commit}{jax}").mkdir()
    measure(tmp_path / f"{commit}{jax}" / "step.json", [case("fast", row("fast", float(value)))], header=header)
  page = render.page("<!-- step on cpu: -->\n<!-- end -->\n", [f"{commit}{jax}" for commit, jax in versions], tmp_path)
  assert "| 4: new, jax 0.12 | 2 / 1 | 3 / 1 | 4 / 2 | 4 / 3 | peer | target |" in page
  assert "| 2.00 | 3.00 | 2.00 | 1.33 |" in page


def test_the_page_shows_the_results():
  text = render.PAGE.read_text()
  assert text.count("<!-- end -->") > 3
  assert render.page(text) == text, "run python -m benchmarks.render"
