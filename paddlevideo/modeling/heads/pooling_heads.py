"""The heads of 3-D networks: average over everything, dropout, classifier."""

from __future__ import annotations

import paddle
from paddle import nn

from paddlevideo.modeling.heads.base import ClassificationHead
from paddlevideo.ranges import LossSection, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS


@HEADS.register
class I3DHead(ClassificationHead):
    """Average over time and space, dropout, classifier.

    Args:
        num_classes: K.
        in_channels: channels of the backbone's features.
        drop_ratio: dropout's probability, 0 to 1.
        std: deviation of the classifier's start weights.
        ls_eps: label smoothing.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: MMAction2 ``I3DHead``.
    """

    num_maps = 1

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        drop_ratio: ProbabilityBelowOne = 0.5,
        std: NonNegative = 0.01,
        ls_eps: ProbabilityBelowOne = 0.0,
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(num_classes, in_channels, std, ls_eps, loss_cfg)
        self.dropout = nn.Dropout(drop_ratio)

    def forward(self, features: paddle.Tensor, num_frames: int = 1) -> paddle.Tensor:
        """[N, C, T, h, w] -> logits [N, K]."""
        return self.fc(self.dropout(features.mean([2, 3, 4])))


@HEADS.register
class SlowFastHead(I3DHead):
    """``I3DHead`` on the averages of two pathways side by side, the slow one's channels first.

    Args:
        num_classes: K.
        in_channels: channels of both pathways together.
        drop_ratio: dropout's probability, 0 to 1.
        std: deviation of the classifier's start weights.
        ls_eps: label smoothing.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: MMAction2 ``SlowFastHead``.
    """

    num_maps = 2

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        drop_ratio: ProbabilityBelowOne = 0.8,
        std: NonNegative = 0.01,
        ls_eps: ProbabilityBelowOne = 0.0,
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(num_classes, in_channels, drop_ratio, std, ls_eps, loss_cfg)

    def forward(self, features: tuple[paddle.Tensor, paddle.Tensor], num_frames: int = 1) -> paddle.Tensor:
        """Slow [N, C, T, h, w] and fast [N, C', T', h, w] -> logits [N, K]."""
        pooled = paddle.concat([pathway.mean([2, 3, 4]) for pathway in features], axis=1)
        return self.fc(self.dropout(pooled))
