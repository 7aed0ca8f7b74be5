"""Encoder plus projection heads, built from a config."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxssl.config.schema import HeadConfig, ModelConfig
from jaxssl.core import UserError, require
from jaxssl.core.types import Array, Outputs, PyTree, Variables
from jaxssl.models.backbone import backbone
from jaxssl.models.custom import custom_encoder, explained, require_features, require_hashable, without_dropout
from jaxssl.models.heads import MLP, DINOHead

CLASSIFIER = "classifier"  # the name in `Variables.params` of a linear classifier of the encoder's features


@dataclasses.dataclass(frozen=True)
class Network:
  """An encoder, which maps images [b, h, w, c] to features [b, f], and heads, which map features.

  Variables hold the parameters of those modules that exist, and the statistics of those that have any, by the names below.
  """

  encoder: nn.Module
  projector: nn.Module | None = None
  predictor: nn.Module | None = None
  blocks: int = 1  # of the encoder, whose class tokens `encode` returns side by side

  def init(self, key: Array, image_shape: tuple[int, int, int]) -> Variables:
    """Initializes the variables for images of (h, w, c). Raises UserError if the encoder does not return [b, f]."""
    x = jnp.zeros((1, *image_shape))
    initialized = {}
    for name, own_key in zip(("encoder", "projector", "predictor"), jax.random.split(key, 3), strict=True):
      if (module := getattr(self, name)) is not None:
        y, initialized[name] = module.init_with_output(own_key, x, train=False)
        if name == "encoder":
          require_features(module, x, y)
        x = y
    stats = {name: variables["batch_stats"] for name, variables in initialized.items() if "batch_stats" in variables}
    return Variables(params={name: variables.get("params", {}) for name, variables in initialized.items()}, stats=stats)

  def shapes(self, image_shape: tuple[int, int, int], classes: int = 0) -> Variables:
    """Returns the shapes of the variables for images of (h, w, c); with `classes`, also of a classifier."""
    like = jax.eval_shape(lambda: self.init(jax.random.key(0), image_shape))
    if not classes:
      return like
    features = jax.eval_shape(self.encode, like, jax.ShapeDtypeStruct((1, *image_shape), jnp.float32))
    kernel = jax.ShapeDtypeStruct((features.shape[1] + 1, classes), jnp.float32)
    return jax.eval_shape(with_classifier, like, kernel)

  def teacher(self, variables: Variables) -> Variables:
    """Copies the variables of a teacher: the encoder and the projector, without the predictor."""
    trees = ({name: tree[name] for name in tree if name != "predictor"} for tree in (variables.params, variables.stats))
    params, stats = jax.tree.map(jnp.copy, tuple(trees))
    return Variables(params=params, stats=stats)

  def apply(self, variables: Variables, groups: Sequence[Array], *, joint: bool, key: Array | None) -> tuple[Outputs, PyTree]:
    """Runs all views in training mode; returns outputs in group order and the updated batch statistics.

    groups: views [b, v, h, w, c]. A module without variables, such as the predictor of a teacher, is skipped.
    joint=False: each view is one pass, and statistics are threaded from pass to pass, so that views never share batch
    statistics. joint=True: the encoder takes each group in one pass and the heads take all views in one (DINO's multi-crop).
    key: drives drop-path and dropout, with its own stream per pass; None: neither.
    """
    batch = groups[0].shape[0]
    stats = dict(variables.stats)

    def run(name: str, passes: list[Array]) -> list[Array]:
      if getattr(self, name) is None or name not in variables.params:
        return passes
      outputs = []
      for i, x in enumerate(passes):
        rngs = None if key is None else {"dropout": jax.random.fold_in(key, i)}
        current = Variables(params=variables.params, stats=stats)
        with nn.intercept_methods(without_dropout) if key is None else contextlib.nullcontext():
          y, changed = self._apply(name, current, x, train=True, rngs=rngs, mutable=["batch_stats"])
        if name in stats:
          stats[name] = changed["batch_stats"]
        outputs.append(y.astype(jnp.float32))
      return outputs

    def by_image(passes: list[Array]) -> Array:
      return jnp.concatenate([y.reshape(batch, -1, y.shape[-1]) for y in passes], axis=1)

    # With images outermost, each row stays on its device; with views outermost, rows would move between devices.
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
    """Maps images [b, h, w, c] to features, float32 [b, f], with running statistics and without drop-path."""
    if self.blocks == 1:
      return jnp.asarray(self._apply("encoder", variables, images, train=False), jnp.float32)
    tokens, _ = self._apply("encoder", variables, images, self.blocks, method="last_blocks", mutable=["blocks"])
    return jnp.asarray(tokens, jnp.float32)

  def classify(self, variables: Variables, images: Array) -> Array:
    """Maps images [b, h, w, c] to the logits, float32 [b, classes], of a classifier that `with_classifier` has added."""
    head = variables.params[CLASSIFIER]
    product = jnp.dot(self.encode(variables, images), head["kernel"], precision=jax.lax.Precision.HIGHEST)
    return product + head["bias"][None]

  def tokens(self, variables: Variables, images: Array) -> Array:
    """Maps images [b, h, w, c] to tokens, float32 [b, 1 + patches, f]: that of `encode`, then the patches row by row.

    Raises UserError for an encoder without patch tokens.
    """
    if not self._can("tokens"):
      raise UserError(f"model.name: {type(self.encoder).__name__} has no patch tokens; expected a ViT")
    return jnp.asarray(self._apply("encoder", variables, images, method="tokens"), jnp.float32)

  @property
  def has_patches(self) -> bool:
    """Whether the encoder has features of patches, see `patches`."""
    return self._can("feature_map")

  def patches(self, variables: Variables, images: Array) -> Array:
    """Maps images [b, h, w, c] to features of patches, float32 [b, rows, columns, f].

    They are the patch tokens of a ViT, or the last feature map of a convnet. Raises UserError for an encoder without.
    """
    if not self.has_patches:
      expected = "expected a ResNet, ConvNeXt or ViT, or an encoder with a method feature_map(images)"
      raise UserError(f"model.name: {type(self.encoder).__name__} has no features of patches; {expected}")
    return jnp.asarray(self._apply("encoder", variables, images, method="feature_map"), jnp.float32)

  def layers(self, variables: Variables, images: Array) -> dict[str, Array]:
    """Maps images [b, h, w, c] to the encoder's features, `encoder`, and what encoder and projector sow into `layers`.

    The projector sows `hidden_1`, ..., and `embedding`. All are float32 [b, d].
    """
    features, sown = self._apply("encoder", variables, images, train=False, mutable=["layers"])
    layers = {"encoder": (features,), **sown.get("layers", {})}
    if self.projector is not None and "projector" in variables.params:
      x = jnp.asarray(features, jnp.float32)
      layers |= self._apply("projector", variables, x, train=False, mutable=["layers"])[1].get("layers", {})
    return {layer: jnp.asarray(y, jnp.float32) for layer, (y,) in layers.items()}

  def attention(self, variables: Variables, images: Array) -> Array | None:
    """Maps images [b, h, w, c] to the attention in the last block, float32 [b, heads, rows, columns]; None if there is none."""
    if not self._can("attention"):
      return None
    return self._apply("encoder", variables, images, method="attention", mutable=["intermediates"])[0]

  def resized(self, variables: Variables, size: int) -> tuple["Network", Variables]:
    """Returns the network and its variables for square images of `size` pixels: positions are interpolated to that size."""
    if not self._can("resized"):
      return self, variables
    encoder, params = self.encoder.resized(variables.params["encoder"], size)
    variables = Variables(params={**variables.params, "encoder": params}, stats=variables.stats)
    return dataclasses.replace(self, encoder=encoder), variables

  def ungrouped(self) -> "Network":
    """Returns the network with batch statistics over all rows of a pass, which `model.bn_groups` need not divide."""
    modules = {name: getattr(self, name) for name in ("encoder", "projector", "predictor")}
    grouped = {name: module for name, module in modules.items() if getattr(module, "bn_groups", 1) != 1}
    return dataclasses.replace(self, **{name: module.clone(bn_groups=1) for name, module in grouped.items()})

  def with_blocks(self, count: int, field: str) -> "Network":
    """Returns the network whose features are the class tokens of the last `count` blocks.

    Raises UserError, which names `field`, for an encoder without class tokens or with fewer blocks.
    """
    if count > 1 and not self._can("last_blocks"):
      raise UserError(f"{field}: takes {count} blocks; model.name: {type(self.encoder).__name__} has 1; expected a ViT")
    if count > 1 and count > self.encoder.depth:
      raise UserError(f"{field}: takes {count} blocks; model.depth: the network has {self.encoder.depth}")
    return dataclasses.replace(self, blocks=count)

  def _apply(self, name: str, variables: Variables, x: Array, *more: Any, **options: Any) -> Any:
    tree = {"params": variables.params[name], "batch_stats": variables.stats.get(name, {})}
    with explained(module := getattr(self, name)):
      return module.apply(tree, x, *more, **options)

  def _can(self, method: str) -> bool:
    """Returns whether the encoder has an optional method; a field or a submodule of that name is not one."""
    return callable(getattr(type(self.encoder), method, None))


def build(config: ModelConfig, precision: str, image_size: int, encoder: Any = None) -> Network:
  """Builds a network that computes in `precision`, with learned positions (if any) for images of `image_size` pixels.

  `encoder`: the user's own flax module, for model.name=custom. Raises UserError for a field that is out of range, and for an
  encoder that cannot be called as one.
  """
  dtype, family = jnp.dtype(precision), backbone(config)
  if encoder is not None and config.name != "custom":
    raise UserError(f"model.name={config.name} is not allowed with an encoder from the program; expected custom")
  if config.predictor.name == "dino":
    raise UserError("model.predictor.name=dino: prototypes belong in model.projector; expected none, mlp")
  require(config.bn_groups >= 1, "model.bn_groups", config.bn_groups, "at least 1")
  module = custom_encoder(encoder) if encoder is not None else family.build(dtype, image_size)
  require_hashable(module)
  return Network(
    encoder=module,
    projector=_head(config.projector, "model.projector", config.bn_groups, dtype),
    predictor=_head(config.predictor, "model.predictor", config.bn_groups, dtype),
  )


def _head(config: HeadConfig, where: str, bn_groups: int, dtype: jnp.dtype) -> nn.Module | None:
  if config.name == "none":
    return None
  for field in ("hidden", "out", "layers", "bottleneck"):
    low = int(config.name == "dino" or field == "layers")
    value, high = getattr(config, field), 1000 if field == "layers" else 2**32
    require(low <= value <= high, f"{where}.{field}", value, f"{low} to {high}")
  head, own = (DINOHead, ("bottleneck", "fixed_norm")) if config.name == "dino" else (MLP, ("last_bn", "bias"))
  fields = {field: getattr(config, field) for field in ("hidden", "out", "layers", "bn", *own)}
  return head(**fields, bn_groups=bn_groups, dtype=dtype)


def named(variables: Variables) -> dict[str, Any]:
  """Returns the leaves by path, such as params.encoder.conv1.kernel or batch_stats.encoder.bn1.mean, in tree order."""
  trees = [("params", variables.params), ("batch_stats", variables.stats)]
  leaves = [(kind, *leaf) for kind, tree in trees for leaf in jax.tree_util.tree_leaves_with_path(tree)]
  return {f"{kind}.{jax.tree_util.keystr(path, simple=True, separator='.')}": leaf for kind, path, leaf in leaves}


def from_named(tensors: Mapping[str, Any], like: Variables, described: str) -> Variables:
  """Returns the variables that `named` has named, of the shapes in `like`. Raises UserError for others.

  `described`: what defines the shapes, for the message.
  """
  given, expected = ({name: f"{x.dtype} {x.shape}" for name, x in tree.items()} for tree in (tensors, named(like)))
  if wrong := sorted(dict(given.items() ^ expected.items())):
    differences = [f"{name}: {given.get(name)} in the file, {expected.get(name)} in the network" for name in wrong[:5]]
    raise UserError(f"{len(wrong)} tensors do not match {described}: {'; '.join(differences)}")
  return jax.tree.unflatten(jax.tree.structure(like), [tensors[name] for name in named(like)])


def with_classifier(variables: Variables, kernel: Any) -> Variables:
  """Returns the encoder's variables and a linear classifier [f + 1, classes] of its features, whose last row is the bias."""
  params = {"encoder": variables.params["encoder"], CLASSIFIER: {"kernel": kernel[:-1], "bias": kernel[-1]}}
  return Variables(params=params, stats={name: x for name, x in variables.stats.items() if name == "encoder"})
