"""DINO with multi-crop: two large crops and small ones (arXiv 2104.14294). CIFAR-10 on one GPU; ImageNet on 16 to 32.

configs/dino.py           CIFAR-10, ResNet-18, 4 local crops. solo-learn, 1000 epochs: linear 89.52; Lightly, 800: 200-NN 84.8
  python -m jaxssl.main --config configs/dino.py
configs/dino.py:imagenet  ViT-S/16, 100 epochs at batch 1,024, 8 local crops
  python -m jaxssl.main --config configs/dino.py:imagenet --config.data.path=/path/to/imagenet
AdaSim, which is DINO on two large crops with bootstrapping, has its own file: configs/nnboot.py.
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  return recipes.choose(recipe, {"": cifar10, "imagenet": imagenet})


def dino(config: Fields, momentum: float, prototypes: int) -> None:
  """What both recipes share."""
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


def cifar10() -> Fields:
  """CIFAR-10: large crops of 32 pixels and small ones of 16."""
  config = recipes.cifar()
  config.views = recipes.views(presets.dino(32, local_size=16, locals=4, blur=False))
  dino(config, momentum=0.996, prototypes=4096)
  return config


def imagenet() -> Fields:
  """ViT-S/16."""
  config = recipes.imagenet("vit_s")
  config.views = recipes.views(presets.dino(224))
  config.model.drop_path = 0.1
  dino(config, momentum=0.996, prototypes=65_536)
  config.train.update({"batch_size": 1024, "epochs": 100})
  return config
