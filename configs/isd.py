"""ISD: soft similarities to a queue (arXiv 2012.09259). The student is evaluated, as by the authors.

configs/isd.py                         CIFAR-10, ISD, ResNet-18, 200 epochs; one GPU
  jaxssl train --config configs/isd.py
  Measured with ",cpu", 3 seeds: k-NN 36.4 ± 0.4 (docs/results.md).
configs/isd.py:plus                    CIFAR-10, ISD+, ResNet-18: weak teacher, strong student view, two temperatures, projector
  Measured with ",cpu", 3 seeds: k-NN 37.2 ± 0.7 (docs/results.md).
configs/isd.py:weak_weak               CIFAR-10, ISD with weak teacher and student views
configs/isd.py:weak_strong             CIFAR-10, ISD with weak teacher and strong student views
configs/isd.py:strong_weak             CIFAR-10, ISD with strong teacher and weak student views
configs/isd.py:strong_strong           CIFAR-10, ISD with strong teacher and student views, the default
configs/isd.py:imagenet                ImageNet, ISD, ResNet-18, 200 epochs; 4 to 8 GPUs or a TPU v4-8
  jaxssl train --config configs/isd.py:imagenet --config.data.path=/path/to/imagenet
  Published (UMBCvision/ISD, project page): linear 53.8, 1-NN 41.5, 20-NN 46.6.
configs/isd.py:imagenet_weak_strong    ImageNet, the same with a weak teacher view, as in run_isd.sh
configs/isd.py:imagenet_plus_resnet18  ImageNet, ISD+, ResNet-18, as in run_isd_plus.sh
configs/isd.py:imagenet_plus           ImageNet, ISD+, ResNet-50, 200 epochs; 4 to 8 GPUs or a TPU v4-8
  Published (same place) as ISD with ResNet-50: linear 69.8, 1-NN 59.2, 20-NN 62.0.

Their recipe differs on ImageNet: the classifiers are those of the best epoch on the validation images; ties of k-NN are
broken at random.
"""

from jaxssl.augment import presets
from jaxssl.config import recipes

PAIRS = [(teacher, student) for teacher in ("weak", "strong") for student in ("weak", "strong")]


def isd(config: recipes.Fields, teacher: str, student: str, size: int, queue: int) -> None:
  """Sets ISD without a projector: a predictor of the features' width, one temperature."""
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
  recipes.mlp(config.model.predictor, 0, 0, bias=False)
  config.evals.network = "student"
  config.evals.knn.unweighted_k = (1, 20)


def plus(config: recipes.Fields, width: int = 512) -> recipes.Fields:
  """Sets ISD+: a sharper teacher that moves faster, and a projector from `width` features to a quarter of them."""
  config.method.update({"student_temperature": 0.1, "teacher_temperature": 0.01, "teacher_momentum": 0.99})
  recipes.mlp(config.model.projector, 2 * width, width // 4)
  recipes.mlp(config.model.predictor, 2 * width, width // 4)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4, warmup_epochs=0)
  return config


def cifar10(teacher: str = "strong", student: str = "strong") -> recipes.Fields:
  """Returns the recipe for CIFAR-10 at 32 pixels, with a smaller queue."""
  config = recipes.cifar()
  isd(config, teacher, student, size=32, queue=16_384)
  recipes.sgd(config, lr=0.05, weight_decay=1e-4)
  return config


def imagenet(network: str = "resnet18", teacher: str = "strong") -> recipes.Fields:
  """Returns the published recipe of ISD, for ResNet-18."""
  config = recipes.imagenet(network)
  config.model.bn_groups = 2 if teacher == "strong" else 4  # the GPUs of the authors
  isd(config, teacher, "strong", size=224, queue=128_000)
  recipes.sgd(config, lr=0.01, weight_decay=1e-4, warmup_epochs=0)
  config.optim.schedule.update({"kind": "step", "milestones": (140, 180), "rate": 0.2, "by_epoch": True})
  config.evals.interpolation = "bilinear"
  config.evals.linear.solvers = ("isd",)
  config.train.precision = "float32"
  return config


def imagenet_plus() -> recipes.Fields:
  """Returns the published recipe of ISD+ for ResNet-50."""
  return plus(imagenet("resnet50", "weak"), width=2048)


def imagenet_plus_resnet18() -> recipes.Fields:
  """Returns the published recipe of ISD+ for ResNet-18: higher temperatures, a lower learning rate."""
  config = plus(imagenet("resnet18", "weak"))
  config.method.update({"student_temperature": 0.2, "teacher_temperature": 0.02})
  config.optim.lr = 0.01
  return config


VIEWS = {f"{teacher}_{student}": lambda t=teacher, s=student: cifar10(t, s) for teacher, student in PAIRS}
RECIPES = {
  "": cifar10,
  "plus": lambda: plus(cifar10("weak")),
  **VIEWS,
  "imagenet": imagenet,
  "imagenet_weak_strong": lambda: imagenet(teacher="weak"),
  "imagenet_plus_resnet18": imagenet_plus_resnet18,
  "imagenet_plus": imagenet_plus,
}
get_config = recipes.by_name(RECIPES)
