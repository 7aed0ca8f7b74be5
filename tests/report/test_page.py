"""The page shows the contents of a run's files, is self-contained, and tolerates missing files."""

import html.parser
import json
import pathlib
import re
import shutil

import numpy as np
import pytest

from jaxssl import main as command
from jaxssl.config.schema import Config
from jaxssl.core import log
from jaxssl.core.metric import Measurement, Metric, protocol_text
from jaxssl.evals.feature_stats import EFFECTIVE_RANK, figures, unit
from jaxssl.evals.load_run import load
from jaxssl.report import neighbors, page, summary, tables
from jaxssl.report.groups import grouped
from jaxssl.workdir import results
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir
from tests.report.conftest import NASTY
from tests.test_main import lines

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]  # one worker trains the shared runs
VOID = {"meta", "br", "input", "img"}


class Parsed(html.parser.HTMLParser):
  """A page's ids, addresses, numbers and text; raises if tags do not match."""

  def __init__(self, text: str):
    super().__init__()
    self.ids, self.addresses, self.values, self.text, self._open = [], set(), [], "", []
    self.feed(text)
    self.close()
    assert not self._open

  def handle_starttag(self, tag, attributes):
    if tag not in VOID:
      self._open.append(tag)
    for name, value in attributes:
      if name == "id":
        self.ids.append(value)
      if name in ("href", "src", "data", "action", "poster", "srcset"):
        self.addresses.add(value)
      if tag == "data" and name == "value":
        self.values.append(float(value))

  def handle_endtag(self, tag):
    assert self._open.pop() == tag

  def handle_data(self, data):
    self.text += data


def parsed(path: pathlib.Path) -> Parsed:
  """Parses a page and asserts that it is self-contained."""
  text = path.read_text(encoding="utf-8")
  report = Parsed(text)
  links = {address[1:] for address in report.addresses if not address.startswith("data:image/")}
  assert links <= set(report.ids) and len(report.ids) == len(set(report.ids)) > 0
  assert not re.search(r"https?:|@import|url\(", text)
  return report


def measured(workdir: pathlib.Path) -> list[dict]:
  return json.loads((workdir / "results.json").read_text())["measurements"]


def test_the_page_of_a_labeled_run_shows_every_measurement(labeled):
  report, measurements = parsed(labeled / "report.html"), measured(labeled)
  last = max(m["step"] for m in measurements)
  metrics = json.loads((labeled / "results.json").read_text())["metrics"]
  compared = {name for name, metric in metrics.items() if metric["higher_is_better"] is not None}
  expected = [m["value"] for m in measurements if m["step"] == last or (m["step"] == 0 and m["name"] in compared)]
  assert sorted(report.values) == sorted(expected) and not any("std" in m for m in measurements)
  assert all(m["name"] in report.text and protocol_text(m["protocol"]) in report.text for m in measurements)
  for title in ("Did it learn?", "Nearest neighbors", "How they changed", "Bootstrapped pairs", "Map", "Similarity"):
    assert title in report.text
  text = (labeled / "report.html").read_text()
  assert text.index("<h2>Evaluations</h2>") < text.index("<h2>Curves</h2>") < text.index("<h2>Nearest neighbors</h2>")
  assert text.count("<circle") == 30 and 'class="same"' in text and "Attention" not in text
  assert report.text.count("4 x 4 patches") == 8
  assert NASTY not in text and NASTY in report.text and "run <1>" not in text and "run <1>" in report.text


def test_the_page_of_an_unlabeled_run_shows_attention_and_clusters(plain):
  report, text = parsed(plain / "report.html"), (plain / "report.html").read_text()
  assert "It did not collapse" in report.text or "collapsed" in report.text
  assert text.index("<h2>Nearest neighbors</h2>") < text.index("<h2>Evaluations</h2>") < text.index("<h2>Curves</h2>")
  assert "Attention" in report.text and "head 1" in report.text and "Bootstrapped pairs" not in report.text
  assert "<h2>Patches</h2>" in text and report.text.count("7 x 7 patches") == 8
  assert text.count("<circle") == 66 and "cluster 1" in report.text and 'class="same"' not in text
  assert "two images" in report.text and "different class" not in report.text


