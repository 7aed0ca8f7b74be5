"""SGD, AdamW and LARS with clipping and frozen parts, as torch's SGD and AdamW and DINO's LARS, clipping and freezing.

Rates are functions of the run's step, which the train step passes in, so that the optimizer state holds moments only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxssl.config.schedules import TrainingLength
from jaxssl.config.schema import OptimConfig
from jaxssl.core import UserError, require
from jaxssl.core.types import Array, PyTree

LAST_LAYER, ENCODER, FROZEN, BODY = "last_layer", "encoder", "frozen", "body"


def learning_rate(config: OptimConfig, training_length: TrainingLength, batch_size: int) -> Callable[[Array], Array]:
  """Returns the learning rate as a function of the step: lr x batch_size / lr_base_batch_size x schedule(step)."""
  require(config.lr > 0, "optim.lr", config.lr, "a positive number")
  peak = config.lr * (batch_size / config.lr_base_batch_size if config.lr_base_batch_size else 1.0)
  schedule = config.schedule.resolve(training_length, "optim.schedule")
  return lambda step: peak * schedule(step)


def build_optimizer(
  config: OptimConfig, training_length: TrainingLength, batch_size: int, frozen: Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimizer; its `update` takes the run's `step`. frozen: names of parameters, in addition to `optim.freeze`."""
  rate = learning_rate(config, training_length, batch_size)
  decay = config.weight_decay.resolve(training_length, "optim.weight_decay")
  require(config.freeze_encoder_epochs >= 0, "optim.freeze_encoder_epochs", config.freeze_encoder_epochs, "0 or more")
  frozen = (*config.freeze, *frozen)
  frozen_epochs = {LAST_LAYER: config.freeze_last_layer_epochs}
  if config.freeze_encoder_epochs:
    frozen_epochs[ENCODER] = config.freeze_encoder_epochs

  def labels(params: PyTree) -> PyTree:
    """Labels every leaf by its path: frozen if it holds a name in `frozen`, else a part with frozen epochs, else the body."""
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for name in config.freeze:
      if not any(name in path for path in paths):
        raise UserError(f"optim.freeze={name!r} matches no parameter; a path looks like {paths[0]}")
    return jax.tree_util.tree_map_with_path(lambda path, _: label(jax.tree_util.keystr(path)), params)

  def label(path: str) -> str:
    if any(name in path for name in frozen):
      return FROZEN
    part = LAST_LAYER if LAST_LAYER in path else ENCODER if path.startswith(f"['{ENCODER}']") else BODY
    return part if part in frozen_epochs else BODY

  def at(step: Array) -> optax.GradientTransformation:
    add_decay = optax.add_decayed_weights(decay(step), None if config.decay_mask == "all" else matrices)
    trust_ratio = optax.masked(optax.scale_by_trust_ratio(trust_coefficient=0.001), matrices)
    rules = {
      "sgd": [add_decay, optax.trace(config.momentum)],
      "adamw": [optax.scale_by_adam(), add_decay],
      "lars": [optax.add_decayed_weights(decay(step), matrices), trust_ratio, optax.trace(config.momentum)],  # arXiv 1708.03888
    }
    rule = optax.chain(*rules[config.name], optax.scale(-rate(step)))
    clip = optax.clip_by_global_norm(config.clip)
    if any(frozen_epochs.values()) or frozen:
      epoch = (step + training_length.offset) // training_length.steps_per_epoch
      is_frozen = {part: epoch < epochs for part, epochs in frozen_epochs.items()}
      parts = {part: freeze_if(now, rule) for part, now in is_frozen.items()}
      rule = optax.partition({BODY: rule, FROZEN: optax.set_to_zero(), **parts}, labels)
      is_frozen.pop(LAST_LAYER)  # whose gradients DINO drops after clipping
      clip = of_trained(clip, labels, {FROZEN: jnp.bool(True), **is_frozen})
    if config.clip_by == "tensor":
      clip = clip_each(config.clip)
    return optax.chain(clip, rule) if config.clip else rule

  def update(updates: PyTree, state: Any, params: Any = None, **extra: Any) -> tuple[PyTree, Any]:
    return at(extra["step"]).update(updates, state, params)

  return optax.GradientTransformationExtraArgs(lambda params: at(jnp.int32(0)).init(params), update)


def matrices(params: PyTree) -> PyTree:
  """Marks the parameters of two or more dimensions: all but biases and the parameters of BatchNorm and LayerNorm (DINO)."""
  return jax.tree.map(lambda p: p.ndim > 1, params)


def clip_each(limit: float) -> optax.GradientTransformation:
  """Scales each parameter's gradient g by min(1, limit / (|g| + 1e-6)) (DINO's clipping)."""

  def clip(g: Array) -> Array:
    return g * jnp.minimum(1.0, limit / (jnp.linalg.norm(g.ravel()) + 1e-6))

  return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def of_trained(
  clip: optax.GradientTransformation, labels: Callable[[PyTree], PyTree], frozen: Mapping[str, Array]
) -> optax.GradientTransformation:
  """Clips the gradients as if those with a label that is True in `frozen` were zero, since torch has none of these."""

  def update(updates: PyTree, params: PyTree) -> PyTree:
    trained = jax.tree.map(
      lambda g, label: g if label not in frozen else jnp.where(frozen[label], 0, g), updates, labels(params)
    )
    return clip.update(trained, optax.EmptyState())[0]

  return optax.stateless(update)


def freeze_if(frozen: Array, inner: optax.GradientTransformation) -> optax.GradientTransformation:
  """Skips `inner` entirely if `frozen`: no update, no decay, no moments, no step count."""

  def update(updates: PyTree, state: Any, params: Any = None) -> tuple[PyTree, Any]:
    updated = inner.update(updates, state, params)
    return jax.tree.map(lambda old, new: jnp.where(frozen, old, new), (optax.tree.zeros_like(updates), state), updated)

  return optax.GradientTransformation(inner.init, update)
