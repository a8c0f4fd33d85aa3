"""Losses of several labels per clip that lower the weight of terms that are right already."""

from __future__ import annotations

import paddle
from paddle.nn import functional as F

from paddlevideo.modeling.losses.base import SigmoidLoss, focal
from paddlevideo.ranges import BalancePower, NonNegative, Probability, ProbabilityBelowOne
from paddlevideo.registry import LOSSES

_LEAST = 1e-8  # of a shifted probability, in a logarithm


@LOSSES.register
class FocalLoss(SigmoidLoss):
    """``-(a y (1 - s)^g log s + (1 - a) (1 - y) s^g log(1 - s))`` with ``s = sigmoid(logits)``; mean over all terms.

    Args:
        gamma: g; 0 leaves the cross entropy, with its sides weighted.
        alpha: a, the weight of a positive label, ``1 - a`` that of a negative one; None: both weigh 1.
        ls_eps, class_weights: see ``SigmoidLoss``.

    *Source*: Lin et al., 2017, "Focal Loss for Dense Object Detection", equation 5; there a sum over anchors, divided
    by the number of positive ones.
    """

    def __init__(
        self,
        gamma: NonNegative = 2.0,
        alpha: Probability | None = 0.25,
        ls_eps: ProbabilityBelowOne = 0.0,
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__(ls_eps, class_weights)
        self.gamma = float(gamma)
        self.sides = (1.0, 1.0) if alpha is None else (float(alpha), 1.0 - alpha)

    def terms(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """[N, K]."""
        positive, negative = focal(F.softplus(-logits), self.gamma), focal(F.softplus(logits), self.gamma)
        return self.sides[0] * target * positive + self.sides[1] * (1.0 - target) * negative


@LOSSES.register
class AsymmetricLoss(SigmoidLoss):
    """``-(y (1 - s)^g+ log s + (1 - y) m^g- log(1 - m))`` with ``s = sigmoid(logits)`` and ``m = max(s - clip, 0)``.

    A clip has few of many classes: most terms are negative, and the shift leaves out the easiest of them.

    Args:
        gamma_neg: g-, of terms without the class.
        gamma_pos: g+, of terms with it.
        clip: the shift of the probability of negative terms, 0 to below 1.
        ls_eps, class_weights: see ``SigmoidLoss``.

    *Source*: Ridnik et al., 2021, "Asymmetric Loss For Multi-Label Classification", equations 6 and 7, and its
    settings; mean over batch and classes, in the authors' code a sum, where the factors get no gradient either.
    """

    def __init__(
        self,
        gamma_neg: NonNegative = 4.0,
        gamma_pos: NonNegative = 0.0,
        clip: ProbabilityBelowOne = 0.05,
        ls_eps: ProbabilityBelowOne = 0.0,
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__(ls_eps, class_weights)
        self.gamma_neg, self.gamma_pos, self.clip = float(gamma_neg), float(gamma_pos), float(clip)

    def terms(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """[N, K]."""
        positive = focal(F.softplus(-logits), self.gamma_pos)
        negative = F.softplus(logits)  # -log(1 - s)
        if self.clip:
            negative = -paddle.log(paddle.clip(F.sigmoid(-logits) + self.clip, min=_LEAST, max=1.0))
        return target * positive + (1.0 - target) * focal(negative, self.gamma_neg)
