"""Barlow Twins: decorrelated features (arXiv 2103.03230). CIFAR-10 on one GPU.

configs/barlow.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 92.10; Lightly, 800 epochs: 200-NN 85.9
  python -m jaxssl.main --config configs/barlow.py
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl import config_files
from jaxssl.config_files import Fields
from jaxssl.views import presets


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return config_files.choose(recipe, {"": cifar10})


def cifar10() -> Fields:
  """CIFAR-10 at 32 pixels; the whole loss is scaled so that SGD's rate suits it."""
  config = config_files.cifar()
  config.views = config_files.views(presets.asymmetric(32))
  config.method = {"name": "barlow", "off_diagonal": 0.005, "scale": 0.025}
  config_files.mlp(config.model.projector, 2048, 2048, layers=3)
  config_files.sgd(config, lr=0.06, weight_decay=1e-4)
  return config
