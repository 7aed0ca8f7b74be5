"""Formats plans as text, with one column per machine and batch size."""

from collections.abc import Iterator, Sequence

from jaxssl.plan.advice import Change
from jaxssl.plan.cost import Assumptions, Cost
from jaxssl.plan.estimate import MARGIN, PARTS, Estimate
from jaxssl.plan.topology import GIB, GPU_SHARE, Topology

Column = tuple[Estimate, Cost, int | None]  # the last: the largest batch that fits, None if unknown
NAMES = {
  "parameters": "parameters, statistics",
  "method_state": "method state",
  "bank": "neighbor bank",
  "votes": "vote window",
  "images": "resident images",
  "batch": "images of a batch",
  "padding": "padding",
  "activations": "activations, temporaries",
}
MISSING = "-"


def table(columns: Sequence[Column]) -> list[str]:
  """Returns the lines of the table, columns aligned."""
  rows = [[label, *cells] for label, cells in _rows(columns)]
  widths = [max(len(row[i]) for row in rows if len(row) > 1) for i in range(len(columns) + 1)]
  return [
    "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=False))).rstrip()
    for row in rows
  ]


def _rows(columns: Sequence[Column]) -> Iterator[tuple[str, list[str]]]:
  """Yields (label, cells); headings have no cells."""
  estimates, costs = [estimate for estimate, _, _ in columns], [cost for _, cost, _ in columns]
  yield "", [e.topology for e in estimates]
  yield "batch size", [str(e.batch_size) for e in estimates]
  if any(e.accumulate > 1 for e in estimates):
    yield "  accumulated over", [str(e.accumulate) for e in estimates]
  yield "chips", [str(e.chips) for e in estimates]
  yield "hosts", [str(e.hosts) for e in estimates]
  yield "memory is", ["compiled" if e.compiled else "estimated" for e in estimates]
  yield "memory per chip, GiB", []
  for part in PARTS:
    if any(e.memory[part] for e in estimates):
      yield f"  {NAMES.get(part, part)}", [_gib(e.memory[part]) for e in estimates]
  yield "  total", [_gib(e.total) for e in estimates]
  yield "  available", [MISSING if e.available is None else _gib(e.available) for e in estimates]
  yield "  fits", [{True: "yes", False: "NO", None: "?"}[e.fits] for e in estimates]
  yield "  largest batch", [MISSING if batch is None else str(batch) for _, _, batch in columns]
  yield "operations", []
  yield "  TFLOP per step", [_short(e.flops / 1e12) for e in estimates]
  yield "  GFLOP per image", [_short(e.flops / e.batch_size / 1e9) for e in estimates]
  yield "sent by each chip per step, MB", [MISSING if e.traffic is None else "" for e in estimates]
  for kind in sorted({kind for e in estimates for kind in e.traffic or ()}):
    yield f"  {kind}", [_sent(e, kind) for e in estimates]
  if any(c.step_seconds is not None for c in costs):
    yield "at the assumed speed", []
    if any(c.sending_seconds for c in costs):
      yield "  ms per step to send", [_or_missing(c.sending_seconds and 1e3 * c.sending_seconds) for c in costs]
    yield "  ms per step", [_or_missing(c.step_seconds and 1e3 * c.step_seconds) for c in costs]
    yield "  images/s per host", [_or_missing(c.images_per_second_and_host) for c in costs]
    yield "  hours", [_or_missing(c.hours) for c in costs]
    if any(c.dollars is not None for c in costs):
      yield "  dollars", [_or_missing(c.dollars) for c in costs]


def advice(estimate: Estimate, changes: Sequence[Change]) -> list[str]:
  """Returns lines with the changes that would make a run fit; none if it fits or that is unknown."""
  if estimate.fits is not False or estimate.available is None:
    return []
  need = f"needs {_gib(estimate.total)} GiB of {_gib(estimate.available)} GiB available"
  head = f"\n{estimate.topology}, batch size {estimate.batch_size}: {need}."
  if not changes:
    part = max(estimate.memory, key=lambda part: estimate.memory[part])
    return [
      f"{head} No single change makes it fit; the largest part is {NAMES.get(part, part)}, {_gib(estimate.memory[part])} GiB"
    ]
  return [f"{head} Any of these changes should make it fit:", *(f"  {c}: {_gib(c.total)} GiB" for c in changes)]


def sources(columns: Sequence[Column], targets: Sequence[Topology], assumed: Assumptions) -> list[str]:
  """Returns lines that list which numbers are counted, compiled, estimated and assumed."""
  lines = ["", "counted: operations of the matrix products and convolutions in the traced step; arrays, from their shapes."]
  if any(e.compiled for e, _, _ in columns):
    lines.append(
      "compiled: padding, activations and traffic are the compiler's figures for the step that trains; "
      "traffic assumes ring algorithms."
    )
  if any(not e.compiled for e, _, _ in columns):
    lines.append(
      "estimated: activations without a compiler are the peak of the live values in the traced step; a run fits if "
      f"{MARGIN:g} times that fits. Traffic is that of the gradients alone, in train.precision."
    )
  lines.append(
    "extrapolated: the largest batch and the changes that make a run fit scale the activations as the traced step's do."
  )
  if assumed.step_seconds is not None:
    lines.append(f"assumed: {assumed.step_seconds:g} s per step (--step-seconds).")
  elif peaks := {target.kind: target.peak for target in targets if target.peak}:
    listed = ", ".join(f"{kind} {peak / 1e12:g}" for kind, peak in peaks.items())
    lines.append(
      f"assumed: a step reaches {assumed.utilization:.0%} (--utilization) of a chip's peak; TFLOP/s (--peak): {listed}; "
      "it takes at least the time to send."
    )
  if links := {target.kind: target.link for target in targets if target.link}:
    listed = ", ".join(f"{kind} {link / 1e9:g}" for kind, link in links.items())
    lines.append(f"assumed: a chip sends on all its links at full speed; GB/s: {listed}.")
  if any(target.kind == "gpu" for target in targets):
    lines.append(
      f"assumed: a program can use {GPU_SHARE:.0%} of a GPU's memory (--memory, 80 GB), the default of JAX's allocator."
    )
  return lines


def _gib(size: float) -> str:
  return f"{size / GIB:.2f}" if size >= 0.1 * GIB else f"{size / GIB:.2g}"


def _short(value: float) -> str:
  return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _or_missing(value: float | None) -> str:
  return MISSING if value is None else _short(value)


def _sent(estimate: Estimate, kind: str) -> str:
  if estimate.traffic is None:
    return MISSING
  return _short(estimate.traffic[kind].sent / 1e6) if kind in estimate.traffic else "0"
