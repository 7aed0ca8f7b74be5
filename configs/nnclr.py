"""NNCLR: contrast with the nearest neighbor in a queue (arXiv 2104.14548). CIFAR-10 on one GPU.

configs/nnclr.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 91.88; Lightly, 800 epochs: 200-NN 89.2
  python -m jaxssl.main --config configs/nnclr.py
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
  """CIFAR-10 at 32 pixels, the paper's heads, a smaller queue."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "nnclr", "temperature": 0.1, "queue": 16_384}
  recipes.mlp(config.model.projector, 2048, 256, layers=3, last_bn="affine")
  recipes.mlp(config.model.predictor, 4096, 256)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config
