"""Barlow Twins: decorrelated features (arXiv 2103.03230). CIFAR-10 on one GPU.

configs/barlow.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 92.10; Lightly, 800 epochs: 200-NN 85.9
  python -m jaxssl.main --config configs/barlow.py
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return recipes.choose(recipe, {"": cifar10})


def cifar10() -> Fields:
  """CIFAR-10 at 32 pixels; the whole loss is scaled so that SGD's rate suits it."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "barlow", "off_diagonal": 0.005, "scale": 0.025}
  recipes.mlp(config.model.projector, 2048, 2048, layers=3)
  recipes.sgd(config, lr=0.06, weight_decay=1e-4)
  return config
