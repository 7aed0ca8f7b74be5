"""Renders the tables of docs/results.md from docs/results: python -m benchmarks.evidence [--check].

A table stands between `<!-- NAME: KEPT ... -->` and `<!-- end -->`. NAME: a function in TABLES; KEPT: folders in docs/results,
which benchmarks/keep.py writes.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence

from benchmarks import kept, selection
from benchmarks.kept import Kept, Values, mean_and_std, paired
from benchmarks.render import markdown
from jaxssl.core import atomic

PAGE = kept.ROOT.parent / "results.md"
TABLE = re.compile(r"<!-- (?P<name>\w+):(?P<folders>[^>]*) -->\n.*?<!-- end -->", re.DOTALL)
KNN, EUCLIDEAN, LINEAR = "knn20_cosine", "knn5_euclidean", "linear_lbfgs"
NAMES = {  # what the name of a group begins with -> method
  "unbalanced-isd": "ISD+",
  "unbalanced-moco": "MoCo v2",
  "nnboot": "DINO",
  "dino": "DINO, 4 small crops",
  "byol": "BYOL",
  "resa": "ReSA",
  "moco-v3": "MoCo v3",
  "moco": "MoCo v2",
  "isd-plus": "ISD+",
  "isd": "ISD",
  "msf": "MSF",
  "nnclr": "NNCLR",
  "simclr": "SimCLR",
  "simsiam": "SimSiam",
  "swav": "SwAV",
  "barlow": "Barlow Twins",
  "vicreg": "VICReg",
}
CLUSTERS = {"silhouette": "silhouette", "kmeans_ari": "ARI", "kmeans_nmi": "NMI"}  # of a layer -> title
LAYERS = ("encoder", "embedding")
BOOTSTRAPPED = ("k-NN", "minus off, seed by seed", "linear", "bootstrapped, last epoch", "nearest neighbor of the class")
SIGNS = {  # numbers that need no labels -> 1 if higher should be better, else -1
  "rankme": 1,
  "lidar": 1,
  "effective_rank": 1,
  "uniformity": -1,
  "alignment": -1,
  "crops_alike": 1,
  "neighbor_churn": -1,
}


def main() -> int:
  """Renders or checks the page and returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m benchmarks.evidence", description=(__doc__ or "").partition("\n\n")[2])
  parser.add_argument("--check", action="store_true", help="fail if the page differs, and write nothing")
  check, old = parser.parse_args().check, PAGE.read_text()
  new = page(old)
  if check and new != old:
    print(f"{PAGE} differs from docs/results: run python -m benchmarks.evidence")
    return 1
  if new != old:
    atomic.write_text(PAGE, new)
  return 0


def page(text: str) -> str:
  """Returns a page with its tables rendered anew."""

  def rendered(match: re.Match[str]) -> str:
    found = [Kept(kept.ROOT / folder) for folder in match["folders"].split()]
    body = "\n".join([*map(about, found), "", *TABLES[match["name"]](found)])
    return f"<!-- {match['name']}:{match['folders']} -->\n\n{body}\n\n<!-- end -->"

  return TABLE.sub(rendered, text)


def about(comparison: Kept) -> str:
  """Says where the runs of a comparison were made, with what, and how long they took."""
  hours = sum(float(run["seconds"]) for run in comparison.runs) / 3600
  made = dict.fromkeys(
    f"commit {run['commit'][:10]}, python {run['python']}, jax {run['jax']}; {run['cores']} cores, {run['device']}"
    for run in comparison.runs
  )
  link = f"[{comparison.name}](results/{comparison.name}/compare.csv)"
  return f"- {link}: {len(comparison.runs)} runs in {hours:.2f} hours; {'; '.join(made)}"


def title(group: str) -> str:
  """Returns the method of a group. Raises KeyError if it has no name here."""
  name = next((name for start, name in NAMES.items() if group.startswith(start)), None)
  if name is None:
    raise KeyError(f"{group}: unknown; add its method to NAMES")
  return name


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
  """Returns the lines of a Markdown table."""
  return [*markdown(header), *(line for cells in rows for line in markdown(cells, head=False))]


