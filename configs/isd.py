"""ISD: soft similarities to a queue (arXiv 2012.09259). CIFAR-10 on one GPU; ImageNet on 4 to 8, or a TPU v4-8.

configs/isd.py                 ISD, ResNet-18, CIFAR-10
  python -m jaxssl.main --config configs/isd.py
configs/isd.py:plus            ISD+, ResNet-18, CIFAR-10: teacher weak, student strong, two temperatures, two heads
configs/isd.py:TEACHER_STUDENT ISD with other views: weak_weak, weak_strong, strong_weak, strong_strong
configs/isd.py:imagenet        ISD, ResNet-18, 200 epochs. The authors: linear 53.8, 1-NN 41.5, 20-NN 46.6
  python -m jaxssl.main --config configs/isd.py:imagenet --config.data.path=/path/to/imagenet
configs/isd.py:imagenet_plus   ISD+, ResNet-50, 200 epochs. The authors (ISD, ResNet-50): linear 69.8, 1-NN 59.2, 20-NN 62.0
Measured here, at the small budget: docs/results.md.

Any of them smaller: ",cpu" after the recipe (minutes on two CPU cores, the same budget in every file), ",runlocal" (a minute).
"""

from jaxssl.augment import presets
from jaxssl.config import recipes
from jaxssl.config.recipes import Fields

PAIRS = [(teacher, student) for teacher in ("weak", "strong") for student in ("weak", "strong")]


def get_config(recipe: str = "") -> Fields:
  """Makes the config of a recipe."""
  pairs = {f"{teacher}_{student}": lambda t=teacher, s=student: cifar10(t, s) for teacher, student in PAIRS}
  named = {"": cifar10, "plus": lambda: plus(cifar10("weak")), "imagenet": imagenet, "imagenet_plus": imagenet_plus}
  return recipes.choose(recipe, named | pairs)


def isd(config: Fields, teacher: str, student: str, size: int, queue: int) -> None:
  """ISD: no projector, a predictor of the features' width, one temperature."""
  config.views = recipes.views(presets.pair(student, teacher, size))
  config.method = {
    "name": "isd",
    "teacher_momentum": 0.999,
    "queue": queue,
    "student_temperature": 0.02,
    "teacher_temperature": 0.02,
    "student_view": student,
    "teacher_view": teacher,
  }
  recipes.mlp(config.model.predictor, 0, 0)
  config.evals.knn.unweighted_k = (1, 20)  # their protocol


def plus(config: Fields, width: int = 512) -> Fields:
  """ISD+: a sharper teacher that moves faster, and a projector from `width` features to a quarter of them."""
  config.method.update({"student_temperature": 0.1, "teacher_temperature": 0.01, "teacher_momentum": 0.99})
  recipes.mlp(config.model.projector, 2 * width, width // 4)
  recipes.mlp(config.model.predictor, 2 * width, width // 4)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)
  return config


def cifar10(teacher: str = "strong", student: str = "strong") -> Fields:
  """CIFAR-10 at 32 pixels, a smaller queue."""
  config = recipes.cifar()
  isd(config, teacher, student, size=32, queue=16_384)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4)
  return config


def imagenet() -> Fields:
  """The published recipe of ISD for ResNet-18."""
  config = recipes.imagenet("resnet18")
  isd(config, "strong", "strong", size=224, queue=128_000)
  recipes.sgd(config, lr=0.01, weight_decay=1e-4, warmup_epochs=0)
  config.optim.schedule.update({"kind": "step", "milestones": (140, 180), "rate": 0.2})
  return config


def imagenet_plus() -> Fields:
  """The published recipe of ISD+ for ResNet-50."""
  config = recipes.imagenet("resnet50")
  isd(config, "weak", "strong", size=224, queue=128_000)
  return plus(config, width=2048)
