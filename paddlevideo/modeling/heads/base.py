"""What classification heads share."""

from __future__ import annotations

from typing import Any

import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import ConfigError
from paddlevideo.registry import LOSSES


class Head(nn.Layer):
    """What turns a backbone's output into logits, and logits into a loss.

    ``num_classes`` and ``in_channels`` are None where the backbone's channels are the classes.

    Args:
        ls_eps: label smoothing, in training only.
        loss_cfg: ``{name: Class, arguments}``; cross entropy by default.  ``BCELoss`` makes it a head for several
            labels per clip.
    """

    num_classes: int | None = None
    in_channels: int | None = None

    def __init__(self, ls_eps: float, loss_cfg: dict[str, Any] | None):
        super().__init__()
        spec = dict(loss_cfg or {"name": "CrossEntropyLoss"})
        if ls_eps:
            if "ls_eps" in spec:
                raise ConfigError("MODEL.head", ["MODEL.head.ls_eps: is given in loss_cfg too"])
            spec["ls_eps"] = ls_eps
        self.criterion = LOSSES.build(spec, "MODEL.head.loss_cfg")
        # whether classes do not exclude one another: what the loss is made for decides on the scores
        self.multi_label: bool = getattr(self.criterion, "multi_label", False)

    def scores(self, logits: paddle.Tensor) -> paddle.Tensor:
        """Probabilities of logits [..., K]: of one class out of all, or of every class by itself."""
        return F.sigmoid(logits) if self.multi_label else F.softmax(logits)

    def loss(self, logits: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of logits [N, K] with labels int [N] or float [N, K]."""
        return self.criterion(logits, labels)


class ClassificationHead(Head):
    """A linear classifier ``fc``.

    Args:
        num_classes: K.
        in_channels: length of a feature.
        std: deviation of ``fc``'s start weights; its bias starts at 0.
        ls_eps, loss_cfg: see ``Head``.
    """

    def __init__(self, num_classes: int, in_channels: int, std: float, ls_eps: float, loss_cfg: dict[str, Any] | None):
        super().__init__(ls_eps, loss_cfg)
        self.num_classes, self.in_channels = num_classes, in_channels
        self.fc = nn.Linear(in_channels, num_classes, weight_attr=self._initializer(std), bias_attr=init.Constant(0.0))

    @staticmethod
    def _initializer(std: float) -> init.Initializer:
        return init.Normal(std=std)

    def convert(self, arrays: dict[str, Any], origin: str) -> dict[str, Any]:
        """Weights of another origin under this head's names; a torch linear is transposed.

        Args:
            arrays: keys without the head's prefix.
            origin: "mmaction2", or "timesformer", whose head is the linear layer itself.
        """
        theirs = "" if origin == "timesformer" else "fc_cls."
        names = {f"{theirs}{part}": f"fc.{part}" for part in ("weight", "bias")}
        return {names.get(key, key): value.T if value.ndim == 2 else value for key, value in arrays.items()}
