"""MoCo: v2 with keys in a queue (arXiv 2003.04297), v3 with keys of the batch (arXiv 2104.02057).

configs/moco.py           CIFAR-10, v2, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/moco.py
  Published: linear 92.94 (solo-learn, symmetric, 1000 epochs). Measured with ",cpu": docs/results.md.
configs/moco.py:v3        CIFAR-10, v3, ResNet-18, 200 epochs; one GPU
  Published: linear 93.10 (solo-learn, 1000 epochs).
configs/moco.py:imagenet  ImageNet, v2, ResNet-50, 200 epochs
  jaxssl train --config configs/moco.py:imagenet --config.data.path=/path/to/imagenet
  Published by the authors of ISD: linear 67.5, 1-NN 50.9, 20-NN 54.3.
configs/moco.py:v3_vit    ImageNet, v3, ViT-S/16 with a fixed patch embedding, 300 epochs at batch 4,096
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def v2(config: recipes.Fields, size: int, queue: int) -> None:
  """Sets two strong views and a head of two layers without BatchNorm."""
  config.views = recipes.views(presets.pair("strong", "strong", size))
  config.method = {"name": "mocov2", "teacher_momentum": 0.999, "queue": queue, "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  config.model.projector.bn = False


def v3(config: recipes.Fields, size: int, hidden: int) -> None:
  """Sets asymmetric views and a predictor, without a queue."""
  config.views = recipes.views(presets.asymmetric(size))
  config.method = {"name": "mocov3", "teacher_momentum": {"kind": "cosine", "base": 0.99, "final": 1.0}, "temperature": 0.2}
  recipes.mlp(config.model.projector, hidden, 256, layers=3, last_bn="plain")
  recipes.mlp(config.model.predictor, hidden, 256, last_bn="plain")


def cifar10() -> recipes.Fields:
  """Returns MoCo v2 on CIFAR-10, with a smaller queue and a faster teacher."""
  config = recipes.cifar()
  v2(config, 32, queue=16_384)
  config.method.teacher_momentum = 0.99
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config


def cifar10_v3() -> recipes.Fields:
  """Returns MoCo v3 on CIFAR-10."""
  config = recipes.cifar()
  v3(config, 32, hidden=4096)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config


def imagenet() -> recipes.Fields:
  """Returns the published recipe of MoCo v2 for ResNet-50, but BatchNorm over the whole batch instead of shuffled parts."""
  config = recipes.imagenet("resnet50")
  v2(config, 224, queue=65_536)
  recipes.sgd(config, lr=0.03, weight_decay=1e-4, warmup_epochs=0)
  return config


def v3_vit() -> recipes.Fields:
  """Returns MoCo v3 for ViT-S/16 with a random, fixed patch embedding."""
  config = recipes.imagenet("vit_s")
  v3(config, 224, hidden=4096)
  config.optim.update({"name": "adamw", "lr": 1.5e-4, "freeze": ("patch_embed",)})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 40})
  config.optim.weight_decay.base = 0.1
  config.train.update({"batch_size": 4096, "epochs": 300})
  return config


get_config = recipes.by_name({"": cifar10, "v3": cifar10_v3, "imagenet": imagenet, "v3_vit": v3_vit})
