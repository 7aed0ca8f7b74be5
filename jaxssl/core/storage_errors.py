"""Classifies errors of disks, network disks and buckets. Nothing here raises, whatever the error is."""

import enum
import errno
import re

from jaxssl.core.errors import OneLineError


class Kind(enum.Enum):
  """What an error means for the user."""

  TRANSIENT = "storage does not respond; a later attempt may succeed"
  ABSENT = "there is no such file"
  REFUSED = "the user may not read or write it"
  FULL = "no space, or a quota, is left"
  OTHER = "anything else, such as damaged content or a mistake in the program"


class BucketError(OSError):
  """An operation on a bucket has failed; the message is one line."""


class AbsentInBucket(BucketError, FileNotFoundError):
  """There is no such object."""


class RefusedByBucket(BucketError, PermissionError):
  """The credentials do not suffice."""


def _numbers(names: str) -> frozenset[int]:
  return frozenset(getattr(errno, name) for name in names.split() if hasattr(errno, name))  # not all systems have all


_ERRNO = {
  Kind.TRANSIENT: _numbers(
    "EAGAIN EBUSY ECONNABORTED ECONNREFUSED ECONNRESET EHOSTDOWN EHOSTUNREACH EINTR EIO ENETDOWN ENETRESET ENETUNREACH ENOBUFS "
    "ENOLINK ENOMEM ENOTCONN EREMOTEIO ESHUTDOWN ESTALE ETIMEDOUT EWOULDBLOCK"
  ),
  # The latter are names that cannot be, or are not, those of a file
  Kind.ABSENT: _numbers("ENOENT ENOTDIR EISDIR ELOOP ENAMETOOLONG ENXIO"),
  Kind.REFUSED: _numbers("EACCES EPERM"),
  Kind.FULL: _numbers("ENOSPC EDQUOT EFBIG"),
}
_STATUS = {  # of gRPC, as TensorFlow names its exceptions and tensorstore begins its messages
  Kind.TRANSIENT: "UNAVAILABLE DEADLINE_EXCEEDED ABORTED RESOURCE_EXHAUSTED INTERNAL UNKNOWN".split(),
  Kind.ABSENT: ["NOT_FOUND"],
  Kind.REFUSED: "PERMISSION_DENIED UNAUTHENTICATED".split(),
}
_BY_STATUS = {status: kind for kind, all_of_kind in _STATUS.items() for status in all_of_kind}
_BY_TENSORFLOW = {f"{status.title().replace('_', '')}Error": kind for status, kind in _BY_STATUS.items()}
_BY_CLASS = {  # Python's own, and those of HTTP libraries
  **dict.fromkeys(
    "TimeoutError ConnectionError Timeout ClientConnectionError ServerTimeoutError gaierror SSLError ProtocolError "
    "IncompleteRead RemoteDisconnected TransportError RetryError".split(),
    Kind.TRANSIENT,
  ),
  "FileNotFoundError": Kind.ABSENT,
  "PermissionError": Kind.REFUSED,
}
_PERMANENT = ("SSLCertVerificationError", "JaxRuntimeError", "XlaRuntimeError")  # "INTERNAL" of a computation
_FULL = re.compile(r"no space left|disk quota|quota exceeded on device", re.IGNORECASE)
_HTTP = re.compile(
  r"(?:HTTP|status|code|response|error)\W{0,4}(?:code)?\W{0,4}(?P<code>[45]\d\d)\b|"
  r"\b(?P<named>408|429|5\d\d) (?:Request|Too|Internal|Bad|Service|Gateway|Server)",
  re.IGNORECASE,
)
_CHAIN = 5  # errors that are followed to their causes


def kind_of(error: BaseException) -> Kind:
  """Returns what an error means, by its type, its number and, for libraries without types, its message."""
  cause: BaseException | None = error
  for _ in range(_CHAIN):
    if cause is None or isinstance(cause, OneLineError) or not isinstance(cause, Exception):
      break  # those of the first type are explained already
    if (kind := _own_kind(cause)) is not Kind.OTHER:
      return kind
    if any(name in _PERMANENT for name in _names(cause)):
      break
    cause = cause.__cause__
  return Kind.OTHER


def is_transient(error: BaseException) -> bool:
  """Returns whether an operation that ended with `error` may succeed if it is tried again."""
  return kind_of(error) is Kind.TRANSIENT


def message(error: BaseException) -> str:
  """Returns the message of an error in one line, its type if there is none."""
  for attribute in ("message", "strerror", ""):
    try:
      text = getattr(error, attribute, None) if attribute else str(error)
      text = text.decode(errors="replace") if isinstance(text, bytes) else text
      if isinstance(text, str) and text.strip():
        return " ".join(text.split())[:300]
    except Exception:  # properties of other libraries may raise anything
      continue
  return type(error).__name__


def as_os_error(error: Exception) -> Exception:
  """Returns the error of a bucket as an OSError; any other error as it is."""
  kind = kind_of(error)
  if isinstance(error, OSError) or isinstance(error, OneLineError) or not _of_tensorflow(error):
    return error
  return {Kind.ABSENT: AbsentInBucket, Kind.REFUSED: RefusedByBucket}.get(kind, BucketError)(message(error))


def _own_kind(error: Exception) -> Kind:
  names = _names(error)
  if any(name in _PERMANENT for name in names):
    return Kind.OTHER
  named = next((_BY_CLASS[name] for name in names if name in _BY_CLASS), None)
  if named is Kind.TRANSIENT:  # before its number: those of SSL and of name servers are not the system's
    return named
  text = message(error)
  number = _number(error, text)
  by_number = next((kind for kind, numbers in _ERRNO.items() if number in numbers), None)
  if by_number or number is not None:
    return by_number or Kind.OTHER
  if _FULL.search(text):
    return Kind.FULL
  if named:
    return named
  if _of_tensorflow(error):
    return next((_BY_TENSORFLOW[name] for name in names if name in _BY_TENSORFLOW), Kind.OTHER)
  status = re.match(r"([A-Z_]+):", text)
  if status and status[1] in _BY_STATUS:
    return _BY_STATUS[status[1]]
  return _by_http(error, text)


def _by_http(error: Exception, text: str) -> Kind:
  code = getattr(error, "code", None)
  if not isinstance(code, int):
    own_type = isinstance(error, OSError) or type(error).__module__ != "builtins"  # others would mention numbers by chance
    found = _HTTP.search(text) if own_type else re.search(r"http_response_code='(?P<code>(?P<named>\d+))'", text)
    code = int(found["code"] or found["named"]) if found else None
  if code in (408, 429) or (isinstance(code, int) and 500 <= code < 600):
    return Kind.TRANSIENT
  return {401: Kind.REFUSED, 403: Kind.REFUSED, 404: Kind.ABSENT}.get(code, Kind.OTHER) if isinstance(code, int) else Kind.OTHER


def _number(error: Exception, text: str) -> int | None:
  """Returns the operating system's number of an error, also if tensorstore reports it; None if there is none."""
  if isinstance(number := getattr(error, "errno", None), int) and isinstance(error, OSError):
    return number
  found = re.search(r"os_error_code='(\d+)'", text)
  return int(found[1]) if found else None


def _names(error: BaseException) -> list[str]:
  return [base.__name__ for base in type(error).__mro__]


def _of_tensorflow(error: Exception) -> bool:
  return any(base.__name__ == "OpError" and base.__module__.startswith("tensorflow") for base in type(error).__mro__)
