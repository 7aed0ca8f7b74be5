"""Renders numbers, untrusted text and images as HTML."""

import base64
import html

from jaxssl.core import one_line


def escape(text: str) -> str:
  """Escapes text of any origin, such as a file name, for HTML, on one line."""
  return html.escape(one_line(text))


def data_uri(kind: str, data: bytes) -> str:
  """Returns an address that contains an image file of a kind such as jpeg."""
  return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def value_and_std(value: float | None, std: float | None) -> str:
  """Returns a rounded value, and its standard deviation if there is one, as text that stays on one line."""
  return number(value) + deviation(value, std)


def deviation(value: float | None, std: float | None) -> str:
  """Returns a standard deviation, with as many decimals as `number` shows of the value; empty if there is none."""
  if value is None or std is None:
    return ""
  shown = number(value)
  decimals = len(shown.partition(".")[2])
  return f"\u00a0±\u00a0{number(std) if 'e' in shown else f'{std:.{decimals}f}'}"


def number(value: float | None) -> str:
  """Rounds a value for display; None: it was not finite."""
  if value is None:
    return "not finite"
  size = abs(value)
  if size and (size < 0.001 or size >= 100_000):
    return f"{value:.2e}"
  return f"{value:.{0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3}f}"
