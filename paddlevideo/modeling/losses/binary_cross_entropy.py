"""Binary cross entropy of every class by itself, for any number of labels per clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import paddle
from paddle.nn import functional as F

from paddlevideo.modeling.losses.base import SigmoidLoss
from paddlevideo.ranges import BalancePower, NonNegative, Positive, ProbabilityBelowOne
from paddlevideo.registry import LOSSES


@LOSSES.register("BCELossWithLogits")
class BCELoss(SigmoidLoss):
    """Mean over batch and classes of ``-(w_k y_k log s_k + (1 - y_k) log(1 - s_k))`` with ``s = sigmoid(logits)``.

    Args:
        pos_weight: ``w``, of a positive label: one number, or one per class; number of clips without a class over clips
            with it makes both sides count alike.
        ls_eps, class_weights: see ``SigmoidLoss``.

    *Source*: MMAction2 ``BCELossWithLogits``; its label smoothing of several labels.
    """

    def __init__(
        self,
        pos_weight: Positive | list[Positive] | None = None,
        ls_eps: ProbabilityBelowOne = 0.0,
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__(ls_eps, class_weights)
        weights = pos_weight if isinstance(pos_weight, (list, tuple)) else [pos_weight or 1.0]
        self.pos_weight = [float(weight) for weight in weights]

    def per_class(self) -> Mapping[str, Sequence[float]]:
        own = {"pos_weight": self.pos_weight} if len(self.pos_weight) > 1 else {}
        return {**super().per_class(), **own}

    def terms(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """[N, K]."""
        weight = paddle.to_tensor(self.pos_weight, dtype="float32")  # [1] or [K]
        positive, negative = F.softplus(-logits), F.softplus(logits)  # -log s, -log(1 - s)
        return weight * target * positive + (1.0 - target) * negative
