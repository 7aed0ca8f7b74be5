"""The fields of a config that say what is evaluated, when and by which protocol."""

import dataclasses
from typing import Literal

from jaxssl.config.roles import fixed
from jaxssl.config.schedules import ScheduleConfig

Published = Literal["resa", "resa_b256", "resa_cifar", "isd", "dino", "dino_convnet", "moco", "moco_v3", "moco_v3_vit"]
Solver = Literal["lbfgs", "sgd", "augmented", Published, "custom"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnConfig:
  """k-NN protocols; each list holds the numbers of neighbors to evaluate."""

  k: tuple[int, ...] = (20,)  # weighted vote by cosine similarity (DINO's protocol)
  temperature: float = 0.07  # of the weights
  unweighted_k: tuple[int, ...] = ()  # majority vote by cosine similarity (ISD's protocol)
  euclidean: tuple[int, ...] = ()  # majority vote by Euclidean distance of raw features (ReSA's protocol on CIFAR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearProtocol:
  """How a linear classifier is trained on frozen features by gradient descent. The last epoch is measured."""

  optimizer: Literal["sgd", "adam"] = "sgd"  # weight decay is added to the gradient
  # learning rates at a batch of lr_base_batch_size; of several, which are trained side by side, the best on a held-out fifth of
  # the labels is trained again with all labels
  lr: tuple[float, ...] = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
  lr_base_batch_size: int = 0  # batch size that `lr` is given for; 0: use `lr` as it is
  schedule: ScheduleConfig = ScheduleConfig(kind="cosine", by_epoch=True)  # factor on the learning rate
  momentum: float = 0.9  # sgd
  weight_decay: float = 0.0  # of all parameters of the classifier
  epochs: int = 100  # length of the training
  batch_size: int = 256  # images per step; an incomplete batch is dropped
  # none: features are computed once; random: new crops and flips in each epoch; view: the same, cut as the student's first view
  crops: Literal["none", "random", "view"] = "none"
  crop_scale: tuple[float, float] = (0.08, 1.0)  # crops=random: range of the crop's area, as a fraction of the image
  # of the features, by statistics of the uncropped training images: l2: to unit length; l2_standardize: then mean 0, variance 1
  normalize: Literal["none", "l2", "standardize", "l2_standardize"] = "standardize"
  blocks: int = 1  # ViT: class tokens of this many last blocks, side by side; other networks have 1
  # of the weights; normal: standard deviation 0.01; uniform: that of torch.nn.Linear, of the biases as well
  init: Literal["zeros", "normal", "uniform"] = "zeros"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearConfig:
  """A linear classifier on frozen features."""

  # lbfgs: logistic regression, penalty chosen on a held-out fifth; sgd: a grid of learning rates; augmented: the same on crops;
  # resa ... moco_v3_vit: those of publications (docs/evaluation.md); custom: the fields below
  solvers: tuple[Solver, ...] = ("lbfgs",)
  custom: LinearProtocol = LinearProtocol()  # starts as `sgd`


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
  """Training of the whole network with labels, from the learned weights: SGD with momentum 0.9."""

  epochs: int = 30  # length of the training
  batch_size: int = 128  # images per step; an incomplete batch is dropped
  lr: float = 0.01  # learning rate of the encoder, not scaled by the batch size
  head_lr: float = 0.1  # learning rate of the classifier
  schedule: ScheduleConfig = ScheduleConfig(kind="cosine", by_epoch=True)  # factor on the learning rates
  weight_decay: float = 1e-4  # of all parameters
  crops: Literal["random", "view"] = "view"  # new crops and flips in each epoch; view: cut as the student's first view
  crop_scale: tuple[float, float] = (0.08, 1.0)  # crops=random: range of the crop's area, as a fraction of the image
  # of the classifier's weights; normal: standard deviation 0.01; uniform: that of torch.nn.Linear
  init: Literal["zeros", "normal", "uniform"] = "zeros"


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowshotConfig:
  """Evaluation with few labels."""

  shots: tuple[float, ...] = (0.01, 0.1)  # labeled images: below 1, a fraction of each class; otherwise images per class
  draws: int = 3  # random draws of the labeled images
  # text files that name labeled images as data.list_path does; each is one fixed draw, named after its file
  lists: tuple[str, ...] = ()
  finetune: bool = False  # also fine-tune the network, beside the linear classifier on frozen features


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseConfig:
  """Segmentation by the features of patches: images, and masks of the classes of their pixels (docs/evaluation.md)."""

  images: str = ""  # folder or zip of the images to learn from
  # folder or zip of their masks, under the same names: gray or palette PNGs of 8 bits, whose values are numbers of classes
  masks: str = ""
  list_path: str = ""  # text file with the names of the images to use, one per line; empty: all in `images`
  # as `images`, of the images to test on; empty: `images` and `masks` if test_list_path is set, otherwise a fifth of the
  # images, which is then not learned from
  test_images: str = ""
  test_masks: str = ""  # masks of `test_images`
  test_list_path: str = ""  # text file with the names of the images to test on; empty: all in `test_images`
  ignore: tuple[int, ...] = (255,)  # values in masks of pixels that are neither learned nor measured
  patches: int = 20000  # at most so many patches are learned from, drawn from all training images
  k: int = 20  # nearest patches that vote, weighted as by evals.knn.temperature


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalsConfig:
  """What is evaluated and when. The end of a run is always evaluated."""

  every: int = 10  # epochs between evaluations
  periodic: tuple[str, ...] = ("knn", "quality")  # evaluations during the run
  final: tuple[str, ...] = ("knn", "quality", "linear")  # evaluations at the end, and the default of `jaxssl evaluate`
  network: Literal["auto", "teacher", "student"] = "auto"  # the network to evaluate; auto: the teacher if there is one
  batch_size: int = 256  # images per step of feature extraction
  resize: int = 0  # shorter side before the center crop; 0: the whole image is resized to `size`
  size: int = 0  # side of the images that the network sees; 0: that of the training views
  interpolation: Literal["bilinear", "bicubic"] = "bicubic"  # of both
  report: bool = True  # write report.html at the end of the run
  # also evaluate raw pixels and the untrained network: after the first epoch by `periodic`, and at the end by `final`
  baselines: bool = True
  # at the end, over how many seeds the untrained network is measured, for its mean and deviation: train.seed and those after it
  baseline_seeds: int = 3
  knn: KnnConfig = KnnConfig()
  linear: LinearConfig = LinearConfig()
  lowshot: LowshotConfig = LowshotConfig()
  finetune: FinetuneConfig = FinetuneConfig()
  # without a test set, the share of each class that becomes one and is not trained on, drawn by train.seed (e.g. 0.2); 0: none,
  # and k-NN compares each image with the others
  holdout: float = fixed(0.0)
  retrieval_k: tuple[int, ...] = (1, 5, 10)  # recall at these ranks
  dense: DenseConfig = DenseConfig()
