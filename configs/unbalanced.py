"""ISD's unbalanced protocol (arXiv 2012.09259): a few large and many small classes, measured by 1-NN with a balanced bank.

configs/unbalanced.py:isd            ISD, ResNet-18, CIFAR-10: two classes of 5,000 images, eight of 400; one GPU
  python -m jaxssl.main --config configs/unbalanced.py:isd --config.data.imbalance.seed=1
configs/unbalanced.py:moco           MoCo v2: the same images, network, optimizer and epochs
configs/unbalanced.py:imagenet_isd   ISD's own design, ResNet-18: 38 classes of ImageNet, eight whole and thirty of 100.
                                     The authors (network not known here), 1-NN, mean of ten draws: all classes 58.03,
                                     0.91 above MoCo; rare classes 2.57 above MoCo
  python -m jaxssl.main --config configs/unbalanced.py:imagenet_isd --config.data.path=/path/to/imagenet
configs/unbalanced.py:imagenet_moco  MoCo v2 beside it
Both over several draws, and the table: python -m benchmarks.unbalanced (docs/data.md)

Other sets: --config.data.imbalance.kind=long_tail --config.data.imbalance.ratio=100, or a published list (docs/data.md).
Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores), ",runlocal" (a minute).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields

FEATURES = 512  # of a ResNet-18
QUEUE = 4096  # about a third of the images


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe. The draw says how many images there are, whatever a smaller version says."""
  named = {
    "isd": lambda: isd(cifar10(), 32),
    "mocov2": lambda: moco(cifar10(), 32),
    "imagenet_isd": lambda: isd(imagenet(), 224),
    "imagenet_moco": lambda: moco(imagenet(), 224),
  }
  config = recipes.choose(recipe, {"": named["isd"], **named})
  config.data.limit = 0
  if config.data.source == "mnist5k":  # the digits of runlocal
    config.data.imbalance.update({"classes": 0, "large": 2, "small_images": 8})
  return config


def isd(config: Fields, size: int) -> Fields:
  """ISD+: the teacher's view weak, the student's strong."""
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


def moco(config: Fields, size: int) -> Fields:
  """MoCo v2, with the teacher's pace of ISD+, since the sets are small."""
  config.views = recipes.views(presets.pair("strong", "strong", size))
  config.method = {"name": "mocov2", "teacher_momentum": 0.99, "queue": QUEUE, "temperature": 0.2}
  recipes.mlp(config.model.projector, 2 * FEATURES, FEATURES // 4)
  config.model.projector.bn = False
  return config


def cifar10() -> Fields:
  """ISD's proportions of large classes to small ones, on the ten classes of CIFAR-10."""
  return protocol(recipes.cifar(), classes=0, large=2, small_images=400)


def imagenet() -> Fields:
  """ISD's design."""
  return protocol(recipes.imagenet("resnet18"), classes=38, large=8, small_images=100)


def protocol(config: Fields, **design: int) -> Fields:
  """What both methods share: the draw, the optimizer, 1-NN."""
  config.data.imbalance.update({"kind": "few_large", **design})
  recipes.sgd(config, lr=0.05, weight_decay=1e-4)
  config.evals.knn.k = (1, 20)
  return config
