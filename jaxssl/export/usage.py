"""Examples of code that loads an export, for its model card."""

from jaxssl.export.bundle import ExportBundle

# Loads an export and computes its output, with entries of config.json in braces; {output}: "features" or "logits"
LOADING = {
  "flax": """import jaxssl

model = jaxssl.load_pretrained("FOLDER")  # this folder""",
  "timm": """import timm, torch

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()  # this folder; once uploaded, hf-hub:USER/NAME
with torch.no_grad():
  {output} = model(x)  # x: float32 [b, {channels}, {size}, {size}], normalized as above""",
  "torchvision": """import torch, torchvision
from safetensors.torch import load_file

model = torchvision.models.{torchvision[name]}(num_classes={count})
{no_classifier}model.load_state_dict(load_file("model.safetensors"), strict=True)
{output} = model.eval()(x)  # x: float32 [b, 3, h, w], normalized as above""",
  "onnx": """import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
({output},) = session.run(["{output}"], {{"images": x}})
# x: {type} [b, {channels}, {size}, {size}], {values}""",
  "stablehlo": """import jax.export

with open("model.stablehlo", "rb") as file:
  model = jax.export.deserialize(bytearray(file.read()))
{output} = model.call(x)  # x: {type} [b, {size}, {size}, {channels}], {values}""",
}
NO_CLASSIFIER = "model.fc = torch.nn.Identity()  # the file has no classifier\n"
EMBED = 'features = model.embed("image.jpg")  # float32 [f]; of several images: [n, f]'
PREDICT = 'predictions = model.predict(["image.jpg"])\nprint(predictions.names, predictions.probabilities.max(1))'
NAME_CLASSES = """
import json

with open("config.json") as file:
  classes = json.load(file)["classes"]
print([classes[k] for k in logits.argmax(1)])"""
NOTES = {
  "flax": "`model.module` is a flax module for normalized float32 [b, h, w, c]: "
  "`model.module.apply(model.variables, x, train=False)` computes features.",
  "stablehlo": "The function runs on CPU, CUDA and TPU; `model.mlir_module()` is its StableHLO. It needs jax and not jaxssl. "
  "It was written by jax {stablehlo[jax]}. Versions of jax that are released until {stablehlo[guaranteed_until]}, six months "
  "later, are guaranteed to read it; for newer ones, export the run again.",
}


def usage(bundle: ExportBundle) -> str:
  """Returns the example for an export in Markdown; with a classifier, it prints the names of classes."""
  format, count, prep = bundle.about["format"], len(bundle.classes), bundle.preprocessing
  fields = {"size": prep.size, "channels": prep.channels, "count": count, "output": bundle.output, **bundle.about}
  fields |= {
    "type": bundle.input_type.name,
    "values": f"values of files, 0 to {2**prep.bit_depth - 1}" if bundle.with_preprocessing else "normalized as above",
  }
  code = LOADING[format].format(no_classifier="" if count else NO_CLASSIFIER, **fields)
  if format == "flax":
    code += "\n" + (PREDICT if count else EMBED)
  elif count:
    code += "\n" + NAME_CLASSES
  note = f"\n\n{NOTES[format].format(**fields)}" if format in NOTES else ""
  return f"```python\n{code}\n```{note}"
