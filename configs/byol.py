"""BYOL: predict the teacher's projection of the other view (arXiv 2006.07733).

configs/byol.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/byol.py
  Published: linear 92.58 (solo-learn, 1000 epochs), 200-NN 91.0 (Lightly, 800 epochs). Measured with ",cpu": docs/results.md.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with the paper's heads."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "byol", "teacher_momentum": {"kind": "cosine", "base": 0.99, "final": 1.0}}
  recipes.mlp(config.model.projector, 4096, 256)
  recipes.mlp(config.model.predictor, 4096, 256)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config


get_config = recipes.by_name({"": cifar10})
