"""MSF: mean shift towards neighbours in a queue (arXiv 2105.07269). CIFAR-10 on one GPU; ImageNet on 4 to 8, or a TPU v4-8.

configs/msf.py           CIFAR-10, ResNet-18
  python -m jaxssl.main --config configs/msf.py
configs/msf.py:imagenet  ResNet-50, weak/strong, 200 epochs. The authors: linear 72.4, 1-NN 62.0, 20-NN 64.9
  python -m jaxssl.main --config configs/msf.py:imagenet --config.data.path=/path/to/imagenet
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl import config_files
from jaxssl.config_files import Fields
from jaxssl.views import presets


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return config_files.choose(recipe, {"": cifar10, "imagenet": imagenet})


def msf(config: Fields, size: int, width: int, queue: int) -> None:
  """Teacher weak, student strong; heads as in ISD+."""
  config.views = config_files.views(presets.pair("strong", "weak", size))
  config.method = {"name": "msf", "momentum": 0.99, "queue": queue, "k": 5}
  config_files.mlp(config.model.projector, 2 * width, width // 4)
  config_files.mlp(config.model.predictor, 2 * width, width // 4)
  config_files.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)


def cifar10() -> Fields:
  """CIFAR-10 at 32 pixels, a smaller queue."""
  config = config_files.cifar()
  msf(config, 32, width=512, queue=16_384)
  return config


def imagenet() -> Fields:
  """The published recipe for ResNet-50."""
  config = config_files.imagenet("resnet50")
  msf(config, 224, width=2048, queue=128_000)
  return config
