"""The answer first: what was trained on what, and whether it learned."""

import html
from collections.abc import Sequence

from jaxssl.report.record import BASELINES, Final, Record
from jaxssl.report.words import meaning, number

MAIN = ("knn", "linear", "effective_rank")
MAIN_WITHOUT_LABELS = ("effective_rank", "uniformity", "alignment")
CLEAR = 1.0  # percentage points that count as a difference: less is noise at a thousand test pictures


def section(record: Record) -> str:
  """Makes the head of one run."""
  finals = record.finals()
  labelled = any(final.name.startswith("knn") for final in finals)
  main = [_first(finals, name) for name in (MAIN if labelled else MAIN_WITHOUT_LABELS)]
  tiles = "".join(_tile(final) for final in main if final is not None)
  answer = with_labels(main[0]) if labelled and main[0] is not None else without_labels(finals)
  return (
    f'<p class="what">{html.escape(what(record))}</p><p class="answer"><b>Did it learn?</b> {html.escape(answer)}</p>'
    f'<p class="health">{health(record)}</p><div class="tiles">{tiles}</div>'
  )


def what(record: Record) -> str:
  """Says what was trained on what, and how far."""
  config = record.config
  method, model, data, train = (config.get(name, {}) for name in ("method", "model", "data", "train"))
  policy = config.get("bootstrap", {}).get("policy", "off")
  boot = {"off": "without bootstrapping", "naive": "naive bootstrapping", "adaptive": "adaptive bootstrapping"}.get(policy, policy)
  pictures = data.get("path", "").rstrip("/").rpartition("/")[2] or data.get("source", "unknown pictures")
  limit = f"{data['limit']} pictures of " if data.get("limit") else ""
  total = train.get("epochs", 0)
  per_epoch = record.steps_per_epoch
  done = f"{record.step / per_epoch:.3g} of {total} epochs" if per_epoch else f"{record.step} steps of {total} epochs"
  state = f"{total} epochs, finished" if record.finished else f"{done}: stopped, or still running"
  return f"{model.get('name', 'a network')} trained by {method.get('name', 'an unknown method')}, {boot}, on {limit}{pictures}; {state}."


def with_labels(main: Final) -> str:
  """Compares the main accuracy with that of the untrained network and of raw pixels."""
  if main.value is None:
    return "No: the features are no finite numbers."
  gains = {of: main.value - value for of in BASELINES if (value := main.beside.get(of)) is not None}
  if not gains:
    return f"Its nearest neighbours name the class of {number(main.value)}% of the pictures; there is nothing to compare with."
  words = {"untrained": "the untrained network", "raw_pixels": "raw pixels"}
  told = " and ".join(f"{abs(gain):.1f} points {'above' if gain >= 0 else 'below'} {words[of]}" for of, gain in gains.items())
  if all(gain >= CLEAR for gain in gains.values()):
    verdict = "Yes"
  elif any(gain >= CLEAR for gain in gains.values()):
    verdict = "Partly"
  else:
    verdict = "Not yet"
  return f"{verdict}: its nearest neighbours name the class of {number(main.value)}% of the pictures, {told}."


def without_labels(finals: Sequence[Final]) -> str:
  """Says what can be said without labels: whether the features collapsed, and whether crops of a picture came together."""
  values = {name: _first(finals, name) for name in ("effective_rank", "uniformity", "alignment")}
  rank, spread, aligned = (final.value if final else None for final in values.values())
  if rank is None or spread is None:
    return "There are no measurements yet."
  if rank < 2 or spread > -0.05:
    return f"No: the features collapsed. All pictures look nearly alike (uniformity {number(spread)}, effective rank {number(rank)})."
  text = f"It did not collapse: the features use about {number(rank)} directions and different pictures stay apart"
  before = {name: final.beside.get("untrained") for name, final in values.items() if final}
  first, first_spread = before.get("alignment"), before.get("uniformity")
  if aligned is not None and first is not None and first_spread is not None:
    # two distances grow when all features spread: it is their ratio that training must lower
    ratio, first_ratio = aligned / max(-spread, 1e-9), first / max(-first_spread, 1e-9)
    text += ", and crops of one picture lie " + ("closer" if ratio < first_ratio else "no closer") + " together, for that spread, than "
    text += "before training"
  return text + ". How good they are without labels: look at the neighbours below."


def health(record: Record) -> str:
  """Says what watched the run."""
  if record.health is None:
    return "Health: nothing was written down (no health.jsonl)."
  if not record.health:
    return '<b class="good">Health: no warnings.</b>'
  last = record.health[-1]
  where = f"step {last.get('step', '?')}: {last.get('verdict', '')}: {last.get('reason', '')}"
  count = f"{len(record.health)} warning{'s' if len(record.health) > 1 else ''}"
  return f'<b class="bad">Health: {count}</b>, the last at {html.escape(where)}'


def _first(finals: Sequence[Final], begin: str) -> Final | None:
  return next((final for final in finals if final.name.startswith(begin)), None)


def _tile(final: Final) -> str:
  means = meaning(final.name)
  values = {"this run": final.value, **final.beside}
  percent = means.better == 1
  bars = "".join(_bar(of, value, percent) for of, value in values.items())
  return (
    f"<div><b>{html.escape(means.title)}</b><strong>{number(final.value)}{'%' if percent else ''}</strong>"
    f'<div class="bars">{bars}</div><small>{html.escape(means.says)}</small></div>'
  )


def _bar(of: str, value: float | None, percent: bool) -> str:
  width = f'<i class="bar {of.replace(" ", "-")}"><i style="width:{max(0.0, min(value or 0.0, 100.0)):.1f}%"></i></i>' if percent else ""
  return f"<span>{html.escape(of.replace('_', ' '))}</span>{width}<span>{number(value)}</span>"
