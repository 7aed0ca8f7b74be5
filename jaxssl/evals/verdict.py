"""Says in words whether a run learned, from its records: for the terminal and for the report."""

from collections.abc import Mapping

from jaxssl.core.metric import Metric
from jaxssl.evals.feature_stats import CROPS_ALIKE, EFFECTIVE_RANK, UNIFORMITY
from jaxssl.evals.knn import LEAVE_ONE_OUT
from jaxssl.workdir.records import Baseline, Final, RunRecord

COLLAPSED_RANK, COLLAPSED_UNIFORMITY = 2.0, -0.05  # collapse below that, and above this
CLEAR = 1.0  # percentage points that count as a difference: less is noise at a thousand test images
BEFORE = ("untrained", "imported")  # the network before its first step
NAMES = {"untrained": "the untrained network", "imported": "the imported weights", "raw_pixels": "raw pixels"}
WITH_LABELS = {"knn": "its nearest neighbors give", "linear": "a linear classifier on its features gives"}  # best first
NEIGHBORS = "look at the nearest neighbors"
MEANING = f"Networks are trained for that: it shows that training worked, not how useful the features are; {NEIGHBORS}"


def main_finals(record: RunRecord) -> dict[str, Final]:
  """Returns the first measurement of each metric and of each evaluation on the run's own images, by their names."""
  return {name: final for final in reversed(record.finals()) for name in (final.name, final.evaluation)}


def verdict(record: RunRecord) -> str:
  """Answers whether a run learned."""
  first = main_finals(record)
  main = next((first[name] for name in WITH_LABELS if name in first), None)
  return without_labels(first) if main is None else with_labels(main)


def standing(metric: Metric, value: float | None, level: Baseline) -> int:
  """Returns 1 if a value is clearly better than a baseline, -1 if it is clearly worse, else 0.

  A difference is clear if it is not below the baseline's standard deviation over seeds, nor, of a share, below one percentage
  point.
  """
  if value is None or level.value is None or metric.higher_is_better is None:
    return 0
  margin = max(level.std or 0.0, CLEAR if metric.unit == "%" else 0.0)
  gain = (value - level.value) * (1 if metric.higher_is_better else -1)
  return 0 if abs(gain) < margin or not gain else 1 if gain > 0 else -1


def with_labels(main: Final) -> str:
  """Compares the main accuracy with that of the network before training and of raw pixels."""
  if main.value is None:
    return "No: the features are not finite."
  asked = "images"
  if main.protocol.get("test") == LEAVE_ONE_OUT:
    asked = "images, each compared with the others"
  elif "test_held_out" in main.protocol:
    asked = "held-out images"
  right = f"{WITH_LABELS.get(main.evaluation, WITH_LABELS['knn'])} the class of {main.value:.1f}% of the {asked}"
  if not main.baselines:
    return f"{right[0].upper()}{right[1:]}; there are no baselines to compare with."
  better = [standing(main.metric, main.value, level) == 1 for level in main.baselines.values()]
  word = "Yes" if all(better) else "Partly" if any(better) else "Not yet"
  if not all(better) and any(map(_leaves_no_room, main.baselines.values())):
    word = "Too easy to tell"
  return f"{word}: {right}, {' and '.join(_relation(main, subject) for subject in main.baselines)}."


def without_labels(first: Mapping[str, Final]) -> str:
  """Returns what is known without labels: whether the features collapsed, and how similar crops of an image are."""
  rank, spread, alike = (first.get(metric.name) for metric in (EFFECTIVE_RANK, UNIFORMITY, CROPS_ALIKE))
  if rank is None or spread is None or rank.value is None or spread.value is None:
    return "There are no measurements yet."
  if rank.value < COLLAPSED_RANK or spread.value > COLLAPSED_UNIFORMITY:
    values = f"effective rank {rank.value:.2f}, uniformity {spread.value:.2f}"
    return f"No: the features collapsed, nearly all images have the same ({values})."
  fine = "different images have different features"
  if alike is None or alike.value is None:
    return f"It did not collapse: {fine}. How useful they are: {NEIGHBORS}."
  share = f"{alike.value:.1f}% of the crops of others (by chance 50%)"
  task = f"a crop is more similar to another crop of its image than to {share}"
  level = next((alike.baselines[subject] for subject in BEFORE if subject in alike.baselines), None)
  if level is None or level.value is None:
    return f"It did not collapse: {fine}, and {task}; there is no untrained network to compare with. {MEANING}."
  compared = " and ".join(_relation(alike, subject) for subject in alike.baselines)
  if standing(alike.metric, alike.value, level) < 1 and _leaves_no_room(level):
    return f"It did not collapse: {fine}. But {task}, {compared}: that is too easy here to show more. For more, {NEIGHBORS}."
  if standing(alike.metric, alike.value, level) < 1:
    return f"Not yet: the features did not collapse, but {task}, {compared}."
  return f"Yes, as far as that shows without labels: {fine}, and {task}, {compared}. {MEANING}."


def _leaves_no_room(level: Baseline) -> bool:
  """Returns whether nothing can be clearly better than a baseline in percent."""
  return level.value is not None and level.value + max(level.std or 0.0, CLEAR) > 100


def _relation(final: Final, subject: str) -> str:
  """Compares a value in percent with a baseline: 14.2 points above the untrained network (81.4 ± 2.0 over 3 seeds)."""
  level = final.baselines[subject]
  if final.value is None or level.value is None:
    return f"not comparable with {NAMES[subject]} (not finite)"
  gain = abs(final.value - level.value)
  relation = {1: f"{gain:.1f} points above", 0: "not clearly different from", -1: f"{gain:.1f} points below"}
  deviation = "" if level.std is None else f" ± {level.std:.1f} over {level.seeds} seeds"
  return f"{relation[standing(final.metric, final.value, level)]} {NAMES[subject]} ({level.value:.1f}{deviation})"
