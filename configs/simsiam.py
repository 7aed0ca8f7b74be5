"""SimSiam: BYOL without a teacher (arXiv 2011.10566).

configs/simsiam.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/simsiam.py
  Published: linear 90.51 (solo-learn, 1000 epochs), 200-NN 90.4 (Lightly, 800 epochs). Measured with ",cpu": docs/results.md.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with a predictor with a bottleneck."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "simsiam"}
  recipes.mlp(config.model.projector, 2048, 2048, layers=2, last_bn="plain")
  recipes.mlp(config.model.predictor, 512, 2048)
  recipes.sgd(config, lr=0.03, weight_decay=5e-4)
  return config


get_config = recipes.by_name({"": cifar10})
