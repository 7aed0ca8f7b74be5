"""Trace ten training steps and show where their time goes."""

from typing import Any

from jaxssl.config.flags import Parser, add_config, resolve


def add_options(parser: Parser) -> None:
  add_config(parser, "local folder for the trace (default: runs/ and the config's name)")


def run(**options: Any) -> None:
  from jaxssl.train.profiler import profile

  print(profile(*resolve(**options)))
