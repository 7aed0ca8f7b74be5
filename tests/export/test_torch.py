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
SIZE = 64  # pixels; the weights are those for larger images, except positions
IMAGES = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
X = np.ascontiguousarray(((IMAGES / 255 - 0.4) / 0.2).astype(np.float32).transpose(0, 3, 1, 2))
NAMES = {"vit_s": "vit_small_patch16_224", "resnet18": "resnet18", "resnet50": "resnet50", "convnext_tiny": "convnext_tiny"}


def timm_model(torchvision, name, **more):
  options = {"img_size": SIZE} if name == "vit_s" else {}
  return pytest.importorskip("timm").create_model(NAMES[name], num_classes=0, **options, **more)


def initialized_run(tmp_path, model, name):
  """Writes a run initialized from the weights of a torch network."""
  torch.save({"model": {f"module.{key}": x for key, x in model.state_dict().items()}}, tmp_path / "theirs.pth")
  return fixtures.run(tmp_path / "run", ModelConfig(name=name, init_from=str(tmp_path / "theirs.pth")), SIZE)


def assert_same(again, model, workdir):
  """Asserts that weights and features are equal, and that the run has these features."""
  before, after = model.state_dict(), again.eval().state_dict()
  for name in before.keys() - {name for name in before if name.startswith("fc.") or name.endswith("num_batches_tracked")}:
    assert torch.equal(before[name], after[name]), name
  with torch.no_grad():
    features = model(torch.from_numpy(X)).numpy()
    assert features.std() > 1e-3  # constant features would prove nothing
    np.testing.assert_array_equal(again(torch.from_numpy(X)).numpy(), features)
  close(features, measured(workdir, IMAGES))


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_timm_survive_the_round_trip(name, tmp_path, torchvision):
  torch.manual_seed(0)
  model = with_statistics(timm_model(torchvision, name))
  workdir = initialized_run(tmp_path, model, name)
  assert fixtures.export(workdir, tmp_path / "out", "timm") == 0
  config = json.loads((tmp_path / "out" / "config.json").read_text())["timm"]
  assert config == {"name": NAMES[name], "options": {"img_size": SIZE} if name == "vit_s" else {}}
  assert_same(timm_model(torchvision, name, checkpoint_path=str(tmp_path / "out" / "model.safetensors")), model, workdir)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_weights_of_torchvision_survive_the_round_trip(name, tmp_path, torchvision):
  from safetensors.torch import load_file

  torch.manual_seed(0)
  model, again = (getattr(torchvision.models, name)() for _ in range(2))
  model.fc, again.fc = torch.nn.Identity(), torch.nn.Identity()
  workdir = initialized_run(tmp_path, with_statistics(model), name)
  assert fixtures.export(workdir, tmp_path / "out", "torchvision") == 0
  again.load_state_dict(load_file(tmp_path / "out" / "model.safetensors"), strict=True)
  assert_same(again, model, workdir)
