"""ReSA: assignments from the encoder's own output (arXiv 2501.18452).

configs/resa.py                         CIFAR-10, ResNet-18, 1000 epochs; one GPU
  jaxssl train --config configs/resa.py
  Published (second-hand): 5-NN 93.02. Measured with ",cpu", 3 seeds: k-NN 38.4 ± 0.3 (docs/results.md).
configs/resa.py:cifar10                 CIFAR-10, the same
configs/resa.py:cifar100                CIFAR-100, ResNet-18, 1000 epochs; one GPU
  Published (second-hand): linear 72.21, 5-NN 66.83.
configs/resa.py:nnboot                  CIFAR-10, the same with neighbor bootstrapping
  Measured with ",cpu", 3 seeds: k-NN 38.4 ± 0.2 (docs/results.md).
configs/resa.py:imagenet                ImageNet, ResNet-50 with a predictor, 100 epochs at batch 256; 4 to 8 GPUs or a TPU v4-8
  jaxssl train --config configs/resa.py:imagenet --config.data.path=/path/to/imagenet
  Published (winci-ai/resa, README): linear 71.9, k-NN 64.6; 200 epochs: 73.4, 67.1.
configs/resa.py:imagenet_b1024          ImageNet, the same at batch 1,024
  Published (same place): linear 71.3, k-NN 63.3; 200 epochs: 73.8, 67.6.
configs/resa.py:imagenet_800            ImageNet, 800 epochs at batch 1,024
  Published (same place): linear 75.2, k-NN 69.9.
  Fine-tuned on the lists of src/imagenet_subset there: jaxssl evaluate lowshot --workdir WORKDIR \
    --evals.lowshot.lists=1percent.txt,10percent.txt
configs/resa.py:imagenet_vit            ImageNet, ViT-S/16, 300 epochs at batch 1,024; 4 to 8 GPUs or a TPU v4-8
  AdamW, rate, decay and warm-up are the defaults for ViTs in args.py of an earlier state of winci-ai/resa (commit 319ec17). The
  rest is not released: clipping and the mask of the decay are as in the other ViT recipes; not tried.
configs/resa.py:imagenet_vit_multicrop  ImageNet, the same with six more views of 96 pixels for the student
  The views are those of scripts/train/vits16_multicrop.sh in the same commit; not tried.

Their recipe differs on ImageNet: the classifiers are those of the best epoch on the validation images; the images that
classifiers are tested on are resized bilinearly. On CIFAR: their evaluation normalizes by other constants than their training.
They measure 5-NN and a linear classifier on CIFAR, weighted k-NN and a linear classifier on ImageNet, always of the teacher.

--config.views.strong.count=2 adds strong views; a group `local` adds small ones.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def resa(config: recipes.Fields, size: int, locals: int = 0) -> None:
  """Sets the views, method and projector of all recipes."""
  config.views = recipes.views(presets.resa(size, locals=locals))
  config.method = {"name": "resa", "teacher_momentum": {"kind": "cosine", "base": 0.996, "final": 1.0}, "temperature": 0.4}
  recipes.mlp(config.model.projector, 2048, 512, layers=3, last_bn="plain")


def cifar(name: str = "cifar10") -> recipes.Fields:
  """Returns the published recipe for CIFAR at 32 pixels; the authors' network pads images to 34."""
  config = recipes.cifar(name)
  resa(config, 32)
  config.model.stem = "cifar_pad"
  recipes.sgd(config, lr=0.3, weight_decay=1e-4, warmup_epochs=2, floor=0.1)
  config.evals.knn.euclidean = (5,)
  config.evals.linear.solvers = ("resa_cifar",)
  config.train.update({"epochs": 1000, "precision": "float32"})
  return config


def imagenet(epochs: int = 100) -> recipes.Fields:
  """Returns the published recipe for ResNet-50 at batch 256."""
  config = recipes.imagenet("resnet50")
  resa(config, 224)
  config.model.zero_init_residual = True
  recipes.mlp(config.model.predictor, 2048, 512)
  recipes.sgd(config, lr=0.5, weight_decay=1e-5, warmup_epochs=2, floor=0.1)
  config.evals.knn.k = (5, 10, 15, 20, 25)
  config.evals.linear.solvers = ("resa_b256",)
  config.train.epochs = epochs
  return config


def imagenet_b1024(epochs: int = 100) -> recipes.Fields:
  """Returns the published recipe for ResNet-50 at batch 1,024, with a longer warm-up."""
  config = imagenet(epochs)
  config.train.batch_size = 1024
  config.optim.schedule.warmup_epochs = 10
  config.evals.linear.solvers = ("resa",)
  return config


def imagenet_800() -> recipes.Fields:
  """Returns the published recipe of 800 epochs, with a lower learning rate, and low-shot fine-tuning on published lists."""
  config = imagenet_b1024(epochs=800)
  config.optim.lr = 0.4
  config.evals.lowshot.update({"shots": (), "lists": ("1percent.txt", "10percent.txt"), "finetune": True})
  config.evals.finetune.update({"epochs": 20, "batch_size": 256, "lr": 0.0002, "head_lr": 40.0, "weight_decay": 0.0})
  config.evals.finetune.update({"crops": "random", "init": "normal"})
  return config


def vit(locals: int = 0) -> recipes.Fields:
  """Returns a recipe for ViT-S/16 with the published views, heads and loss."""
  config = recipes.imagenet("vit_s")
  resa(config, 224, locals)
  recipes.mlp(config.model.predictor, 2048, 512)
  config.optim.update({"name": "adamw", "lr": 5e-4, "clip": 3.0})
  config.optim.schedule.warmup_epochs = 40
  config.optim.weight_decay.base = 0.1
  config.evals.linear.solvers = ("resa",)
  config.train.update({"batch_size": 1024, "epochs": 300})
  return config


RECIPES = {
  "": cifar,
  "cifar10": cifar,
  "cifar100": lambda: cifar("cifar100"),
  "nnboot": lambda: recipes.bootstrapped(cifar()),
  "imagenet": imagenet,
  "imagenet_b1024": imagenet_b1024,
  "imagenet_800": imagenet_800,
  "imagenet_vit": vit,
  "imagenet_vit_multicrop": lambda: vit(locals=6),
}
get_config = recipes.by_name(RECIPES)
