"""Cross entropy, with hard or soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import paddle
from paddle.nn import functional as F

from paddlevideo.modeling.losses.base import Loss, given_weights
from paddlevideo.ranges import BalancePower, NonNegative, ProbabilityBelowOne
from paddlevideo.registry import LOSSES


@LOSSES.register
class CrossEntropyLoss(Loss):
    """Mean over the batch of ``-sum_k w_k y_k log softmax(logits)_k``.

    Args:
        ls_eps: label smoothing, 0 to 1: ``y <- (1 - eps) y + eps / K``.  Soft labels (Mixup and its kin) are smoothed
            alike, which is what smoothing before mixing gives.
        class_weights: ``w``, K numbers; ``auto`` and ``{power: P}``: from how often each class occurs in DATASET.train;
            or the file that ``paddlevideo prepare class-weights --out`` writes.  The mean is over the clips, not over
            the sum of their weights.

    *Source*: PaddleVideo ``BaseHead.loss``; there the mixed loss is ``lam CE(a) + (1 - lam) CE(b)``, the same number.
    """

    def __init__(
        self,
        ls_eps: ProbabilityBelowOne = 0.0,
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__()
        self.ls_eps, self.class_weights = ls_eps, given_weights(class_weights)

    def per_class(self) -> Mapping[str, Sequence[float]]:
        return {} if self.class_weights is None else {"class_weights": self.class_weights}

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            logits: [N, K].
            labels: int [N] or [N, 1], or float [N, K] that sums to 1 in every row.

        Raises:
            ConfigError: ``class_weights`` has another number of classes.
        """
        if labels.ndim == 2 and labels.shape[1] == 1 and logits.shape[1] != 1:
            labels = labels.squeeze(1)
        classes = logits.shape[1]
        self.check_classes(classes)
        with paddle.amp.auto_cast(enable=False):
            target = labels.astype("float32") if labels.ndim == 2 else F.one_hot(labels.astype("int64"), classes)
            if self.ls_eps:
                target = (1.0 - self.ls_eps) * target + self.ls_eps / classes
            if self.class_weights is not None:
                target = target * paddle.to_tensor(self.class_weights, dtype="float32")
            logits = logits.astype("float32")
            # not F.cross_entropy: its CPU kernel cuts differences of logits at 64, so a bad network looks better
            log_probabilities = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
            return -(target * log_probabilities).sum(1).mean()
