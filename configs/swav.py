"""SwAV: swapped assignments to prototypes (arXiv 2006.09882).

configs/swav.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/swav.py
  Published: linear 89.17 (solo-learn, 1000 epochs), 200-NN 88.4 (Lightly, 800 epochs). Measured with ",cpu": docs/results.md.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels; a queue of 3,840 from epoch 15 on, prototypes frozen in the first epoch."""
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


get_config = recipes.by_name({"": cifar10})
