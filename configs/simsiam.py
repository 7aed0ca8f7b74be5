"""SimSiam: BYOL without a teacher (arXiv 2011.10566). CIFAR-10 on one GPU.

configs/simsiam.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 90.51; Lightly, 800 epochs: 200-NN 90.4
  python -m jaxssl.main --config configs/simsiam.py
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
  """CIFAR-10 at 32 pixels; a predictor with a bottleneck."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "simsiam"}
  recipes.mlp(config.model.projector, 2048, 2048, layers=2, last_bn="plain")
  recipes.mlp(config.model.predictor, 512, 2048)
  recipes.sgd(config, lr=0.03, weight_decay=5e-4)
  return config
