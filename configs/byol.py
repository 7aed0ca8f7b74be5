"""BYOL: predict the teacher's projection of the other view (arXiv 2006.07733).

configs/byol.py           CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/byol.py
  Others: linear 92.58 (solo-learn, 1000 epochs); their recipe differs: LARS 1.0, weight decay 1e-5. 200-NN 91.0 (Lightly, batch
  512, best of 800 epochs); theirs differs: heads of width 1024, no warm-up, constant teacher momentum. Measured with ",cpu",
  3 seeds: k-NN 36.1 ± 1.0 (docs/results.md).
configs/byol.py:nnboot    CIFAR-10, the same with neighbor bootstrapping
  Measured with ",cpu", 3 seeds: k-NN 36.1 ± 0.8 (docs/results.md).
configs/byol.py:imagenet  ImageNet, ResNet-18, one direction at batch 256 with SGD, 200 epochs; 2 to 8 GPUs
  jaxssl train --config configs/byol.py:imagenet --config.data.path=/path/to/imagenet
  The command in the README of UMBCvision/ISD (train_byol.py): MSF with one neighbor, the image's own target. Not measured.
  Their recipe differs: the classifiers are those of the best epoch on the validation images; ties of k-NN are
  broken at random.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with the paper's heads."""
  config = recipes.cifar()
  config.views = recipes.views(presets.asymmetric(32))
  config.method = {"name": "byol", "teacher_momentum": {"kind": "cosine", "base": 0.99, "final": 1.0}}
  recipes.mlp(config.model.projector, 4096, 256)
  recipes.mlp(config.model.predictor, 4096, 256)
  recipes.sgd(config, lr=0.06, weight_decay=5e-4, lr_base_batch_size=128)
  return config


def imagenet() -> recipes.Fields:
  """Returns the recipe of ISD's authors: targets enter the queue before the search, so their nearest neighbor is themselves."""
  config = recipes.imagenet("resnet18")
  config.model.bn_groups = 2  # the GPUs of the authors
  config.views = recipes.views(presets.pair("strong", "strong"))
  config.method = {"name": "msf", "teacher_momentum": 0.99, "queue": 256, "k": 1, "teacher_view": "strong"}
  recipes.mlp(config.model.projector, 1024, 128)
  recipes.mlp(config.model.predictor, 1024, 128)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)
  config.optim.schedule.by_epoch = True
  config.evals.network = "student"
  config.evals.knn.unweighted_k = (1, 20)
  config.evals.interpolation = "bilinear"
  config.evals.linear.solvers = ("isd",)
  config.train.precision = "float32"
  return config


get_config = recipes.by_name({"": cifar10, "nnboot": lambda: recipes.bootstrapped(cifar10()), "imagenet": imagenet})
