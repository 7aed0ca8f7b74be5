"""View sets that have a name: the dicts that a config's `views` takes. Nothing is imported, so config files may import this."""


def adasim(size: int = 224, blur: bool = True) -> dict[str, dict]:
  """AdaSim's (arXiv 2303.13606): two large crops, the second of the partner. `blur` False suits small pictures."""
  return {"global": {**_dino_global(size, blur), "partner": (False, True)}}


def dino(size: int = 224, local_size: int = 96, locals: int = 8, blur: bool = True) -> dict[str, dict]:
  """DINO's multi-crop (arXiv 2104.14294): two large crops and `locals` small ones, all of the same picture."""
  large = {**_dino_global(size, blur), "partner": (False,)}
  small = {**large, "count": locals, "size": local_size, "crop_scale": (0.05, 0.4), "blur": (0.5 * blur,), "solarize": (0.0,)}
  return {"global": large, "local": small}


def _dino_global(size: int, blur: bool) -> dict:
  return {
    "count": 2,
    "size": size,
    "crop_scale": (0.4, 1.0),
    "interpolation": "bicubic",
    "flip": 0.5,
    "jitter": (0.4, 0.4, 0.2, 0.1),
    "jitter_p": 0.8,
    "gray": 0.2,
    "blur": (1.0, 0.1) if blur else (0.0,),
    "blur_sigma": (0.1, 2.0),
    "solarize": (0.0, 0.2),
  }


def weak(size: int = 224, count: int = 1) -> dict[str, dict]:
  """Crop and flip only."""
  crop = {"crop_scale": (0.2, 1.0), "interpolation": "bilinear", "flip": 0.5}
  return {"weak": {"count": count, "size": size, "partner": (False,), **crop}}


def strong(size: int = 224, count: int = 1) -> dict[str, dict]:
  """MoCo v2's (arXiv 2003.04297); without blur up to 64 pixels. `{**weak(..), **strong(..)}` makes ISD's and MSF's pair."""
  colour = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8, "gray": 0.2, "blur": (0.5 if size > 64 else 0.0,)}
  return {"strong": {**weak(size, count)["weak"], **colour}}


def digits(size: int = 28) -> dict[str, dict]:
  """Handwritten digits: two slightly warped copies of the whole picture, the second of the partner's."""
  warp = {"affine": 1.0, "zoom": (0.75, 1.1), "rotate": 0.2, "shear": 0.2, "shift": size / 14}
  pen = {"elastic": size / 40, "thicken": 0.4}
  return {"global": {"size": size, "partner": (False, True), "crop_scale": (0.0, 0.0), "flip": 0.0, **warp, **pen}}
