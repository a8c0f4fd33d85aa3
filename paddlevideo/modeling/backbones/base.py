"""What every backbone has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.errors import UserError
from paddlevideo.modeling.naming import Variant, renamed


class Backbone(nn.Layer, ABC):
    """Clips to features.  A subclass has ``forward``, and its constructor sets ``out_channels``; the rest has defaults.

    Attributes:
        out_channels: C, the channels of the output, of several maps together.
        layout: what ``forward`` takes and gives.  "frames": [N * T, 3, H, W] -> [N * T', C, h, w]; "volumes":
            [N, 3, T, H, W] -> [N, C, T', h, w], or a tuple of such maps; "tokens": [N, 3, T, H, W] -> [N, C].
        num_seg: T, the frames of a clip; None: any number.
        out_seg: T' of the layout "frames"; None: T.
        pretrained: weights file to start from (``load_pretrained``), or None.
        classifier_prefixes: names of its own parameters that depend on the number of classes begin so.
        shift_mode: "online" if ``forward(x, state)`` gives a stream's next frame; "offline"; None: without a shift.
        shift_div: 1 / shift_div of the channels moves to a neighbouring frame.
        attention_type: of transformers: what attention runs over.
        structure: the arguments that decide the names of its parameters in other projects.
    """

    out_channels: int
    layout: str = "frames"
    num_seg: int | None = None
    out_seg: int | None = None
    pretrained: str | None = None
    classifier_prefixes: tuple[str, ...] = ()
    shift_mode: str | None = None
    shift_div: int | None = None
    attention_type: str | None = None
    structure: Mapping[str, Any] = {}

    @property
    def classifier(self) -> nn.Layer | None:
        """The linear layer of ``classifier_prefixes``, features to logits; None: the head has the classifier."""
        prefix = next(iter(self.classifier_prefixes), "").rstrip(".")
        return dict(self.named_sublayers())[prefix] if prefix else None

    @abstractmethod
    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """Features of normalised clips, float32; shapes by ``layout``."""

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """The arrays of a file of ``pretrained`` as this network takes them, and {missing key: reason}."""
        return arrays, {}

    def resize_embeddings(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a checkpoint of another picture size or number of frames, fitted to this network."""
        return dict(arrays)

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """{name in another project: name here} of every array; empty where the project has no such network."""
        return {}

    @classmethod
    def structures(cls, origin: str) -> Iterable[dict[str, Any]]:
        """Every ``structure`` that a file of ``origin`` may be of."""
        return ()

    @classmethod
    def variants(cls, origin: str) -> Iterator[Variant]:
        """The networks of ``structures``, for telling which one a file is of."""
        for structure in cls.structures(origin):
            names = cls.names_in(origin, **structure)
            yield Variant({"name": cls.__name__, **structure}, names, over_clips=cls.layout == "volumes")

    def names(self, origin: str) -> dict[str, str]:
        """``names_in`` of this network."""
        return self.names_in(origin, **self.structure)

    def convert(self, arrays: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
        """The arrays of another project, without the ``backbone.`` prefix, under the names here.

        Raises:
            UserError: the project has no such network.
        """
        names = self.names(origin)
        if not names:
            kind = type(self).__name__
            raise UserError(f"MODEL.backbone ({kind}): there is no such network in {origin}, so nothing to convert")
        return renamed(arrays, names)
