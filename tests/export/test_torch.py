"""timm and torchvision load what is exported for them, strictly, and give the run's features."""

import json

import numpy as np
import pytest

from jaxssl import main
from jaxssl.config import ModelConfig
from tests.export import made
from tests.export.test_export import close, measured

torch = pytest.importorskip("torch")
SIZE = 64  # pixels: the same weights as for larger pictures, the positions apart
PICTURES = np.random.default_rng(2).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
X = np.ascontiguousarray(((PICTURES / 255 - 0.4) / 0.2).astype(np.float32).transpose(0, 3, 1, 2))


@pytest.fixture(scope="module", params=["vit_s", "resnet18", "resnet50"])
def run(request, tmp_path_factory):
  return request.param, made.run(tmp_path_factory.mktemp("runs") / "run", ModelConfig(name=request.param), SIZE)


@pytest.fixture(scope="module")
def torchvision():
  """With names for its compiled operators where it was installed without them: no network here uses those."""
  library = torch.library.Library("torchvision", "DEF")
  if not hasattr(torch.ops.torchvision, "nms"):
    for name in ("nms", "qnms"):
      library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
  yield pytest.importorskip("torchvision")


def export(workdir, out, kind):
  return main.main(["export", f"--workdir={workdir}", f"--out={out}", f"--format={kind}"])


def test_timm(run, tmp_path, torchvision):
  timm = pytest.importorskip("timm")
  _, workdir = run
  assert export(workdir, tmp_path, "timm") == 0
  said = json.loads((tmp_path / "config.json").read_text())["timm"]
  file = str(tmp_path / "model.safetensors")
  model = timm.create_model(said["name"], num_classes=0, checkpoint_path=file, **said["options"]).eval()  # strict by default
  with torch.no_grad():
    close(model(torch.from_numpy(X)).numpy(), measured(workdir, PICTURES))


def test_torchvision(run, tmp_path, torchvision, capfd):
  safetensors = pytest.importorskip("safetensors.torch")
  name, workdir = run
  if name == "vit_s":
    assert export(workdir, tmp_path / "out", "torchvision") == 2
    return
  assert export(workdir, tmp_path, "torchvision") == 0
  model = getattr(torchvision.models, name)()
  model.fc = torch.nn.Identity()
  model.load_state_dict(safetensors.load_file(tmp_path / "model.safetensors"), strict=True)
  with torch.no_grad():
    close(model.eval()(torch.from_numpy(X)).numpy(), measured(workdir, PICTURES))
