"""Writes the README.md of an export: its weights, training, measurements and usage."""

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from jaxssl.core import one_line
from jaxssl.core.metric import Metric, protocol_text
from jaxssl.evals.preprocessing import Preprocessing
from jaxssl.export.bundle import ExportBundle
from jaxssl.export.usage import usage
from jaxssl.models.backbone import backbone
from jaxssl.workdir import results

SHOWN = 20  # classes that are named
ACCURACIES = ("knn", "linear", "lowshot", "finetune")  # evaluations that measure accuracies
INSIDE = " The file does the last part, from the division on; resize images before."


def card(bundle: ExportBundle, file: str, license: str | None, document: Mapping[str, Any]) -> str:
  """Returns the text; without a license, the text includes a request to choose one. `document`: of results.json."""
  about, prep, trained_in = bundle.about, bundle.preprocessing, bundle.about["trained_in"]
  fields = {name: value for name, value in dataclasses.asdict(backbone(bundle.model)).items() if value}  # 0: the default
  modules = ", ".join(["encoder", *about["heads"], *["classifier"] * bool(bundle.classes)])
  held_out = f", without the {100 * about['holdout']:g}% of each class that are held out to test on" if about["holdout"] else ""
  before = "Of the network before it was fine-tuned:\n\n" * bool(bundle.classes and about["classifier"]["fine_tuned"])
  request = "\nNo license was named at export. Before you publish this, choose one and set it in the head of this file.\n"
  return f"""---
library_name: jaxssl
pipeline_tag: {"image-classification" if bundle.classes else "image-feature-extraction"}
license: {json.dumps(license or "other")}
tags: [self-supervised, {about["method"]}]
{_model_index(bundle, document)}---

# {about["model"]["name"]}, {about["method"]} on {_plain(about["data"])}

`{file}` holds the {about["network"]} network's {modules} after {about["step"]} steps.
{_purpose(bundle)}
{"" if license else request}
## Training

| field | value |
|---|---|
| method | {about["method"]}, neighbor bootstrapping {about["bootstrap"]} |
| images | {_plain(about["data"])}{held_out} |
| epochs, batch size | {about["epochs"]}, {about["batch_size"]}; step {about["step"]} |
| encoder | {fields.pop("name")}, {protocol_text(fields)} |
| precision | {trained_in}{" (float32 if on a CPU)" * (trained_in != "float32")} in training, float32 in this export |
| software | jaxssl {about["jaxssl"]} |

{_classifier(bundle)}## Preprocessing

{_preparation(prep)}{INSIDE * bundle.with_preprocessing}

## Usage

{usage(bundle)}

## Results

{before}{results_table(document, about)}
"""


def _model_index(bundle: ExportBundle, document: Mapping[str, Any]) -> str:
  """Returns the accuracies as the hub's `model-index`, which is JSON, and so YAML; nothing if none was measured."""
  titles, entries = results.metrics_of(document), []
  for m in _measured(document, bundle.about):
    if m["evaluation"] in ACCURACIES and m["value"] is not None:
      protocol = m["protocol"]
      dataset = m["dataset"] or protocol.get("test") or protocol.get("reference") or bundle.about["data"]
      title = titles[m["name"]].title if m["name"] in titles else m["name"]
      metric = {"type": "accuracy", "name": f"{title} ({m['name']})", "value": round(m["value"], 2)}
      task = {"type": "image-classification"}
      entries.append({"task": task, "dataset": {"type": "image", "name": str(dataset)}, "metrics": [metric]})
  name = f"{bundle.about['model']['name']}, {bundle.about['method']} on {bundle.about['data']}"
  return f"model-index: {json.dumps([{'name': name, 'results': entries}])}\n" if entries else ""


def _measured(document: Mapping[str, Any], about: Mapping[str, Any]) -> list[dict[str, Any]]:
  """Returns the measurements of the exported network at its step."""
  identity = (about["step"], about["network"])
  return [m for m in results.measurements_of(document) if (m["step"], m["subject"]) == identity]


def _purpose(bundle: ExportBundle) -> str:
  if not bundle.classes:
    return "It computes features of images and was trained without labels."
  tuned = bundle.about["classifier"]["fine_tuned"]
  how = "then both were trained with labels" if tuned else "the classifier was fitted to its features with labels"
  return f"It classifies images into {len(bundle.classes)} classes. The encoder was trained without labels; {how}."


def _classifier(bundle: ExportBundle) -> str:
  """Returns the section about the classifier: what it was trained on, its accuracy, and its classes."""
  if not bundle.classes:
    return ""
  about = bundle.about["classifier"]
  protocol = dict(about["protocol"])
  sets = ((protocol.pop(f"{role}_images", "?"), protocol.pop(role, "?")) for role in ("reference", "test"))
  reference, test = (f"{count} images of {name}" for count, name in sets)
  chosen = f" ({protocol_text(about['chosen'])})" if about["chosen"] else ""
  names = ", ".join(map(_plain, bundle.classes[:SHOWN])) + ", ..." * (len(bundle.classes) > SHOWN)
  return f"""## Classifier

| field | value |
|---|---|
| kind | {_plain(about["title"])} ({_plain(about["name"])}) |
| trained on | {_plain(reference)}, with labels |
| accuracy | {about["accuracy"]:.5g}% of {_plain(test)} |
| protocol | {_plain(protocol_text(protocol))}{_plain(chosen)} |
| classes | {len(bundle.classes)}: {names}; all of them, in order, are in `config.json` as `classes` |

"""


def _plain(text: str) -> str:
  """Escapes a name, such as a folder's, for Markdown, also inside a table."""
  return re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", one_line(text))


def _preparation(prep: Preprocessing) -> str:
  resident, resized = "", f"the whole image is resized to {prep.size} x {prep.size}"
  if prep.resident_size:
    resident = f"the shorter side is resized to {prep.resident_size} pixels, bicubic, and the center square cropped; then "
  if prep.resize:
    resized = f"the shorter side is resized to {prep.resize} pixels and the center {prep.size} x {prep.size} cropped"
  values = f"values are divided by {2**prep.bit_depth - 1}; mean {[*prep.mean]} is subtracted; divided by {[*prep.std]}"
  channels = f"{prep.channels} channel{'s' * (prep.channels > 1)}"
  return f"{channels}; with antialiasing: {resident}{resized}, {prep.interpolation}; {values}, by channel."


def results_table(document: Mapping[str, Any], about: Mapping[str, Any]) -> str:
  """Returns the table of the exported network's measurements at its step in results.json."""
  metrics, measured = results.metrics_of(document), _measured(document, about)
  if not measured:
    return f"Nothing was measured of the {about['network']} network at step {about['step']}."
  rows = ["| metric | value | protocol |", "|---|---|---|"]
  for m in measured:
    metric = metrics.get(m["name"]) or Metric(name=m["name"], title=m["name"])
    value = "not finite" if m["value"] is None else f"{m['value']:.5g}{metric.unit}"
    std = f" ± {m['std']:.2g}" if m["std"] is not None else ""
    chosen = f" ({_plain(protocol_text(m['chosen']))})" if m["chosen"] else ""
    other = f", on other images: {_plain(m['dataset'])}" if m["dataset"] else ""
    name = f"{_plain(metric.title)} ({_plain(metric.name)}){other}"
    rows.append(f"| {name} | {_plain(value)}{std}{chosen} | {_plain(protocol_text(m['protocol']))} |")
  return "\n".join(rows)
