"""Optimizers: SGD, AdamW and LARS with decay masks, clipping, and parts that are frozen at first.

Every rate is a function of the run's step, which the train step passes in (`update(..., step=step)`), so the optimizer state
holds moments only. Matches torch's SGD and AdamW and DINO's LARS, clipping and freezing (tests/golden/optim.npz).
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxssl.config.schedules import Schedule, TrainingLength
from jaxssl.config.schema import OptimConfig
from jaxssl.core.errors import UserError
from jaxssl.core.types import Array, PyTree

ByStep = Callable[[Array], Array]
LAST_LAYER, ENCODER, FROZEN = "last_layer", "encoder", "frozen"


def learning_rate(config: OptimConfig, training_length: TrainingLength, batch_size: int) -> ByStep:
  """Returns the learning rate as a function of the step: lr x batch_size / lr_base_batch_size x schedule(step)."""
  if config.lr <= 0:
    raise UserError(f"optim.lr={config.lr}: must be positive")
  peak = config.lr * (batch_size / config.lr_base_batch_size if config.lr_base_batch_size else 1.0)
  schedule = config.schedule.resolve(training_length, "optim.schedule")
  return lambda step: peak * schedule(step)


def build_optimizer(
  config: OptimConfig, training_length: TrainingLength, batch_size: int
) -> optax.GradientTransformationExtraArgs:
  """Returns the optimizer; its `update` takes the run's `step`."""
  rate = learning_rate(config, training_length, batch_size)
  decay: Schedule = config.weight_decay.resolve(training_length, "optim.weight_decay")
  least = {"all": 0, "matrices": 2}[config.decay_mask]
  if config.freeze_encoder_epochs < 0:
    raise UserError(f"optim.freeze_encoder_epochs={config.freeze_encoder_epochs}: must be a number of epochs, or 0")
  last_until, encoder_until = (
    epochs * training_length.steps_per_epoch for epochs in (config.freeze_last_layer_epochs, config.freeze_encoder_epochs)
  )
  rules = {
    "sgd": [add_decay(decay, least), optax.trace(config.momentum)],
    "adamw": [optax.scale_by_adam(), add_decay(decay, least)],
    "lars": [add_decay(decay, 2), trust_ratio(), optax.trace(config.momentum)],
  }

  rule = optax.chain(*rules[config.name], by_step(lambda step, u: -rate(step) * u))
  if last_until or encoder_until or config.freeze:
    parts: Any = {"body": rule, LAST_LAYER: left_alone(rule, lambda step: step < last_until), FROZEN: optax.set_to_zero()}
    if encoder_until:
      parts[ENCODER] = left_alone(rule, lambda step: step < encoder_until)
    rule = optax.partition(parts, functools.partial(labels, frozen=config.freeze, encoder=bool(encoder_until)))
  if config.clip:
    rule = optax.chain(clip_each(config.clip) if config.clip_by == "tensor" else optax.clip_by_global_norm(config.clip), rule)
  return rule


def labels(params: PyTree, frozen: tuple[str, ...], encoder: bool) -> PyTree:
  """Labels every leaf by its path: "frozen", "last_layer", "encoder" (if asked for) or "body".

  Raises UserError for a name in `frozen` that no path holds.
  """
  paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
  for name in frozen:
    if not any(name in path for path in paths):
      raise UserError(f"optim.freeze={name!r} matches no parameter; a path looks like {paths[0]}")

  def one(path: Any, _: Array) -> str:
    text = jax.tree_util.keystr(path)
    if any(name in text for name in frozen):
      return FROZEN
    return LAST_LAYER if LAST_LAYER in text else ENCODER if encoder and text.startswith(f"['{ENCODER}']") else "body"

  return jax.tree_util.tree_map_with_path(one, params)


def by_step(function: Callable[[Array, Array], Array]) -> optax.GradientTransformationExtraArgs:
  """Returns the stateless transformation u -> function(step, u)."""

  def update(updates: PyTree, state: Any, params: Any = None, **extra: Any) -> tuple[PyTree, Any]:
    return jax.tree.map(lambda u: function(extra["step"], u), updates), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def add_decay(decay: ByStep, least_dimensions: int) -> optax.GradientTransformationExtraArgs:
  """Adds decay(step) p to the update of every parameter p with at least `least_dimensions` dimensions.

  A value of 2 gives the parameter groups of DINO: biases, BatchNorm and LayerNorm are excluded.
  """

  def update(updates: PyTree, state: Any, params: Any = None, **extra: Any) -> tuple[PyTree, Any]:
    rate = decay(extra["step"])
    return jax.tree.map(lambda u, p: u + rate * p if p.ndim >= least_dimensions else u, updates, params), state

  return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def trust_ratio(coefficient: float = 0.001) -> optax.GradientTransformation:
  """Scales u by coefficient |p| / |u| for matrices (LARS, arXiv 1708.03888); u stays the same if either norm is 0."""

  def scale(u: Array, p: Array) -> Array:
    ratio = coefficient * jnp.linalg.norm(p.ravel()) / jnp.maximum(jnp.linalg.norm(u.ravel()), jnp.finfo(u.dtype).tiny)
    return u * jnp.where(jnp.any(p) & jnp.any(u), ratio, 1.0) if p.ndim > 1 else u

  return optax.stateless(lambda updates, params: jax.tree.map(scale, updates, params))


def clip_each(limit: float) -> optax.GradientTransformation:
  """Scales each parameter's gradient g by min(1, limit / (|g| + 1e-6)) (DINO's clipping)."""

  def clip(g: Array) -> Array:
    return g * jnp.minimum(1.0, limit / (jnp.linalg.norm(g.ravel()) + 1e-6))

  return optax.stateless(lambda updates, _: jax.tree.map(clip, updates))


def left_alone(
  inner: optax.GradientTransformationExtraArgs, when: Callable[[Array], Array]
) -> optax.GradientTransformationExtraArgs:
  """Skips `inner` entirely while `when(step)`: no update, no decay, no moments, no step count."""

  def update(updates: PyTree, state: Any, params: Any = None, **extra: Any) -> tuple[PyTree, Any]:
    new_updates, new_state = inner.update(updates, state, params, **extra)
    skip = when(extra["step"])
    new_updates = jax.tree.map(lambda u: jnp.where(skip, 0.0, u), new_updates)
    return new_updates, jax.tree.map(lambda old, new: jnp.where(skip, old, new), state, new_state)

  return optax.GradientTransformationExtraArgs(inner.init, update)
