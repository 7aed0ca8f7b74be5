"""The README.md beside exported weights: what they are, how they were made, what was measured, how they are used."""

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxssl.config.parse import read
from jaxssl.config.schema import DataConfig, ModelConfig
from jaxssl.core import paths
from jaxssl.core.errors import one_line
from jaxssl.export.bundle import ExportBundle
from jaxssl.models.backbone import backbone
from jaxssl.workdir.results import BASELINES


def card(subject: ExportBundle, file: str, usage: str, license: str | None, measured: Sequence[Mapping[str, Any]]) -> str:
  """Gives the text. `license` None: it says that nobody has chosen one."""
  about, how = subject.about, subject.about["preprocessing"]
  of = f"{about['model']['name']}, {about['method']}"
  return f"""---
library_name: jaxssl
pipeline_tag: image-feature-extraction
license: {_yaml(license or "other")}
tags: [self-supervised, {about["method"]}]
---

# {of} on {_plain(about["data"])}

`{file}` holds the {about["network"]} network{_heads(about)} after {about["step"]} steps.
It makes features of images, and was trained without labels.
{_license(license)}
## How it was trained

| what | value |
|---|---|
| method | {about["method"]}, neighbor bootstrapping {about["bootstrap"]} |
| images | {_plain(about["data"])} |
| epochs, batch size | {about["epochs"]}, {about["batch_size"]}; this is step {about["step"]} |
| encoder | {_encoder(about["model"])} |
| computed in | {_precision(about["trained_in"])} while training; this export in float32 |
| with | jaxssl {about["jaxssl"]} |

## How an image is prepared

{_preparation(how)}

## How it is used

{usage}

## What was measured

{_measured(measured, about)}
"""


def _plain(text: str) -> str:
  """Writes a name, such as a folder's, so that Markdown shows it as it is, in a cell of a table too."""
  return re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", one_line(text))


def _yaml(text: str) -> str:
  return text if re.fullmatch(r"[A-Za-z][\w.+-]*", text, re.ASCII) else json.dumps(text)


def of_this(measured: Sequence[Mapping[str, Any]], subject: ExportBundle, data: DataConfig) -> list[dict[str, Any]]:
  """Keeps the measurements of this network at this step, without the folders of this machine in their protocols."""
  about = subject.about
  kept = [m for m in measured if m["step"] == about["step"] and f"{about['network']} network" in m["protocol"]]
  kept = [m for m in kept if m["name"].partition("/")[0] not in BASELINES]
  return [dict(m) | {"protocol": _without_folders(m["protocol"], data)} for m in kept]


def _without_folders(protocol: str, data: DataConfig) -> str:
  for path in filter(None, (data.path, data.test_path)):
    whole = paths.absolute(path)
    for written in (whole, str(pathlib.Path(path)), path):
      if os.sep in written:
        protocol = protocol.replace(written, os.path.basename(whole))
  return protocol


def _precision(configured: str) -> str:
  return configured if configured == "float32" else f"{configured} (float32 if on a CPU)"


def _heads(about: Mapping[str, Any]) -> str:
  return f"'s encoder, {' and '.join(about['heads'])}" if about["heads"] else "'s encoder"


def _license(license: str | None) -> str:
  if license:
    return ""
  return "\nNo license was named at export: whoever publishes this chooses one, and writes it in the head of this file.\n"


def _encoder(model: Mapping[str, Any]) -> str:
  return backbone(read(ModelConfig, model)).describe()


def _preparation(how: Mapping[str, Any]) -> str:
  size, steps = how["size"], []
  if how["resident_size"]:
    steps.append(f"the shorter side is resized to {how['resident_size']} pixels and the middle square cut out")
  if how["resize"]:
    steps.append(f"the shorter side is resized to {how['resize']} pixels and the middle {size} x {size} cut out")
  else:
    steps.append(f"the whole image is resized to {size} x {size}")
  steps = [
    *steps,
    f"values are divided by {2 ** how['bit_depth'] - 1}",
    f"mean {how['mean']} is subtracted",
    f"divided by {how['std']}, by channel",
  ]
  return f"{how['channels']} channel{'s' * (how['channels'] > 1)}; bicubic with antialiasing: {'; '.join(steps)}."


def _measured(measured: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> str:
  if not measured:
    return f"Nothing was measured of the {about['network']} network at step {about['step']}."
  rows = ["| what | value | protocol |", "|---|---|---|"]
  for m in measured:
    value = "none" if m["value"] is None else f"{m['value']:.5g}"
    deviation = f" ± {m['deviation']:.2g}" if m.get("deviation") is not None else ""
    rows.append(f"| {_plain(m['name'])} | {value}{deviation} | {_plain(m['protocol'])} |")
  return "\n".join(rows)
