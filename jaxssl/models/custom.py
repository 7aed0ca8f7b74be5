"""Encoders of the calling program: what they must be, what they lack, teachers without dropout, and modules of flax.nnx."""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
from flax import errors, nnx
from flax.nnx import bridge

from jaxssl.core import UserError
from jaxssl.core.types import Array

EXPECTED = "expected a flax module that is called as encoder(images [b, h, w, c], train=bool) and returns features [b, f]"


def custom_encoder(encoder: Any) -> nn.Module:
  """Returns an encoder as a linen module. Raises UserError for anything but a module that can be called as one."""
  name = encoder.__name__ if isinstance(encoder, type) else type(encoder).__name__
  if isinstance(encoder, type):
    hint = f"; pass an instance: {name}(...)" if issubclass(encoder, nn.Module | nnx.Module) else ""
    raise UserError(f"encoder={name}: a class; {EXPECTED}{hint}")
  if isinstance(encoder, nnx.Module):
    return NNXEncoder(lambda: nnx.clone(encoder), name)
  if not isinstance(encoder, nn.Module):
    raise UserError(f"encoder: a {name}; {EXPECTED}")
  if not _takes_train(encoder):
    raise UserError(f"encoder={name}: its __call__ does not take train=; {EXPECTED}")
  return encoder


def require_features(encoder: nn.Module, images: Array, features: Any) -> None:
  """Raises UserError unless the output of an encoder is one vector per image."""
  name, shape = _name_of(encoder), getattr(features, "shape", None)
  if shape is None:
    raise UserError(f"encoder={name}: returns a {type(features).__name__}; expected one array of features [b, f]")
  if len(shape) != 2 or shape[0] != len(images):
    hint = "; take the mean over rows and columns, x.mean((1, 2))" if len(shape) == 4 else ""
    raise UserError(f"encoder={name}: maps {list(images.shape)} to {list(shape)}; expected features [b, f]{hint}")


def require_hashable(encoder: nn.Module) -> None:
  """Raises UserError for an encoder that jit cannot take as a static argument."""
  try:
    hash(encoder)
  except TypeError as error:
    expected = "expected tuples and the like in the fields of a module, and arrays made in its setup"
    raise UserError(f"encoder={_name_of(encoder)}: a field cannot be hashed, such as an array; {expected}") from error


@contextlib.contextmanager
def explained(encoder: nn.Module) -> Iterator[None]:
  """Raises UserError for random numbers and variables that an encoder wants and that a network does not have."""
  try:
    yield
  except errors.InvalidRngError as error:
    expected = 'expected self.make_rng("dropout") alone, and only if self.has_rng("dropout"), since a teacher draws none'
    raise UserError(f"encoder={_name_of(encoder)}: draws random numbers that are not there; {expected}") from error
  except (errors.ScopeCollectionNotFound, errors.ScopeVariableNotFoundError) as error:
    expected = "expected params and batch_stats alone"
    raise UserError(f"encoder={_name_of(encoder)}: has variables of another collection; {expected}") from error


def without_dropout(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: Any) -> Any:
  """Calls a method of a module, but returns the input of a dropout layer; for flax.linen.intercept_methods."""
  return args[0] if isinstance(context.module, nn.Dropout) and args else call(*args, **kwargs)


def _name_of(encoder: nn.Module) -> str:
  return getattr(encoder, "name_of_module", type(encoder).__name__)


def _takes_train(module: Any) -> bool:
  parameters = inspect.signature(type(module).__call__).parameters.values()
  return any(parameter.name == "train" or parameter.kind == parameter.VAR_KEYWORD for parameter in parameters)


class NNXEncoder(nn.Module):
  """A module of flax.nnx as one of linen, which starts from the weights that it has.

  `make`: returns a copy of the module, whose modes (`train`, `eval`) are set, and which is given `train=` if it takes that.
  """

  make: Callable[[], nnx.Module]
  name_of_module: str

  @nn.compact
  def __call__(self, images: Array, *, train: bool) -> Array:
    """Maps images [b, h, w, c] to features [b, f]."""
    key = self.make_rng("dropout") if self.has_rng("dropout") else None

    def call(module: Any, x: Array) -> Array:
      module.train() if train else module.eval()
      if key is not None:
        nnx.reseed(module, default=key, dropout=key)
      elif train:  # its own random numbers would be the same in every pass
        module.set_attributes(nnx.Dropout, deterministic=True, raise_if_not_found=False)
      return module(x, train=train) if _takes_train(module) else module(x)

    return bridge.ToLinen(self.make, skip_rng=True, metadata_fn=None, name="nnx")(images, nnx_method=call)
