"""Long-term feature banks in the detector: features of the minutes around a key frame, for the person in a box.

The long-term features come with the batch ("long_term" [N, S, D'] and which of its slots hold something); no file is
opened here.  Where they come from: ``paddlevideo.loader.feature_bank``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import UserError
from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.modeling.layers import children, max_over_positions
from paddlevideo.ranges import PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import HEADS


def _projection(inputs: int, outputs: int, zero: bool = False) -> nn.Linear:
    """A 1x1x1 convolution of the reference; on vectors it is a linear layer."""
    weight = init.Constant(0.0) if zero else init.KaimingNormal()
    return nn.Linear(inputs, outputs, weight_attr=weight, bias_attr=init.Constant(0.0))


class NonLocalLayer(nn.Layer):
    """Every person attends to the slots of its frame's window, and adds the result.

    Args:
        dim: D of persons and slots alike.
        dropout: after the last projection.
        pre_activate: normalisation and ReLU before the last projection; False: normalisation after it, and the caller
            applies the ReLU after the sum.
        zero_init: the layer starts as the identity.
    """

    def __init__(self, dim: int, dropout: float, pre_activate: bool, zero_init: bool):
        super().__init__()
        self.scale, self.pre_activate = dim**-0.5, pre_activate
        self.st_feat_conv, self.lt_feat_conv = _projection(dim, dim), _projection(dim, dim)
        self.global_conv, self.out_conv = _projection(dim, dim), _projection(dim, dim, zero_init)
        self.ln = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, persons: paddle.Tensor, slots: paddle.Tensor, owner: paddle.Tensor, hidden: paddle.Tensor | None
    ) -> paddle.Tensor:
        """The change of ``persons`` [R, D].

        Args:
            slots: [N, S, D].
            owner: int [R], the frame with a person's slots.
            hidden: [N, 1, S], a large negative number at slots that do not count, 0 elsewhere; or None.
        """
        queries = self.st_feat_conv(persons).unsqueeze(1) * self.scale  # [R, 1, D]
        keys, values = self.lt_feat_conv(slots), self.global_conv(slots)  # once per frame, not per person
        products = paddle.matmul(queries, paddle.gather(keys, owner), transpose_y=True)  # [R, 1, S]
        if hidden is not None:
            products = products + paddle.gather(hidden, owner)
        found = paddle.matmul(F.softmax(products), paddle.gather(values, owner)).squeeze(1)  # [R, D]
        if self.pre_activate:
            found = F.relu(self.ln(found))
        found = self.out_conv(found)
        return self.dropout(found if self.pre_activate else self.ln(found))


class FBONonLocal(nn.Layer):
    """The feature bank operator of the paper: non-local layers from a person to its window.

    *Source*: MMAction2 ``FBONonLocal``, whose names it keeps.
    """

    def __init__(
        self,
        st_feat_channels: int,
        lt_feat_channels: int,
        latent_channels: int,
        num_layers: int,
        st_dropout: float,
        lt_dropout: float,
        layer_dropout: float,
        pre_activate: bool,
        zero_init: bool,
    ):
        super().__init__()
        self.pre_activate, self.out_channels = pre_activate, latent_channels
        self.st_feat_conv = _projection(st_feat_channels, latent_channels)
        self.lt_feat_conv = _projection(lt_feat_channels, latent_channels)
        self.st_drop, self.lt_drop = nn.Dropout(st_dropout), nn.Dropout(lt_dropout)
        self.layers: list[str] = []
        for number in range(1, num_layers + 1):
            self.layers.append(f"non_local_layer_{number}")
            layer = NonLocalLayer(latent_channels, layer_dropout, pre_activate, zero_init)
            self.add_sublayer(self.layers[-1], layer)

    def forward(
        self, persons: paddle.Tensor, slots: paddle.Tensor, filled: paddle.Tensor | None, owner: paddle.Tensor
    ) -> paddle.Tensor:
        """Persons [R, C] and slots [N, S, C'] -> [R, latent]; ``filled`` bool [N, S], or None: empty slots count."""
        x, slots = self.st_drop(self.st_feat_conv(persons)), self.lt_drop(self.lt_feat_conv(slots))
        hidden = None if filled is None else (filled.astype(x.dtype).unsqueeze(1) - 1.0) * 1e4
        for layer in children(self, self.layers):
            x = x + layer(x, slots, owner, hidden)
            if not self.pre_activate:
                x = F.relu(x)
        return x


class FBOPool(nn.Layer):
    """Mean or maximum over the slots: the two simple feature bank operators, without a parameter."""

    def __init__(self, kind: str, channels: int):
        super().__init__()
        self.kind, self.out_channels = kind, channels

    def forward(
        self, persons: paddle.Tensor, slots: paddle.Tensor, filled: paddle.Tensor | None, owner: paddle.Tensor
    ) -> paddle.Tensor:
        """As ``FBONonLocal``, [R, C'].  Without ``filled`` the zeros of empty slots count, as in the reference."""
        if filled is None:
            pooled = slots.mean(1) if self.kind == "avg" else slots.max(1)
            return paddle.gather(pooled, owner)
        weight = filled.astype(slots.dtype).unsqueeze(-1)  # [N, S, 1]
        count = weight.sum(1)
        if self.kind == "avg":
            pooled = (slots * weight).sum(1) / count.clip(min=1.0)
        else:
            pooled = (slots * weight + (weight - 1.0) * 1e4).max(1) * (count > 0).astype(slots.dtype)
        return paddle.gather(pooled, owner)


@HEADS.register
class FBOHead(DetectionPart, nn.Layer):
    """Concatenates a person's own feature with the output of a feature bank operator on the long-term features.

    Args:
        fbo: "non_local": attention, gives ``latent_channels``; "avg", "max": over all slots, give
            ``lt_feat_channels``.
        st_feat_channels: of the person's feature.
        lt_feat_channels: of the bank.
        latent_channels, num_non_local_layers, st_feat_dropout_ratio, lt_feat_dropout_ratio, non_local_dropout_ratio,
            pre_activate, zero_init_out_conv: of "non_local"; see ``NonLocalLayer``.  The dropout within its layers is
            fixed at 0.2 in the reference, whatever that of persons and slots.
        mask_empty: empty slots take no part.  The reference lets them: zeros in the mean and the maximum, and one and
            the same key and value in the attention.

    *Source*: Long-Term Feature Banks (Wu et al., 2019); MMAction2 ``FBOHead``.  There every person of a frame sees its
    own random draw from the window; here those of one frame share it, so that a batch holds a window once.
    """

    needs_long_term = True

    def __init__(
        self,
        fbo: Literal["non_local", "avg", "max"] = "non_local",
        st_feat_channels: PositiveInt = 2048,
        lt_feat_channels: PositiveInt = 2048,
        latent_channels: PositiveInt = 512,
        num_non_local_layers: PositiveInt = 2,
        st_feat_dropout_ratio: ProbabilityBelowOne = 0.2,
        lt_feat_dropout_ratio: ProbabilityBelowOne = 0.2,
        non_local_dropout_ratio: ProbabilityBelowOne = 0.2,
        pre_activate: bool = True,
        zero_init_out_conv: bool = False,
        mask_empty: bool = False,
    ):
        super().__init__()
        self.lt_feat_channels, self.mask_empty = lt_feat_channels, mask_empty
        self.in_channels = st_feat_channels
        self.fbo = (
            FBONonLocal(
                st_feat_channels, lt_feat_channels, latent_channels, num_non_local_layers, st_feat_dropout_ratio,
                lt_feat_dropout_ratio, non_local_dropout_ratio, pre_activate, zero_init_out_conv,
            )
            if fbo == "non_local"
            else FBOPool(fbo, lt_feat_channels)
        )  # fmt: skip
        self.out_channels = st_feat_channels + self.fbo.out_channels

    def forward(
        self, features: paddle.Tensor, owner: paddle.Tensor, long_term: paddle.Tensor, filled: paddle.Tensor
    ) -> paddle.Tensor:
        """Region features [R, C, T, h, w] -> [R, C + C'', 1, 1, 1].

        Args:
            owner: int [R], the sample of each region.
            long_term: float [N, S, C'], zeros at empty slots.
            filled: bool [N, S].

        Raises:
            UserError: the bank has another number of channels.
        """
        if long_term.shape[-1] != self.lt_feat_channels:
            raise UserError(
                f"the feature bank has {long_term.shape[-1]} channels, MODEL.head.shared_head.lt_feat_channels is "
                f"{self.lt_feat_channels}"
            )
        persons = person_features(features)
        gained = self.fbo(persons, long_term.astype(persons.dtype), filled if self.mask_empty else None, owner)
        return paddle.concat([persons, gained], axis=1).unsqueeze([2, 3, 4])

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """MMAction2's weights: its convolutions are linear layers here, its normalisation has one axis."""
        converted = {}
        for key, value in arrays.items():
            if value.ndim == 5:  # [out, in, 1, 1, 1]
                value = np.ascontiguousarray(value[:, :, 0, 0, 0].T)
            converted[key.replace(".conv.", ".")] = value.reshape(-1) if value.ndim == 4 else value
        return converted


def person_features(features: paddle.Tensor) -> paddle.Tensor:
    """Region features [R, C, T, h, w] -> [R, C], mean over time, then maximum over space, as a bank stores them."""
    return max_over_positions(features.mean(2))


@dataclass(frozen=True)
class BankRequest:
    """A feature bank to write: its file, the split it is of ("train", "val", "test"), float16 or float32."""

    file: str
    split: str
    half: bool


@HEADS.register
class LFBInferHead(DetectionPart, nn.Layer):
    """Leaves region features as they are, and names the file of the feature bank that a test run writes.

    Args:
        lfb_prefix_path: folder of the bank.
        dataset_mode: the split that a test run takes then, and the name of the file, ``lfb_<dataset_mode>.bank``.
        use_half_precision: float16, half the size.

    *Source*: MMAction2 ``LFBInferHead``.  Writing is done by the test run at its end, not here.
    """

    def __init__(
        self,
        lfb_prefix_path: str,
        dataset_mode: Literal["train", "val", "test"] = "train",
        use_half_precision: bool = True,
    ):
        super().__init__()
        self.bank_request = BankRequest(f"{lfb_prefix_path}/lfb_{dataset_mode}.bank", dataset_mode, use_half_precision)

    def forward(self, features: paddle.Tensor) -> paddle.Tensor:
        """[R, C, T, h, w], unchanged."""
        return features
