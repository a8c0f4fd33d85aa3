"""The heads of the TSM family."""

from __future__ import annotations

from typing import Literal

import paddle
from paddle import nn

from paddlevideo.modeling.heads.base import ClassificationHead, Head
from paddlevideo.modeling.layers import hint
from paddlevideo.ranges import LossSection, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS


@HEADS.register
class TSMHead(ClassificationHead):
    """Average over space, dropout, classifier per frame, average over the frames.

    The classifier learns 5 times as fast as the rest, its bias 10 times and without weight decay.

    Args:
        num_classes: K.
        in_channels: channels of the backbone's features.
        drop_ratio: dropout's probability, 0 to 1.
        std: deviation of the classifier's start weights.
        ls_eps: label smoothing.
        data_format: a hint about memory layout; accepted and without effect, see ``ResNetTSM``.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: PaddleVideo and MMAction2 ``TSMHead``.
    """

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        drop_ratio: ProbabilityBelowOne = 0.5,
        std: NonNegative = 0.001,
        ls_eps: ProbabilityBelowOne = 0.0,
        data_format: Literal["NCHW", "NHWC"] = "NCHW",
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(num_classes, in_channels, std, ls_eps, loss_cfg)
        self.dropout = nn.Dropout(drop_ratio)
        hint(self.fc.weight, lr=5.0)
        hint(self.fc.bias, lr=10.0, decay=0.0)

    def forward(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """[N * T, C, h, w] -> logits [N, K]."""
        pooled = self.dropout(features.mean([2, 3]))  # [N * T, C]
        return self.fc(pooled).reshape([-1, num_frames, self.num_classes]).mean(1)


@HEADS.register
class ppTSMHead(TSMHead):
    """``TSMHead`` that averages over the frames before the classifier, which then runs once per clip.

    Args:
        num_classes: K.
        in_channels: channels of the backbone's features; 2048 from ResNet-50 on, 512 below.
        drop_ratio: dropout's probability, 0 to 1.
        std: deviation of the classifier's start weights.
        ls_eps: label smoothing.
        num_seg: the backbone's, if given; PaddleVideo's files repeat it here.
        data_format: a hint about memory layout; accepted and without effect, see ``ResNetTSM``.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: PaddleVideo ``ppTSMHead``.
    """

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        drop_ratio: ProbabilityBelowOne = 0.8,
        std: NonNegative = 0.01,
        ls_eps: ProbabilityBelowOne = 0.0,
        num_seg: PositiveInt | None = None,
        data_format: Literal["NCHW", "NHWC"] = "NCHW",
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(num_classes, in_channels, drop_ratio, std, ls_eps, data_format, loss_cfg)
        self.num_seg = num_seg

    def forward(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """[N * T, C, h, w] -> logits [N, K]."""
        pooled = self.dropout(features.mean([2, 3]))  # [N * T, C]
        return self.fc(pooled.reshape([-1, num_frames, self.in_channels]).mean(1))


@HEADS.register
class MoViNetHead(Head):
    """Nothing but the loss, for backbones that give logits themselves, like ``PPTSM_MobileNetV2``.

    Args:
        ls_eps: label smoothing.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: PaddleVideo ``MoViNetHead``.
    """

    def forward(self, features: paddle.Tensor, num_frames: int) -> paddle.Tensor:
        """Logits [N, K] -> the same."""
        return features
