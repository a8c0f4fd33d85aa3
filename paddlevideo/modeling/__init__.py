"""Networks: frameworks of backbones and heads, and how weights come into them."""

from paddlevideo.modeling.frameworks.build import build_framework

__all__ = ["build_framework"]
