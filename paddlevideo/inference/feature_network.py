"""The network of an export up to its last linear layer, and that layer."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from paddle import nn

from paddlevideo.build import trained_network
from paddlevideo.config import Config, load_config
from paddlevideo.environment import use_device
from paddlevideo.errors import UserError
from paddlevideo.inference.linear_head import LinearHead
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.inference.stream_clips import ClipOfWindow, StreamClips
from paddlevideo.inference.window_features import FULL_TRAINING, TaughtFrom, WindowFeatures
from paddlevideo.memory import within_memory

_SAME = 1e-3  # of scores that are equal but for rounding


def config_of_export(model: TaughtFrom) -> Config:
    """The configuration beside an export, without files of class names: the weights have them."""
    data = load_config(model.config_file, uses=("test",)).to_dict()
    if isinstance(data.get("DATASET"), dict):
        data["DATASET"] = {**data["DATASET"], "label_names": None}
    return Config(data, str(model.config_file))


class FeatureNetwork:
    """The network of an export, as ``--test`` runs it.

    Args:
        model: the export.
        device: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.
        batch_size: windows per run.
        say: receives remarks.

    Attributes:
        config: its configuration.
        framework: the network.

    Raises:
        UserError: damaged weights; a head without a last linear layer ``fc``.
    """

    def __init__(self, model: TaughtFrom, device: str, batch_size: int, say: Say):
        use_device(device)
        self.name, self._model, self._batch_size, self._say = str(model.export.program), model, batch_size, say
        self.config, self.framework, _ = trained_network(config_of_export(model), model.names.params, say)
        self.framework.eval()
        self._is_proven = False

    @property
    def head(self) -> LinearHead:
        """Its classifier, which another one may replace.

        Raises:
            UserError: it is not ``head.fc``, the layer that is replaced.
        """
        if not isinstance(dict(self.framework.head.named_children()).get("fc"), nn.Linear):
            raise UserError(f"{self.name}: its head has no linear layer fc that could be taught; {FULL_TRAINING}")
        return head_of(self.framework)

    def features(
        self, video: Path, window_s: float, hop_s: float, on_window: Callable[[float], None]
    ) -> WindowFeatures:
        """Of all windows of a video, those of ``paddlevideo timeline``.

        Args:
            on_window: receives the end of every window, in seconds.

        Raises:
            UserError: the video cannot be read.
        """
        clips = StreamClips(str(video), self._model.pipeline, window_s, hop_s, self._say)
        windows, rows = [], []
        with contextlib.closing(clips.start()) as incoming:
            for batch in _batches(iter(incoming), self._batch_size):
                rows.append(self._run(np.stack([clip.imgs for clip in batch])))
                windows += [(clip.start_s, clip.end_s) for clip in batch]
                on_window(windows[-1][1])
        if not windows:
            raise UserError(f"{video}: has no frame to make a window of")
        return WindowFeatures(np.array(windows, np.float64), np.concatenate(rows), float(clips.end_s))

    def _run(self, imgs: np.ndarray) -> np.ndarray:
        """float32 [N, C] of clips [N, V, T, H, W, 3], the mean of frames and views."""
        import paddle

        with within_memory("the model's run", imgs, "lower --batch_size"), paddle.no_grad():
            outputs = self.framework({"imgs": paddle.to_tensor(imgs)}, mode="features")
            features, scores = (outputs[key].astype("float32").numpy() for key in ("features", "scores"))
        if not self._is_proven and imgs.shape[1] == 1:
            self._check(features, scores)
        return features

    def _check(self, features: np.ndarray, scores: np.ndarray) -> None:
        """
        Raises:
            UserError: the head does more with ``fc`` than to average: a new ``fc`` would not give its scores.
        """
        if not is_linear(self.framework, features, scores):
            raise UserError(f"{self.name}: its scores are more than the linear layer of its head; {FULL_TRAINING}")
        self._is_proven = True


def head_of(framework: Any) -> LinearHead:
    """The classifier of a recogniser.

    Raises:
        UserError: it has none, or one that is not linear.
    """
    layer = framework.classifier
    if not isinstance(layer, nn.Linear) or layer.bias is None:
        raise UserError(f"MODEL: the classifier is {type(layer).__name__}, expected a linear layer with a bias")
    return LinearHead(layer.weight.numpy().astype(np.float32), layer.bias.numpy().astype(np.float32))


def is_linear(framework: Any, features: np.ndarray, scores: np.ndarray) -> bool:
    """Whether scores [N, K] of clips of one view are those of the classifier on their features [N, C]."""
    return bool(np.abs(head_of(framework).scores(features, framework.multi_label) - scores).max() <= _SAME)


def _batches(clips: Iterator[ClipOfWindow], size: int) -> Iterator[list[ClipOfWindow]]:
    batch: list[ClipOfWindow] = []
    for clip in clips:
        batch.append(clip)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
