"""Formats plans as text, with one column per machine and batch size."""

from collections.abc import Sequence

from jaxssl.plan.advice import Plan
from jaxssl.plan.estimate import MARGIN
from jaxssl.plan.hlo import KINDS
from jaxssl.plan.topology import GIB, GPU_SHARE, Topology

NAMES = {
  "parameters": "parameters, statistics",
  "method_state": "method state",
  "bank": "neighbor bank",
  "votes": "vote window",
  "images": "resident images",
  "batch": "images of a batch",
  "activations": "activations, temporaries",
}
MISSING = "-"
SOURCES = f"""
counted: operations of the matrix products and convolutions in the traced step; arrays, from their shapes.
compiled: padding, activations and traffic are the compiler's figures for the step that trains; traffic assumes ring algorithms.
estimated: activations without a compiler are the peak of the live values in the traced step, and a run fits if {MARGIN:g} times
  that fits; traffic is that of the gradients alone, in train.precision.
extrapolated: the changes that make a run fit scale the activations as the traced step's do."""


def table(plans: Sequence[Plan]) -> list[str]:
  """Returns the lines of the table, columns aligned; rows without any value are left out."""
  cells = [_cells(plan) for plan in plans]
  rows = [[label, *(column[label] for column in cells)] for label in cells[0]]
  rows = [[MISSING if cell is None else cell for cell in row] for row in rows if any(cell is not None for cell in row[1:])]
  first, *others = [max(map(len, column)) for column in zip(*(row for row in rows if row[1]), strict=True)]
  return [f"{label:{first}}{''.join(f'  {c:>{w}}' for c, w in zip(row, others, strict=True))}".rstrip() for label, *row in rows]


def _cells(plan: Plan) -> dict[str, str | None]:
  """Returns a column by label; headings are empty, and what is unknown or does not occur is None."""
  e, c, traffic = plan.estimate, plan.cost, plan.estimate.traffic or {}
  return {
    "": e.topology,
    "batch size": str(e.batch_size),
    "  accumulated over": str(e.accumulate) if e.accumulate > 1 else None,
    "chips": str(e.chips),
    "hosts": str(e.hosts),
    "memory is": "compiled" if e.compiled else "estimated",
    "memory per chip, GiB": "",
    **{f"  {NAMES.get(part, part)}": _gib(size) if size else None for part, size in e.memory.items()},
    "  total": _gib(e.total),
    "  available": MISSING if e.available is None else _gib(e.available),
    "  fits": {True: "yes", False: "NO", None: "?"}[e.fits],
    "operations": "",
    "  TFLOP per step": _short(e.flops / 1e12),
    "  GFLOP per image": _short(e.flops / e.batch_size / 1e9),
    "sent by each chip per step, MB": None if e.traffic is None else "",
    **{f"  {kind}": _short(traffic[kind]["sent"] / 1e6) if kind in traffic else None for kind in KINDS},
    "at the assumed speed": None if c.step_seconds is None else "",
    "  ms per step to send": _short(c.sending_seconds and 1e3 * c.sending_seconds),
    "  ms per step": _short(c.step_seconds and 1e3 * c.step_seconds),
    "  images/s per host": _short(c.images_per_second_and_host),
    "  hours": _short(c.hours),
    "  dollars": _short(c.dollars),
  }


def changes(plan: Plan) -> list[str]:
  """Returns lines with the changes that would make a run fit; none if it fits or that is unknown."""
  e = plan.estimate
  if e.fits is not False or e.available is None:
    return []
  head = f"\n{e.topology}, batch size {e.batch_size}: needs {_gib(e.total)} GiB of {_gib(e.available)} GiB available."
  if not plan.changes:
    part, size = max(e.memory.items(), key=lambda item: item[1])
    return [f"{head} No single change makes it fit; the largest part is {NAMES.get(part, part)}, {_gib(size)} GiB"]
  changes = [f"  {change}: {_gib(total)} GiB" for change, total in plan.changes.items()]
  return [f"{head} Any of these changes should make it fit:", *changes]


def sources(targets: Sequence[Topology], utilization: float) -> list[str]:
  """Returns lines that list which numbers are counted, compiled, estimated, extrapolated and assumed."""
  lines = [SOURCES]
  if peaks := ", ".join(dict.fromkeys(f"{target.kind} {target.peak / 1e12:g}" for target in targets if target.peak)):
    reached = f"assumed: a step reaches {utilization:.0%} (--utilization) of a chip's peak"
    lines.append(f"{reached}; TFLOP/s (--peak): {peaks}; it takes at least the time to send.")
  if links := ", ".join(dict.fromkeys(f"{target.kind} {target.link / 1e9:g}" for target in targets if target.link)):
    lines.append(f"assumed: a chip sends on all its links at full speed; GB/s: {links}.")
  if any(target.kind == "gpu" for target in targets):
    share = f"{GPU_SHARE:.0%} of a GPU's memory (--memory, 80 GB)"
    lines.append(f"assumed: a program can use {share}, the default of JAX's allocator.")
  return lines


def _gib(size: float) -> str:
  return f"{size / GIB:.2f}" if size >= 0.1 * GIB else f"{size / GIB:.2g}"


def _short(value: float | None) -> str | None:
  return None if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
