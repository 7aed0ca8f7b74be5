"""The config of a run. `jaxssl config fields` and docs/config.md show the comments above the fields and at their ends."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxssl.config import ranges
from jaxssl.config.eval_schema import EvalsConfig
from jaxssl.config.roles import fixed, grow, locate, observe, result
from jaxssl.config.schedules import ScheduleConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImbalanceConfig:
  """Unbalances the training images by their labels; the sets for evaluation stay balanced (ISD, arXiv 2012.09259)."""

  # few_large: some classes keep all images, the others a fixed number; long_tail: class sizes fall geometrically; listed: the
  # images named in data.list_path are the unbalanced set
  kind: Literal["none", "few_large", "long_tail", "listed"] = "none"
  classes: int = 0  # few_large, long_tail: number of classes; 0: all
  large: int = 8  # few_large: number of classes that keep all their images
  small_images: int = 100  # few_large: images of each other class
  ratio: float = 100.0  # long_tail: size of the largest class / size of the smallest
  seed: int = 0  # selects the classes, the large ones among them, and their images


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
  """The images and where they are stored during training."""

  # mnist5k: 5,000 digits that ship with a dependency; folder: image files; packed: what `jaxssl pack` has written; webdataset,
  # tfrecord, parquet, numpy: such files; tfds: tensorflow-datasets; array: given from Python; or a registered source
  # (docs/extending.md). It may change in a run if the images remain the same
  source: str = locate("mnist5k")
  path: str = locate("")  # folder, file or zip; folder or gs://BUCKET/FOLDER (source=packed); name of the dataset (source=tfds)
  test_path: str = locate("")  # folder or zip of the test set; empty: the test/ or val/ folder in `path`, if there is one
  # text file with the paths of the training images to use, one per line (source=folder, packed); empty: all
  list_path: str = locate("")
  # source=packed: folder on a local disk, or in /dev/shm, that the images are copied to at the start, unless they are there;
  # empty: they are read where they are
  stage: str = locate("")
  placement: Literal["device", "host"] = "device"  # device: all images in accelerator memory; host: tf.data reads and crops
  # placement=device: side to which images are resized and center-cropped; 0: not, unless their sizes differ: then 5/4 of the
  # largest view
  resident_size: int = fixed(0)
  channels: int = fixed(3)  # 1: grayscale, 3: color; otherwise the number of channels of every TIFF or .npy file
  # bits of the values in files that are wider than 8 bits, e.g. 12 for 0..4095 in 16 bits; images of 8-bit files have 8;
  # 0: decided once from the training images, and recorded in the run
  bit_depth: Literal[0, 8, 10, 12, 14, 16] = fixed(0)
  max_pixels: int = observe(2**28)  # height x width of an image; a larger one stops the run before it is decoded
  allow_truncated: bool = False  # read JPEGs that lack their last bytes; missing parts are gray
  imbalance: ImbalanceConfig = ImbalanceConfig()
  limit: int = 0  # train on at most this many images, drawn by train.seed; 0: all
  # mean of each channel, or one for all, on a scale where the brightest value is 1; empty: measured on the training images
  mean: tuple[float, ...] = fixed((0.485, 0.456, 0.406))
  std: tuple[float, ...] = fixed((0.229, 0.224, 0.225))  # standard deviation of each channel, as `mean`
  workers: int = locate(0)  # placement=host: parallel reads; 0: one per core
  # placement=host: whether `workers` are processes, which use every core, or threads, which share one interpreter; auto:
  # processes on Linux with more than 4 cores, if the images are files on this machine
  processes: Literal["auto", "on", "off"] = locate("auto")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewConfig:
  """A group of random views: global, local, weak or strong. A list holds one value for all views or one per view."""

  count: int = 2  # views of the group
  size: int = 224  # side in pixels
  partner: tuple[bool, ...] = (False, True)  # cut the view from the partner's image (with bootstrap.policy)
  crop_scale: tuple[float, float] = (0.08, 1.0)  # range of the crop's area, as a fraction of the image; 0,0: no crop
  crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # range of the crop's width / height
  interpolation: Literal["bilinear", "bicubic"] = "bicubic"  # of the resize after the crop
  flip: float = 0.5  # probability of a horizontal flip
  jitter: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)  # strength: brightness, contrast, saturation, hue
  jitter_p: float = 0.8  # probability of the color jitter
  gray_p: float = 0.0  # probability of grayscale
  blur_p: tuple[float, ...] = (0.0,)  # probability of a Gaussian blur
  blur_sigma: tuple[float, float] = (0.1, 2.0)  # range of the blur's standard deviation in pixels
  solarize_p: tuple[float, ...] = (0.0,)  # probability of solarization
  affine: float = 0.0  # probability of the affine map: rotate, shear, zoom, shift
  rotate: float = 0.0  # largest rotation in radians, either way
  shear: float = 0.0  # largest shear in radians, either way
  zoom: tuple[float, float] = (1.0, 1.0)  # range of the scale factor
  shift: float = 0.0  # largest shift in pixels, either way, per axis
  elastic: float = 0.0  # standard deviation in pixels of a smooth random displacement (4 x 4 grid), part of the affine map
  thicken: float = 0.0  # largest step towards the brightest (or darkest) of each 3 x 3 neighborhood
  # registered operations (docs/extending.md), e.g. {"name": "cutout", "p": 0.5}; p: the probability, for all views or per view
  extra: tuple[Mapping[str, Any], ...] = dataclasses.field(default=(), hash=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadConfig:
  """A projector or predictor."""

  name: Literal["none", "mlp", "dino"] = "none"  # mlp: layers of `hidden`, then `out`; dino: an MLP, then `out` prototypes
  hidden: int = 2048  # width of the hidden layers; 0: the input's width
  out: int = 256  # width of the output, or number of prototypes; 0: the input's width
  layers: int = 3  # linear layers
  bn: bool = True  # BatchNorm after the hidden layers
  last_bn: Literal["none", "plain", "affine"] = "none"  # BatchNorm after the output layer; plain: without scale and bias
  bias: bool = True  # bias of the hidden layers
  bottleneck: int = 256  # dino: width before the prototypes
  fixed_norm: bool = True  # dino: prototypes have norm 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
  """The encoder and its heads. Each backbone reads the fields that it has (`jaxssl.models.backbone`)."""

  # resnet10, resnet18, resnet34, resnet50, vit_ti, vit_s, vit_b, convnext_tiny; custom: what jaxssl.train(encoder=...) is given
  name: str = "resnet18"
  width: float = 1.0  # ResNet, ConvNeXt: factor on the channels
  # ResNet: imagenet is 7x7 with stride 2 and pooling, cifar 3x3, cifar_pad the same with images padded by one pixel (ReSA),
  # small 3x3 with stride 2; ConvNeXt: patches of 4 (imagenet), 2 (small) or 1 pixels (cifar, cifar_pad)
  stem: Literal["imagenet", "cifar", "cifar_pad", "small"] = "imagenet"
  # ResNet: the last BatchNorm of each residual block starts with scale 0, so that the block starts as its shortcut
  zero_init_residual: bool = False
  # ResNet, heads: BatchNorm statistics are computed over this many groups of the batch; MoCo v2, ISD and MSF shuffle the
  # teacher's images over the groups
  bn_groups: int = result(1)
  depth: int = 0  # ViT: number of blocks (0: 12); ConvNeXt: largest number of blocks per stage (0: no limit)
  patch: int = 16  # ViT: side of a patch in pixels
  drop_path: float = result(0.0)  # ViT, ConvNeXt: drop-path rate of the last block; increases linearly from 0 in the first
  heads: int = 0  # ViT: attention heads of each block (0: one per 64 dimensions); a divisor of 192, 384 or 768
  # ViT: learned, or sincos: fixed sines and cosines of row and column (MoCo v3)
  positions: Literal["learned", "sincos"] = "learned"
  # ViT: normal: weights from N(0, 0.02), as DINO; xavier: uniform by the sizes of a layer, class token N(0, 1e-6), as MoCo v3
  init: Literal["normal", "xavier"] = "normal"
  # ResNet, ConvNeXt, ViT: the gradient computes the activations within each block again instead of storing them, which saves
  # memory and takes about as long as another forward pass of the student
  remat: bool = locate(False)
  position_offset: float = 0.0  # ViT: 0.1 interpolates positions as DINO's released weights expect; 0: the exact ratio
  # what initializes the encoder: a weights file, the folder of an export, or the workdir of another run (docs/weights.md);
  # empty: random
  init_from: str = ""
  init_heads: bool = False  # init_from: projector and predictor too; of a workdir, or of an export (flax) with heads
  allow_partial: bool = False  # init_from: tensors that are missing or have another shape are initialized randomly
  projector: HeadConfig = HeadConfig()
  predictor: HeadConfig = HeadConfig()


@dataclasses.dataclass(frozen=True, kw_only=True)
class BootstrapConfig:
  """Neighbor bootstrapping: which image the partner's view is cut from (AdaSim, arXiv 2303.13606)."""

  # off: the image itself; naive: a neighbor; adaptive: only if reliable
  policy: Literal["off", "naive", "adaptive"] = fixed("off")
  k: int = fixed(10)  # neighbors per image
  window: int = fixed(50)  # epochs whose neighbors vote; bootstrapping starts after this many epochs
  temperature: float = 0.001  # of the softmax over the votes
  features: Literal["first", "second", "mean"] = "first"  # the view whose teacher features represent the image
  dtype: Literal["float16", "bfloat16", "float32"] = fixed("float16")  # of the neighbor bank
  search_chunk: int = locate(16384)  # rows of the bank that each device compares at a time
  as_released: bool = False  # the released code's behavior: empty rows compete, skipped images repeat their last neighbors


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimConfig:
  """The optimizer. Learning rate at a step: lr * batch_size / lr_base_batch_size * schedule(step)."""

  name: Literal["sgd", "adamw", "lars"] = fixed("adamw")  # the optimizer
  lr: float = 5e-4  # peak learning rate at a batch of lr_base_batch_size
  lr_base_batch_size: int = 256  # batch size that `lr` is given for; 0: use `lr` as it is
  schedule: ScheduleConfig = ScheduleConfig(kind="cosine", warmup_epochs=10)  # factor on the peak learning rate
  momentum: float = 0.9  # sgd, lars
  weight_decay: ScheduleConfig = ScheduleConfig(base=0.04)
  decay_mask: Literal["all", "matrices"] = "matrices"  # parameters that decay; matrices: no biases, no 1-d parameters
  clip: float = 0.0  # largest gradient norm; 0: no clipping
  clip_by: Literal["tensor", "global"] = "tensor"  # the norm that is clipped: each parameter's, or that of all together
  freeze_last_layer_epochs: int = 0  # epochs at the start in which prototypes are not trained (DINO, SwAV)
  freeze_encoder_epochs: int = 0  # epochs at the start in which only the heads are trained, useful with model.init_from
  freeze: tuple[str, ...] = ()  # parameters whose path contains one of these names are never trained (MoCo v3: patch_embed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainConfig:
  """Length of the run, batch, seed, precision and checkpoints."""

  batch_size: int = fixed(256)  # images per step, all devices together
  accumulate: int = 1  # parts that a batch is processed in, to save memory; the loss still sees the whole batch
  epochs: int = grow(100)  # length of the run
  seed: int = 0  # of all random numbers
  precision: Literal["float32", "bfloat16"] = "float32"  # of the networks; losses, queues and averages are always float32
  log_every: int = observe(10)  # steps between lines of metrics.jsonl
  checkpoint_every_epochs: int = observe(1)  # epochs between checkpoints
  checkpoint_every_steps: int = observe(0)  # steps between additional checkpoints within an epoch; 0: none
  max_to_keep: int = observe(2)  # checkpoints to keep
  # lower what the images or the epochs of a run do not suffice for, and log it: batch_size, bootstrap.k, evals.knn, warm-ups
  # (docs/data.md); the smaller versions of recipes and the configs of `inspect` set it
  lower_to_fit: bool = observe(False)
  fsdp: bool = locate(False)  # shard weights, optimizer, teacher and queues over the devices: less memory, more traffic


