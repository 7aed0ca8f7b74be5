"""What the ImageNet recipes send between eight devices in a step is bounded, by golden/collectives.json.

Batch, views, heads, prototypes, queue and neighbor bank are those of the recipes. The encoder is one layer of the same width:
a real one takes minutes to compile, and its gradients and batch statistics are reduced in the same way as those of the heads.
"""

import json
import pathlib
import re

import flax.linen as nn
import pytest

from jaxssl.config.schema import Config
from jaxssl.core import tree
from jaxssl.models import network
from jaxssl.models.backbone import Backbone
from jaxssl.models.norm import BatchNorm
from jaxssl.parallel.mesh import make_mesh
from jaxssl.plan import estimate, hlo
from jaxssl.plan.dataset_sizes import DatasetSpec
from tests import flags

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parent.parent.parent
BOUNDS = json.loads((ROOT / "tests/golden/collectives.json").read_text())  # recipe -> kind of collective -> MB
# A bank of neighbors, a queue, a shuffled teacher, and an assignment over the batch; the others are variants of these.
QUICK = ["nnboot.py:imagenet", "isd.py:imagenet", "moco.py:imagenet", "resa.py:imagenet"]
WIDTHS = {"resnet18": 512, "resnet50": 2048, "vit_s": 384}
IMAGES = DatasetSpec(1_281_167)


class OneLayer(nn.Module):
  """An encoder of one layer with BatchNorm, as wide as another."""

  width: int
  bn_groups: int

  @nn.compact
  def __call__(self, x, *, train: bool):
    x = nn.Dense(self.width, use_bias=False, name="patch_embed")(x[:, :8, :8].reshape(len(x), -1))
    return nn.relu(BatchNorm(groups=self.bn_groups)(x, train=train))


def recipes() -> list[str]:
  """Returns the recipes of all config files for ImageNet: those with that name, and those for a ViT."""
  files = sorted((ROOT / "configs").glob("*.py"))
  return [f"{path.name}:{name}" for path in files for name in re.findall(r'"(imagenet\w*|\w+_vit)":', path.read_text())]


def traffic_of(config: Config, monkeypatch) -> dict[str, float]:
  """Returns the megabytes that a step reduces, gathers or exchanges on eight devices, by kind of collective."""
  encoder = OneLayer(WIDTHS[config.model.name], config.model.bn_groups)
  monkeypatch.setattr(Backbone, "build", lambda self, dtype, size: encoder)
  monkeypatch.setattr(network, "backbone", lambda model: Backbone(name=model.name))
  config = tree.replace(config, {"data.placement": "host"})
  compiled = estimate.build(config, IMAGES, make_mesh()).trace().lower().compile()
  return {kind: sums["payload"] / 1e6 for kind, sums in hlo.traffic(compiled.as_text(), 8).items()}


def test_every_recipe_has_a_bound():
  assert set(QUICK) <= set(BOUNDS) and sorted(BOUNDS) == sorted(recipes())


@pytest.mark.parametrize("recipe", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.full) for name in recipes()])
def test_traffic_of_a_step_is_bounded(recipe, monkeypatch):
  config, _ = flags.parse([f"--config={ROOT}/configs/{recipe}"])
  traffic, bounds = traffic_of(config, monkeypatch), BOUNDS[recipe]
  more = {kind: megabytes for kind, megabytes in traffic.items() if megabytes > bounds.get(kind, 0)}
  assert not more, f"MB per step, but at most {bounds}; raise a bound in golden/collectives.json only for what is worth it"
