"""Named view groups, as the dicts that a config's `views` takes. Imports nothing, so config files may import it."""


def adasim(size: int = 224, blur: bool = True) -> dict[str, dict]:
  """Returns AdaSim's views (arXiv 2303.13606): two large crops, one from the partner. `blur=False` suits small images."""
  return {"global": _dino_global(size, blur)}


def dino(size: int = 224, local_size: int = 96, locals: int = 8, blur: bool = True) -> dict[str, dict]:
  """Returns DINO's multi-crop (arXiv 2104.14294): two large crops, the second from the partner, and `locals` small ones."""
  large = _dino_global(size, blur)
  crops = {"count": locals, "size": local_size, "partner": (False,), "crop_scale": (0.05, 0.4)}
  return {"global": large, "local": {**large, **crops, "blur_p": (0.5 * blur,), "solarize_p": (0.0,)}}


def _dino_global(size: int, blur: bool) -> dict:
  crops = {"count": 2, "size": size, "partner": (False, True), "crop_scale": (0.4, 1.0), "interpolation": "bicubic"}
  color = {"jitter": (0.4, 0.4, 0.2, 0.1), "jitter_p": 0.8, "gray_p": 0.2, "blur_sigma": (0.1, 2.0), "solarize_p": (0.0, 0.2)}
  return {**crops, "flip": 0.5, **color, "blur_p": (1.0, 0.1) if blur else (0.0,)}


def symmetric(size: int = 224, crop: float = 0.2) -> dict[str, dict]:
  """Returns two strong views (MoCo v2, SimSiam), the second from the partner; crops cover at least `crop` of the area."""
  return {"global": {**strong(size)["strong"], "count": 2, "partner": (False, True), "crop_scale": (crop, 1.0)}}


def asymmetric(size: int = 224, crop: float = 0.08) -> dict[str, dict]:
  """Returns BYOL's views (arXiv 2006.07733): blur in the first, solarization in the second, which is the partner's."""
  return {"global": {**_dino_global(size, size > 64), "crop_scale": (crop, 1.0)}}


def weak(size: int = 224) -> dict[str, dict]:
  """Returns a view that is only cropped and flipped."""
  return {"weak": {"count": 1, "size": size, "partner": (False,), "crop_scale": (0.2, 1.0), "interpolation": "bilinear"}}


def strong(size: int = 224) -> dict[str, dict]:
  """Returns MoCo v2's view (arXiv 2003.04297), without blur up to 64 pixels."""
  color = {"jitter": (0.4, 0.4, 0.4, 0.1), "jitter_p": 0.8, "gray_p": 0.2, "blur_p": (0.5 if size > 64 else 0.0,)}
  return {"strong": {**weak(size)["weak"], **color}}


def pair(student: str, teacher: str, size: int = 224) -> dict[str, dict]:
  """Returns one view for the teacher and one, from the partner, for the student, each `weak` or `strong` (ISD, MSF)."""
  views = {**weak(size), **strong(size)}
  if student == teacher:
    return {student: {**views[student], "count": 2, "partner": (False, True)}}
  return {teacher: views[teacher], student: {**views[student], "partner": (True,)}}


def resa(size: int = 224, strong_views: int = 1, local_size: int = 96, locals: int = 0) -> dict[str, dict]:
  """Returns ReSA's views (arXiv 2501.18452): one weak, strong ones from the partner with less saturation and solarization.

  `locals`: how many small strong views there are in addition, of the image itself and without solarization.
  """
  color = {"jitter": (0.4, 0.4, 0.2, 0.1), "solarize_p": (0.2,)}
  group = {"partner": (True,), "count": strong_views, "interpolation": "bicubic"}
  views = {**weak(size), "strong": {**strong(size)["strong"], **color, **group}}
  if locals:
    crops = {"count": locals, "size": local_size, "partner": (False,), "crop_scale": (0.05, 0.2), "solarize_p": (0.0,)}
    views["local"] = {**views["strong"], **crops}
  return views


def digits(size: int = 28) -> dict[str, dict]:
  """Returns views of handwritten digits: two slightly distorted copies of the whole image, the second from the partner."""
  warp = {"affine": 1.0, "zoom": (0.75, 1.1), "rotate": 0.2, "shear": 0.2, "shift": size / 14}
  pen = {"elastic": size / 40, "thicken": 0.4}
  return {"global": {"size": size, "partner": (False, True), "crop_scale": (0.0, 0.0), "flip": 0.0, **warp, **pen}}
