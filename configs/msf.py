"""MSF: mean shift towards neighbors in a queue (arXiv 2105.07269). The student is evaluated, as by the authors.

configs/msf.py           CIFAR-10, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/msf.py
  Measured with ",cpu", 3 seeds: k-NN 34.5 ± 1.1 (docs/results.md).
configs/msf.py:imagenet  ImageNet, ResNet-50, weak teacher and strong student views, 200 epochs; 4 to 8 GPUs or a TPU v4-8
  jaxssl train --config configs/msf.py:imagenet --config.data.path=/path/to/imagenet
  The command in the README of UMBCvision/MSF: 10 neighbors in a queue of 128,000. Its script run_msf.sh has two weak views and
  5 neighbors among 1,024,000. Published (project page): linear 72.4, 1-NN 62.0, 20-NN 64.9; the README gives its checkpoint
  72.4, 62.5, 65.7.

Their recipe differs on ImageNet: the classifiers are those of the best epoch on the validation images; ties of k-NN are
broken at random.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes


def msf(config: recipes.Fields, size: int, width: int, queue: int, k: int) -> None:
  """Sets a weak teacher view, a strong student view and the heads of ISD+."""
  config.views = recipes.views(presets.pair("strong", "weak", size))
  config.method = {"name": "msf", "teacher_momentum": 0.99, "queue": queue, "k": k}
  recipes.mlp(config.model.projector, 2 * width, width // 4)
  recipes.mlp(config.model.predictor, 2 * width, width // 4)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)
  config.evals.network = "student"
  config.evals.knn.unweighted_k = (1, 20)


def cifar10() -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with a smaller queue and 5 neighbors, as in the paper."""
  config = recipes.cifar()
  msf(config, 32, width=512, queue=16_384, k=5)
  return config


def imagenet() -> recipes.Fields:
  """Returns the published recipe for ResNet-50."""
  config = recipes.imagenet("resnet50")
  msf(config, 224, width=2048, queue=128_000, k=10)
  config.model.bn_groups = 4  # the GPUs of the authors
  config.optim.schedule.by_epoch = True
  config.evals.interpolation = "bilinear"
  config.evals.linear.solvers = ("isd",)  # the authors' is the same
  config.train.precision = "float32"
  return config


get_config = recipes.by_name({"": cifar10, "imagenet": imagenet})
