"""Adds the recipes in configs/ to the package, as jaxssl.configs; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["jaxssl*"]), "jaxssl.configs"], package_dir={"jaxssl.configs": "configs"})
