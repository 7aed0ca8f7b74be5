"""DINO with multi-crop: two large crops and several small ones (arXiv 2104.14294).

configs/dino.py           CIFAR-10, ResNet-18, 4 local crops, 200 epochs; one GPU
  jaxssl train --config configs/dino.py
  Published: linear 89.52 (solo-learn, 1000 epochs), 200-NN 84.8 (Lightly, 800 epochs). Measured with ",cpu": docs/results.md.
configs/dino.py:imagenet  ImageNet, ViT-S/16, 8 local crops, 100 epochs at batch 1,024; 16 to 32 GPUs
  jaxssl train --config configs/dino.py:imagenet --config.data.path=/path/to/imagenet

AdaSim, DINO on two large crops with bootstrapping, is in configs/nnboot.py.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def dino(config: recipes.Fields, momentum: float, prototypes: int) -> None:
  """Sets the method, head and optimizer of both recipes."""
  config.method = {
    "name": "dino",
    "teacher_momentum": {"kind": "cosine", "base": momentum, "final": 1.0},
    "teacher_temperature": {"start": 0.04, "base": 0.07, "warmup_epochs": 30, "by_epoch": True},
    "center_momentum": 0.9,
  }
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": prototypes, "bn": False})
  config.optim.update({"name": "adamw", "lr": 5e-4, "clip": 3.0, "freeze_last_layer_epochs": 1})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": 1e-3})
  config.optim.weight_decay.update({"kind": "cosine", "base": 0.04, "final": 0.4})


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10: large crops of 32 pixels and small ones of 16."""
  config = recipes.cifar()
  config.views = recipes.views(presets.dino(32, local_size=16, locals=4, blur=False))
  dino(config, momentum=0.996, prototypes=4096)
  return config


def imagenet() -> recipes.Fields:
  """Returns the recipe for ViT-S/16."""
  config = recipes.imagenet("vit_s")
  config.views = recipes.views(presets.dino(224))
  config.model.drop_path = 0.1
  dino(config, momentum=0.996, prototypes=65_536)
  config.train.update({"batch_size": 1024, "epochs": 100})
  return config


get_config = recipes.by_name({"": cifar10, "imagenet": imagenet})
