"""VICReg: variance, invariance and covariance of features (arXiv 2105.04906).

configs/vicreg.py  CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/vicreg.py
  Others: linear 92.07 (solo-learn, 1000 epochs); their recipe differs: LARS 0.3, crops from 0.2, both views solarized at 0.1.
  Measured with ",cpu", 3 seeds: k-NN 37.0 ± 0.7 (docs/results.md).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "vicreg", "invariance": 25.0, "variance": 25.0, "covariance": 1.0}
  recipes.mlp(config.model.projector, 2048, 2048, layers=3)
  recipes.sgd(config, lr=0.01, weight_decay=1e-4)
  return config


get_config = recipes.by_name({"": cifar10})
