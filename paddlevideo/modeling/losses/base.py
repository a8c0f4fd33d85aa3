"""What every loss has: of a network's logits with labels, and of one network's outputs with another's."""

from __future__ import annotations

from abc import ABC, abstractmethod

import paddle
from paddle import nn


class Loss(nn.Layer, ABC):
    """Logits and labels to a scalar; ``MODEL.head.loss_cfg``.

    Attributes:
        multi_label: the classes do not exclude one another: scores are sigmoid; False: softmax.
    """

    multi_label: bool = False

    @abstractmethod
    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar float32, the mean over the batch.

        Args:
            logits: [N, K].
            labels: int64 [N], or float32 [N, K], 0 to 1: soft or multi-hot.
        """


class PairLoss(nn.Layer, ABC):
    """One network's outputs against another's, or against the labels; ``MODEL.loss`` of ``RecognizerDistillation``.

    Args:
        loss_weight: factor of the loss.

    Attributes:
        takes: what both sides are: "logits" [N, K], or "features" [N, D], the backbone's output as a vector per clip.
        takes_labels: whether the labels may be the target (``of_labels``).
    """

    takes: str = "logits"
    takes_labels: bool = False

    def __init__(self, loss_weight: float = 1.0):
        super().__init__()
        self.loss_weight = loss_weight

    @abstractmethod
    def distance(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """The scalar loss before its weight, of ``x``, which learns, and ``target``."""

    def connect(self, channels: int, target_channels: int) -> None:
        """Called once, before training, with the number of values that a row of each side has.

        Raises:
            ValueError: the loss cannot compare them.
        """
        return

    def of_labels(self, x: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of logits [N, K] with labels, int64 [N] or float32 [N, K]; where ``takes_labels``."""
        raise NotImplementedError

    def forward(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """``loss_weight`` times ``distance``, in float32 under mixed precision too."""
        with paddle.amp.auto_cast(enable=False):
            return self.loss_weight * self.distance(x, target)
