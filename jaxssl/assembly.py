"""A run's step put together from its config and the number of its pictures: what trains, and what is planned, is this."""

import logging
from typing import Any

import jax
from jax.sharding import Mesh

from jaxssl import methods, optim, parallel
from jaxssl.bootstrap import Bootstrap
from jaxssl.config import Config
from jaxssl.data import plan
from jaxssl.methods.base import Method
from jaxssl.models import network
from jaxssl.schedules import Horizon
from jaxssl.step import Trainer
from jaxssl.types import TrainState, UserError
from jaxssl.views import recipes

LOG = logging.getLogger("jaxssl")


def horizon(config: Config, num_images: int) -> Horizon:
  """How long the run is. Raises UserError where not even one batch can be filled."""
  return Horizon(steps_per_epoch=plan.steps(num_images, config.train.batch_size), epochs=config.train.epochs)


def assemble(config: Config, mesh: Mesh, num_images: int, encoder: Any = None) -> Trainer:
  """Makes the parts of a run on a mesh, whose devices need not be there. Raises UserError for what does not fit together."""
  length, batch_size, parts = horizon(config, num_images), config.train.batch_size, config.train.accumulate
  if batch_size % mesh.size:
    raise UserError(f"train.batch_size={batch_size} is not allowed; it is a multiple of the number of devices, {mesh.size}")
  if parts < 1 or batch_size % (parts * mesh.size):
    raise UserError(
      f"train.accumulate={parts} is not allowed; "
      f"train.batch_size={batch_size} is a multiple of it times the number of devices, {mesh.size}"
    )
  method = methods.build(config.method, length)
  _check_views(config, method)
  size = config.views[method.passes.online[0].group].size
  return Trainer(
    config=config,
    network=network.build(config.model, parallel.compute_precision(mesh, config.train.precision), size, encoder),
    method=method,
    bootstrap=Bootstrap(config=config.bootstrap, mesh=mesh, num_images=num_images),
    optimizer=optim.build(config.optim, length, batch_size),
    mesh=mesh,
  )


def state_of(trainer: Trainer, channels: int) -> TrainState:
  """Shapes, types and shardings of the state."""
  shapes = jax.eval_shape(lambda: trainer.init(channels))
  shardings = parallel.state_shardings(shapes, trainer.mesh, trainer.config.train.split)
  return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)


def step_of(trainer: Trainer, state: TrainState) -> Any:
  """The step under jit: the state, of these shapes, is given away, and comes back in the same shardings."""
  shardings = jax.tree.map(lambda x: x.sharding, state)
  return jax.jit(trainer.step, donate_argnums=0, out_shardings=(shardings, None))


def _check_views(config: Config, method: Method) -> None:
  """Raises UserError unless the config makes the views that the method's networks see, and no other; logs what they lack.

  With bootstrapping, the image's own view must be the one that is remembered, and another one the partner's.
  """
  passes, name = method.passes, config.method["name"]
  recipes.check(config.views, None)
  left_out = recipes.of_colours(config.views)
  if left_out and config.data.channels != 3:
    why = "they are about red, green and blue; all other changes stay"
    LOG.info("data.channels=%d: the views are made without %s, since %s", config.data.channels, ", ".join(left_out), why)
  seen = (*passes.online, *passes.teacher)
  for views in seen:
    if views.group not in config.views:
      wanted = ", ".join(sorted({v.group for v in seen}))
      raise UserError(f"views.{views.group} is missing; method.name={name} sees {wanted}")
  for group, views in config.views.items():
    stops = [v.stop for v in (*seen, *passes.optional) if v.group == group]
    if not stops:
      raise UserError(f"views.{group} is given, but method.name={name} takes no such views")
    most = max(stop or 0 for stop in stops)
    if views.count < most or (None not in stops and views.count > most):
      raise UserError(f"views.{group}.count={views.count} is not allowed; method.name={name} sees {most} of them")
  if config.bootstrap.policy == "off":
    return
  own = (passes.teacher or passes.online)[0]
  partner = {group: recipes.each(views.partner, views) for group, views in config.views.items()}
  if config.bootstrap.features != "second" and partner[own.group][own.start]:
    raise UserError(f"views.{own.group}.partner=True for view {own.start}, whose features stand for the image: set it to False")
  if not any(any(flags) for flags in partner.values()):
    raise UserError(
      f"bootstrap.policy={config.bootstrap.policy}, but no view is cut from the partner: set views.GROUP.partner for one"
    )
