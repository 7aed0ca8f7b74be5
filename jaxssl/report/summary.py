"""Renders the head of a report: the method, the images, and whether the run learned."""

import pathlib
from collections.abc import Mapping

from jaxssl.core import json_io
from jaxssl.core.metric import BASELINES
from jaxssl.evals.feature_stats import ALIGNMENT, EFFECTIVE_RANK, UNIFORMITY
from jaxssl.evals.knn import LEAVE_ONE_OUT
from jaxssl.report.text import escape, number
from jaxssl.workdir.records import Final, RunRecord

COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 2.0, -0.05  # collapse below that, and above this
CLEAR = 1.0  # percentage points that count as a difference: less is noise at a thousand test images


def section(record: RunRecord) -> str:
  """Returns the head of one run."""
  first = {name: final for final in reversed(record.finals()) for name in (final.metric.name, final.evaluation)}
  if "knn" in first:
    main, answer = ("knn", "linear", EFFECTIVE_RANK.name), with_labels(first["knn"])
  else:
    main, answer = (EFFECTIVE_RANK.name, UNIFORMITY.name, ALIGNMENT.name), without_labels(first)
  tiles = "".join(_tile(first[name]) for name in main if name in first)
  return (
    f'<p class="what">{escape(overview(record))}</p><p class="answer"><b>Did it learn?</b> {escape(answer)}</p>'
    f'<p class="alerts">{alerts(record)}</p><div class="tiles">{tiles}</div>'
  )


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


def with_labels(main: Final) -> str:
  """Compares the main accuracy with that of the network before training and of raw pixels."""
  if main.value is None:
    return "No: the features are not finite."
  gains = {subject: main.value - value for subject in BASELINES if (value := main.baselines.get(subject)) is not None}
  asked = "images"
  if main.protocol.get("test") == LEAVE_ONE_OUT:
    asked = "images, each compared with the others"
  elif "test_held_out" in main.protocol:
    asked = "held-out images"
  right = f"its nearest neighbors give the class of {number(main.value)}% of the {asked}"
  if not gains:
    return f"{right[0].upper()}{right[1:]}; there are no baselines to compare with."
  words = {"untrained": "the untrained network", "imported": "the imported weights", "raw_pixels": "raw pixels"}
  points = [f"{abs(gain):.1f} points {'above' if gain >= 0 else 'below'} {words[subject]}" for subject, gain in gains.items()]
  clear = [gain >= CLEAR for gain in gains.values()]
  return f"{'Yes' if all(clear) else 'Partly' if any(clear) else 'Not yet'}: {right}, {' and '.join(points)}."


def without_labels(first: Mapping[str, Final]) -> str:
  """Returns what is known without labels: whether the features collapsed, and whether crops of an image came together."""
  rank, spread, aligned = (first.get(metric.name) for metric in (EFFECTIVE_RANK, UNIFORMITY, ALIGNMENT))
  if rank is None or spread is None or rank.value is None or spread.value is None:
    return "There are no measurements yet."
  values = f"effective rank {number(rank.value)}, uniformity {number(spread.value)}"
  if rank.value < COLLAPSED_RANK or spread.value > COLLAPSED_UNIFORMITY:
    return f"No: the features collapsed, nearly all images have the same ({values})."
  text = f"It did not collapse: different images have different features ({values})"
  if aligned is not None and aligned.value is not None:
    before, spread_before = (final.baselines.get("untrained", final.baselines.get("imported")) for final in (aligned, spread))
    if before is not None and spread_before:  # distances of crops grow as all features spread: only their ratio is comparable
      closer = aligned.value / -spread.value < before / -spread_before
      text += f", and two crops of an image are {'closer' if closer else 'no closer'} than before training, for that spread"
  return f"{text}. How good that is without labels: look at the neighbors."


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
  for subject, value in {"this run": final.value, **final.baselines}.items():
    bar = f'<i style="width:{max(0.0, min(value or 0.0, 100.0)):.1f}%"></i>'
    bar = f'<i class="bar {subject.replace(" ", "-")}">{bar}</i>' if unit == "%" else "<i></i>"
    bars += f"<span>{escape(subject.replace('_', ' '))}</span>{bar}<span>{number(value)}</span>"
  return (
    f"<div><b>{escape(final.metric.title)}</b><strong>{number(final.value)}{escape(unit)}</strong>"
    f'<div class="bars">{bars}</div><small>{escape(final.metric.description)}</small></div>'
  )
