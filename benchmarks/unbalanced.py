"""Trains two configs (default: ISD and MoCo v2) on the same unbalanced subsets of the images and compares their 1-NN accuracy.

Every run has its own workdir, so that the same command resumes. All other flags, --config.FIELD=VALUE, apply to every run, e.g.
--config.data.source=folder --config.data.path=TRAIN.zip --config.data.test_path=TEST.zip
"""

import argparse
import json
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

from benchmarks.table import machine
from jaxssl import main as command
from jaxssl.workdir import results
from jaxssl.workdir.workdir import Workdir

METRIC = "knn1_cosine"
ISD_AND_MOCO = ("configs/unbalanced.py:isd", "configs/unbalanced.py:moco")


def accuracies(workdir: pathlib.Path) -> dict[str, float]:
  """Reads a finished run's 1-NN in percent: all, head, tail."""
  measured = results.read(Workdir(workdir).results)["measurements"]
  last = max(m["step"] for m in measured)
  names = {METRIC: "all", f"{METRIC}_head": "head", f"{METRIC}_tail": "tail"}
  return {names[m["name"]]: m["value"] for m in measured if m["step"] == last and m["name"] in names}


def table(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
  """Formats mean and standard deviation over the draws for two configs and for their paired difference."""
  first, second = runs.values()
  columns = list(first[0])
  difference = [{column: a[column] - b[column] for column in columns} for a, b in zip(first, second, strict=True)]
  lines = [f"{f'1-NN, draws: {len(first)}':<30}" + "".join(f"{column:>16}" for column in columns)]
  for name, draws in {**runs, "difference": difference}.items():
    lines.append(f"{name:<30}" + "".join(f"{mean_and_std([draw[column] for draw in draws]):>16}" for column in columns))
  return "\n".join(lines)


def mean_and_std(values: Sequence[float]) -> str:
  """Formats the mean, and the sample standard deviation if there are several values."""
  deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
  return f"{statistics.mean(values):.2f}{deviation}"


def main(argv: Sequence[str] | None = None) -> int:
  """Prints the table. Returns the exit code of the run that failed, or 0, even if a signal stopped a run."""
  parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
  parser.add_argument("--draws", type=int, default=3, help="data.imbalance.seed 0, 1, ... (default 3; the authors 10)")
  parser.add_argument("--configs", nargs=2, metavar="FILE:RECIPE", default=ISD_AND_MOCO, help="the configs to compare")
  parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/unbalanced"))
  parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="also write the accuracies of every draw to FILE")
  arguments, rest = parser.parse_known_args(argv)
  if arguments.draws < 1 or len(set(arguments.configs)) < 2:
    parser.error("expected --draws of at least 1 and two different --configs")
  runs: dict[str, list[dict[str, float]]] = {}
  for draw in range(arguments.draws):
    for config in arguments.configs:
      name = pathlib.Path(config).name.replace(".py", "").replace(":", "-").replace(",", "-")
      workdir = arguments.workdir / f"{name}-{draw}"
      code = command.main([f"--config={config}", f"--workdir={workdir}", *rest, f"--config.data.imbalance.seed={draw}"])
      if code or not results.read(Workdir(workdir).results).get("finished"):
        return code
      runs.setdefault(name, []).append(accuracies(workdir))
  print(table(runs))
  if arguments.json:
    arguments.json.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=2) + "\n")
  return 0


if __name__ == "__main__":
  sys.exit(main())
