"""Barlow Twins: decorrelated features (arXiv 2103.03230).

configs/barlow.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/barlow.py
  Others: linear 92.10 (solo-learn, 1000 epochs); their recipe differs: LARS 0.3, loss x 0.1. 200-NN 85.9 (Lightly, batch 512,
  best of 800 epochs); theirs differs: SGD 0.06 per 128 images, weight decay 5e-4, no warm-up. Measured with ",cpu",
  3 seeds: k-NN 41.1 ± 0.3 (docs/results.md).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels; the loss is scaled so that SGD's learning rate suits it."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "barlow", "off_diagonal": 0.005, "scale": 0.025}
  recipes.mlp(config.model.projector, 2048, 2048, layers=3)
  recipes.sgd(config, lr=0.06, weight_decay=1e-4)
  return config


get_config = recipes.by_name({"": cifar10})
