"""Renders the head of a report: the method, the images, and whether the run learned."""

import pathlib

from jaxssl.core import json_io
from jaxssl.evals.feature_stats import CROPS_ALIKE
from jaxssl.evals.verdict import WITH_LABELS, main_finals, verdict
from jaxssl.report.text import escape, number, value_and_std
from jaxssl.workdir.records import Baseline, Final, RunRecord


def section(record: RunRecord) -> str:
  """Returns the head of one run."""
  first = main_finals(record)
  main = (CROPS_ALIKE.name,) if is_without_labels(record) else WITH_LABELS
  tiles = "".join(_tile(first[name]) for name in main if name in first)
  return (
    f'{_missing(record)}<p class="what">{escape(overview(record))}</p>'
    f'<p class="answer"><b>Did it learn?</b> {escape(verdict(record))}</p>'
    f'<p class="alerts">{alerts(record)}</p><div class="tiles">{tiles}</div>'
  )


def is_without_labels(record: RunRecord) -> bool:
  """Returns whether nothing was measured with labels that answers whether a run learned."""
  return not main_finals(record).keys() & WITH_LABELS.keys()


def _missing(record: RunRecord) -> str:
  """Returns a line about a file that should be there, and what is therefore not shown; empty if both are there."""
  shown = {record.workdir.metrics: "no curves", record.workdir.results: "no evaluations"}
  texts = [f"{file.name} is missing: there are {what}." for file, what in shown.items() if not file.exists()]
  return f'<p class="missing">{escape(" ".join(texts))}</p>' if texts else ""


def short(record: RunRecord) -> str:
  """Returns the head of one of several runs."""
  answer = f"<b>Did it learn?</b> {escape(verdict(record))}"
  return f"{escape(overview(record))} {alerts(record)}<br>{answer}"


def overview(record: RunRecord) -> str:
  """Returns one sentence about the method, the images and the progress of a run."""
  groups = ("model", "method", "data", "bootstrap", "train", "evals")
  model, method, data, boot, train, evals = (record.config.get(name, {}) for name in groups)
  policy = boot.get("policy", "off")
  images = pathlib.PurePath(str(data.get("path", ""))).name or data.get("source", "unknown images")
  how_many = f"{data['limit']} images of {images}" if data.get("limit") else images
  share = json_io.finite(evals.get("holdout"))
  how_many += f", without the {100 * share:g}% of each class that are held out to test on" if share else ""
  epochs, passed = train.get("epochs"), record.in_epochs(record.step)
  done = f"{record.step} steps" if passed is None else f"{passed:.3g} of {epochs} epochs"
  done = f"{epochs} epochs, finished" if record.finished else f"{done}; it stopped, or still runs"
  trained = f"{model.get('name', 'A network')} trained by {method.get('name', 'an unknown method')}"
  return f"{trained} {'without' if policy == 'off' else f'with {policy}'} bootstrapping on {how_many}: {done}."


def alerts(record: RunRecord) -> str:
  """Returns the alerts that still hold at the end of the run, or that all of them were resolved."""
  if record.alerts is None:
    return f"Alerts: not recorded (no {record.workdir.alerts.name})."
  if not record.alerts:
    return '<b class="good">No alerts.</b>'
  last = {str(line.get("alert")): line for line in record.alerts}
  active = [f"{name} since step {line.get('step')}: {line.get('reason')}" for name, line in last.items() if line.get("active")]
  if active:
    return f'<b class="bad">Alerts:</b> {escape("; ".join(active))}.'
  return f"There were alerts ({escape(', '.join(last))}); all were resolved."


def _tile(final: Final) -> str:
  unit, bars = final.metric.unit, ""
  for subject, level in {"this run": Baseline(final.value, final.std), **final.baselines}.items():
    bar = f'<i style="width:{max(0.0, min(level.value or 0.0, 100.0)):.1f}%"></i>'
    bar = f'<i class="bar {subject.replace(" ", "-")}">{bar}</i>' if unit == "%" else "<i></i>"
    seeds = f"<small> ({level.seeds} seeds)</small>" if level.seeds > 1 else ""
    name = f"<span>{escape(subject.replace('_', ' '))}{seeds}</span>"
    bars += f"{name}{bar}<span>{value_and_std(level.value, level.std)}</span>"
  return (
    f"<div><b>{escape(final.metric.title)}</b><strong>{number(final.value)}{escape(unit)}</strong>"
    f'<div class="bars">{bars}</div><small>{escape(final.metric.description)}</small></div>'
  )