def methods(found: Sequence[Kept]) -> list[str]:
  """One line per method without bootstrapping, the best by k-NN first; then what needs no training, from the last comparison.

  Runs of the last comparison are not listed: they were trained for an epoch only, to measure the baselines once.
  """
  *trained, baselines = found
  rows = []
  for k, group in without_bootstrapping(trained):
    seconds, memory = k.cost(group)
    rank = statistics.mean(k.of(group, "rankme").values())
    rows.append([title(group), *accuracies(k, group), f"{rank:.0f}", f"{seconds:.0f} s", f"{memory / 1e9:.1f} GB"])
  for subject in ("untrained", "raw_pixels"):
    rows.append([subject.replace("_", " "), *accuracies(baselines, baselines.groups[0], subject), "", "", ""])
  return table(["method", "k-NN", "5-NN Euclidean", "linear", "RankMe", "time", "memory"], rows)


def without_bootstrapping(found: Sequence[Kept]) -> list[tuple[Kept, str]]:
  """Returns the groups of comparisons that do not bootstrap, the best by k-NN first."""
  groups = [(k, group) for k in found for group in k.groups if not group.endswith(("/naive", "/adaptive"))]
  return sorted(groups, key=lambda pair: -statistics.mean(pair[0].of(pair[1], KNN).values()))


def accuracies(k: Kept, group: str, column: str = "value") -> list[str]:
  """Returns the cells of a group's or a baseline's accuracies."""
  return [mean_and_std([*k.of(group, metric, column).values()]) for metric in (KNN, EUCLIDEAN, LINEAR)]


def policies(found: Sequence[Kept]) -> list[str]:
  """One line per method and policy: accuracies, differences seed by seed from `off`, and what the neighbors were."""
  rows = []
  for k in found:
    for group in k.groups:
      name, _, policy = group.rpartition("/")
      off = {} if policy == "off" else k.of(f"{name}/off", KNN)
      rows.append([title(name), policy, *bootstrapped(k, group, off)])
  return table(["method", "policy", *BOOTSTRAPPED], rows)


def sweep(found: Sequence[Kept]) -> list[str]:
  """One line per policy of a common start, the first comparison, then one per changed field of `adaptive`, the second."""
  start, changed = found
  name = start.groups[0].rpartition("/")[0]
  off = start.of(f"{name}/off", KNN)
  rows = [[policy, *bootstrapped(start, f"{name}/{policy}", off if policy != "off" else {})] for policy in ("off", "adaptive")]
  rows += [[group.rpartition("bootstrap.")[2], *bootstrapped(changed, group, off)] for group in changed.groups]
  return table(["", *BOOTSTRAPPED], rows)


def bootstrapped(k: Kept, group: str, off: Values) -> list[str]:
  """Returns the cells of BOOTSTRAPPED. `off`: k-NN without bootstrapping; the differences from it are empty without it."""
  accuracy = k.of(group, KNN)
  linear = mean_and_std([*k.of(group, LINEAR).values()])
  shares = [last(k, group, metric) for metric in ("share_bootstrapped", "neighbor_top1_label")]
  return [mean_and_std([*accuracy.values()]), signed(paired(accuracy, off)), linear, *shares]


def selected(found: Sequence[Kept]) -> list[str]:
  """One line per number that needs no labels: how it agrees with k-NN over all runs, and between runs of one method."""
  rows = []
  for metric, sign in SIGNS.items():
    by_method: dict[str, list[tuple[float, float]]] = {}
    for k in found:
      for run in k.runs:
        values = k.of_run(run["run"])
        series = k.over_epochs(run["run"], metric)[1]
        number = values.get(metric, series[-1] if series else None)
        if number is not None:
          by_method.setdefault(title(run["group"]), []).append((sign * number, values[KNN]))
    everything = [point for points in by_method.values() for point in points]
    cells = [f"{len(everything)}", *choice_cells(everything)]
    within = [selection.choice(*zip(*points, strict=True)) for points in by_method.values() if len(points) > 1]
    pairs = sum(c.pairs for c in within)
    cells.append(f"{sum(c.better * c.pairs for c in within) / pairs:.0%} of {pairs}" if pairs else "")
    rows.append([metric if sign > 0 else f"{metric}, lower", *cells])
  return table(["number", "runs", "rank correlation with k-NN", "chose the better of two runs", "of the same method"], rows)


