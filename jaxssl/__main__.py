"""Makes `python -m jaxssl` the `jaxssl` command."""

from jaxssl.main import run

run()
