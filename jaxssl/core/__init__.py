"""What every package uses: errors in the user's input, the log, registries, paths and the version."""

from jaxssl.core.errors import Unavailable, UserError, nearest_name, one_line, renamed, require, unknown_name
from jaxssl.core.log import LOG, heartbeat, image_progress
from jaxssl.core.paths import path_of
from jaxssl.core.registry import Registry
from jaxssl.core.version import VERSION

__all__ = ["LOG", "VERSION", "Registry", "Unavailable", "UserError", "heartbeat", "image_progress"]
__all__ += ["nearest_name", "one_line", "path_of", "renamed", "require", "unknown_name"]
