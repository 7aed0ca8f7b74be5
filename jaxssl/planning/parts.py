"""The training step of a run whose pictures are not there: the same Trainer and shardings, from shapes alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxssl import methods, optim, parallel
from jaxssl.bootstrap import Bootstrap
from jaxssl.config import Config
from jaxssl.models import network
from jaxssl.run import check_views
from jaxssl.schedules import Horizon
from jaxssl.step import Rows, Trainer
from jaxssl.types import TrainState, UserError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pictures:
  """The pictures that a run would have."""

  count: int
  size: tuple[int, int] | None = None  # height and width as stored, where data.placement=device
  said: str = ""  # where the count is from


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
  """A step ready to be traced: what `jax.jit(trainer.step)` takes."""

  trainer: Trainer
  state: TrainState  # of shapes with shardings
  rows: Rows
  store: Any  # None where data.placement=host

  def trace(self) -> jax.stages.Traced:
    """Traces the step as `Run` compiles it: the state is given away, and comes back in the same shardings."""
    shardings = jax.tree.map(lambda x: x.sharding, self.state)
    return jax.jit(self.trainer.step, donate_argnums=0, out_shardings=(shardings, None)).trace(
      self.state, self.rows, self.store
    )


def horizon(config: Config, images: int) -> Horizon:
  """How long the run is. Raises UserError where not even one batch can be filled."""
  batch = config.train.batch_size
  if not 0 < batch <= images:
    raise UserError(f"train.batch_size={batch} must lie between 1 and the number of training pictures, {images}")
  return Horizon(steps_per_epoch=images // batch, epochs=config.train.epochs)


def build(config: Config, pictures: Pictures, mesh: Any) -> Step:
  """Puts the step of a run together on a mesh, whose devices need not be there. Raises UserError as training would."""
  batch, parts = config.train.batch_size, config.train.accumulate
  length = horizon(config, pictures.count)
  if batch % mesh.size:
    raise UserError(f"train.batch_size={batch} is not allowed on {mesh.size} chips; it is a multiple of their number")
  if parts < 1 or batch % (parts * mesh.size):
    raise UserError(f"train.accumulate={parts} is not allowed; train.batch_size={batch} is a multiple of it times {mesh.size}")
  channels = config.data.channels
  data = dataclasses.replace(config.data, mean=config.data.mean or (0.5,), std=config.data.std or (0.5,))
  config = dataclasses.replace(config, data=data)  # measured on the pictures otherwise; the step's shape is the same
  method = methods.build(config.method, length)
  check_views(config, method)
  trainer = Trainer(
    config=config,
    network=network.build(config.model, config.train.precision, config.views[method.passes.online[0].group].size),
    method=method,
    bootstrap=Bootstrap(config=config.bootstrap, mesh=mesh, num_images=pictures.count),
    optimizer=optim.build(config.optim, length, batch),
    mesh=mesh,
  )
  shapes = jax.eval_shape(lambda: trainer.init(channels))
  shardings = parallel.state_shardings(shapes, mesh, config.train.split)
  state = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, shardings)
  pixel = jnp.uint8 if config.data.depth == 8 else jnp.uint16

  def rows(*shape: int, dtype: Any = jnp.int32) -> Any:
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, parallel.ROWS))

  crops = store = None
  if config.data.placement == "host":
    crops = {n: rows(batch, v.count, v.size, v.size, channels, dtype=pixel) for n, v in config.views.items()}
  else:
    side = (config.data.store_size,) * 2 if config.data.store_size else pictures.size
    if side is None:
      raise UserError("--size is missing: data.placement=device holds all pictures; give their side in pixels, e.g. --size 256")
    everywhere = NamedSharding(mesh, parallel.EVERYWHERE)
    store = jax.ShapeDtypeStruct((pictures.count, *side, channels), pixel, sharding=everywhere)
  step_rows: Any = {"index": rows(batch), "partner": rows(batch), "label": rows(batch), "crops": crops}
  return Step(trainer=trainer, state=state, rows=Rows(**step_rows), store=store)
