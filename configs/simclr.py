"""SimCLR: find the other view within the batch (arXiv 2002.05709). CIFAR-10 on one GPU.

configs/simclr.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 90.74; Lightly, 800 epochs: 200-NN 87.9
  python -m jaxssl.main --config configs/simclr.py
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
  """CIFAR-10 at 32 pixels."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "simclr", "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  config.train.batch_size = 512
  return config
