"""Neighbour bootstrapping: DINO's self-distillation with AdaSim's adaptive partners (arXiv 2303.13606).

configs/nnboot.py           5,000 embedded digits, a narrow ResNet
  python -m jaxssl.main --config configs/nnboot.py
configs/nnboot.py:cifar10   CIFAR-10 (tensorflow-datasets), ResNet-18 with the CIFAR stem
  python -m jaxssl.main --config configs/nnboot.py:cifar10
  python -m jaxssl.main --config configs/nnboot.py:cifar10 --config.data.source=folder --config.data.path=TRAIN.zip \
    --config.data.test_path=TEST.zip
configs/nnboot.py:imagenet  AdaSim's published recipe: ViT-S/16, 100 epochs; needs a folder with train/ and val/
  python -m jaxssl.main --config configs/nnboot.py:imagenet --config.data.path=/path/to/imagenet
Any of them shrunk to under a minute on a CPU: configs/nnboot.py:runlocal, configs/nnboot.py:imagenet,runlocal

--config.bootstrap.policy=off|naive|adaptive compares what bootstrapping does.
"""

from jaxssl import config_files
from jaxssl.views import presets


def get_config(recipe: str = ""):
  """Makes the config of a recipe."""
  return config_files.choose(recipe, {"": digits, "cifar10": cifar10, "imagenet": imagenet})


def dino(momentum: float, teacher_temperature: float, start: float, warmup_epochs: int) -> dict:
  """DINO's fields: the teacher's momentum and temperature change over the run."""
  return {
    "name": "dino",
    "momentum": {"kind": "cosine", "base": momentum, "final": 1.0},
    "teacher_temperature": {"start": start, "base": teacher_temperature, "warmup_epochs": warmup_epochs, "by_epoch": True},
    "student_temperature": 0.1,
    "center_momentum": 0.9,
  }


def digits():
  """5,000 handwritten digits on two CPU cores."""
  config = config_files.defaults()
  config.data.update({"source": "mnist5k", "channels": 1, "mean": (0.13,), "std": (0.31,)})
  config.views = config_files.views(presets.digits(20))
  config.model.update({"name": "resnet10", "width": 0.25, "stem": "small"})
  config.model.projector.update({"name": "dino", "hidden": 512, "bottleneck": 64, "out": 1024, "bn": True})
  config.method = dino(momentum=0.996, teacher_temperature=0.02, start=0.02, warmup_epochs=0) | {"centering": "sinkhorn"}
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 5, "temperature": 0.05})
  config.optim.update({"name": "adamw", "lr": 2e-3, "reference_batch": 0, "clip": 3.0, "clip_by": "global"})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 2, "final": 0.005})
  config.train.update({"batch_size": 64, "epochs": 30, "log_every": 10, "checkpoint_every": 5})
  config.evals.update({"every": 10, "batch_size": 500})
  return config


def cifar10():
  """CIFAR-10 at 32 pixels."""
  config = config_files.defaults()
  config.data.update({"source": "tfds", "path": "cifar10", "mean": (0.4914, 0.4822, 0.4465), "std": (0.247, 0.2435, 0.2616)})
  config.views = config_files.views(presets.adasim(32))
  config.model.update({"name": "resnet18", "stem": "cifar"})
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 4096, "bn": True})
  config.method = dino(momentum=0.99, teacher_temperature=0.07, start=0.04, warmup_epochs=10)
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 20, "temperature": 0.001})
  config.optim.update({"name": "adamw", "lr": 1e-3, "clip": 3.0, "freeze_last_layer_epochs": 1})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": 0.001})
  config.train.update({"batch_size": 256, "epochs": 200, "precision": "bfloat16", "log_every": 50})
  config.evals.update({"every": 10, "batch_size": 1000})
  return config


def imagenet():
  """AdaSim's ImageNet recipe at a total batch of 1,024."""
  config = config_files.defaults()
  config.data.update({"source": "folder", "placement": "host"})
  config.views = config_files.views(presets.adasim(224))
  config.model.update({"name": "vit_s", "patch": 16, "drop_path": 0.1})
  config.model.projector.update({"name": "dino", "hidden": 2048, "bottleneck": 256, "out": 65536, "bn": False})
  config.method = dino(momentum=0.996, teacher_temperature=0.04, start=0.04, warmup_epochs=0)
  config.bootstrap.update({"policy": "adaptive", "k": 10, "window": 50, "temperature": 0.001, "features": "first"})
  config.optim.update({"name": "adamw", "lr": 5e-4, "reference_batch": 256, "clip": 3.0, "freeze_last_layer_epochs": 1})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 10, "final": 1e-6 / (5e-4 * 1024 / 256)})
  config.optim.weight_decay.update({"kind": "cosine", "base": 0.04, "final": 0.4})
  config.train.update({"batch_size": 1024, "epochs": 100, "precision": "bfloat16", "log_every": 50})
  config.evals.update({"every": 10, "batch_size": 1024, "resize": 256, "size": 224})
  return config
