"""Backbones with a temporal shift that end in their own classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import paddle
from paddle import nn
from paddle.nn import initializer as init

from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.naming import Variant
from paddlevideo.modeling.shift import ShiftState, resolved_shift_div


class ClassifyingTSM(Backbone):
    """A shifted network that ends in a 1x1 convolution of the pooled frames, their mean, and the classifier ``fc``.

    Its head is ``MoViNetHead``, which only adds the loss; the number of classes is ``MODEL.backbone.class_num``.  The
    dropout is the older kind: training drops without scaling what stays, evaluation multiplies by 1 - ``dropout_prob``.
    Weights that were trained so give other scores with the kind that is usual now.

    A subclass builds its layers between ``__init__`` and ``add_classifier``, and ends its ``forward`` in ``classify``.

    Args:
        shift: arguments of ``TemporalShift``; ``shift_div`` may be None.
        pretrained: see ``load_pretrained``.
    """

    classifier_prefixes = ("fc.",)

    def __init__(self, shift: Mapping[str, Any], pretrained: str | None):
        super().__init__()
        self.shift_div = resolved_shift_div(shift["num_seg"], shift["shift_div"], shift["direction"], shift["shift"])
        self.shift_arguments = {**shift, "shift_div": self.shift_div}
        self.num_seg = self.out_seg = shift["num_seg"]
        self.shift_mode = shift["mode"]
        self.pretrained = pretrained

    def add_classifier(
        self,
        channels: int,
        class_expand: int,
        class_num: int,
        dropout_prob: float,
        act: Callable[[paddle.Tensor], paddle.Tensor],
    ) -> None:
        """Adds the layers after the last map, of ``channels`` channels; ``act`` goes after ``last_conv``."""
        self.last_conv = nn.Conv2D(channels, class_expand, 1, weight_attr=init.KaimingNormal(), bias_attr=False)
        self.dropout = nn.Dropout(dropout_prob, mode="downscale_in_infer")
        self.fc = nn.Linear(class_expand, class_num)
        self.out_channels = class_num
        self._act = act

    def classify(self, x: paddle.Tensor, state: ShiftState | None) -> paddle.Tensor:
        """The last map [N * T, C, h, w] -> logits [N, K]; with ``state`` T is 1."""
        pooled = self._act(self.last_conv(x.mean([2, 3], keepdim=True)))  # [N * T, D, 1, 1]
        pooled = self.dropout(pooled).flatten(1)
        if state is None:
            pooled = pooled.reshape([-1, self.num_seg, pooled.shape[1]]).mean(1)  # [N, D]
        return self.fc(pooled)

    def adapt_pretrained(self, arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """A classifier of another number of classes is left out, and ``fc`` starts anew."""
        return without_other_classifier(arrays, "fc", self.fc)

    @classmethod
    def variants(cls, origin: str) -> Iterator[Variant]:
        """Of "paddle", PaddleVideo's and PaddleClas' own files, whose names are those here."""
        for structure in cls.structures(origin):
            yield Variant({"name": cls.__name__, **structure}, cls(**structure).names(origin))

    def names(self, origin: str) -> dict[str, str]:
        """As for every backbone; of "paddle" its own."""
        return {key: key for key in self.state_dict()} if origin == "paddle" else super().names(origin)


def without_other_classifier(
    arrays: dict[str, Any], name: str, classifier: nn.Linear
) -> tuple[dict[str, Any], dict[str, str]]:
    """``Backbone.adapt_pretrained`` of a network with the classifier ``name`` in itself: it is left out if it has
    another number of classes."""
    bias = arrays.get(f"{name}.bias")
    if bias is not None and list(bias.shape) == list(classifier.bias.shape):
        return arrays, {}
    rule = "of the classifier start anew: the file has another number of classes"
    kept = {key: value for key, value in arrays.items() if not key.startswith(f"{name}.")}
    return kept, {f"{name}.weight": rule, f"{name}.bias": rule}
