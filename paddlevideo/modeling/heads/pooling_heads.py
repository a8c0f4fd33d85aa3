"""The heads of 3-D networks: average over everything, dropout, classifier."""

from __future__ import annotations

import math

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.errors import UserError
from paddlevideo.modeling.heads.base import ClassificationHead
from paddlevideo.ranges import LossSection, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS

_STRIDE = 32  # pixels of a clip to one place of the last stage's features; and its channels to the stem's


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
    """Averages of two pathways side by side, the slow one's channels first, dropout, classifier.

    Both references have a head of this name, chosen here by the arguments.  ``in_channels``: MMAction2's.  It averages
    over everything, and its classifier is ``fc``.

    ``width_per_group``, ``alpha``, ``beta``, ``num_frames`` and ``crop_size``: PaddleVideo's.  It averages over windows
    of the size of a training clip (num_frames x crop_size x crop_size) that move by one place, and its classifier is
    ``projection``.  A clip of that size has one place; a larger one has several, whose probabilities are averaged.  So
    that ``forward`` gives logits [N, K] for any clip, those of several places are the logits of their mean
    probabilities.

    Args:
        num_classes: K.
        in_channels: channels of both pathways together.
        drop_ratio: dropout's probability, 0 to 1; None: 0.8, with PaddleVideo's arguments 0.5.
        std: deviation of the classifier's start weights.
        ls_eps: label smoothing.
        loss_cfg: ``{name: Class, arguments}``.
        width_per_group, alpha, beta: as of the backbone.
        num_frames, crop_size: frames and side, in pixels, of the clips that the windows are for.
        dropout_rate: ``drop_ratio`` under PaddleVideo's name.
        multigrid_short: average over everything: for clips of several sizes (``--multigrid``).

    *Source*: MMAction2 and PaddleVideo ``SlowFastHead``.  PaddleVideo's gives probabilities in evaluation, and the loss
    that its validation logs takes them for logits; here the loss is the cross entropy in both modes.
    """

    num_maps = 2
    must_equal = {
        "width_per_group": "MODEL.backbone.width_per_group",
        "alpha": "MODEL.backbone.alpha",
        "beta": "MODEL.backbone.beta",
    }

    def __init__(
        self,
        num_classes: NumClasses,
        in_channels: PositiveInt | None = None,
        drop_ratio: ProbabilityBelowOne | None = None,
        std: NonNegative = 0.01,
        ls_eps: ProbabilityBelowOne = 0.0,
        loss_cfg: LossSection | None = None,
        width_per_group: PositiveInt | None = None,
        alpha: PositiveInt | None = None,
        beta: PositiveInt | None = None,
        num_frames: PositiveInt | None = None,
        crop_size: PositiveInt | None = None,
        dropout_rate: ProbabilityBelowOne | None = None,
        multigrid_short: bool = False,
    ):
        sizes = {"width_per_group": width_per_group, "alpha": alpha, "beta": beta}
        sizes |= {"num_frames": num_frames, "crop_size": crop_size}
        lacking = [name for name, value in sizes.items() if value is None]
        if (in_channels is None) == bool(lacking) or (in_channels is not None and len(lacking) < len(sizes)):
            raise ValueError(f"give in_channels (MMAction2's head), or all of {', '.join(sizes)} (PaddleVideo's)")
        if drop_ratio is not None and dropout_rate is not None:
            raise ValueError("drop_ratio and dropout_rate are two names of one probability; give one of them")
        of_paddlevideo = in_channels is None
        channels = _channels(width_per_group, beta) if of_paddlevideo else in_channels
        given = dropout_rate if drop_ratio is None else drop_ratio
        default = 0.5 if of_paddlevideo else 0.8
        super().__init__(num_classes, channels, default if given is None else given, std, ls_eps, loss_cfg)
        self.windows: list[tuple[int, int, int]] | None = None  # (time, height, width) of each pathway
        self._of_paddlevideo = of_paddlevideo
        if of_paddlevideo:
            self.avg_type = "prob"
            self.projection = self.fc
            del self.fc
            side = crop_size // _STRIDE
            if not multigrid_short:
                self.windows = [(num_frames // alpha, side, side), (num_frames, side, side)]

    @property
    def classifier(self) -> nn.Layer:
        """``fc``, or PaddleVideo's ``projection``."""
        return self.projection if self._of_paddlevideo else self.fc

    def forward(self, features: tuple[paddle.Tensor, paddle.Tensor], num_frames: int = 1) -> paddle.Tensor:
        """Slow [N, C, T, h, w] and fast [N, C', T', h, w] -> logits [N, K].

        Raises:
            UserError: the clip is smaller than ``num_frames`` or ``crop_size``.
        """
        if self.windows is None:
            pooled = paddle.concat([pathway.mean([2, 3, 4]) for pathway in features], axis=1)  # [N, C + C']
            return self.classifier(self.dropout(pooled))
        pooled = []
        for i in range(2):
            _check_window(features[i], self.windows[i])
            pooled.append(F.avg_pool3d(features[i], self.windows[i], stride=1).flatten(2))  # [N, C, places]
        places = paddle.concat(pooled, axis=1).transpose([0, 2, 1])  # [N, places, C + C']
        logits = self.classifier(self.dropout(places))  # [N, places, K]
        if logits.shape[1] == 1:
            return logits.squeeze(1)
        return self._of_mean_probabilities(logits)

    def _of_mean_probabilities(self, logits: paddle.Tensor) -> paddle.Tensor:
        """[N, places, K] -> [N, K] with ``scores(result) == scores(logits).mean(1)``."""
        if self.multi_label:
            yes, no = F.log_sigmoid(logits), F.log_sigmoid(-logits)
            return paddle.logsumexp(yes, axis=1) - paddle.logsumexp(no, axis=1)
        return paddle.logsumexp(F.log_softmax(logits, axis=-1), axis=1) - math.log(logits.shape[1])


def _channels(width_per_group: int, beta: int) -> int:
    """Of the last stage of both pathways of ``ResNetSlowFast``."""
    slow = width_per_group * _STRIDE
    return slow + slow // beta


@paddle.jit.not_to_static
def _check_window(pathway: paddle.Tensor, window: tuple[int, int, int]) -> None:
    """Raises UserError if the features [N, C, T, h, w] of a pathway hold no window."""
    shape = list(pathway.shape[2:])
    if any(0 <= size < length for size, length in zip(shape, window, strict=True)):
        raise UserError(
            f"MODEL.head: averages over windows of {list(window)} (frames, height, width of the features), the clip "
            f"gives {shape}; set num_frames and crop_size to what PIPELINE gives, or multigrid_short: True"
        )
