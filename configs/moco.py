"""MoCo: v2 with keys in a queue (arXiv 2003.04297), v3 with keys of the batch (arXiv 2104.02057). The student is evaluated.

configs/moco.py            CIFAR-10, v2, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/moco.py
  Others: linear 92.94 (solo-learn, 1000 epochs); their recipe differs: both directions, queue 32,768, head 2048-256, crops from
  0.08, blur 0.5, SGD 0.3, weight decay 1e-4, teacher 0.99 to 0.999. 200-NN 84.7 (Lightly, batch 512, best of 200 epochs);
  theirs differs: both directions, queue 8,192, head 512-128, temperature 0.1, no warm-up, shuffled keys. Measured with ",cpu",
  3 seeds: k-NN 41.5 ± 0.7 (docs/results.md).
configs/moco.py:v3         CIFAR-10, v3, ResNet-18, heads of MoCo v3's ResNet, 200 epochs; one GPU
  Others: linear 93.10 (solo-learn, 1000 epochs); their recipe differs: LARS 0.3, weight decay 1e-6. Measured with ",cpu",
  3 seeds: k-NN 39.9 ± 0.3 (docs/results.md).
configs/moco.py:v3_nnboot  CIFAR-10, v3 with neighbor bootstrapping
  Measured with ",cpu", 3 seeds: k-NN 39.9 ± 0.4 (docs/results.md).
configs/moco.py:imagenet   ImageNet, v2, ResNet-50, 200 epochs; 8 GPUs
  jaxssl train --config configs/moco.py:imagenet --config.data.path=/path/to/imagenet
  Published: linear 67.5 (facebookresearch/moco, README); 1-NN 50.9, 20-NN 54.3 (UMBCvision/MSF, project page).
configs/moco.py:v3_vit     ImageNet, v3, ViT-S/16 with 12 heads and a fixed patch embedding, 300 epochs at batch 4,096; 32 GPUs
  Published: linear 73.2 (facebookresearch/moco-v3, CONFIG.md).

Their recipe differs on ImageNet: the classifiers are those of the best epoch on the validation images.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def v2(config: recipes.Fields, size: int, queue: int) -> None:
  """Sets two strong views and a head of two layers without BatchNorm."""
  config.views = recipes.views(presets.pair("strong", "strong", size))
  config.method = {"name": "mocov2", "teacher_momentum": 0.999, "queue": queue, "temperature": 0.2}
  recipes.mlp(config.model.projector, 2048, 128)
  config.model.projector.bn = False
  config.evals.network = "student"


def v3(config: recipes.Fields, size: int, projector_layers: int, predictor_bn: str) -> None:
  """Sets asymmetric views and a predictor, without a queue."""
  config.views = recipes.views(presets.asymmetric(size))
  config.views["global"].interpolation = "bilinear"
  config.method = {"name": "mocov3", "teacher_momentum": {"kind": "cosine", "base": 0.99, "final": 1.0}, "temperature": 0.2}
  recipes.mlp(config.model.projector, 4096, 256, layers=projector_layers, last_bn="plain", bias=False)
  recipes.mlp(config.model.predictor, 4096, 256, last_bn=predictor_bn, bias=False)
  config.evals.network = "student"


def cifar10() -> recipes.Fields:
  """Returns MoCo v2 on CIFAR-10, with a smaller queue and a faster teacher."""
  config = recipes.cifar()
  v2(config, 32, queue=16_384)
  config.method.teacher_momentum = 0.99
  recipes.sgd(config, lr=0.06, weight_decay=5e-4, lr_base_batch_size=128)
  return config


def cifar10_v3() -> recipes.Fields:
  """Returns MoCo v3 on CIFAR-10."""
  config = recipes.cifar()
  v3(config, 32, projector_layers=2, predictor_bn="none")
  recipes.sgd(config, lr=0.06, weight_decay=5e-4)
  return config


def imagenet() -> recipes.Fields:
  """Returns the published recipe of MoCo v2 for ResNet-50."""
  config = recipes.imagenet("resnet50")
  v2(config, 224, queue=65_536)
  config.model.bn_groups = 8  # the GPUs of the authors
  recipes.sgd(config, lr=0.03, weight_decay=1e-4, warmup_epochs=0)
  config.optim.schedule.by_epoch = True
  config.evals.knn.unweighted_k = (1, 20)  # as measured by the authors of MSF
  config.evals.interpolation = "bilinear"
  config.evals.linear.solvers = ("moco",)
  config.train.precision = "float32"
  return config


def v3_vit() -> recipes.Fields:
  """Returns the published recipe of MoCo v3 for ViT-S/16, whose patch embedding and positions are fixed."""
  config = recipes.imagenet("vit_s")
  v3(config, 224, projector_layers=3, predictor_bn="plain")
  config.model.update({"heads": 12, "positions": "sincos", "init": "xavier"})
  config.optim.update({"name": "adamw", "lr": 1.5e-4, "decay_mask": "all", "freeze": ("patch_embed",)})
  config.optim.schedule.update({"kind": "cosine", "warmup_epochs": 40})
  config.optim.weight_decay.base = 0.1
  config.evals.interpolation = "bilinear"
  config.evals.linear.solvers = ("moco_v3_vit",)
  config.train.update({"batch_size": 4096, "epochs": 300})
  return config


RECIPES = {
  "": cifar10,
  "v3": cifar10_v3,
  "v3_nnboot": lambda: recipes.bootstrapped(cifar10_v3()),
  "imagenet": imagenet,
  "v3_vit": v3_vit,
}
get_config = recipes.by_name(RECIPES)
