"""A config read once, at the door: from an ml_collections ConfigDict to frozen, typed dataclasses."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxssl.config.schedules import ScheduleConfig

Evaluation = str  # a name in evals.registry


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImbalanceConfig:
  """Unbalances the training images by their labels; what measures stays balanced (ISD, arXiv 2012.09259)."""

  # few_large: some classes whole, the others of one small size; long_tail: sizes fall geometrically from class to class;
  # listed: the images in data.list_path are the unbalanced set
  kind: Literal["none", "few_large", "long_tail", "listed"] = "none"
  classes: int = 0  # few_large, long_tail: classes used; 0: all
  large: int = 8  # few_large: classes that keep all their images
  small_images: int = 100  # few_large: images of each other class
  ratio: float = 100.0  # long_tail: size of the largest class / size of the smallest
  seed: int = 0  # draws which classes are used, which of them are large, and their images


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """Which images, and where they live while training."""

  source: Literal["mnist5k", "folder", "tfds", "array"] = "mnist5k"
  path: str = ""  # folder or zip (source=folder), name (source=tfds)
  test_path: str = ""  # a test split that lies elsewhere; empty: a test/ or val/ folder under `path`, where there is one
  list_path: str = ""  # a text file that names the training images to use, one a line (source=folder); empty: all
  placement: Literal["device", "host"] = "device"  # device: all images in accelerator memory; host: tf.data reads and crops
  resident_size: int = 0  # side that images are resized to (shorter side, then center crop) when stored; 0: as they are
  channels: int = 3  # 1: gray, 3: color; any other number: what every TIFF or .npy has
  bit_depth: Literal[8, 16] = 8  # bits of a value
  imbalance: ImbalanceConfig = ImbalanceConfig()
  limit: int = 0  # train on the first so many images of a seeded shuffle; 0: all
  # of each channel, or one for all, where the brightest value is 1; empty: measured, and from then on the run's own
  mean: tuple[float, ...] = (0.485, 0.456, 0.406)
  std: tuple[float, ...] = (0.229, 0.224, 0.225)
  workers: int = 0  # parallel reads of the host pipeline; 0: as many as there are cores


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig:
  """A group of random views. A tuple holds one value a view, or one for all. Probabilities lie in 0..1."""

  count: int = 2
  size: int = 224  # side in pixels
  partner: tuple[bool, ...] = (False, True)  # whether the view is cut from the partner's image
  crop_scale: tuple[float, float] = (0.08, 1.0)  # share of the area; (0, 0): no crop, the whole image resized
  crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
  interpolation: Literal["bilinear", "bicubic"] = "bicubic"
  flip: float = 0.5
  jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # brightness, contrast, saturation, hue
  jitter_p: float = 0.8
  gray_p: float = 0.0
  blur_p: tuple[float, ...] = (0.0,)
  blur_sigma: tuple[float, float] = (0.1, 2.0)  # pixels
  solarize_p: tuple[float, ...] = (0.0,)
  affine: float = 0.0  # probability of the affine map below
  rotate: float = 0.0  # radians, uniform in +-
  shear: float = 0.0  # radians, uniform in +-
  zoom: tuple[float, float] = (1.0, 1.0)
  shift: float = 0.0  # pixels, uniform in +-, each axis
  elastic: float = 0.0  # pixels, deviation of a smooth random displacement (a 4 x 4 grid), applied with the affine map
  thicken: float = 0.0  # uniform in +-: moves towards the brightest (or darkest) of each 3 x 3 neighborhood


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
  """A projector or predictor. `mlp`: layers of `hidden`, then `out`; 0: the input's width. `dino`: `out` prototypes."""

  name: Literal["none", "mlp", "dino"] = "none"
  hidden: int = 2048
  out: int = 256
  layers: int = 3
  bn: bool = True  # BatchNorm after the hidden layers
  last_bn: Literal["none", "plain", "affine"] = "none"  # BatchNorm after the output layer; plain: without scale and bias
  bias: bool = True  # bias in hidden layers
  bottleneck: int = 256  # dino: width before the prototypes
  fixed_norm: bool = True  # dino: prototypes keep norm 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """The encoder and its heads."""

  # custom: the flax module that a program gives to jaxssl.train
  name: Literal["resnet10", "resnet18", "resnet34", "resnet50", "vit_ti", "vit_s", "vit_b", "custom"] = "resnet18"
  width: float = 1.0  # ResNet: factor on the channels
  # ResNet; cifar_pad: ReSA's CIFAR network, 32 padded to 34; small: 3x3 stride 2 without pool
  stem: Literal["imagenet", "cifar", "cifar_pad", "small"] = "imagenet"
  bn_groups: int = 1  # ResNet: the batch's statistics are taken over this many groups
  depth: int = 0  # ViT: blocks; 0: as its name says (12)
  patch: int = 16  # ViT: side of a patch in pixels
  drop_path: float = 0.0  # ViT
  position_offset: float = 0.0  # ViT: 0.1 interpolates positions as DINO's released weights expect; 0: exact ratio
  init_from: str = ""  # a weights file, or an export's folder: the encoder starts from it (docs/weights.md); empty: at random
  allow_partial: bool = False  # init_from: what is missing there, or has another shape, starts at random
  projector: HeadConfig = HeadConfig()
  predictor: HeadConfig = HeadConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
  """Which image the partner's view comes from (AdaSim, arXiv 2303.13606)."""

  policy: Literal["off", "naive", "adaptive"] = "off"
  k: int = 10  # neighbors kept
  window: int = 50  # epochs that vote; bootstrapping starts once it is full
  temperature: float = 0.001
  features: Literal["first", "second", "mean"] = "first"  # which view's teacher features stand for the image
  dtype: Literal["float16", "bfloat16", "float32"] = "float16"  # of the bank
  search_chunk: int = 16384  # bank rows compared at a time on each device
  as_released: bool = False  # exactly as released: empty rows compete, skipped images repeat their last list


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
  """The optimizer. Learning rate at a step = lr x batch_size / lr_base_batch_size x schedule(step)."""

  name: Literal["sgd", "adamw", "lars"] = "adamw"
  lr: float = 5e-4
  lr_base_batch_size: int = 256  # 0: lr is taken as written
  schedule: ScheduleConfig = ScheduleConfig(kind="cosine", warmup_epochs=10)  # in units of the peak
  momentum: float = 0.9
  weight_decay: ScheduleConfig = ScheduleConfig(base=0.04)
  decay_mask: Literal["all", "matrices"] = "matrices"  # matrices: neither biases nor one-dimensional parameters
  clip: float = 0.0  # largest gradient norm; 0: none
  clip_by: Literal["tensor", "global"] = "tensor"
  freeze_last_layer_epochs: int = 0  # DINO, SwAV: the prototypes are left alone at first
  freeze_encoder_epochs: int = 0  # the encoder is left alone while the heads warm up, as is wise with model.init_from
  freeze: tuple[str, ...] = ()  # parameters whose path holds one of these names are never trained (MoCo v3: patch_embed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """How long, how much at a time, from which seed, and how precisely."""

  batch_size: int = 256
  accumulate: int = 1  # parts a batch is run in, to save memory; the loss is taken on the whole batch all the same
  epochs: int = 100
  seed: int = 0
  precision: Literal["float32", "bfloat16"] = "float32"  # of the networks; losses, memory and averages are float32 always
  log_every: int = 10  # steps between lines of metrics.jsonl
  checkpoint_every_epochs: int = 1  # epochs between checkpoints
  checkpoint_every_steps: int = 0  # and, inside an epoch, steps between checkpoints; 0: none
  max_to_keep: int = 2  # checkpoints kept
  # what every device has a copy of, weights, optimizer, teacher and queues, is split over the devices instead (FSDP): less
  # memory, more traffic
  fsdp: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class KnnConfig:
  """k-NN; each tuple holds the numbers of neighbors that its protocol is run with."""

  k: tuple[int, ...] = (20,)  # weighted, cosine (DINO's protocol)
  temperature: float = 0.07  # of the weights
  unweighted_k: tuple[int, ...] = ()  # plain majority, cosine (ISD's protocol)
  euclidean: tuple[int, ...] = ()  # plain majority, Euclidean on raw features (ReSA's on CIFAR)


