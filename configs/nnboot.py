"""AdaSim: DINO's self-distillation with adaptive neighbor bootstrapping (arXiv 2303.13606).

configs/nnboot.py           5,000 digits that ship with a dependency, a narrow ResNet-10, 30 epochs; 150 s on two CPU cores
  jaxssl train --config configs/nnboot.py
  Measured: k-NN (k 20) 95.9; raw pixels 94.7, untrained network 83.6 (docs/results.md).
configs/nnboot.py:cifar10   CIFAR-10 (tensorflow-datasets), ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/nnboot.py:cifar10
  jaxssl train --config configs/nnboot.py:cifar10 --config.data.source=folder --config.data.path=TRAIN.zip \
    --config.data.test_path=TEST.zip
  Measured at batch 512 on one H100: k-NN off 77.7, adaptive 77.8; linear 79.9 and 79.6 (docs/results.md).
  Measured with ",cpu" (7 minutes): k-NN off 39.1, naive 37.3, adaptive 39.3; raw pixels 31.5.
configs/nnboot.py:imagenet  ImageNet, the published recipe: ViT-S/16, 100 epochs at batch 1,024; 16 GPUs or a TPU pod
  jaxssl train --config configs/nnboot.py:imagenet --config.data.path=/path/to/imagenet
  Not measured.

--config.bootstrap.policy=off|naive|adaptive shows what bootstrapping does.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def dino(momentum: float, teacher_temperature: float, start: float, warmup_epochs: int) -> dict:
  """Returns the fields of DINO; the teacher's momentum and temperature change over the run."""
  return {
    "name": "dino",
    "teacher_momentum": {"kind": "cosine", "base": momentum, "final": 1.0},
    "teacher_temperature": {"start": start, "base": teacher_temperature, "warmup_epochs": warmup_epochs, "by_epoch": True},
    "student_temperature": 0.1,
    "center_momentum": 0.9,
  }


def digits() -> recipes.Fields:
  """Returns the recipe for 5,000 handwritten digits on two CPU cores."""
  config = recipes.defaults()
  config.data.update({"source": "mnist5k", "channels": 1, "mean": (0.13,), "std": (0.31,)})
  config.views = recipes.views(presets.digits(20))
  config.model.update({"name": "resnet10", "width": 0.25, "stem": "small"})
  config.model.projector.update({"name": "dino", "hidden": 512, "bottleneck": 64, "out": 1024, "bn": True})
  config.method = dino(momentum=0.996, teacher_temperature=0.02, start=0.02, warmup_epochs=0) | {"centering": "sinkhorn"}
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 5, "temperature": 0.05})
  config.optim.update({"name": "adamw", "lr": 2e-3, "lr_base_batch_size": 0, "clip": 3.0, "clip_by": "global"})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 2, "final": 0.005})
  config.train.update({"batch_size": 64, "epochs": 30, "log_every": 10, "checkpoint_every_epochs": 5})
  config.evals.update({"every": 10, "batch_size": 500})
  return config


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels."""
  config = recipes.cifar()
  config.views = recipes.views(presets.adasim(32))
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 4096, "bn": True})
  config.method = dino(momentum=0.996, teacher_temperature=0.02, start=0.02, warmup_epochs=0) | {"centering": "sinkhorn"}
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})
  config.optim.update({"name": "adamw", "lr": 2e-3, "lr_base_batch_size": 0, "clip": 3.0, "clip_by": "global"})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": 0.001})
  return config


def imagenet() -> recipes.Fields:
  """Returns AdaSim's ImageNet recipe at a total batch of 1,024."""
  config = recipes.imagenet("vit_s")
  config.views = recipes.views(presets.adasim(224))
  config.model.update({"patch": 16, "drop_path": 0.1})
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 65536, "bn": False})
  config.method = dino(momentum=0.996, teacher_temperature=0.04, start=0.04, warmup_epochs=0)
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 50, "temperature": 0.001, "features": "first"})
  config.optim.update({"name": "adamw", "lr": 5e-4, "lr_base_batch_size": 256, "clip": 3.0, "freeze_last_layer_epochs": 1})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": 1e-6 / (5e-4 * 1024 / 256)})
  config.optim.weight_decay.update({"kind": "cosine", "base": 0.04, "final": 0.4})
  config.train.update({"batch_size": 1024, "epochs": 100})
  return config


get_config = recipes.by_name({"": digits, "cifar10": cifar10, "imagenet": imagenet})
