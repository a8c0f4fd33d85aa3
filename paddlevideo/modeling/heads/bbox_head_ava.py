"""The classifier of regions, and its loss."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.modeling.layers import max_over, max_over_positions
from paddlevideo.modeling.losses.base import focal, given_weights
from paddlevideo.ranges import BalancePower, NonNegative, NumClasses, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS

log = logging.getLogger("paddlevideo")

_SURE = 0.5  # above this score one of several classes counts as predicted, in the figures of training


@HEADS.register
class BBoxHeadAVA(DetectionPart, nn.Layer):
    """Pools region features and classifies them; a region may do several things at once.

    Class 0 is reserved: it has a score, which nothing trains.

    Args:
        in_channels: C.
        num_classes: K, with the reserved class 0.
        multilabel: every class for itself (sigmoid), or one out of all (softmax).
        dropout_ratio: dropout's probability, 0 to 1.
        dropout_before_pool: whether dropout comes before the pools.
        temporal_pool_type, spatial_pool_type: "avg" or "max".
        focal_alpha, focal_gamma: the loss is ``alpha (1 - p)^gamma`` times the cross entropy, where p is the
            probability of what is true; 1 and 0 leave the cross entropy.
        topk: numbers k for the figures recall@topk and prec@topk, all below ``num_classes``.
        class_weights: K factors of the classes' terms of the loss, by class id; that of class 0 is not used.  ``auto``,
            ``{power: P}`` or a file as of ``CrossEntropyLoss``; of boxes their mean over the actions is 1.

    *Source*: MMAction2 0.x and PaddleVideo ``BBoxHeadAVA``.  Without any labelled region the loss is 0, there NaN.
    """

    def __init__(
        self,
        in_channels: PositiveInt,
        num_classes: NumClasses = 81,
        multilabel: bool = True,
        dropout_ratio: ProbabilityBelowOne = 0.5,
        dropout_before_pool: bool = True,
        temporal_pool_type: Literal["avg", "max"] = "avg",
        spatial_pool_type: Literal["avg", "max"] = "max",
        focal_alpha: float = 1.0,
        focal_gamma: NonNegative = 0.0,
        topk: PositiveInt | list[PositiveInt] = (3, 5),
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__()
        self.topk = (topk,) if isinstance(topk, int) else tuple(topk)
        class_weights = given_weights(class_weights)
        self._check(num_classes, class_weights)
        self.in_channels, self.num_classes, self.multilabel = in_channels, num_classes, multilabel
        self.dropout, self.dropout_before_pool = nn.Dropout(dropout_ratio), dropout_before_pool
        self.temporal_pool_type, self.spatial_pool_type = temporal_pool_type, spatial_pool_type
        self.focal_alpha, self.focal_gamma = float(focal_alpha), float(focal_gamma)
        self.class_weights = None if class_weights is None else class_weights[1:]
        weight = init.Normal(std=0.01)
        self.fc_cls = nn.Linear(in_channels, num_classes, weight_attr=weight, bias_attr=init.Constant(0.0))
        self._warned = False

    def forward(self, regions: paddle.Tensor) -> paddle.Tensor:
        """Region features [R, C, T, h, w] -> logits [R, K]."""
        if self.dropout_before_pool:
            regions = self.dropout(regions)
        pooled = regions.mean(2) if self.temporal_pool_type == "avg" else max_over(regions, 2)  # [R, C, h, w]
        pooled = pooled.mean([2, 3]) if self.spatial_pool_type == "avg" else max_over_positions(pooled)  # [R, C]
        if not self.dropout_before_pool:
            pooled = self.dropout(pooled)
        return self.fc_cls(pooled)

    def scores(self, logits: paddle.Tensor) -> paddle.Tensor:
        """Probabilities float32 [R, K]; column i is class i.

        Without ``multilabel`` the reserved column 0 is 0: the loss leaves it out, so its logit means nothing (MMAction2
        lets it take a part of the sum).
        """
        logits = logits.astype("float32")
        if self.multilabel:
            return F.sigmoid(logits)
        return paddle.concat([paddle.zeros_like(logits[:, :1]), F.softmax(logits[:, 1:])], axis=1)

    def loss(self, logits: paddle.Tensor, labels: np.ndarray | paddle.Tensor) -> dict[str, paddle.Tensor]:
        """The scalar "loss", and figures of the regions that have a label.

        Args:
            logits: [R, K].
            labels: float [R, K], 0 or 1; rows of zeros and column 0 take no part.  An array on the host: the number of
                rows that do is known without waiting for the device.

        Returns:
            "loss"; "recall@thr=0.5" and "prec@thr=0.5" of the classes with a probability above 0.5, without
            ``multilabel`` of the one with the highest; "recall@top3" and so on of the k best, each the mean over
            regions, 0 to 1; "num_positive", the regions that have a label.
        """
        with paddle.amp.auto_cast(enable=False):
            logits = logits.astype("float32")[:, 1:]
            rows = np.asarray(labels).astype("float32")[:, 1:]
            kept = np.flatnonzero(rows.sum(1) > 0)
            if not len(kept):
                return self._of_nothing(logits)
            logits, labels = paddle.gather(logits, paddle.to_tensor(kept)), paddle.to_tensor(rows[kept])
            loss = self._terms(logits, labels).mean()
            with paddle.no_grad():
                figures = self._figures(logits, labels)
        return {"loss": loss, **figures, "num_positive": paddle.to_tensor(float(len(kept)))}

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """MMAction2's weights, whose linear layer is transposed; keys without ``roi_head.bbox_head.``."""
        return {key: value.T if value.ndim == 2 else value for key, value in arrays.items()}

    def _terms(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """What is averaged: [R, K - 1] of several labels, [R] of one label."""
        weights = 1.0 if self.class_weights is None else paddle.to_tensor(self.class_weights, dtype="float32")
        if self.multilabel:
            entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
            return self._focal(entropy) * weights
        shares = labels / labels.sum(1, keepdim=True)
        log_probabilities = logits - paddle.logsumexp(logits, axis=1, keepdim=True)
        return self._focal(-(shares * weights * log_probabilities).sum(1))

    def _focal(self, entropy: paddle.Tensor) -> paddle.Tensor:
        return self.focal_alpha * focal(entropy, self.focal_gamma)

    def _figures(self, logits: paddle.Tensor, labels: paddle.Tensor) -> dict[str, paddle.Tensor]:
        probabilities = F.sigmoid(logits) if self.multilabel else F.softmax(logits)
        count = labels.sum(1)
        if self.multilabel:
            sure = (probabilities > _SURE).astype("float32")
        else:  # one class is predicted, sure of it or not
            sure = F.one_hot(probabilities.argmax(1), probabilities.shape[1])
        hits = (sure * labels).sum(1)
        figures = {
            f"recall@thr={_SURE}": (hits / count).mean(),
            f"prec@thr={_SURE}": (hits / (sure.sum(1) + 1e-6)).mean(),
        }
        for k in self.topk:
            best = paddle.topk(probabilities, k, axis=1)[1]
            hits = paddle.take_along_axis(labels, best, 1).sum(1)
            figures[f"recall@top{k}"] = (hits / count).mean()
            figures[f"prec@top{k}"] = (hits / (k + 1e-6)).mean()
        return figures

    def _of_nothing(self, logits: paddle.Tensor) -> dict[str, paddle.Tensor]:
        """Zeros; the loss hangs on the network still, so that every parameter gets a gradient on every rank."""
        if not self._warned:
            log.warning(
                "no region of a batch has a label: its loss is 0 (logged once). Usual causes: class ids from 0 instead "
                "of 1, or crops without anybody; a batch now and then does no harm"
            )
            self._warned = True
        names = ["recall@thr=0.5", "prec@thr=0.5"]
        names += [f"{figure}@top{k}" for k in self.topk for figure in ("recall", "prec")]
        return {"loss": (logits * 0.0).sum(), **{name: paddle.zeros([]) for name in (*names, "num_positive")}}

    def _check(self, num_classes: int, class_weights: list[float] | None) -> None:
        where = "MODEL.head.bbox_head"
        problems = []
        if not self.topk or not all(1 <= k < num_classes for k in self.topk):
            problems.append(
                f"{where}.topk: expected numbers from 1 to {num_classes - 1} (below num_classes), got {list(self.topk)}"
            )
        if class_weights is not None and len(class_weights) != num_classes:
            problems.append(
                f"{where}.class_weights: expected {num_classes} (one per class id, with class 0), "
                f"got {len(class_weights)}"
            )
        if problems:
            raise ConfigError("MODEL", problems)
