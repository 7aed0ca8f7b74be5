"""Estimates how many images a host can read, decode and crop per second."""

from jaxssl.augment import pipeline
from jaxssl.config.schema import Config

# Seconds of one core, measured on two cores of an AMD EPYC with 256 ImageNet photos: an image of one file takes 1.34 ms in all
# and AdaSim's, with a partner from another file, 2.3 ms, for two views of 224 pixels each; a photo that was packed with a
# shorter side of 292 pixels and quality 90 decodes in 0.33 ms.
DECODE_PHOTO, DECODE_PACKED = 0.96e-3, 0.33e-3  # a file
PHOTO = 500 * 375  # pixels of such a photo; smaller images of a known size take in proportion
CUT, CUT_SIDE = 0.19e-3, 224  # a view, and its side; others take in proportion to their pixels


def seconds_per_image(config: Config, side: int | None) -> float:
  """Returns the seconds of one core for an image with its partner and views; 0 if the images are resident on the devices.

  `side`: of square images as stored, in pixels; None: they are photos.
  """
  if config.data.placement == "device":
    return 0.0
  decode = DECODE_PACKED if config.data.source == "packed" else DECODE_PHOTO
  if side:
    decode *= min(side**2 / PHOTO, 1)
  partners = (any(pipeline.each(view.partner, view)) for view in config.views.values())
  files = 1 + (config.bootstrap.policy != "off" and any(partners))
  return files * decode + CUT * sum(view.count * (view.size / CUT_SIDE) ** 2 for view in config.views.values())


def images_per_second(config: Config, side: int | None, cores: float | None) -> float | None:
  """Returns the images that a host with so many cores can read per second; None: unknown, or as many as the step takes."""
  seconds = seconds_per_image(config, side)
  if not seconds or not cores:
    return None
  return min(cores, config.data.workers or cores) / seconds
