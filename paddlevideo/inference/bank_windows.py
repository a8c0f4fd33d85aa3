"""What PIPELINE.test says about long-term windows, and the same pipeline with windows of another bank, or without."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.long_term import LongTermFeatures

Arguments = dict[str, Any]

WINDOW = "long_term"  # its key in the section ``detection`` of inference.yml
_NAME = LongTermFeatures.__name__


@dataclass(frozen=True)
class Window:
    """The window that a network looks into.

    Args:
        window_s: seconds around the key frame.
        max_features: persons per second.
        channels: C, of the bank's features.
    """

    window_s: int
    max_features: int
    channels: int

    def describe(self) -> dict[str, int]:
        """Plain data for ``inference.yml``."""
        return asdict(self)

    def empty(self, num_clips: int) -> dict[str, np.ndarray]:
        """Windows without anybody: ``long_term`` float32 [N, S, C] and ``long_term_filled`` bool [N, S]."""
        slots = self.window_s * self.max_features
        return {
            "long_term": np.zeros((num_clips, slots, self.channels), np.float32),
            "long_term_filled": np.zeros((num_clips, slots), bool),
        }


def window_of(pipeline: Pipeline, framework: Any) -> Window | None:
    """The window of a network and its PIPELINE.test; None if the network looks into no bank.

    Raises:
        UserError: it does, and the pipeline does not say how.
    """
    if not framework.needs_long_term:
        return None
    found: list[LongTermFeatures] = []
    _changed(pipeline, lambda arguments: found.append(LongTermFeatures(**arguments)))
    if not found:
        raise UserError(
            f"{pipeline.where}: MODEL.head.shared_head looks into a feature bank, and no {_NAME} says how far; add "
            f"long_term: {{name: {_NAME}, banks: [...]}}"
        )
    return Window(found[0].window_s, found[0].max_features, framework.long_term_channels)


def without_windows(pipeline: Pipeline) -> Pipeline:
    """The same without ``LongTermFeatures``: no bank is opened."""
    return _changed(pipeline, lambda arguments: None)


def with_windows_from(pipeline: Pipeline, bank: Path) -> Pipeline:
    """The same with windows from this bank alone, the surest persons of each second: nothing is drawn at random."""
    return _changed(pipeline, lambda arguments: {**arguments, "banks": [str(bank)], "sampling": "first"})


def _changed(pipeline: Pipeline, change: Callable[[Arguments], Arguments | None]) -> Pipeline:
    """The pipeline with other arguments for every ``LongTermFeatures``; None leaves the operator out."""
    steps: dict[str, Any] = {}
    for key, value in pipeline.describe().items():
        if isinstance(value, Mapping) and value.get("name") == _NAME:
            arguments = change({k: v for k, v in value.items() if k != "name"})
            if arguments is not None:
                steps[key] = {"name": _NAME, **arguments}
        elif isinstance(value, list):
            steps[key] = [new for item in value if (new := _changed_item(item, change)) is not None]
        else:
            steps[key] = value
    return Pipeline(steps, pipeline.where)


def _changed_item(item: Any, change: Callable[[Arguments], Arguments | None]) -> Any:
    if not isinstance(item, Mapping) or _NAME not in item:
        return item
    arguments = change(dict(item[_NAME]))
    return None if arguments is None else {_NAME: arguments}
