"""Writes TensorBoard events, through clu."""

import importlib.util
import pathlib
from collections.abc import Mapping

import numpy as np

from jaxssl.data.input_pipeline import tensorflow


def available() -> bool:
  """Returns whether clu and TensorFlow, which it writes events with, are installed."""
  return all(importlib.util.find_spec(name) for name in ("clu", "tensorflow"))


class TensorBoard:
  """A `Logger` that writes events into a folder."""

  def __init__(self, folder: pathlib.Path):
    """Creates the writer; imports TensorFlow, which takes seconds."""
    tensorflow()  # clu would import it too, but not quietly
    from clu import metric_writers

    self._writer = metric_writers.SummaryWriter(str(folder))

  def write(self, step: int, values: Mapping[str, float]) -> None:
    """Writes scalars."""
    self._writer.write_scalars(step, values)

  def text(self, name: str, text: str) -> None:
    """Writes a text, which TensorBoard would otherwise read as Markdown."""
    self._writer.write_texts(0, {name: f"```\n{text}\n```"})

  def images(self, step: int, images: Mapping[str, np.ndarray]) -> None:
    """Writes images."""
    self._writer.write_images(step, images)
    self._writer.flush()

  def close(self, finished: bool) -> None:
    """Writes what is pending and closes the file."""
    self._writer.close()
