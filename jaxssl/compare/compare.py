"""Compares configs: trains each with each seed, and writes one table and one report."""

import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.compare import execute, grid, summary
from jaxssl.core import LOG, UserError, path_of
from jaxssl.report import page
from jaxssl.report.groups import grouped
from jaxssl.workdir.records import RunRecord
from jaxssl.workdir.workdir import Workdir


def compare(
  configs: str | Sequence[str],
  workdir: pathlib.Path | str,
  sweeps: Mapping[str, Sequence[Any]] | None = None,
  changes: Mapping[str, Any] | None = None,
  dry_run: bool = False,
) -> int:
  """Trains every config with every combination of values in a folder below `workdir`, and compares what is there.

  configs: FILE[:RECIPE]; sweeps: values of fields, such as {"train.seed": [0, 1]}; changes: fields of all runs; dry_run: only
  prints commands. Returns an exit code: 0 done, 1 some runs failed, 75 or 130 stopped by a signal. Raises UserError before
  anything is trained if a config cannot be read.
  """
  workdir, configs = path_of(workdir), [configs] if isinstance(configs, str) else configs
  varied = {field: _texts(field, values) for field, values in (sweeps or {}).items()}
  planned = grid.runs(configs, varied, changes or {})
  if dry_run:
    for run in planned:
      print(shlex.join(["jaxssl", *run.command(workdir)]))
    return 0
  code, failures = execute.execute(planned, workdir)
  finished = execute.finished(planned, workdir)
  if not finished and not code:
    raise UserError(f"--workdir {workdir}: no run is finished; {'; '.join(failures.values())}")
  if finished:
    records = [RunRecord(Workdir(workdir / name)) for name in finished]
    for record, name in zip(records, finished, strict=True):
      record.name = name
    unfinished = [run.name for run in planned if run.name not in (*finished, *failures)]
    groups = grouped(records)
    summary.write(workdir, groups, failures, unfinished)
    print(summary.markdown(groups, failures, unfinished), end="")
    if not code:
      page.write([(record.workdir, None) for record in records], workdir / "report.html")
  LOG.info("%d of %d runs are finished; %s", len(finished), len(planned), workdir / "compare.md" if finished else workdir)
  return code or int(bool(failures))


def _texts(field: str, values: Any) -> list[str]:
  """Returns values of a field as on the command line."""
  if isinstance(values, str) or not isinstance(values, Sequence):
    raise UserError(f"sweeps: {field}={values!r}: one value; expected a list of them")
  return [str(value) for value in values]
