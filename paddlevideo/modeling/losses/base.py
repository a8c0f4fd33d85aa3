"""What every loss has: of a network's logits with labels, and of one network's outputs with another's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.errors import ConfigError

_LEAST_ERROR = 1e-12  # of a probability; at 0 the gradient of its power would be infinite


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

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """The arguments with one number for each class, by their names; an empty mapping where there are none."""
        return {}

    def check_classes(self, num_classes: int) -> None:
        """
        Raises:
            ConfigError: an argument of ``per_class`` has another length than ``num_classes``.
        """
        wrong = [
            f"MODEL.head.loss_cfg.{key}: expected one number for each of {num_classes} classes, got {len(values)}"
            for key, values in self.per_class().items()
            if len(values) != num_classes
        ]
        if wrong:
            raise ConfigError("MODEL", wrong)


def given_weights(class_weights: Sequence[float] | str | Mapping[str, float] | None) -> list[float] | None:
    """``class_weights`` as numbers; None where there are none.

    Raises:
        ValueError: they are not numbers yet: ``auto``, ``{power: P}`` and files are replaced when training begins
            (``build.weighted``).
    """
    if class_weights is None:
        return None
    if isinstance(class_weights, (str, Mapping)):
        raise ValueError(
            f"class_weights: {class_weights!r} is replaced by numbers when paddlevideo train begins; give one number "
            "for each class"
        )
    return [float(weight) for weight in class_weights]


def focal(entropy: paddle.Tensor, gamma: float) -> paddle.Tensor:
    """``(1 - p)^gamma`` times the entropy ``-log p``, element by element; ``gamma`` 0 gives the entropy.

    *Source*: Lin et al., 2017, "Focal Loss for Dense Object Detection", equation 4.
    """
    if gamma == 0.0:
        return entropy
    return paddle.clip(-paddle.expm1(-entropy), min=_LEAST_ERROR) ** gamma * entropy


class SigmoidLoss(Loss):
    """The mean over batch and classes of one term for each clip and class.  A subclass has ``terms``.

    Args:
        ls_eps: label smoothing, 0 to 1: ``y <- (1 - eps) y + eps / K``.
        class_weights: a factor for the terms of each class, K numbers; ``auto`` and ``{power: P}``: from how often
            each class occurs in DATASET.train; or the file that ``paddlevideo prepare class-weights --out`` writes.
    """

    multi_label = True

    def __init__(self, ls_eps: float, class_weights: Sequence[float] | str | Mapping[str, float] | None):
        super().__init__()
        self.ls_eps, self.class_weights = ls_eps, given_weights(class_weights)

    @abstractmethod
    def terms(self, logits: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """float32 [N, K] of logits float32 [N, K] and targets float32 [N, K], 0 to 1."""

    def per_class(self) -> Mapping[str, Sequence[float]]:
        return {} if self.class_weights is None else {"class_weights": self.class_weights}

    def forward(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss.

        Args:
            logits: [N, K].
            labels: float [N, K], 0 to 1; or int [N], one class per clip.

        Raises:
            ConfigError: an argument has another number of classes.
        """
        classes = logits.shape[1]
        self.check_classes(classes)
        with paddle.amp.auto_cast(enable=False):
            target = labels.astype("float32") if labels.ndim == 2 else F.one_hot(labels.astype("int64"), classes)
            if self.ls_eps:
                target = (1.0 - self.ls_eps) * target + self.ls_eps / classes
            terms = self.terms(logits.astype("float32"), target)  # [N, K]
            if self.class_weights is not None:
                terms = terms * paddle.to_tensor(self.class_weights, dtype="float32")
            return terms.mean()


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

    def per_class(self) -> Mapping[str, Sequence[float]]:
        """As of ``Loss``; of the loss with the labels."""
        return {}

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
