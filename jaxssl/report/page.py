"""Writes a self-contained web page about one run, or a comparison of several."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxssl.core import LOG, UserError, atomic, paths, retry
from jaxssl.core.rng import generator
from jaxssl.evals.feature_stats import CROPS_ALIKE, ROWS
from jaxssl.evals.load_run import LoadedRun, load
from jaxssl.report import attention, curves, neighbors, pca_maps, spectrum, summary, tables, tsne
from jaxssl.report.groups import grouped, named_records
from jaxssl.report.text import escape
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir

MAPPED, ATTENDED = 1500, 8  # images on the map; images with maps of attention and of patches
NEIGHBORS = "Nearest neighbors"  # the title of a block, which comes first if there are no labels
WITHOUT_LABELS = (  # measured: docs/results.md, "Which numbers without labels choose the better run?"
  f"Which run is better? Without labels, prefer a higher &ldquo;{CROPS_ALIKE.title}&rdquo;: in short runs on CIFAR-10 (JPEG), "
  "it chose the more accurate of two in about three of four pairs; effective rank and RankMe hardly exceeded chance. "
  "Compare the nearest neighbors of the runs, too."
)
HERE = pathlib.Path(__file__).parent


def write_report(workdir: Workdir, run: LoadedRun | None) -> None:
  """Writes the report after training, of the newest checkpoint if `run` is None; logs a warning if that fails."""
  try:
    write([(workdir, run)], workdir.report)
  except Exception as error:  # the results of training are complete without a report
    LOG.warning("no %s: %s: %s", workdir.report.name, type(error).__name__, " ".join(str(error).split()))
  else:
    LOG.info("report: %s", workdir.report)


def write(runs: Sequence[tuple[Workdir, LoadedRun | None]], out: pathlib.Path) -> int:
  """Writes the page of some workdirs and returns its size in bytes; runs that are None are loaded here if possible.

  Raises UserError if a workdir holds no run, or `out` cannot be written.
  """
  records = named_records([workdir for workdir, _ in runs])
  bodies = []
  for record in records:
    require_something(record)
  for i, (record, (_, run)) in enumerate(zip(records, runs, strict=True)):
    blocks = _from_images(record, run)
    first = {NEIGHBORS: blocks.pop(NEIGHBORS)} if NEIGHBORS in blocks and summary.is_without_labels(record) else {}
    numbers = {"Evaluations": tables.evaluations(record), "Other images": tables.other_images(record)}
    blocks = {**first, **numbers, "Curves": curves.section([record]), **blocks}
    blocks |= {"Alerts": tables.alerts(record), "Changed fields": tables.history(record), "Config": tables.config(record)}
    bodies.append(summary.section(record) + _sections(f"r{i}", blocks))
  title = " and ".join(record.name for record in records) if len(records) < 4 else f"{len(records)} runs"
  body = bodies[0]
  if len(records) > 1:
    body = _compared(records)
    for record, text in zip(records, bodies, strict=True):
      body += f'<details class="run"><summary>{escape(record.name)}</summary>{text}</details>'
  page = (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f"<title>{escape(title)}</title><style>{(HERE / 'page.css').read_text()}</style></head>\n"
    f"<body><main><h1>{escape(title)}</h1>{body}</main>\n<script>{(HERE / 'page.js').read_text()}</script></body></html>\n"
  )
  try:
    with paths.uploaded(out) as file:
      atomic.write_text(file, page)
  except OSError as error:
    raise retry.failure(f"--out {out} cannot be written", error) from error
  return len(page.encode())


def require_something(record: RunRecord) -> None:
  """Raises UserError if a run has left nothing to report: neither logged steps nor measurements."""
  files = (record.workdir.metrics, record.workdir.results)
  if not any(file.exists() for file in files):
    names = " and ".join(file.name for file in files)
    raise UserError(f"--workdir {record.workdir.folder}: nothing to report, since {names} are missing; train there first")


def _compared(records: Sequence[RunRecord]) -> str:
  groups = grouped(records)
  items = "".join(f"<li><b>{escape(record.name)}</b>: {summary.short(record)}</li>" for record in records)
  hint = "<p>Numbers share a row only if their protocols are the same. Bold: the best.</p>"
  if all(map(summary.is_without_labels, records)):
    hint += f"<p>{WITHOUT_LABELS}</p>"
  blocks = {
    "Results side by side": hint + tables.side_by_side(groups),
    "Fields that differ": tables.differences(groups),
    "Curves": curves.section(records),
  }
  return f"<ul>{items}</ul>{_sections('all', blocks)}"


def _from_images(record: RunRecord, run: LoadedRun | None) -> dict[str, str]:
  """Returns the blocks that need images and weights, by title; or the reason why they are missing."""
  try:
    run = run or load(record.workdir.folder)
    splits = run.evaluator.datasets
  except (UserError, OSError) as error:
    missing = (
      "Neighbors, map, attention, patches, similarities and spectrum are missing: the run's images or weights cannot be opened"
    )
    return {"Images": f'<p class="missing">{missing}: {escape(" ".join(str(error).split()))}</p>'}
  queries = splits.test or splits.reference
  drawn = generator(run.config.train.seed, "report/images").permutation(len(queries))
  sections: dict[str, Callable[[], str]] = {
    NEIGHBORS: lambda: neighbors.section(run, record),
    "Map": lambda: tsne.section(run, queries.subset(np.sort(drawn[:MAPPED]))),
    "Attention": lambda: attention.section(run.extractor, queries.subset(drawn[:ATTENDED])),
    "Patches": lambda: pca_maps.section(run.extractor, queries.subset(drawn[:ATTENDED])),
    "Similarity and spectrum": lambda: spectrum.section(run, queries.subset(np.sort(drawn[:ROWS]))),
  }
  blocks = {}
  for title, make in sections.items():
    try:
      blocks[title] = make()
    except UserError as error:
      blocks[title] = f'<p class="missing">Missing: {escape(str(error))}</p>'
  return blocks


def _sections(key: str, blocks: Mapping[str, str]) -> str:
  """Returns blocks of HTML by title, after links to all of them; empty ones are left out. `key`: unique in the page."""
  links = sections = ""
  for title, body in blocks.items():
    name = f"{key}-{title}".lower().replace(" ", "-")
    if body:
      links += f'<a href="#{name}">{title}</a>'
      sections += f'<section id="{name}"><h2>{title}</h2>{body}</section>'
  return f"<nav>{links}</nav>{sections}"
