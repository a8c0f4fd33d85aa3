"""Cross entropy, with hard or soft labels."""

from __future__ import annotations

import paddle
from paddle.nn import functional as F

from paddlevideo.modeling.losses.base import Loss
from paddlevideo.ranges import ProbabilityBelowOne
from paddlevideo.registry import LOSSES


@LOSSES.register
class CrossEntropyLoss(Loss):
    """Mean over the batch of ``-sum_k y_k log softmax(logits)_k``.

    Args:
        ls_eps: label smoothing, 0 to 1: ``y <- (1 - eps) y + eps / K``.  Soft labels (Mixup and its kin) are smoothed
            alike, which is what smoothing before mixing gives.

    *Source*: PaddleVideo ``BaseHead.loss``; there the mixed loss is ``lam CE(a) + (1 - lam) CE(b)``, the same number.
    """

    def __init__(self, ls_eps: ProbabilityBelowOne = 0.0):
        super().__init__()
        self.ls_eps = ls_eps

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            logits: [N, K].
            labels: int [N] or [N, 1], or float [N, K] that sums to 1 in every row.
        """
        if labels.ndim == 2 and labels.shape[1] == 1 and logits.shape[1] != 1:
            labels = labels.squeeze(1)
        classes = logits.shape[1]
        with paddle.amp.auto_cast(enable=False):
            target = labels.astype("float32") if labels.ndim == 2 else F.one_hot(labels.astype("int64"), classes)
            if self.ls_eps:
                target = (1.0 - self.ls_eps) * target + self.ls_eps / classes
            logits = logits.astype("float32")
            # not F.cross_entropy: its CPU kernel cuts differences of logits at 64, so a bad network looks better
            log_probabilities = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
            return -(target * log_probabilities).sum(1).mean()
