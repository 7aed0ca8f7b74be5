"""Round trips: encoders of timm and torchvision initialize a run and load its export strictly, with equal weights."""

import json

import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from tests.export import fixtures
from tests.export.test_export import close, measured
from tests.pretrained.fixtures import with_statistics

pytestmark = pytest.mark.full

torch = pytest.importorskip("torch")
load_file = pytest.importorskip("safetensors.torch").load_file
SIZE = 64  # pixels; the weights are those for larger images, except positions
IMAGES = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
X = np.ascontiguousarray(((IMAGES / 255 - 0.4) / 0.2).astype(np.float32).transpose(0, 3, 1, 2))
NAMES = {"vit_s": "vit_small_patch16_224", "resnet18": "resnet18", "resnet50": "resnet50", "convnext_tiny": "convnext_tiny"}


def build(library, name, torchvision):
  """Builds a network without classifier."""
  if library == "timm":
    options = {"img_size": SIZE} if name == "vit_s" else {}
    return pytest.importorskip("timm").create_model(NAMES[name], num_classes=0, **options)
  model = getattr(torchvision.models, name)()
  model.fc = torch.nn.Identity()
  return model


@pytest.mark.parametrize(
  "library, name", [*(("timm", name) for name in NAMES), ("torchvision", "resnet18"), ("torchvision", "resnet50")]
)
def test_weights_survive_the_round_trip(library, name, tmp_path, torchvision):
  torch.manual_seed(0)
  model = with_statistics(build(library, name, torchvision))
  torch.save({"model": {f"module.{key}": x for key, x in model.state_dict().items()}}, tmp_path / "theirs.pth")
  config = ModelConfig(name=name, init_from=str(tmp_path / "theirs.pth"))
  workdir, file = fixtures.run(tmp_path / "run", config, SIZE), tmp_path / "out" / "model.safetensors"
  assert fixtures.export(workdir, tmp_path / "out", library) == 0
  if library == "timm":
    again = pytest.importorskip("timm").create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
  else:
    again = build(library, name, torchvision)
    again.load_state_dict(load_file(file), strict=True)
  before, after = model.state_dict(), again.eval().state_dict()
  for key in before.keys() - {key for key in before if key.startswith("fc.") or key.endswith("num_batches_tracked")}:
    assert torch.equal(before[key], after[key]), key
  with torch.no_grad():
    features = model(torch.from_numpy(X)).numpy()
    assert features.std() > 1e-3  # constant features would prove nothing
    np.testing.assert_array_equal(again(torch.from_numpy(X)).numpy(), features)
  close(features, measured(workdir, IMAGES))


LOGITS = [("timm", "vit_s"), ("timm", "resnet18"), ("timm", "convnext_tiny"), ("torchvision", "resnet18")]


@pytest.mark.parametrize("library, name", LOGITS)
def test_a_classifier_gives_the_same_logits(library, name, tmp_path, torchvision):
  workdir = fixtures.run(tmp_path / "run", ModelConfig(name=name), SIZE)
  kernel = fixtures.classifier(workdir)
  assert fixtures.export(workdir, tmp_path / "out", library, "--classifier") == 0
  config, count = json.loads((tmp_path / "out" / "config.json").read_text()), len(fixtures.CLASSES)
  if library == "timm":
    model = pytest.importorskip("timm").create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert model.pretrained_cfg["label_names"] == [*fixtures.CLASSES]
  else:
    model = getattr(torchvision.models, config["torchvision"]["name"])(num_classes=count)
    model.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)
  with torch.no_grad():
    logits = model.eval()(torch.from_numpy(X)).numpy()
  close(logits, measured(workdir, IMAGES) @ kernel[:-1] + kernel[-1], 1e-4)
  assert {"timm": "local-dir:", "torchvision": f"num_classes={count}"}[library] in (tmp_path / "out" / "README.md").read_text()
