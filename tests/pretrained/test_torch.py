"""Encoders in files of all families, written by torch.save, are read exactly; tests/export/test_torch.py compares features."""

import numpy as np
import pytest

from jaxssl.config.schema import ModelConfig
from jaxssl.models import network
from jaxssl.pretrained.torch_names import to_torch
from tests.pretrained.fixtures import FAMILIES, family, nested, read_variables, with_statistics

pytestmark = pytest.mark.full

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("kind", FAMILIES)
def test_encoders_of_all_families_are_read_exactly(kind, torchvision, tmp_path):
  torch.manual_seed(0)
  theirs = torchvision.models.resnet18(weights=None)
  theirs.fc = torch.nn.Identity()
  state = with_statistics(theirs).state_dict()
  weights = {name: x.numpy() for name, x in state.items() if not name.endswith("num_batches_tracked")}
  tree = nested({name: torch.from_numpy(np.array(x)) for name, x in family(kind, weights).items()})
  torch.save(tree | {"epoch": 3, "bn1.num_batches_tracked": torch.tensor(1)}, tmp_path / "w.pth")

  module = network.build(ModelConfig(name="resnet18"), "float32", 224).encoder
  variables = read_variables(tmp_path / "w.pth", "resnet18", module, (1, 224, 224, 3))
  again = to_torch(variables["params"], variables["batch_stats"])
  assert again.keys() == weights.keys()
  for name, x in again.items():
    np.testing.assert_array_equal(x, weights[name], err_msg=name)
