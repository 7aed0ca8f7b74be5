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
from jaxssl.models.backbone import backbone
from jaxssl.workdir import results

# An example for each format, in Markdown, with entries of config.json in braces
USAGE = {
  "flax": """```python
import jaxssl, numpy as np
from PIL import Image

model = jaxssl.load_pretrained("FOLDER")  # this folder
image = np.asarray(Image.open("image.jpg").convert("RGB"))
features = model.embed(image)  # float32 [f]
```

`model.module` is a flax module for normalized float32 [b, h, w, c]: `model.module.apply(model.variables, x, train=False)`.""",
  "timm": """```python
import timm, torch

options = {timm[options]}
model = timm.create_model("{timm[name]}", num_classes=0, checkpoint_path="model.safetensors", **options).eval()
with torch.no_grad():
  features = model(x)  # float32 [b, {channels}, {size}, {size}], normalized as above
```""",
  "torchvision": """```python
import torch, torchvision
from safetensors.torch import load_file

model = torchvision.models.{torchvision[name]}()
model.fc = torch.nn.Identity()  # the file has no classifier
model.load_state_dict(load_file("model.safetensors"), strict=True)
features = model.eval()(x)  # float32 [b, 3, h, w], normalized as above
```""",
  "onnx": """```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(features,) = session.run(["features"], {{"images": x}})
# x: float32 [b, {channels}, {size}, {size}], normalized as above
```""",
  "stablehlo": """```python
import jax.export

with open("model.stablehlo", "rb") as file:
  model = jax.export.deserialize(bytearray(file.read()))
features = model.call(x)  # float32 [b, {size}, {size}, {channels}], normalized as above
```

The function runs on CPU, CUDA and TPU; `model.mlir_module()` is its StableHLO. It needs jax and not jaxssl.""",
}


def card(bundle: ExportBundle, file: str, license: str | None, document: Mapping[str, Any]) -> str:
  """Returns the text; without a license, the text includes a request to choose one. `document`: of results.json."""
  about, prep, trained_in = bundle.about, bundle.preprocessing, bundle.about["trained_in"]
  fields = {name: value for name, value in dataclasses.asdict(backbone(bundle.model)).items() if value}  # 0: the default
  held_out = f", without the {100 * about['holdout']:g}% of each class that are held out to test on" if about["holdout"] else ""
  request = "\nNo license was named at export. Before you publish this, choose one and set it in the head of this file.\n"
  return f"""---
library_name: jaxssl
pipeline_tag: image-feature-extraction
license: {json.dumps(license or "other")}
tags: [self-supervised, {about["method"]}]
---

# {about["model"]["name"]}, {about["method"]} on {_plain(about["data"])}

`{file}` holds the {about["network"]} network's {", ".join(["encoder", *about["heads"]])} after {about["step"]} steps.
It computes features of images and was trained without labels.
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

## Preprocessing

{_preparation(prep)}

## Usage

{USAGE[about["format"]].format(size=prep.size, channels=prep.channels, **about)}

## Results

{results_table(document, about)}
"""


def _plain(text: str) -> str:
  """Escapes a name, such as a folder's, for Markdown, also inside a table."""
  return re.sub(r"([\\`*\[\]<>|&~])", r"\\\1", one_line(text))


def _preparation(prep: Preprocessing) -> str:
  resident, resized = "", f"the whole image is resized to {prep.size} x {prep.size}"
  if prep.resident_size:
    resident = f"the shorter side is resized to {prep.resident_size} pixels and the center square cropped; "
  if prep.resize:
    resized = f"the shorter side is resized to {prep.resize} pixels and the center {prep.size} x {prep.size} cropped"
  values = f"values are divided by {2**prep.bit_depth - 1}; mean {[*prep.mean]} is subtracted; divided by {[*prep.std]}"
  channels = f"{prep.channels} channel{'s' * (prep.channels > 1)}"
  return f"{channels}; bicubic with antialiasing: {resident}{resized}; {values}, by channel."


def results_table(document: Mapping[str, Any], about: Mapping[str, Any]) -> str:
  """Returns the table of the exported network's measurements at its step in results.json."""
  metrics, identity = results.metrics_of(document), (about["step"], about["network"])
  measured = [m for m in results.measurements_of(document) if (m["step"], m["subject"]) == identity]
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
