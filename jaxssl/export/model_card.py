"""The README.md of an export: what the weights are, how they were trained, what was measured, how to use them."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.config.parse import read
from jaxssl.config.schema import ModelConfig
from jaxssl.core.errors import one_line
from jaxssl.core.metric import Metric, protocol_text
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.backbone import backbone
from jaxssl.workdir import results

Measured = Sequence[tuple[Metric, Mapping[str, Any]]]


def card(bundle: ExportBundle, file: str, usage: str, license: str | None, measured: Measured) -> str:
  """Returns the text; without a license it asks the publisher to choose one."""
  about, shown = bundle.about, bundle.about["preprocessing"]
  name = f"{about['model']['name']}, {about['method']}"
  return f"""---
library_name: jaxssl
pipeline_tag: image-feature-extraction
license: {_yaml(license or "other")}
tags: [self-supervised, {about["method"]}]
---

# {name} on {_plain(about["data"])}

`{file}` holds the {about["network"]} network{_heads(about)} after {about["step"]} steps.
It computes features of images and was trained without labels.
{_license(license)}
## Training

| field | value |
|---|---|
| method | {about["method"]}, neighbor bootstrapping {about["bootstrap"]} |
| images | {_plain(about["data"])} |
| epochs, batch size | {about["epochs"]}, {about["batch_size"]}; step {about["step"]} |
| encoder | {_encoder(about["model"])} |
| precision | {_precision(about["trained_in"])} in training, float32 in this export |
| software | jaxssl {about["jaxssl"]} |

## Preprocessing

{_preparation(shown)}

## Usage

{usage}

## Results

{results_table(measured, about)}
"""


def _plain(text: str) -> str:
  """Escapes a name, such as a folder's, for Markdown, also inside a table."""
  return re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", one_line(text))


def _yaml(text: str) -> str:
  return text if re.fullmatch(r"[A-Za-z][\w.+-]*", text, re.ASCII) else json.dumps(text)


def of_this(document: Mapping[str, Any], about: Mapping[str, Any]) -> list[tuple[Metric, dict[str, Any]]]:
  """Selects the measurements of the exported network at its step from results.json."""
  metrics = results.metrics_of(document)
  return [
    (metrics.get(m["name"]) or Metric(name=m["name"], title=m["name"]), m)
    for m in results.measurements_of(document)
    if (m["step"], m["subject"]) == (about["step"], about["network"])
  ]


def _precision(configured: str) -> str:
  return configured if configured == "float32" else f"{configured} (float32 if on a CPU)"


def _heads(about: Mapping[str, Any]) -> str:
  return f"'s encoder, {' and '.join(about['heads'])}" if about["heads"] else "'s encoder"


def _license(license: str | None) -> str:
  if license:
    return ""
  return "\nNo license was named at export. Before you publish this, choose one and set it in the head of this file.\n"


def _encoder(model: Mapping[str, Any]) -> str:
  return backbone(read(ModelConfig, model)).describe()


def _preparation(shown: Mapping[str, Any]) -> str:
  size, steps = shown["size"], []
  if shown["resident_size"]:
    steps.append(f"the shorter side is resized to {shown['resident_size']} pixels and the center square cropped")
  if shown["resize"]:
    steps.append(f"the shorter side is resized to {shown['resize']} pixels and the center {size} x {size} cropped")
  else:
    steps.append(f"the whole image is resized to {size} x {size}")
  steps = [
    *steps,
    f"values are divided by {2 ** shown['bit_depth'] - 1}",
    f"mean {shown['mean']} is subtracted",
    f"divided by {shown['std']}, by channel",
  ]
  return f"{shown['channels']} channel{'s' * (shown['channels'] > 1)}; bicubic with antialiasing: {'; '.join(steps)}."


def results_table(measured: Measured, about: Mapping[str, Any]) -> str:
  """Returns the table of measurements."""
  if not measured:
    return f"Nothing was measured of the {about['network']} network at step {about['step']}."
  rows = ["| metric | value | protocol |", "|---|---|---|"]
  for metric, m in measured:
    value = "not finite" if m["value"] is None else f"{m['value']:.5g}{metric.unit}"
    std = f" ± {m['std']:.2g}" if m["std"] is not None else ""
    chosen = f" ({_plain(protocol_text(m['chosen']))})" if m["chosen"] else ""
    name = f"{_plain(metric.title)} ({_plain(metric.name)})"
    rows.append(f"| {name} | {_plain(value)}{std}{chosen} | {_plain(protocol_text(m['protocol']))} |")
  return "\n".join(rows)
