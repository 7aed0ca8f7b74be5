"""SimCLR: find the other view within the batch (arXiv 2002.05709).

configs/simclr.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/simclr.py
  Others: linear 90.74 (solo-learn, 1000 epochs); their recipe differs: LARS 0.4, weight decay 1e-4, head 2048-256, batch 256,
  crops from 0.08, jitter 0.8/0.8/0.8/0.2, blur 0.5. 200-NN 87.9 (Lightly, batch 512, best of 800 epochs); theirs differs: no
  warm-up. Measured with ",cpu", 3 seeds: k-NN 46.4 ± 0.5 (docs/results.md).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels."""
  config = recipes.cifar()
  config.views = recipes.views(presets.symmetric(32))
  config.method = {"name": "simclr", "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4, lr_base_batch_size=128)
  config.train.batch_size = 512
  return config


get_config = recipes.by_name({"": cifar10})
