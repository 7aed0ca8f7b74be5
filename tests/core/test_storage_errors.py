"""What errors of disks and buckets mean; explaining an error never raises another one."""

import errno
import http.client
import os
import socket
import ssl
import urllib.error

import jax
import pytest
import tensorflow as tf

from jaxssl.core import Unavailable, UserError, storage_errors
from jaxssl.core.storage_errors import AbsentInBucket, BucketError, Kind, RefusedByBucket


class HttpError(Exception):
  code = 503


class HttpMessage(Exception):
  pass


class Nameless(Exception):
  """Has attributes that cannot be read, as objects of half-imported modules."""

  @property
  def message(self):
    raise ImportError

  def __str__(self):
    raise ValueError


def number(name: str) -> OSError:
  return OSError(getattr(errno, name), os.strerror(getattr(errno, name)), "/data/a.jpg")


def tensorflow(name: str, message: object = "it") -> tf.errors.OpError:
  return getattr(tf.errors, f"{name}Error")(None, None, message)


def caused(error: Exception, cause: Exception) -> Exception:
  error.__cause__ = cause
  return error


@pytest.mark.parametrize(
  "error",
  [
    *map(number, "ESTALE ETIMEDOUT ECONNRESET EIO EAGAIN ENETUNREACH EHOSTUNREACH ENOTCONN EBUSY EREMOTEIO".split()),
    *map(tensorflow, "Unavailable DeadlineExceeded Aborted ResourceExhausted Internal Unknown".split()),
    tensorflow("Unavailable", b"bytes"), tensorflow("Unavailable", None), TimeoutError(), ConnectionResetError(), HttpError(),
    *(HttpMessage(f"HTTP {code}") for code in (408, 429, 500, 502, 503, 504)), HttpMessage("503 Service Unavailable"),
    urllib.error.HTTPError("https://x.org", 503, "no", None, None), http.client.IncompleteRead(b""),  # type: ignore[arg-type]
    socket.gaierror(-3, "Temporary failure in name resolution"), ssl.SSLError(1, "[SSL] bad record"),
    ValueError("ABORTED: All 32 retry attempts failed: CURL error Could not resolve hostname [curl_code='6']"),
    ValueError("UNAVAILABLE: Error writing \"gs://b/a\" [http_response_code='503']"),
    ValueError("FAILED_PRECONDITION: Error reading local file \"a\": Stale file handle [os_error_code='116']"),
    caused(ValueError("no array"), number("ESTALE")),
  ],
)  # fmt: skip
def test_transient_errors_are_worth_another_try(error):
  assert storage_errors.kind_of(error) is Kind.TRANSIENT


@pytest.mark.parametrize(
  "error, kind",
  [
    *((number(name), Kind.ABSENT) for name in ("ENOENT", "ENOTDIR", "ENAMETOOLONG", "ELOOP", "ENXIO")),
    *((number(name), Kind.REFUSED) for name in ("EACCES", "EPERM")),
    *((number(name), Kind.FULL) for name in ("ENOSPC", "EDQUOT", "EFBIG")),
    *((number(name), Kind.OTHER) for name in ("EINVAL", "EMFILE", "EROFS")),
    (tensorflow("NotFound"), Kind.ABSENT),
    (tensorflow("PermissionDenied"), Kind.REFUSED),
    (tensorflow("Unauthenticated"), Kind.REFUSED),
    (tensorflow("ResourceExhausted", "/run; No space left on device"), Kind.FULL),
    (tensorflow("InvalidArgument"), Kind.OTHER),
    (ValueError("NOT_FOUND: \"a\" [os_error_code='2']"), Kind.ABSENT),
    (ValueError("RESOURCE_EXHAUSTED: Error writing local file: No space left on device [os_error_code='28']"), Kind.FULL),
    (ValueError("PERMISSION_DENIED: gs://b"), Kind.REFUSED),
    (HttpMessage("HTTP 404"), Kind.ABSENT),
    (HttpMessage("500 images are unreadable"), Kind.OTHER),
    (ValueError("error: 500 images"), Kind.OTHER),
    (FileNotFoundError("gs://b/a"), Kind.ABSENT),
    (ssl.SSLCertVerificationError(1, "certificate has expired"), Kind.OTHER),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), Kind.OTHER),
    (jax.errors.JaxRuntimeError("INTERNAL: a kernel failed"), Kind.OTHER),
    (caused(UserError("a.jpg is damaged"), number("EIO")), Kind.OTHER),
    (Unavailable("a"), Kind.OTHER),
    (KeyError("a"), Kind.OTHER),
    (KeyboardInterrupt(), Kind.OTHER),
    (Nameless(), Kind.OTHER),
  ],
)
def test_other_errors_are_not(error, kind):
  assert storage_errors.kind_of(error) is kind


@pytest.mark.parametrize(
  "error, text",
  [
    (tensorflow("NotFound", "no\n\tgs://b/a"), "no gs://b/a"),
    (tensorflow("NotFound", b"no \xff"), "no \ufffd"),
    (tensorflow("NotFound", None), "NotFoundError"),
    (number("ESTALE"), os.strerror(errno.ESTALE)),
    (OSError(), "OSError"),
    (ValueError("x" * 1000), "x" * 300),
    (Nameless(), "Nameless"),
  ],
)
def test_a_message_is_one_line(error, text):
  shown = storage_errors.message(error)
  assert shown == text or (text == "NotFoundError" and shown)


@pytest.mark.parametrize(
  "error, kind",
  [
    (tensorflow("NotFound", "no"), AbsentInBucket),
    (tensorflow("PermissionDenied", "no"), RefusedByBucket),
    (tensorflow("InvalidArgument", "no"), BucketError),
  ],
)
def test_errors_of_a_bucket_become_those_of_python(error, kind):
  translated = storage_errors.as_os_error(error)
  assert type(translated) is kind and isinstance(translated, OSError) and str(translated) == "no"


def test_other_errors_stay_as_they_are():
  for error in (number("ENOENT"), ValueError("a"), UserError("a"), Nameless()):
    assert storage_errors.as_os_error(error) is error


def test_a_half_imported_tensorflow_does_not_matter(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "tensorflow", object())
  assert storage_errors.kind_of(ValueError("a")) is Kind.OTHER
