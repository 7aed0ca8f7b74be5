"""NNCLR: contrast with the nearest neighbor in a queue (arXiv 2104.14548).

configs/nnclr.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/nnclr.py
  Others: linear 91.88 (solo-learn, 1000 epochs); their recipe differs: LARS 0.4, weight decay 1e-5, temperature 0.2, queue
  65,536, crops from 0.08, one view solarized at 0.2. 200-NN 89.2 (Lightly, batch 512, best of 800 epochs); theirs differs:
  queue 8,192, projector of 2 layers, temperature 0.5, no warm-up. Measured with ",cpu", 3 seeds:
  k-NN 41.7 ± 0.0 (docs/results.md).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with the paper's heads and a smaller queue."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "nnclr", "temperature": 0.1, "queue": 16_384}
  recipes.mlp(config.model.projector, 2048, 256, layers=3, last_bn="affine")
  recipes.mlp(config.model.predictor, 4096, 256)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4, lr_base_batch_size=128)
  return config


get_config = recipes.by_name({"": cifar10})
