"""Encoders and heads. Importing the package registers its backbones."""

from jaxssl.models import convnext, resnet, vit  # noqa: F401
