"""Reads TFRecord files and the `tf.train.Example` messages in them without TensorFlow and without copying the images."""

import struct
from collections.abc import Iterator
from typing import Any

Spans = list[tuple[int, int]]  # where values of bytes begin and end
_LENGTH = struct.Struct("<Q")
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length and that one's checksum; its own checksum
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5  # wire types of protocol buffers
_GZIP = b"\x1f\x8b"


def records(content: Any) -> Iterator[tuple[int, int]]:
  """Yields where each record of a TFRecord file begins and ends. Raises ValueError if the file is damaged."""
  at, size = 0, len(content)
  if content[:2] == _GZIP:
    raise ValueError("it is compressed by gzip; expected a TFRecord file that is not compressed")
  while at < size:
    if at + _HEADER > size:
      raise ValueError(f"it is cut off at byte {at}")
    start = at + _HEADER
    end = start + _LENGTH.unpack_from(content, at)[0]
    at = end + _FOOTER
    if at > size:
      raise ValueError(
        f"the record at byte {start - _HEADER} ends after the end of the file; it is cut off, or not a TFRecord file"
      )
    yield start, end


def features(content: Any, start: int, end: int) -> dict[str, Spans | list[int]]:
  """Returns the features of an Example by name: integers, or where bytes are; others are left out. Raises ValueError."""
  found = {}
  try:
    for number, features_at, features_end in _fields(content, start, end):
      for _, at, stop in _fields(content, features_at, features_end) if number == 1 else ():
        parts = {part: (first, last) for part, first, last in _fields(content, at, stop)}  # of an entry: its key and its value
        value = _values(content, *parts[2]) if 1 in parts and 2 in parts else None
        if value is not None:
          found[bytes(content[slice(*parts[1])]).decode()] = value
  except (IndexError, struct.error, TypeError) as error:
    raise ValueError("a record is not a tf.train.Example") from error
  return found


def _values(content: Any, start: int, end: int) -> Spans | list[int] | None:
  """Returns the values of a Feature; None if they are neither bytes nor integers."""
  for kind, at, stop in _fields(content, start, end):
    if kind == 1:
      return [(first, last) for _, first, last in _fields(content, at, stop)]
    if kind == 3:
      return _integers(content, at, stop)
  return None


def _integers(content: Any, start: int, end: int) -> list[int]:
  values = []
  while start < end:
    key, start = _varint(content, start)
    stop = start
    if key & 7 == _BYTES:  # packed
      length, start = _varint(content, start)
      stop = start + length
    while True:
      value, start = _varint(content, start)
      values.append(value - 2**64 if value >= 2**63 else value)
      if start >= stop:
        break
  return values


def _fields(content: Any, start: int, end: int) -> Iterator[tuple[int, int, int]]:
  """Yields number, begin and end of the fields of a message that hold bytes."""
  while start < end:
    key, start = _varint(content, start)
    kind = key & 7
    if kind == _BYTES:
      length, start = _varint(content, start)
      if start + length > end:
        raise ValueError("a record is damaged: a field ends after its end")
      yield key >> 3, start, start + length
      start += length
    elif kind == _VARINT:
      start = _varint(content, start)[1]
    elif kind in (_FIXED_64, _FIXED_32):
      start += 8 if kind == _FIXED_64 else 4
    else:
      raise ValueError("a record is not a tf.train.Example")


def _varint(content: Any, at: int) -> tuple[int, int]:
  """Returns a number of up to 64 bits, and where it ends."""
  value = shift = 0
  while True:
    byte = content[at]
    value |= (byte & 127) << shift
    at += 1
    if byte < 128:
      return value, at
    shift += 7
    if shift > 63:
      raise ValueError("a record is damaged: a number has more than 64 bits")
