"""Video understanding on PaddlePaddle: train, test, export and predict from one YAML file.

Five functions, each imported when it is named; ``docs/api.md`` shows them.

    train(config, overrides)        train a model
    test(config, weights)           its figures on DATASET.test
    export(config, weights, out)    files for prediction
    load(model).predict(videos)     classes of videos
    detect(video, model)            people in a video and what they do
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
_MODULES = {
    "load": "paddlevideo.inference.predictor",
    "detect": "paddlevideo.inference.detector",
    "train": "paddlevideo.api",
    "test": "paddlevideo.api",
    "export": "paddlevideo.api",
}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'paddlevideo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
