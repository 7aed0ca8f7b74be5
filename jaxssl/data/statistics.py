"""Mean and standard deviation of each channel, measured if the config leaves them empty."""

import dataclasses

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.core import LOG
from jaxssl.data import sampler
from jaxssl.data.read_ahead import read_ahead
from jaxssl.data.source import Source

MEASURED = 1000  # images, evenly spaced


def settled(config: DataConfig, source: Source) -> DataConfig:
  """Measures `data.mean` and `data.std` if they are empty, and logs them. Every image has the same weight."""
  if config.mean and config.std:
    return config
  brightest = np.iinfo(source.dtype).max

  def moments(index: int) -> np.ndarray:
    pixels = source.read(index) / brightest
    return np.stack([pixels.mean((0, 1)), np.square(pixels).mean((0, 1))])

  rows = sampler.evenly_spaced(len(source), MEASURED)
  mean, std = of_moments(*np.mean(list(read_ahead(moments, rows.tolist(), config.workers, MEASURED)), axis=0))
  config = dataclasses.replace(config, mean=config.mean or mean, std=config.std or std)
  values = (",".join(f"{value:g}" for value in field) for field in (config.mean, config.std))
  flags = "--config.data.mean={} --config.data.std={}".format(*values)
  LOG.info("measured on %d of %d training images: %s", len(rows), len(source), flags)
  return config


def of_moments(mean: np.ndarray, square: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Returns mean and standard deviation from the means of a channel and its square, [c], to five digits.

  A constant channel has deviation 1, so that division by it is safe.
  """
  deviation = np.sqrt(np.maximum(square - mean**2, 0))
  deviation = np.where(deviation > 1e-7, deviation, 1.0)
  return tuple(float(f"{x:.5g}") for x in mean), tuple(float(f"{x:.5g}") for x in deviation)
