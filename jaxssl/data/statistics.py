"""Mean and deviation of each channel, where the config leaves them to the images."""

import dataclasses
import logging
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jaxssl.config.schema import DataConfig
from jaxssl.data.source import Source

MEASURED = 1000  # images, evenly spaced
_log = logging.getLogger("jaxssl")


def settled(config: DataConfig, source: Source) -> DataConfig:
  """Fills in `data.mean` and `data.std` where they are empty, and says so in the log."""
  if config.mean and config.std:
    return config
  mean, std = measure(source, config.workers)
  config = dataclasses.replace(config, mean=config.mean or mean, std=config.std or std)
  count, words = min(MEASURED, len(source)), ("data.mean=" + _words(config.mean), "data.std=" + _words(config.std))
  _log.info("measured on %d of %d training images: --config.%s --config.%s", count, len(source), *words)
  return config


def measure(source: Source, workers: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Mean and deviation of each channel, in units of the brightest value, to five digits; every image counts the same.

  A channel that never changes has deviation 1, so that it may be divided by.
  """
  most = np.iinfo(source.dtype).max

  def moments(index: int) -> np.ndarray:
    pixels = source.read(index) / most
    return np.stack([pixels.mean((0, 1)), np.square(pixels).mean((0, 1))])

  rows = np.unique(np.linspace(0, len(source) - 1, MEASURED).round().astype(int))
  with ThreadPoolExecutor(workers or None) as pool:
    mean, square = np.mean(list(pool.map(moments, rows.tolist())), axis=0)
  return of_moments(mean, square)


def of_moments(mean: np.ndarray, square: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
  """Mean and deviation of each channel from the means of it and of its square, [c], to five digits; a deviation of 0 is 1."""
  deviation = np.sqrt(np.maximum(square - mean**2, 0))
  deviation = np.where(deviation > 1e-7, deviation, 1.0)
  return tuple(float(f"{x:.5g}") for x in mean), tuple(float(f"{x:.5g}") for x in deviation)


def _words(values: tuple[float, ...]) -> str:
  return ",".join(f"{value:g}" for value in values)