def test_missing_and_truncated_files_are_reported(labeled, tmp_path, fails):
  shutil.copytree(labeled, tmp_path / "run")
  config = json.loads((tmp_path / "run/config.json").read_text())
  config["data"]["path"] = "/nowhere/at/all"
  (tmp_path / "run/config.json").write_text(json.dumps(config))
  (tmp_path / "run/alerts.jsonl").write_text("")
  assert command.main(["report", f"--workdir={tmp_path / 'run'}"]) == 0
  gone = parsed(tmp_path / "run/report.html")
  assert "missing" in gone.text and "/nowhere/at/all" in gone.text and "No alerts" in gone.text
  assert sorted(gone.values) == sorted(parsed(labeled / "report.html").values)

  (tmp_path / "run/results.json").unlink()
  shutil.rmtree(tmp_path / "run/checkpoints")
  whole = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
  (tmp_path / "run/metrics.jsonl").write_text("\n".join(whole[:3]) + '\n{"step": 3, "lo')
  (tmp_path / "run/alerts.jsonl").write_text(
    json.dumps({"step": 2, "alert": "<slow>", "reason": "no <i>", "active": True}) + "\n"
  )
  assert command.main(["report", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'x.html'}"]) == 0
  stopped = parsed(tmp_path / "x.html")
  assert "it stopped, or still runs" in stopped.text and "Nothing has been measured yet" in stopped.text
  assert "<slow>" in stopped.text and "no <i>" in stopped.text and "holds no checkpoint" in stopped.text

  assert stopped.text.index("results.json is missing: there are no evaluations") < stopped.text.index("Did it learn?")

  for file in ("metrics.jsonl", "neighbors.jsonl", "alerts.jsonl", "train.log"):
    (tmp_path / "run" / file).unlink()
  missing = f"--workdir {tmp_path / 'run'}: nothing to report, since metrics.jsonl and results.json are missing"
  fails(["report", f"--workdir={tmp_path / 'run'}", f"--out={tmp_path / 'bare.html'}"], missing)
  assert not (tmp_path / "bare.html").exists()


def test_compared_runs_share_a_table_and_list_differing_fields(labeled, tmp_path):
  for name, lr, shift in (("one", 0.1, 0.0), ("two", 0.2, 5.0), ("three", 0.1, 0.0)):
    (tmp_path / name).mkdir()
    config = json.loads((labeled / "config.json").read_text())
    config["optim"]["lr"] = lr
    config["data"]["path"] = "/nowhere"
    config["method"] |= {"only": 1} if name == "two" else {}
    (tmp_path / name / "config.json").write_text(json.dumps(config))
    document = json.loads((labeled / "results.json").read_text())
    for m in document["measurements"]:
      m["value"] += shift
    (tmp_path / name / "results.json").write_text(json.dumps(document))
    few = [{key: line[key] for key in ("step", "epoch", "loss") if key in line} for line in lines(labeled)]
    (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in few))  # each metric is a chart
  records = [RunRecord(Workdir(tmp_path / name)) for name in ("one", "two", "three")]
  fields = re.findall(r"<th><code>(.*?)</code></th>(.*?)</tr>", tables.differences(grouped(records)))
  cells = {name: re.findall(r"<td[^>]*>(?:<code>)?([^<]+)", row) for name, row in fields}
  assert cells == {"optim.lr": ["0.1", "0.2", "0.1"], "method.only": ["—", "1", "—"]}
  table = tables.side_by_side(grouped(records))
  best = {m["value"] + 5 for m in measured(labeled) if m["evaluation"] in ("knn", "linear")}
  shown = {float(x) for x in re.findall(r'class="best"><data value="([^"]+)"', table)}
  assert shown and shown <= best

  out = tmp_path / "compared.html"
  assert command.main(["report", "--workdir", *(str(r.workdir.folder) for r in records), f"--out={out}"]) == 0
  report = parsed(out)
  assert report.text.index("Results side by side") < report.text.index("Fields that differ") < report.text.index("Evaluations")
  assert out.read_text().count('<details class="run">') == 3

  question = "Which run is better? Without labels"
  assert question not in report.text
  for record in records:
    document = json.loads(record.workdir.results.read_text())
    document["measurements"] = [m for m in document["measurements"] if m["evaluation"] == "quality"]
    record.workdir.results.write_text(json.dumps(document))
  assert command.main(["report", "--workdir", *(str(r.workdir.folder) for r in records), f"--out={out}"]) == 0
  assert question in parsed(out).text


