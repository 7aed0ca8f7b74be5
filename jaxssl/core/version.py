"""The version of jaxssl."""

VERSION = "0.1.0"
