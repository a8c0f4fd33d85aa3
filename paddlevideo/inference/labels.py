"""Class names of a model; the reader is the loader's, since training and testing name classes too."""

from paddlevideo.loader.labels import read_labels

__all__ = ["read_labels"]
