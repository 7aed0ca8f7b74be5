"""The answer first: what was trained on what, and whether it learned."""

import pathlib
from collections.abc import Sequence

from jaxssl.report.descriptions import escape, meaning, number
from jaxssl.workdir.records import Final, RunRecord
from jaxssl.workdir.results import BASELINES

MAIN = ("knn", "linear", "effective_rank")
MAIN_WITHOUT_LABELS = ("effective_rank", "uniformity", "alignment")
COLLAPSED = {"effective_rank": 2.0, "uniformity": -0.05}  # below that, and above this
CLEAR = 1.0  # percentage points that count as a difference: less is noise at a thousand test images


def section(record: RunRecord) -> str:
  """Makes the head of one run."""
  finals = record.finals()
  labeled = any(final.name.startswith("knn") for final in finals)
  main = [_first(finals, name) for name in (MAIN if labeled else MAIN_WITHOUT_LABELS)]
  tiles = "".join(_tile(final) for final in main if final is not None)
  answer = with_labels(main[0]) if labeled and main[0] is not None else without_labels(finals)
  return (
    f'<p class="what">{escape(what(record))}</p><p class="answer"><b>Did it learn?</b> {escape(answer)}</p>'
    f'<p class="health">{health(record)}</p><div class="tiles">{tiles}</div>'
  )


def what(record: RunRecord) -> str:
  """Says what was trained on what, and how far."""
  model, method, data, boot, train = (record.config.get(name, {}) for name in ("model", "method", "data", "bootstrap", "train"))
  policy = boot.get("policy", "off")
  images = pathlib.PurePath(str(data.get("path", ""))).name or data.get("source", "unknown images")
  how_many = f"{data['limit']} images of {images}" if data.get("limit") else images
  epochs, each = train.get("epochs"), record.steps_per_epoch
  done = f"{record.step / each:.3g} of {epochs} epochs" if each else f"{record.step} steps"
  return (
    f"{model.get('name', 'A network')} trained by {method.get('name', 'an unknown method')} "
    f"{'without' if policy == 'off' else f'with {policy}'} bootstrapping on {how_many}: "
    f"{f'{epochs} epochs, finished' if record.finished else f'{done}; it stopped, or still runs'}."
  )


def with_labels(main: Final) -> str:
  """Compares the main accuracy with that of the network before training and of raw pixels."""
  if main.value is None:
    return "No: the features are no finite numbers."
  gains = {of: main.value - value for of in BASELINES if (value := main.beside.get(of)) is not None}
  right = f"its nearest neighbors name the class of {number(main.value)}% of the images"
  if not gains:
    return f"{right[0].upper()}{right[1:]}; there is nothing to compare that with."
  words = {"untrained": "the untrained network", "imported": "the imported weights", "raw_pixels": "raw pixels"}
  told = " and ".join(f"{abs(gain):.1f} points {'above' if gain >= 0 else 'below'} {words[of]}" for of, gain in gains.items())
  clear = [gain >= CLEAR for gain in gains.values()]
  return f"{'Yes' if all(clear) else 'Partly' if any(clear) else 'Not yet'}: {right}, {told}."


def without_labels(finals: Sequence[Final]) -> str:
  """Says what can be said without labels: whether the features collapsed, and whether crops of an image came together."""
  rank, spread, aligned = (_first(finals, name) for name in ("effective_rank", "uniformity", "alignment"))
  if rank is None or spread is None or rank.value is None or spread.value is None:
    return "There are no measurements yet."
  figures = f"effective rank {number(rank.value)}, uniformity {number(spread.value)}"
  if rank.value < COLLAPSED["effective_rank"] or spread.value > COLLAPSED["uniformity"]:
    return f"No: the features collapsed, nearly all images look alike ({figures})."
  text = f"It did not collapse: different images stay apart ({figures})"
  if aligned is not None and aligned.value is not None:
    first, first_spread = (final.beside.get("untrained", final.beside.get("imported")) for final in (aligned, spread))
    if first is not None and first_spread:  # distances of crops grow as all features spread: only their ratio tells
      closer = aligned.value / -spread.value < first / -first_spread
      text += f", and two crops of an image are {'closer' if closer else 'no closer'} than before training, for that spread"
  return f"{text}. How good that is without labels: look at the neighbors."


def health(record: RunRecord) -> str:
  """Says what the run was warned of: what still holds at its end, or that all of it went away."""
  if record.health is None:
    return "Health: nothing was written down (no health.jsonl)."
  if not record.health:
    return '<b class="good">Health: no warnings.</b>'
  last = {str(line.get("verdict")): line for line in record.health}
  now = {name: line for name, line in last.items() if not line.get("over")}
  standing = [f"{name} since step {line.get('step')}: {line.get('reason')}" for name, line in now.items()]
  if standing:
    return f'<b class="bad">Health:</b> {escape("; ".join(standing))}.'
  return f"Health: there were warnings ({escape(', '.join(last))}); all went away."


def _first(finals: Sequence[Final], begin: str) -> Final | None:
  return next((final for final in finals if final.name.startswith(begin)), None)


def _tile(final: Final) -> str:
  means = meaning(final.name)
  values = {"this run": final.value, **final.beside}
  percent = means.better == 1
  bars = "".join(_bar(of, value, percent) for of, value in values.items())
  return (
    f"<div><b>{escape(means.title)}</b><strong>{number(final.value)}{'%' if percent else ''}</strong>"
    f'<div class="bars">{bars}</div><small>{escape(means.says)}</small></div>'
  )


def _bar(of: str, value: float | None, percent: bool) -> str:
  share = max(0.0, min(value or 0.0, 100.0)) if percent else 0.0
  bar = f'<i class="bar {of.replace(" ", "-")}"><i style="width:{share:.1f}%"></i></i>' if percent else "<i></i>"
  return f"<span>{escape(of.replace('_', ' '))}</span>{bar}<span>{number(value)}</span>"
