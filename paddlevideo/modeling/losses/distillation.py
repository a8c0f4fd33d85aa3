"""Losses of pairs of models: one network and another, or one network and the labels.

``RecognizerDistillation`` makes one loss per pair and calls it with what ``takes`` names: "logits" [N, K] of both, or
"features", the backbone's output as one vector per clip [N, D].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.modeling.losses.base import PairLoss
from paddlevideo.modeling.losses.binary_cross_entropy import BCELoss
from paddlevideo.modeling.losses.cross_entropy import CrossEntropyLoss
from paddlevideo.ranges import BalancePower, NonNegative, Positive, ProbabilityBelowOne
from paddlevideo.registry import LOSSES


@LOSSES.register
class DistillationCELoss(PairLoss):
    """Cross entropy with the labels, hard or soft; or, in a pair with a model, with that model's probabilities.

    Args:
        loss_weight: factor of the loss.
        ls_eps: label smoothing of the labels, 0 to 1; a model's probabilities are taken as they are.
        act: "softmax"; "sigmoid" for several labels per clip: the binary cross entropy, mean over clips and classes.
        class_weights: of the loss with the labels, as of ``CrossEntropyLoss``; not possible in a pair with a model.

    *Source*: PaddleVideo ``DistillationCELoss``, which takes labels only.
    """

    takes_labels = True

    def __init__(
        self,
        loss_weight: Positive = 1.0,
        ls_eps: ProbabilityBelowOne = 0.0,
        act: Literal["softmax", "sigmoid"] = "softmax",
        class_weights: list[NonNegative] | str | BalancePower | None = None,
    ):
        super().__init__(loss_weight)
        kind = CrossEntropyLoss if act == "softmax" else BCELoss
        self.with_label, self.with_model, self.act = kind(ls_eps=ls_eps, class_weights=class_weights), kind(), act

    def per_class(self) -> Mapping[str, Sequence[float]]:
        return self.with_label.per_class()

    def distance(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Scalar from logits [N, K] and a model's logits [N, K], which get no gradient."""
        act = F.softmax if self.act == "softmax" else F.sigmoid
        return self.with_model(x, act(target.detach().astype("float32")))

    def of_labels(self, x: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
        """Scalar loss of logits [N, K] with labels, int [N] or float [N, K]."""
        return self.loss_weight * self.with_label(x, labels)


@LOSSES.register
class DistillationKLLoss(PairLoss):
    """Soft labels at a temperature: ``T^2`` times the mean over clips of ``KL(softmax(target / T) | softmax(x / T))``.

    The target gets no gradient.  ``T^2`` keeps the gradient's size about the same at every temperature.

    Args:
        temperature: T, above 0; higher gives the teacher's scores of wrong classes more weight.
        loss_weight: factor of the loss.
        act: "softmax"; "sigmoid" for several labels per clip: the divergence of each class, has it or has it not, mean
            over clips and classes.

    *Source*: Hinton et al., 2015, "Distilling the Knowledge in a Neural Network", section 2.
    """

    def __init__(
        self,
        temperature: Positive = 1.0,
        loss_weight: Positive = 1.0,
        act: Literal["softmax", "sigmoid"] = "softmax",
    ):
        super().__init__(loss_weight)
        self.temperature, self.act = temperature, act

    def distance(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Scalar from logits [N, K] and [N, K]."""
        if self.act == "sigmoid":
            return self.temperature**2 * _binary_divergence(target.detach() / self.temperature, x / self.temperature)
        wanted = _log_softmax(target.detach(), self.temperature)
        return self.temperature**2 * _divergence(wanted, _log_softmax(x, self.temperature))


@LOSSES.register
class DistillationDMLLoss(PairLoss):
    """Mutual learning: the mean over clips of ``(KL(p | q) + KL(q | p)) / 2``; both sides get a gradient.

    Args:
        act: "softmax" over the classes; "sigmoid" for classes that do not exclude each other, whose terms are summed.
        eps: added to both probabilities in the quotient.
        loss_weight: factor of the loss.

    *Source*: PaddleVideo ``DistillationDMLLoss``: it multiplies by the number of classes and then takes the mean over
    clips and classes, which is this.  Deep Mutual Learning (Zhang et al., 2018) keeps the other side constant in each
    term; take two ``DistillationKLLoss`` for that.
    """

    def __init__(
        self, act: Literal["softmax", "sigmoid"] = "softmax", eps: Positive = 1e-12, loss_weight: Positive = 1.0
    ):
        super().__init__(loss_weight)
        self.act, self.eps = act, eps

    def distance(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Scalar from logits [N, K] and [N, K]."""
        act = F.softmax if self.act == "softmax" else F.sigmoid
        p, q = act(x.astype("float32")), act(target.astype("float32"))
        log_ratio = paddle.log((p + self.eps) / (q + self.eps))
        return ((p - q) * log_ratio).sum(1).mean() / 2  # p log(p / q) + q log(q / p)


@LOSSES.register
class FeatureMatchingLoss(PairLoss):
    """Distance of two backbones' features, each the mean over a clip's frames and places.

    The target gets no gradient.  Where the widths differ, a linear layer learns to translate the student's features
    into the teacher's; it belongs to the loss and is no part of the student.

    Args:
        distance: "mse", the mean of squared differences; "cosine", one minus the cosine, mean over clips.
        projection: whether such a layer is made where the widths differ; False rejects different widths.
        loss_weight: factor of the loss.

    *Source*: FitNets (Romero et al., 2015), on pooled features.
    """

    takes = "features"

    def __init__(
        self, distance: Literal["mse", "cosine"] = "mse", projection: bool = True, loss_weight: Positive = 1.0
    ):
        super().__init__(loss_weight)
        self.kind, self.may_project = distance, projection
        self.projection: nn.Layer | None = None

    def connect(self, channels: int, target_channels: int) -> None:
        """Makes the projection if the widths differ.

        Raises:
            ValueError: they differ and there is to be none.
        """
        if channels == target_channels:
            return
        if not self.may_project:
            raise ValueError(f"projection: needed, since features have {channels} and {target_channels} values")
        self.projection = nn.Linear(channels, target_channels)

    def distance(self, x: paddle.Tensor, target: paddle.Tensor) -> paddle.Tensor:
        """Scalar from features [N, D] and [N, D']."""
        x, target = x.astype("float32"), target.detach().astype("float32")
        if self.projection is not None:
            x = F.linear(x, self.projection.weight.astype("float32"), self.projection.bias.astype("float32"))
        if self.kind == "mse":
            return ((x - target) ** 2).mean()
        return 1.0 - F.cosine_similarity(x, target, axis=1).mean()


def _log_softmax(logits: paddle.Tensor, temperature: float) -> paddle.Tensor:
    logits = logits.astype("float32") / temperature
    return logits - paddle.logsumexp(logits, axis=1, keepdim=True)


def _binary_divergence(p_logits: paddle.Tensor, q_logits: paddle.Tensor) -> paddle.Tensor:
    """KL(sigmoid(p) | sigmoid(q)) of each element, mean over all of [N, K]."""
    p, q = p_logits.astype("float32"), q_logits.astype("float32")
    # log s(p) - log s(q), and the same of 1 - s, which is s(-p)
    have, have_not = F.softplus(-q) - F.softplus(-p), F.softplus(q) - F.softplus(p)
    return (F.sigmoid(p) * have + F.sigmoid(-p) * have_not).mean()


def _divergence(log_p: paddle.Tensor, log_q: paddle.Tensor) -> paddle.Tensor:
    """KL(p | q), mean over the rows."""
    return (paddle.exp(log_p) * (log_p - log_q)).sum(1).mean()