def test_chosen_values_are_shown_and_do_not_split_rows(tmp_path):
  """Two runs whose linear probes chose other penalties share the row of the probe."""
  linear = Metric(name="linear_lbfgs", title="Linear classifier", unit="%", higher_is_better=True, group="Accuracy")
  for name, penalty, value in (("one", 0.01, 91.5), ("two", 0.0001, 92.25)):
    workdir = Workdir(tmp_path / name)
    workdir.stored()
    workdir.write_config(Config())
    probe = {"metric": linear, "protocol": {"classifier": "logistic regression", "test_images": 100}, "evaluation": "linear"}
    results.add(
      workdir.results, 8, [Measurement(**probe, value=value, subject="teacher", chosen={"penalty": penalty})], finished=True
    )
    results.add(workdir.results, 0, [Measurement(**probe, value=80.0, subject="untrained", chosen={"penalty": 1.0})])
  records = [RunRecord(Workdir(tmp_path / name)) for name in ("one", "two")]
  table = tables.side_by_side(grouped(records))
  assert table.count('<tr class="how">') == 1 and table.count("<code>linear_lbfgs</code>") == 1
  assert re.findall(r'data value="([^"]+)"', table) == ["91.5", "92.25"] and "untrained 80.0" in table
  assert "penalty 0.01" in table and "penalty 0.0001" in table and 'class="best"><data value="92.25"' in table
  answer, _, tiles = summary.section(records[0]).partition('class="tiles"')
  assert "Yes: a linear classifier on its features gives the class of 91.5% of the images, 11.5 points above" in answer
  assert "<strong>91.50%</strong>" in tiles and "<span>untrained</span>" in tiles and "<span>80.00</span>" in tiles
  alone = tables.evaluations(records[0])
  assert alone.count('<tr class="how">') == 1 and re.findall(r'data value="([^"]+)"', alone) == ["91.5", "80.0"]


def test_neighbors_are_the_nearest(labeled):
  first, last = (json.loads(line) for line in (labeled / "neighbors.jsonl").read_text().splitlines())
  assert (first["epoch"], last["epoch"]) == (0, 1) and first["images"] == last["images"]
  run = load(labeled)
  x = unit(run.extractor.reference.x)
  cosines = x @ x.T
  np.fill_diagonal(cosines, -2)
  for row, near, similar in zip(last["images"], last["neighbors"], last["similarities"], strict=True):
    np.testing.assert_allclose(similar, np.sort(cosines[row])[::-1][:8], atol=1e-3)
    np.testing.assert_allclose(cosines[row][near], similar, atol=1e-3)
  record = RunRecord(Workdir(labeled))
  record.neighbors.insert(0, first | {name: first[name][:1] for name in ("images", "neighbors", "similarities")})
  assert "How they changed" in neighbors.section(run, record)  # lines of other images are left out
  pairs = np.array(last["partners"])
  assert len(pairs) and (pairs[:, 0] != pairs[:, 1]).all()
  # the untrained network is rebuilt exactly
  values = {(m["name"], m["subject"]): m["value"] for m in measured(labeled)}
  assert run.untrained.test is not None
  again = figures(run.untrained.test.x)
  assert again[EFFECTIVE_RANK] == pytest.approx(values["effective_rank", "untrained"], rel=1e-4)


def test_a_failed_report_is_logged_in_one_line(tmp_path, monkeypatch, capfd):
  log.start(None)
  monkeypatch.setattr(page, "write", lambda *_: 1 / 0)
  page.write_report(Workdir(tmp_path), None)
  assert capfd.readouterr().err == "no report.html: ZeroDivisionError: division by zero\n"