def unbalanced(found: Sequence[Kept]) -> list[str]:
  """One line per set of classes: the accuracies of two methods, and their differences draw by draw with a sign test."""
  (k,) = found
  first, second = k.groups
  rows = []
  for suffix in ("", "_head", "_tail"):
    a, b = (k.of(group, f"knn1_cosine{suffix}") for group in (first, second))
    differences = paired(a, b)
    cells = [mean_and_std([*values.values()]) for values in (a, b)]
    rows.append([suffix.strip("_") or "all", *cells, signed(differences), f"{selection.sign_test(differences):.3f}"])
  header = ["classes", title(first), title(second), f"{title(first)} minus {title(second)}, draw by draw", "sign test, p"]
  return table(header, rows)


def clusters(found: Sequence[Kept]) -> list[str]:
  """One line per method, the best by k-NN first: accuracies, and how well encoder and embedding separate the classes."""
  metrics = {f"{layer}_{figure}": f"{layer}: {name}" for layer in LAYERS for figure, name in CLUSTERS.items()}
  rows = []
  for k, group in without_bootstrapping(found):
    separated = [f"{statistics.mean(k.of(group, metric).values()):.3f}" for metric in metrics]
    rows.append([title(group), *accuracies(k, group), *separated])
  return table(["method", "k-NN", "5-NN Euclidean", "linear", *metrics.values()], rows)


def few(found: Sequence[Kept]) -> list[str]:
  """One line per number of images and of epochs: k-NN of every method, and without training, from the last comparison."""
  *trained, baselines = found
  cells: dict[tuple[int, int], dict[str, str]] = {}
  for k in trained:
    for group in k.groups:
      size, epochs = swept(group, "data.limit"), swept(group, "train.epochs")
      cells.setdefault((size, epochs), {})[title(group)] = mean_and_std([*k.of(group, KNN).values()])
  subjects = ("untrained", "raw_pixels")
  untrained = {
    swept(group, "data.limit"): [mean_and_std([*baselines.of(group, KNN, subject).values()]) for subject in subjects]
    for group in baselines.groups
  }
  names = dict.fromkeys(name for row in cells.values() for name in row)
  rows = [
    [f"{size:,}", f"{epochs}", *(row.get(name, "") for name in names), *untrained[size]]
    for (size, epochs), row in sorted(cells.items())
  ]
  return table(["images", "epochs", *names, *(subject.replace("_", " ") for subject in subjects)], rows)


def swept(group: str, field: str) -> int:
  """Returns the value of a swept field in the name of a group. Raises ValueError if the name does not have it."""
  match = re.search(rf"(?:^|/){re.escape(field)}=(\d+)(?:/|$)", group)
  if not match:
    raise ValueError(f"{group}: expected a value of {field} in the name")
  return int(match[1])


def choice_cells(points: Sequence[tuple[float, float]]) -> list[str]:
  """Returns the correlation and the share of better choices over (number, accuracy) of runs."""
  if len(points) < 3:
    return ["", ""]
  choice = selection.choice(*zip(*points, strict=True))
  return [f"{choice.correlation:.2f}", f"{choice.better:.0%} of {choice.pairs}"]


def signed(differences: Sequence[float]) -> str:
  """Returns mean and deviation of differences, and how many are positive."""
  if not differences:
    return ""
  sign = "+" if statistics.mean(differences) > 0 else ""
  return f"{sign}{mean_and_std(differences)}, higher in {sum(x > 0 for x in differences)} of {len(differences)}"


def last(k: Kept, group: str, metric: str) -> str:
  """Returns the mean over a group's runs of the last value of a share."""
  ends = [values[-1] for run in k.runs if run["group"] == group and (values := k.over_epochs(run["run"], metric)[1])]
  return f"{statistics.mean(ends):.1%}" if ends else ""


TABLES: dict[str, Callable[[Sequence[Kept]], list[str]]] = {
  function.__name__: function for function in (methods, policies, sweep, selected, unbalanced, clusters, few)
}

if __name__ == "__main__":
  sys.exit(main())
