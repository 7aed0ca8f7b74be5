"""Encoders of torchvision and timm, written by torch.save, have the same features here and convert back exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.models import network
from jaxssl.pretrained.torch_names import to_torch
from tests.pretrained.fixtures import FAMILIES, back, family, nested, with_statistics

torch = pytest.importorskip("torch")


def agree(theirs, ours: ModelConfig, kind: str, tmp_path, features: bool = True) -> None:
  """Writes `theirs` as a family's file and reads it; compares the converted weights exactly, and the features."""
  state = with_statistics(theirs).state_dict()
  counters = {name for name in state if name.endswith("num_batches_tracked")}
  flat = family(kind, {name: x.numpy() for name, x in state.items() if name not in counters})
  tree = nested({name: torch.from_numpy(np.array(x)) for name, x in flat.items()})
  torch.save(tree | {"epoch": 3, "bn1.num_batches_tracked": torch.tensor(1)}, tmp_path / "w.pth")

  module = network.build(ours, "float32", 224).encoder
  found = back(tmp_path / "w.pth", ours.name, module, (1, 224, 224, 3))
  again = to_torch(found["params"], found["batch_stats"])
  assert again.keys() == {n for n in state if n not in counters}
  for name, x in again.items():
    np.testing.assert_array_equal(x, state[name].numpy(), err_msg=name)
  if not features:
    return
  images = np.random.default_rng(0).standard_normal((2, 224, 224, 3), np.float32)
  with torch.no_grad():
    expected = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
  assert expected.std() > 1e-3  # otherwise the comparison is void
  out = jax.jit(lambda v, x: module.apply(v, x, train=False))(found, jnp.asarray(images))
  assert np.abs(out - expected).max() <= 1e-5 * np.abs(expected).max()


def of_torchvision(torchvision, name):
  torch.manual_seed(0)
  theirs = getattr(torchvision.models, name)(weights=None)
  theirs.fc = torch.nn.Identity()
  return theirs


@pytest.mark.parametrize("kind", FAMILIES)
def test_resnet18(kind, torchvision, tmp_path):
  agree(of_torchvision(torchvision, "resnet18"), ModelConfig(name="resnet18"), kind, tmp_path, features=kind == "isd")


def test_resnet50(torchvision, tmp_path):
  agree(of_torchvision(torchvision, "resnet50"), ModelConfig(name="resnet50"), "mocov2", tmp_path)


@pytest.mark.parametrize(
  "theirs, ours, kind",
  [
    ("resnet18", "resnet18", "plain"),
    ("vit_small_patch16_224", "vit_s", "plain"),
    ("vit_small_patch16_224", "vit_s", "dino"),
    ("convnext_tiny", "convnext_tiny", "dino"),
  ],
)
def test_timm(theirs, ours, kind, torchvision, tmp_path):
  timm = pytest.importorskip("timm")
  torch.manual_seed(0)
  agree(timm.create_model(theirs, pretrained=False, num_classes=0), ModelConfig(name=ours), kind, tmp_path)
