"""Video understanding on PaddlePaddle: train, test, export and predict from one YAML file."""

__version__ = "0.1.0"
