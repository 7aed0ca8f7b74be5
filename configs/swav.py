"""SwAV: swapped assignments to prototypes (arXiv 2006.09882).

configs/swav.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/swav.py
  Others: linear 89.17 (solo-learn, 1000 epochs); their recipe differs: LARS 0.6, queue from epoch 50 on, prototypes frozen for
  2 epochs, crops from 0.08, jitter 0.8/0.8/0.8/0.2, blur 0.5. 200-NN 88.4 (Lightly, batch 512, best of 800 epochs); theirs
  differs: Adam 1e-3 per 128 images, 512 prototypes, head 512-128, no queue, crops from 0.14, no warm-up. Measured with ",cpu",
  3 seeds: k-NN 30.4 ± 0.8 (docs/results.md). The released code (facebookresearch/swav) has ReLU in the head, where this one has
  GELU: docs/methods.md.
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
