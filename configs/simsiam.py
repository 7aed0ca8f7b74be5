"""SimSiam: BYOL without a teacher (arXiv 2011.10566). CIFAR-10 on one GPU.

configs/simsiam.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 90.51; Lightly, 800 epochs: 200-NN 90.4
  python -m jaxssl.main --config configs/simsiam.py
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl import config_files
from jaxssl.config_files import Fields
from jaxssl.views import presets


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return config_files.choose(recipe, {"": cifar10})


def cifar10() -> Fields:
  """CIFAR-10 at 32 pixels; a predictor with a bottleneck."""
  config = config_files.cifar()
  config.views = config_files.views(presets.symmetric(32))
  config.method = {"name": "simsiam"}
  config_files.mlp(config.model.projector, 2048, 2048, layers=2, last_bn="plain")
  config_files.mlp(config.model.predictor, 512, 2048)
  config_files.sgd(config, lr=0.03, weight_decay=5e-4)
  return config
