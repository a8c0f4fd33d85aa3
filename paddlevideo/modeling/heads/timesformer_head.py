"""TimeSformer's head, and PP-TimeSformer's."""

from __future__ import annotations

import paddle
from paddle.nn import initializer as init

from paddlevideo.modeling.heads.base import ClassificationHead
from paddlevideo.modeling.layers import hint
from paddlevideo.ranges import LossSection, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS


@HEADS.register
class TimeSformerHead(ClassificationHead):
    """One linear layer on the class token.

    Args:
        num_classes: K.
        in_channels: dimensions of the token.
        std: deviation of the truncated-normal start weights.
        ls_eps: label smoothing.
        loss_cfg: ``{name: Class, arguments}``.

    *Source*: PaddleVideo and MMAction2 ``TimeSformerHead``.
    """

    bias_exempt = False  # whether weight decay leaves out the bias

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt,
        std: NonNegative = 0.02,
        ls_eps: ProbabilityBelowOne = 0.0,
        loss_cfg: LossSection | None = None,
    ):
        super().__init__(num_classes, in_channels, std, ls_eps, loss_cfg)
        if self.bias_exempt:
            hint(self.fc.bias, decay=0.0)

    @staticmethod
    def _initializer(std: float) -> init.Initializer:
        return init.TruncatedNormal(std=std)

    def forward(self, features: paddle.Tensor, num_frames: int = 1) -> paddle.Tensor:
        """[N, D] -> logits [N, K]."""
        return self.fc(features)


@HEADS.register
class ppTimeSformerHead(TimeSformerHead):
    """``TimeSformerHead`` whose bias has no weight decay.  *Source*: PaddleVideo ``ppTimeSformerHead``."""

    bias_exempt = True
