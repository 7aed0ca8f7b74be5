"""An encoder and its heads as one network: the only face of this room."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, Outputs, PyTree, Variables
from jaxssl.models import resnet, vit
from jaxssl.models.heads import MLP, DINOHead

DEEPEST, MOST = 1000, 2**16  # blocks or layers; channels, or pixels a side: more is a slip of the hand


@dataclasses.dataclass(frozen=True)
class Network:
  """An encoder and heads: flax modules called as module(x, train=bool), images [b, h, w, c] or features [b, f] to [b, f].

  Variables hold `encoder`, `projector` and `predictor`, as far as there are such modules; among the statistics, as far as
  they keep any.
  """

  encoder: nn.Module
  projector: nn.Module | None = None
  predictor: nn.Module | None = None

  def init(self, key: Array, image_shape: tuple[int, int, int]) -> Variables:
    """Draws the first weights, for images of (h, w, c)."""
    x = jnp.zeros((1, *image_shape))
    params, stats = {}, {}
    for name, own_key in zip(("encoder", "projector", "predictor"), jax.random.split(key, 3), strict=True):
      if (module := getattr(self, name)) is None:
        continue
      x, made = module.init_with_output(own_key, x, train=False)
      params[name] = made.get("params", {})
      if "batch_stats" in made:
        stats[name] = made["batch_stats"]
    return Variables(params=params, stats=stats)

  def teacher(self, variables: Variables) -> Variables:
    """Copies what a teacher has: the encoder and the projector, but no predictor."""
    params, stats = (
      {name: jax.tree.map(jnp.copy, tree[name]) for name in tree if name != "predictor"}
      for tree in (variables.params, variables.stats)
    )
    return Variables(params=params, stats=stats)

  def apply(self, variables: Variables, groups: Sequence[Array], *, joint: bool, key: Array | None) -> tuple[Outputs, PyTree]:
    """Runs all views in train mode, each group [b, v, h, w, c]; gives outputs in group order and the new batch statistics.

    A module without variables, such as a teacher's predictor, is left out.

    joint=False: one pass a view, through which statistics are threaded, so that views never share batch statistics.
    joint=True: the encoder takes each group in one pass, the heads take all views in one (DINO's multi-crop); an image's
    views are neighbors among a pass's rows. `key` drives drop-path, each pass with its own; None: no drop-path.
    """
    batch = groups[0].shape[0]
    stats = dict(variables.stats)

    def run(name: str, passes: list[Array]) -> list[Array]:
      module: nn.Module | None = getattr(self, name)
      if module is None or name not in variables.params:
        return passes
      outputs = []
      for i, x in enumerate(passes):
        rngs = None if key is None else {"dropout": jax.random.fold_in(key, i)}
        tree = {"params": variables.params[name], "batch_stats": stats.get(name, {})}
        y, changed = module.apply(tree, x, train=True, rngs=rngs, mutable=["batch_stats"])
        if name in stats:
          stats[name] = changed["batch_stats"]
        outputs.append(y.astype(jnp.float32))
      return outputs

    def by_image(passes: list[Array]) -> Array:
      return jnp.concatenate([y.reshape(batch, -1, y.shape[-1]) for y in passes], axis=1)

    # Merged with images outermost, every row stays on its device; with views outermost, images would travel between them.
    if joint:
      features = run("encoder", [group.reshape(-1, *group.shape[2:]) for group in groups])
      features = [by_image(features).reshape(-1, features[0].shape[-1])]
    else:
      features = run("encoder", [group[:, view] for group in groups for view in range(group.shape[1])])
    projection = run("projector", features)
    prediction = run("predictor", projection)
    features, projection, prediction = (jnp.moveaxis(by_image(y), 1, 0) for y in (features, projection, prediction))
    return Outputs(features=features, projection=projection, prediction=prediction), stats

  def encode(self, variables: Variables, images: Array) -> Array:
    """Maps images [b, h, w, c] to features, float32 [b, f], with the running statistics and no drop-path."""
    tree = {"params": variables.params["encoder"], "batch_stats": variables.stats.get("encoder", {})}
    return jnp.asarray(self.encoder.apply(tree, images, train=False), jnp.float32)

  def tokens(self, variables: Variables, images: Array) -> Array:
    """Maps images [b, h, w, c] to a ViT's tokens, float32 [b, 1 + patches, f]: that of `encode`, then the patches row by row.

    Raises UserError for an encoder that has no patches.
    """
    if not isinstance(self.encoder, vit.ViT):
      raise UserError("a ResNet has no patch tokens, only a ViT has")
    tree = {"params": variables.params["encoder"]}
    return jnp.asarray(self.encoder.apply(tree, images, method="tokens"), jnp.float32)

  def layers(self, variables: Variables, images: Array) -> dict[str, Array]:
    """Maps images [b, h, w, c] to float32 [b, d] of `encoder`, the projector's `hidden_1`, ... and its `embedding`."""
    found = {"encoder": self.encode(variables, images)}
    if self.projector is not None and "projector" in variables.params:
      tree = {"params": variables.params["projector"], "batch_stats": variables.stats.get("projector", {})}
      _, sown = self.projector.apply(tree, found["encoder"], train=False, mutable=["layers"])
      found |= {name: jnp.asarray(x, jnp.float32) for name, (x,) in sown["layers"].items()}
    return found

  def attention(self, variables: Variables, images: Array) -> Array | None:
    """Maps images [b, h, w, c] to how the class token looks at the patches in a ViT's last block; None: it is no ViT.

    Returns float32 [b, heads, rows, columns]. With the share that the class token gives itself, a head's sum to 1.
    """
    if not isinstance(self.encoder, vit.ViT):
      return None
    tree = {"params": variables.params["encoder"]}
    _, sown = self.encoder.apply(tree, images, train=False, mutable=["intermediates"])
    last: Any = sown["intermediates"][f"blocks_{self.encoder.depth - 1}"]
    (attention,) = last["attention"]
    rows, columns = (side // self.encoder.patch for side in images.shape[1:3])
    return attention[:, :, 0, 1:].reshape(len(images), -1, rows, columns)


def build(config: ModelConfig, precision: str, image_size: int, encoder: nn.Module | None = None) -> Network:
  """Makes the network of a config, computing in `precision`; `image_size`: pixels a side for which a ViT learns positions.

  `encoder`: for model.name=custom, called as encoder(images [b, h, w, c], train=bool) for features [b, f].
  Raises UserError for a value that makes no network.
  """
  dtype = jnp.dtype(precision)
  if (config.name == "custom") != (encoder is not None):
    raise UserError(f"model.name={config.name} is not allowed {'with' if encoder else 'without'} an encoder from the program")
  if config.predictor.name == "dino":
    raise UserError("model.predictor.name=dino is not allowed: prototypes belong in model.projector; allowed here: none, mlp")
  return Network(
    encoder=encoder or _encoder(config, dtype, image_size),
    projector=_head(config.projector, "model.projector", dtype),
    predictor=_head(config.predictor, "model.predictor", dtype),
  )


def _encoder(config: ModelConfig, dtype: jnp.dtype, image_size: int) -> nn.Module:
  if config.name in resnet.SIZES:
    _require(1 <= 64 * config.width <= MOST, "model.width", config.width, "1/64, which is one channel, to 1024")
    _require(config.bn_groups >= 1, "model.bn_groups", config.bn_groups, "at least 1")
    bottleneck, stages = resnet.SIZES[config.name]
    return resnet.ResNet(
      bottleneck=bottleneck,
      stages=stages,
      channels=int(64 * config.width),
      stem=config.stem,
      bn_groups=config.bn_groups,
      dtype=dtype,
    )
  _require(0 <= config.depth <= DEEPEST, "model.depth", config.depth, f"a number of blocks up to {DEEPEST}, or 0 for 12")
  _require(0 <= config.drop_path < 1, "model.drop_path", config.drop_path, "in 0..1, below 1")
  _require(config.position_offset >= 0, "model.position_offset", config.position_offset, "at least 0")
  _require(config.patch >= 1, "model.patch", config.patch, "at least 1 pixel")
  fits = 0 < image_size <= MOST and image_size % config.patch == 0
  _require(fits, "model.patch", config.patch, f"a divisor of the image size {image_size}")
  dim, heads = vit.SIZES[config.name]
  return vit.ViT(
    dim=dim,
    depth=config.depth or 12,
    heads=heads,
    patch=config.patch,
    image_size=image_size,
    drop_path=config.drop_path,
    position_offset=config.position_offset,
    dtype=dtype,
  )


def _head(config: HeadConfig, where: str, dtype: jnp.dtype) -> nn.Module | None:
  if config.name == "none":
    return None
  for field in ("hidden", "out", "layers", "bottleneck"):
    least = int(config.name == "dino" or field == "layers")
    value, most = getattr(config, field), DEEPEST if field == "layers" else MOST**2
    _require(least <= value <= most, f"{where}.{field}", value, f"{least} to {most}")
  if config.name == "dino":
    return DINOHead(
      hidden=config.hidden,
      bottleneck=config.bottleneck,
      out=config.out,
      layers=config.layers,
      bn=config.bn,
      fixed_norm=config.fixed_norm,
      dtype=dtype,
    )
  return MLP(
    hidden=config.hidden,
    out=config.out,
    layers=config.layers,
    bn=config.bn,
    last_bn=config.last_bn,
    bias=config.bias,
    dtype=dtype,
  )


def _require(holds: bool, field: str, value: object, allowed: str) -> None:
  """Raises UserError unless the value holds."""
  if not holds:
    raise UserError(f"{field}={value} makes no network; allowed: {allowed}")
