"""What every head has, and every part of a detector's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.losses.base import Loss
from paddlevideo.ranges import LossSection, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import LOSSES


class Head(nn.Layer, ABC):
    """A backbone's output to logits, logits to scores and to a loss.  A subclass has ``forward``.

    Args:
        ls_eps: label smoothing, in training only.
        loss_cfg: ``{name: Class, arguments}``; cross entropy by default.  ``BCELoss`` makes it a head for several
            labels per clip.

    Attributes:
        num_classes: K; None where the backbone's channels are the classes.
        in_channels: C, which the backbone's ``out_channels`` must be; None: any.
        num_seg: T, which the backbone's ``num_seg`` must be; None: any.
        num_maps: pathways of the layout "volumes" that ``forward`` takes: 1, one tensor; more, a tuple; None: any.
        multi_label: scores are sigmoid, every class by itself; by the loss.
        default_loss: class of the loss without ``loss_cfg``.
        avg_type: how views are averaged where MODEL.runtime_cfg does not state it, see ``Framework``.
        must_equal: argument -> key path of the value that it repeats (``config.checking``).
    """

    default_loss = "CrossEntropyLoss"
    num_classes: int | None = None
    in_channels: int | None = None
    num_seg: int | None = None
    num_maps: int | None = None
    avg_type: str = "score"
    must_equal: Mapping[str, str] = {}

    @property
    def classifier(self) -> nn.Layer | None:
        """Its last linear layer, features to logits; None: it has none of its own."""
        return None

    def __init__(self, ls_eps: ProbabilityBelowOne = 0.0, loss_cfg: LossSection | None = None):
        super().__init__()
        spec = dict(loss_cfg or {"name": self.default_loss})
        if ls_eps:
            if "ls_eps" in spec:
                raise ConfigError("MODEL.head", ["MODEL.head.ls_eps: is given in loss_cfg too"])
            spec["ls_eps"] = ls_eps
        self.criterion = LOSSES.build(spec, "MODEL.head.loss_cfg")
        if not isinstance(self.criterion, Loss):
            problem = f"MODEL.head.loss_cfg.name: {spec['name']} compares two networks; for a head take another loss"
            raise ConfigError("MODEL.head", [problem])
        self.multi_label: bool = self.criterion.multi_label

    @abstractmethod
    def forward(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """Logits [N, K].

        Args:
            features: the backbone's output; of the layout "frames" [N * T, C, h, w], see ``Backbone``.
            num_frames: T of "frames"; 1 for the other layouts.
        """

    def scores(self, logits: paddle.Tensor) -> paddle.Tensor:
        """Probabilities of logits [..., K]: of one class out of all, or of every class by itself."""
        return F.sigmoid(logits) if self.multi_label else F.softmax(logits)

    def loss(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of logits [N, K] with labels int [N] or float [N, K]."""
        return self.criterion(logits, labels)

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """The arrays of another project, without the head's prefix, under the names here."""
        return dict(arrays)


class DetectionPart(ABC):  # noqa: B024 its kinds have no method in common
    """A part of a detector's head: RoI extractor, shared head, box head, assigner, sampler.

    Attributes:
        in_channels: C, which the part before must give; None: any.
        needs_context: a shared head's ``forward(regions, owner, context)`` also takes the maps of whole pictures.
        needs_long_term: ... ``forward(regions, owner, long_term, filled)`` takes long-term features.
        lt_feat_channels: C' of these; 0: none.
        bank_request: the feature bank that a test run writes (``BankRequest``), or None.
    """

    in_channels: int | None = None
    needs_context: bool = False
    needs_long_term: bool = False
    lt_feat_channels: int = 0
    bank_request: Any = None

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """The arrays of another project, without the part's prefix, under the names here."""
        return dict(arrays)


class ClassificationHead(Head):
    """A linear classifier ``fc``.

    Args:
        num_classes: K.
        in_channels: length of a feature.
        std: deviation of ``fc``'s start weights; its bias starts at 0.
        ls_eps, loss_cfg: see ``Head``.
    """

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        std: NonNegative = 0.01,
        ls_eps: ProbabilityBelowOne = 0.0,
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(ls_eps, loss_cfg)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.fc = nn.Linear(in_channels, num_classes, weight_attr=self._initializer(std), bias_attr=init.Constant(0.0))

    @property
    def classifier(self) -> nn.Layer:
        """``fc``."""
        return self.fc

    @staticmethod
    def _initializer(std: float) -> init.Initializer:
        return init.Normal(std=std)

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Weights of another origin under this head's names; a torch linear is transposed.

        Args:
            arrays: keys without the head's prefix.
            origin: "mmaction2", or "timesformer", whose head is the linear layer itself.
        """
        theirs = "" if origin == "timesformer" else "fc_cls."
        names = {f"{theirs}{part}": f"fc.{part}" for part in ("weight", "bias")}
        return {names.get(key, key): value.T if value.ndim == 2 else value for key, value in arrays.items()}
