"""ISD's protocol on unbalanced data: a few large and many small classes, 1-NN with a balanced reference (arXiv 2012.09259).

configs/unbalanced.py                CIFAR-10, ISD, ResNet-18: two classes of 5,000 images, eight of 400; one GPU
configs/unbalanced.py:isd            CIFAR-10, the same
  jaxssl train --config configs/unbalanced.py:isd --config.data.imbalance.seed=1
configs/unbalanced.py:moco           CIFAR-10, MoCo v2 on the same images, with the same network, optimizer and epochs; one GPU
configs/unbalanced.py:imagenet_isd   ImageNet, ISD, ResNet-18: 38 classes, eight whole and thirty of 100 images
  jaxssl train --config configs/unbalanced.py:imagenet_isd --config.data.path=/path/to/imagenet
  Published (UMBCvision/ISD, project page), 1-NN, mean of ten draws: all classes 58.03, 0.91 above MoCo; rare classes 2.57 above
  MoCo. Their recipe may differ: they released the lists of images, but neither network nor training.
configs/unbalanced.py:imagenet_moco  ImageNet, MoCo v2 on the same images

The network, the learning rate, the queue and MoCo's teacher momentum are this project's choice. The student is evaluated.
Measured with ",cpu" over ten draws, 1-NN of all classes: ISD+ 35.9 ± 0.8, MoCo v2 36.2 ± 0.8 (docs/results.md).
Both methods over several draws, as a table: docs/compare.md.
Other sets: --config.data.imbalance.kind=long_tail --config.data.imbalance.ratio=100, or a published list (docs/data.md).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes

FEATURES = 512  # of a ResNet-18
QUEUE = 4096  # about a third of the images


def isd(config: recipes.Fields, size: int) -> recipes.Fields:
  """Sets ISD+: a weak teacher view, a strong student view."""
  config.views = recipes.views(presets.pair("strong", "weak", size))
  config.method = {
    "name": "isd",
    "teacher_momentum": 0.99,
    "queue": QUEUE,
    "student_temperature": 0.1,
    "teacher_temperature": 0.01,
    "student_view": "strong",
    "teacher_view": "weak",
  }
  recipes.mlp(config.model.projector, 2 * FEATURES, FEATURES // 4)
  recipes.mlp(config.model.predictor, 2 * FEATURES, FEATURES // 4)
  return config


def moco(config: recipes.Fields, size: int) -> recipes.Fields:
  """Sets MoCo v2 with the teacher momentum of ISD+, since the sets are small."""
  config.views = recipes.views(presets.pair("strong", "strong", size))
  config.method = {"name": "mocov2", "teacher_momentum": 0.99, "queue": QUEUE, "temperature": 0.2}
  recipes.mlp(config.model.projector, 2 * FEATURES, FEATURES // 4)
  config.model.projector.bn = False
  return config


def cifar10() -> recipes.Fields:
  """Returns ISD's proportions of large classes to small ones, on the ten classes of CIFAR-10."""
  return protocol(recipes.cifar(), classes=0, large=2, small_images=400)


def imagenet() -> recipes.Fields:
  """Returns ISD's design: eight large and thirty small classes of ImageNet."""
  return protocol(recipes.imagenet("resnet18"), classes=38, large=8, small_images=100)


def protocol(config: recipes.Fields, **design: int) -> recipes.Fields:
  """Sets the draw, the optimizer and 1-NN, which both methods share."""
  config.data.imbalance.update({"kind": "few_large", **design})
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)
  config.evals.network = "student"
  config.evals.knn.k = (1,)
  return config


RECIPES = {
  "isd": lambda: isd(cifar10(), 32),
  "moco": lambda: moco(cifar10(), 32),
  "imagenet_isd": lambda: isd(imagenet(), 224),
  "imagenet_moco": lambda: moco(imagenet(), 224),
}


def get_config(recipe: str = "") -> recipes.Fields:
  """Returns the config of a recipe; the draw determines the number of images, also in smaller versions."""
  config = recipes.choose(recipe, {"": RECIPES["isd"], **RECIPES})
  config.data.limit = 0
  if config.data.source == "mnist5k":  # runlocal
    config.data.imbalance.update({"classes": 0, "large": 2, "small_images": 8})
  return config
