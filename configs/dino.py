"""DINO with multi-crop: two large crops and several small ones (arXiv 2104.14294).

configs/dino.py                 CIFAR-10, ResNet-18, 4 local crops, 200 epochs; one GPU
  jaxssl train --config configs/dino.py
  Others: linear 89.52 (solo-learn, 1000 epochs); their recipe differs: two crops from 0.08, LARS 0.3, weight decay 1e-6,
  teacher from 0.9995. 200-NN 84.8 (Lightly, batch 512, best of 800 epochs); theirs differs: two crops, SGD 0.06 per 128 images,
  weight decay 5e-4, teacher 0.99, 2,048 prototypes, a head of 2 layers with BatchNorm, no warm-up. Measured with ",cpu",
  3 seeds: k-NN 27.8 ± 0.2 (docs/results.md).
configs/dino.py:nnboot          CIFAR-10, the same with neighbor bootstrapping; not measured
configs/dino.py:imagenet        ImageNet, ViT-S/16, 8 local crops, 100 epochs at batch 512; 8 GPUs
  jaxssl train --config configs/dino.py:imagenet --config.data.path=/path/to/imagenet
  Published (facebookresearch/dino, README, "vanilla"): linear 74.0, k-NN 69.3.
configs/dino.py:imagenet_boost  ImageNet, the same for 300 epochs at batch 1,024, teacher temperature up to 0.07; 16 GPUs
  Published (same place, "boosting"): linear 76.0, k-NN 73.3.

Their recipe differs on ImageNet: the classifiers are those of the best epoch on the validation images.
AdaSim, DINO on two large crops with bootstrapping, is in configs/nnboot.py.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def dino(config: recipes.Fields, prototypes: int, teacher_temperature: dict | float, final_lr: float) -> None:
  """Sets the method, head and optimizer of all recipes; `final_lr`: a fraction of the peak."""
  config.method = {
    "name": "dino",
    "teacher_momentum": {"kind": "cosine", "base": 0.996, "final": 1.0},
    "teacher_temperature": teacher_temperature,
    "center_momentum": 0.9,
  }
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": prototypes, "bn": False})
  config.optim.update({"name": "adamw", "lr": 5e-4, "clip": 3.0, "freeze_last_layer_epochs": 1})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": final_lr})
  config.optim.weight_decay.update({"kind": "cosine", "base": 0.04, "final": 0.4})


RISING = {"start": 0.04, "base": 0.07, "warmup_epochs": 30, "by_epoch": True}  # teacher temperature


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10: large crops of 32 pixels and small ones of 16."""
  config = recipes.cifar()
  config.views = recipes.views(presets.dino(32, local_size=16, locals=4, blur=False))
  dino(config, prototypes=4096, teacher_temperature=RISING, final_lr=1e-3)
  return config


def imagenet(batch_size: int = 512, teacher_temperature: dict | float = 0.04) -> recipes.Fields:
  """Returns the published recipe for ViT-S/16."""
  config = recipes.imagenet("vit_s")
  config.views = recipes.views(presets.dino(224))
  config.model.update({"drop_path": 0.1, "position_offset": 0.1})
  dino(config, 65_536, teacher_temperature, final_lr=1e-6 / (5e-4 * batch_size / 256))
  config.evals.knn.k = (10, 20, 100, 200)
  config.evals.linear.solvers = ("dino",)
  config.train.update({"batch_size": batch_size, "epochs": 100})
  return config


def imagenet_boost() -> recipes.Fields:
  """Returns the longer published recipe, whose prototypes have norms of their own."""
  config = imagenet(1024, RISING)
  config.model.projector.fixed_norm = False
  config.train.epochs = 300
  return config


RECIPES = {
  "": cifar10,
  "nnboot": lambda: recipes.bootstrapped(cifar10()),
  "imagenet": imagenet,
  "imagenet_boost": imagenet_boost,
}
get_config = recipes.by_name(RECIPES)
