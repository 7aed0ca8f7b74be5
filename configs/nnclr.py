"""NNCLR: contrast with the nearest neighbour in a queue (arXiv 2104.14548). CIFAR-10 on one GPU.

configs/nnclr.py   CIFAR-10, ResNet-18. solo-learn, 1000 epochs: linear 91.88; Lightly, 800 epochs: 200-NN 89.2
  python -m jaxssl.main --config configs/nnclr.py
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
  """CIFAR-10 at 32 pixels, the paper's heads, a smaller queue."""
  config = config_files.cifar()
  config.views = config_files.views(presets.symmetric(32))
  config.method = {"name": "nnclr", "temperature": 0.1, "queue": 16_384}
  config_files.mlp(config.model.projector, 2048, 256, layers=3, last_bn="affine")
  config_files.mlp(config.model.predictor, 4096, 256)
  config_files.sgd(config, lr=0.06, weight_decay=5e-4)
  return config