@dataclasses.dataclass(frozen=True, kw_only=True)
class HealthConfig:
  """Alerts on a run that goes wrong (docs/reliability.md lists them)."""

  patience: int = 200  # consecutive steps that meet an alert's condition before it is raised
  stop: tuple[str, ...] = ()  # alerts that end the run, such as collapsing; the others are only logged


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogConfig:
  """Trackers that the metrics of a run go to, beside metrics.jsonl and TensorBoard (docs/logging.md)."""

  wandb: str = ""  # project of Weights & Biases, PROJECT or ENTITY/PROJECT; empty: none
  mlflow: str = ""  # tracking URI of MLflow, such as http://localhost:5000 or sqlite:///mlflow.db; empty: none


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
  """A whole run. `method` holds the fields of the method named by `method.name`."""

  data: DataConfig = DataConfig()
  views: Mapping[str, ViewConfig] = dataclasses.field(default_factory=dict)
  model: ModelConfig = fixed(ModelConfig())
  method: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  bootstrap: BootstrapConfig = BootstrapConfig()
  optim: OptimConfig = OptimConfig()
  train: TrainConfig = TrainConfig()
  evals: EvalsConfig = observe(EvalsConfig())
  health: HealthConfig = observe(HealthConfig())
  log: LogConfig = observe(LogConfig())
  plugins: tuple[str, ...] = ()  # Python files that register methods, backbones, ... (docs/extending.md)

  def __post_init__(self) -> None:
    """Raises UserError for a number that is out of its range."""
    ranges.check(self)
