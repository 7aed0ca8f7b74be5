"""MSF: mean shift towards neighbors in a queue (arXiv 2105.07269). CIFAR-10 on one GPU; ImageNet on 4 to 8, or a TPU v4-8.

configs/msf.py           CIFAR-10, ResNet-18
  python -m jaxssl.main --config configs/msf.py
configs/msf.py:imagenet  ResNet-50, weak/strong, 200 epochs. The authors: linear 72.4, 1-NN 62.0, 20-NN 64.9
  python -m jaxssl.main --config configs/msf.py:imagenet --config.data.path=/path/to/imagenet
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return recipes.choose(recipe, {"": cifar10, "imagenet": imagenet})


def msf(config: Fields, size: int, width: int, queue: int) -> None:
  """Teacher weak, student strong; heads as in ISD+."""
  config.views = recipes.views(presets.pair("strong", "weak", size))
  config.method = {"name": "msf", "teacher_momentum": 0.99, "queue": queue, "k": 5}
  recipes.mlp(config.model.projector, 2 * width, width // 4)
  recipes.mlp(config.model.predictor, 2 * width, width // 4)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)


def cifar10() -> Fields:
  """CIFAR-10 at 32 pixels, a smaller queue."""
  config = recipes.cifar()
  msf(config, 32, width=512, queue=16_384)
  return config


def imagenet() -> Fields:
  """The published recipe for ResNet-50."""
  config = recipes.imagenet("resnet50")
  msf(config, 224, width=2048, queue=128_000)
  return config