@dataclasses.dataclass(frozen=True, kw_only=True)
class LinearConfig:
  """A linear classifier on frozen features."""

  # lbfgs: logistic regression to convergence, its penalty chosen on a held-out fifth; sgd: a grid of learning rates, chosen
  # likewise; adam: 500 epochs on raw features (ReSA's protocol on CIFAR); augmented: the grid, on fresh crops in each epoch
  solvers: tuple[Literal["lbfgs", "sgd", "adam", "augmented"], ...] = ("lbfgs",)
  epochs: int = 100  # sgd, augmented
  batch_size: int = 256  # sgd, augmented


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
  """The whole network trained with labels, from the learned weights: SGD with momentum, cosine."""

  epochs: int = 30
  batch_size: int = 128
  lr: float = 0.01  # of the encoder, per batch
  head_lr: float = 0.1
  weight_decay: float = 1e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class LowshotConfig:
  """Few labels: below 1, a share of each class; from 1 on, that many images of each class."""

  shots: tuple[float, ...] = (0.01, 0.1)
  draws: int = 3  # of the labeled images
  finetune: bool = False  # fine-tune as well as fitting a linear classifier on frozen features


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalsConfig:
  """What is measured and when; the end of the run is always measured."""

  every: int = 10  # epochs
  periodic: tuple[Evaluation, ...] = ("knn", "quality")  # every so many epochs; what needs labels only where there are some
  final: tuple[Evaluation, ...] = ("knn", "quality", "linear")  # at the end, and of `jaxssl evaluate` where it names none
  network: Literal["auto", "teacher", "student"] = "auto"  # auto: the teacher where the method has one
  batch_size: int = 256
  resize: int = 0  # shorter side before the center crop; 0: the image is resized to `size` as it is
  size: int = 0  # side of the image shown to the network; 0: as the first view group's
  report: bool = True  # write report.html at the end of the run
  baselines: bool = True  # `during` on raw pixels and on the untrained network as well, once
  knn: KnnConfig = KnnConfig()
  linear: LinearConfig = LinearConfig()
  lowshot: LowshotConfig = LowshotConfig()
  finetune: FinetuneConfig = FinetuneConfig()
  retrieval_k: tuple[int, ...] = (1, 5, 10)  # recall at so many


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthConfig:
  """When a run is said to go wrong (docs/reliability.md lists the verdicts)."""

  patience: int = 200  # steps in a row that speak for a verdict
  stop: tuple[str, ...] = ()  # verdicts that end the run, such as "collapsing"; all others are only told


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole run. `method` is read by the method it names."""

  data: DataConfig = DataConfig()
  views: Mapping[str, ViewConfig] = dataclasses.field(default_factory=dict)
  model: ModelConfig = ModelConfig()
  method: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  bootstrap: BootstrapConfig = BootstrapConfig()
  optim: OptimConfig = OptimConfig()
  train: TrainConfig = TrainConfig()
  evals: EvalsConfig = EvalsConfig()
  health: HealthConfig = HealthConfig()
