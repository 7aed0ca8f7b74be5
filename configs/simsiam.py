"""SimSiam: BYOL without a teacher (arXiv 2011.10566).

configs/simsiam.py         CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/simsiam.py
  Others: linear 90.51 (solo-learn, 1000 epochs); their recipe differs: SGD 0.5, weight decay 1e-5, warm-up, crops from 0.08,
  blur 0.5. 200-NN 90.4 (Lightly, batch 512, best of 800 epochs); theirs differs: SGD 0.06 at any batch size, projector of 3
  layers. Measured with ",cpu", 3 seeds: k-NN 28.5 ± 2.0 (docs/results.md). The released code
  (facebookresearch/simsiam), for ImageNet only, can keep the predictor's learning rate constant (--fix-pred-lr): not possible
  here.
configs/simsiam.py:nnboot  CIFAR-10, the same with neighbor bootstrapping; not measured
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
  recipes.sgd(config, lr=0.03, weight_decay=5e-4, warmup_epochs=0)
  return config


get_config = recipes.by_name({"": cifar10, "nnboot": lambda: recipes.bootstrapped(cifar10())})
