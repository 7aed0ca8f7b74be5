"""BYOL: predict the teacher's projection of the other view (arXiv 2006.07733). CIFAR-10 on one GPU.

configs/byol.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 92.58; Lightly, 800 epochs: 200-NN 91.0
  python -m jaxssl.main --config configs/byol.py
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
  """CIFAR-10 at 32 pixels, the paper's heads."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "byol", "teacher_momentum": {"kind": "cosine", "base": 0.99, "final": 1.0}}
  recipes.mlp(config.model.projector, 4096, 256)
  recipes.mlp(config.model.predictor, 4096, 256)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config
