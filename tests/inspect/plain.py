"""Generates different images on plain backgrounds, and changed copies of an image."""

import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from tests.data import fixtures


def product(seed):
  """Returns an object of one color on white: a polygon of random shape and place."""
  rng = np.random.default_rng(seed)
  image = Image.new("RGB", (150, 150), "white")
  center, corners = 75 + rng.normal(0, 4, 2), rng.integers(5, 12)
  angles, radii = np.sort(rng.uniform(0, 2 * np.pi, corners)), rng.uniform(25, 60, (corners, 1))
  outline = center + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)
  ImageDraw.Draw(image).polygon([tuple(point) for point in outline], fill=tuple(rng.integers(20, 160, 3).tolist()))
  return image


def textured(seed):
  """Returns an object of random texture on white, whose outline is that of all others."""
  image, outline = Image.new("RGB", (150, 150), "white"), Image.new("L", (150, 150))
  ImageDraw.Draw(outline).ellipse((20, 30, 130, 120), fill=255)
  image.paste(Image.fromarray(fixtures.photo(seed, 240, 240)).resize((150, 150)), mask=outline)
  return image


def document(seed):
  """Returns a page of random letters."""
  rng, image, font = np.random.default_rng(seed), Image.new("RGB", (300, 400), "white"), ImageFont.load_default(size=8)
  for top in range(30, 370, 11):
    letters = rng.choice(list("abcdefghijklmnopqrstuvwxyz     "), 70 if rng.random() < 0.8 else rng.integers(5, 70))
    ImageDraw.Draw(image).text((25, top), "".join(letters), "black", font)
  return image


def sky(seed):
  """Returns a sky with a dark spot at a random place."""
  rng = np.random.default_rng(seed)
  brightness = np.linspace(rng.uniform(90, 130), rng.uniform(190, 230), 120)[:, None, None] * (0.6, 0.8, 1.1)
  image = Image.fromarray(np.clip(brightness + rng.normal(0, 2, (120, 160, 3)), 0, 255).astype(np.uint8))
  x, y = rng.uniform(20, 140), rng.uniform(20, 100)
  ImageDraw.Draw(image).ellipse((x - 4, y - 2, x + 4, y + 2), fill=(30, 30, 30))
  return image


def cells(seed):
  """Returns dark cells on gray, with noise, as under a microscope."""
  rng, image = np.random.default_rng(seed), Image.new("RGB", (128, 128), (200, 200, 200))
  for x, y in rng.uniform(0, 128, (rng.integers(10, 40), 2)):
    radius, gray = rng.uniform(2, 5), int(rng.integers(80, 150))
    ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(gray, gray, gray))
  blurred = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)))
  return Image.fromarray(np.clip(blurred + rng.normal(0, 3, (128, 128, 1)), 0, 255).astype(np.uint8))


def recoded(image, quality=40):
  return Image.open(io.BytesIO(fixtures.coded(image, quality=quality))).convert("RGB")


def cropped(image, left, top, right, bottom):
  """Crops shares of width and height."""
  width, height = image.size
  return image.crop((round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height)))


CHANGES = {
  "recompressed": recoded,
  "halved": lambda image: image.resize((image.width // 2, image.height // 2)),
  "squared": lambda image: image.resize((128, 128)),
  "gray": lambda image: image.convert("L").convert("RGB"),
  "brighter": lambda image: Image.fromarray(np.clip(np.asarray(image).astype(int) + 25, 0, 255).astype(np.uint8)),
  "darker": lambda image: Image.fromarray((np.asarray(image) * 0.7).astype(np.uint8)),
  "cropped": lambda image: cropped(image, 0.04, 0.04, 0.04, 0.04),
  "cropped at one side": lambda image: cropped(image, 0, 0.05, 0, 0),
  "cropped, halved, recompressed": lambda image: recoded(CHANGES["halved"](cropped(image, 0.03, 0.01, 0.02, 0.03))),
}
