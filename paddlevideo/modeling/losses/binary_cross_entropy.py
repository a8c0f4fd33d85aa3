"""Binary cross entropy of every class by itself, for any number of labels per clip."""

from __future__ import annotations

import paddle
from paddle.nn import functional as F

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.losses.base import Loss
from paddlevideo.ranges import Positive, ProbabilityBelowOne
from paddlevideo.registry import LOSSES


@LOSSES.register("BCELossWithLogits")
class BCELoss(Loss):
    """Mean over batch and classes of ``-(w_k y_k log s_k + (1 - y_k) log(1 - s_k))`` with ``s = sigmoid(logits)``.

    Args:
        pos_weight: ``w``, of a positive label: one number, or one per class; number of clips without a class over clips
            with it makes both sides count alike.
        ls_eps: label smoothing, 0 to 1: ``y <- (1 - eps) y + eps / K``.

    *Source*: MMAction2 ``BCELossWithLogits``; its label smoothing of several labels.
    """

    multi_label = True

    def __init__(self, pos_weight: Positive | list[Positive] | None = None, ls_eps: ProbabilityBelowOne = 0.0):
        super().__init__()
        self.ls_eps = ls_eps
        weights = pos_weight if isinstance(pos_weight, (list, tuple)) else [pos_weight or 1.0]
        self.pos_weight = [float(weight) for weight in weights]

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            logits: [N, K].
            labels: float [N, K], 0 to 1; or int [N], one class per clip.

        Raises:
            ConfigError: ``pos_weight`` has another number of classes.
        """
        classes = logits.shape[1]
        if len(self.pos_weight) not in (1, classes):
            problem = f"expected one number, or one for each of {classes} classes, got {len(self.pos_weight)}"
            raise ConfigError("MODEL", [f"MODEL.head.loss_cfg.pos_weight: {problem}"])
        with paddle.amp.auto_cast(enable=False):
            target = labels.astype("float32") if labels.ndim == 2 else F.one_hot(labels.astype("int64"), classes)
            if self.ls_eps:
                target = (1.0 - self.ls_eps) * target + self.ls_eps / classes
            logits = logits.astype("float32")
            weight = paddle.to_tensor(self.pos_weight, dtype="float32")  # [1] or [K]
            positive, negative = F.softplus(-logits), F.softplus(logits)  # -log s, -log(1 - s)
            return (weight * target * positive + (1.0 - target) * negative).mean()
