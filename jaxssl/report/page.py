"""`report`: one web page, by itself, that shows whether a run learned, why not, and what; and compares runs."""

import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from jaxssl.core import log as runlog
from jaxssl.core import paths
from jaxssl.core.errors import UserError
from jaxssl.core.rng import generator
from jaxssl.evals.feature_stats import ROWS
from jaxssl.evals.load_run import LoadedRun, load
from jaxssl.report import attention, charts, curves, neighbors, spectrum, summary, tables, tsne
from jaxssl.report import attention as attend
from jaxssl.report.descriptions import escape
from jaxssl.workdir.records import RunRecord

MAPPED, LOOKED_AT = 1500, 8  # images on the map, and of a vision transformer's attention
REPORT = "report.html"
HERE = pathlib.Path(__file__).parent
Section = tuple[str, str]  # (what stands in the page, what belongs into its head)


def write_report(workdir: pathlib.Path, run: LoadedRun | None) -> None:
  """Writes report.html after training, of the newest checkpoint if `run` is None; logs a warning if that fails."""
  try:
    write([(workdir, run)], workdir / REPORT)
  except Exception as error:  # whatever it is, what was trained and measured stands
    runlog.LOG.warning("no report.html: %s: %s", type(error).__name__, " ".join(str(error).split()))
  else:
    runlog.LOG.info("what it learned, to be looked at: %s", workdir / REPORT)


def write(runs: Sequence[tuple[pathlib.Path, LoadedRun | None]], out: pathlib.Path) -> int:
  """Writes the page of some workdirs, and gives its bytes; a run that is not given opened is opened here, where possible.

  Raises UserError where a workdir holds no run, or `out` cannot be written.
  """
  records = [RunRecord(workdir) for workdir, _ in runs]
  if len({record.name for record in records}) < len(records):
    for record in records:
      record.name = str(record.workdir)
  made = [one(f"r{i}", record, run) for i, (record, (_, run)) in enumerate(zip(records, runs, strict=True))]
  body, styles = "", "".join(style for _, style in made)
  if len(records) == 1:
    title = records[0].name
    body = f"<h1>{escape(title)}</h1>{made[0][0]}"
  else:
    title = " and ".join(record.name for record in records) if len(records) < 4 else f"{len(records)} runs"
    body = f"<h1>{escape(title)}</h1>{compared(records)}"
    for record, (text, _) in zip(records, made, strict=True):
      body += f'<details class="run"><summary>{escape(record.name)}</summary>{text}</details>'
  page = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>{escape(title)}</title><style>{(HERE / 'page.css').read_text()}{styles}</style></head>\n"
    f"<body><main>{body}</main>\n<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
  )
  try:
    with paths.uploaded(out) as made:
      temporary = made.with_name(made.name + ".tmp")
      temporary.write_text(page, encoding="utf-8")
      temporary.replace(made)
  except OSError as error:
    raise UserError(f"--out {out} cannot be written: {error}") from error
  return len(page.encode())


def compared(records: Sequence[RunRecord]) -> str:
  """Makes what several runs share a page for."""
  what = "".join(f"<li><b>{escape(r.name)}</b>: {escape(summary.what(r))} {summary.health(r)}</li>" for r in records)
  return (
    f"<ul>{what}</ul>"
    + _block(
      "all",
      "Results side by side",
      "<p>Only numbers of the same protocol share a row. Bold: the best.</p>" + tables.side_by_side(records),
    )
    + _block("all", "Fields that differ", tables.differences(records))
    + _block("all", "Curves", curves.section("all", records))
  )


def one(key: str, record: RunRecord, run: LoadedRun | None) -> Section:
  """Makes everything about one run."""
  seen, style = looked(key, record, run)
  text = _block(key, "Evaluations", tables.evaluations(record))
  text += _block(key, "Curves", curves.section(key, [record]))
  text += seen
  text += _block(key, "Health", tables.health(record))
  text += _block(key, "Config", tables.config(record))
  ways = "".join(f'<a href="#{id}">{title}</a>' for id, title in re.findall(r'<section id="([^"]*)"><h2>([^<]*)', text))
  return f"{summary.section(record)}<nav>{ways}</nav>{text}", style


def looked(key: str, record: RunRecord, run: LoadedRun | None) -> Section:
  """Makes the sections that need images and weights; or says why they are missing."""
  try:
    run = run or load(record.workdir)
  except (UserError, OSError) as error:
    why = " ".join(str(error).split())
    missing = (
      "Neighbors, map, attention, similarities and spectrum are missing, since the run's images or weights cannot be opened"
    )
    return _block(key, "Images", f'<p class="missing">{missing}: {escape(why)}</p>'), ""
  asked = run.measure.splits.test or run.measure.splits.reference
  drawn = generator(run.measure.config.train.seed, "report/images").permutation(len(asked))
  some, few = asked.subset(np.sort(drawn[:ROWS])), asked.subset(np.sort(drawn[:MAPPED]))
  eight = asked.subset(drawn[:LOOKED_AT])
  text, style = "", ""
  maps = attend.attention_maps(run.subject, eight)
  sections: dict[str, Callable[[], Section | str]] = {
    "Nearest neighbors": lambda: neighbors.section(key, run, record),
    "Map": lambda: tsne.section(key, run, few, run.subject.features(few)),
    **({"Attention": lambda: attention.section(key, *maps)} if maps else {}),
    "Similarity and spectrum": lambda: spectrum.section(key, run, some),
  }
  for title, make in sections.items():
    try:
      made = make()
    except UserError as error:
      made = f'<p class="missing">Missing: {escape(str(error))}</p>'
    body, more = made if isinstance(made, tuple) else (made, "")
    text, style = text + _block(key, title, body), style + more
  return text, style


def _block(key: str, title: str, body: str) -> str:
  return f'<section id="{charts.slug(f"{key}-{title}".lower())}"><h2>{escape(title)}</h2>{body}</section>'
