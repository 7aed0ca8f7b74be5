"""MSF: mean shift towards neighbors in a queue (arXiv 2105.07269).

configs/msf.py           CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/msf.py
  Measured with ",cpu": docs/results.md.
configs/msf.py:imagenet  ImageNet, ResNet-50, weak teacher and strong student views, 200 epochs; 4 to 8 GPUs or a TPU v4-8
  jaxssl train --config configs/msf.py:imagenet --config.data.path=/path/to/imagenet
  Published: linear 72.4, 1-NN 62.0, 20-NN 64.9.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def msf(config: recipes.Fields, size: int, width: int, queue: int) -> None:
  """Sets a weak teacher view, a strong student view and the heads of ISD+."""
  config.views = recipes.views(presets.pair("strong", "weak", size))
  config.method = {"name": "msf", "teacher_momentum": 0.99, "queue": queue, "k": 5}
  recipes.mlp(config.model.projector, 2 * width, width // 4)
  recipes.mlp(config.model.predictor, 2 * width, width // 4)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with a smaller queue."""
  config = recipes.cifar()
  msf(config, 32, width=512, queue=16_384)
  return config


def imagenet() -> recipes.Fields:
  """Returns the published recipe for ResNet-50."""
  config = recipes.imagenet("resnet50")
  msf(config, 224, width=2048, queue=128_000)
  return config


get_config = recipes.by_name({"": cifar10, "imagenet": imagenet})
