"""SwAV: swapped assignments to prototypes (arXiv 2006.09882). CIFAR-10 on one GPU.

configs/swav.py   CIFAR-10, ResNet-18, queue of 3,840. solo-learn, 1000 epochs: linear 89.17; Lightly, 800 epochs: 200-NN 88.4
  python -m jaxssl.main --config configs/swav.py
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
  """CIFAR-10 at 32 pixels; the queue helps from epoch 15 on, the prototypes move from the second epoch on."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {
    "name": "swav",
    "temperature": 0.1,
    "sinkhorn_temperature": 0.05,
    "queue": 3840,
    "queue_use": {"base": 1.0, "warmup_epochs": 15},
  }
  config.model.projector.update({"name": "dino", "layers": 2, "hidden": 2048, "bottleneck": 128, "out": 3000, "bn": True})
  recipes.sgd(config, lr=0.06, weight_decay=1e-6)
  config.optim.freeze_last_layer_epochs = 1
  return config
