"""Video transformers on patches: TimeSformer and its kin."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F
from paddle.nn import initializer as init

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.embeddings import resize_places, resize_times
from paddlevideo.modeling.layers import DropPath, hint, init_linears, init_linears_by_inputs
from paddlevideo.modeling.operators import Linear
from paddlevideo.ranges import Divides, NonNegative, Positive, PositiveInt, ProbabilityBelowOne
from paddlevideo.registry import BACKBONES

_TYPES = ("divided_space_time", "joint_space_time", "space_only")
_DIVIDED, _JOINT, _SPACE = _TYPES

# our name within a block -> MMAction2's; divided layers number their two attentions, time first
_IN_DIVIDED = {
    "temporal_norm1": "attentions.0.norm",
    "temporal_attn": "attentions.0.attn",
    "temporal_fc": "attentions.0.temporal_fc",
    "norm1": "attentions.1.norm",
    "attn": "attentions.1.attn",
    "norm2": "ffns.0.norm",
}
_IN_PLAIN = {"norm1": "norms.0", "attn": "attentions.0.attn", "norm2": "norms.1"}
_IN_BOTH = {"mlp.fc1": "ffns.0.layers.0.0", "mlp.fc2": "ffns.0.layers.1"}
_OF_ATTENTION = {
    "qkv.weight": "in_proj_weight",
    "qkv.bias": "in_proj_bias",
    "proj.weight": "out_proj.weight",
    "proj.bias": "out_proj.bias",
}


class Attention(nn.Layer):
    """Multi-head self-attention.

    On a GPU the products, the softmax and the mixing are one fused kernel; on a CPU, in an exported program, and while
    there is a ``attention_hook``, they are written out.

    Args:
        dim: D.
        num_heads: heads, which divide D.
        qkv_bias: whether the joint projection to queries, keys and values has a bias.
        qk_scale: factor of the products; 1 / sqrt(D / num_heads) if None.
        attn_drop, proj_drop: dropout of the weights and of the output.

    Attributes:
        attention_hook: called with the weights [B, heads, L, L] of every call (rows sum to one); None: no hook.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        qkv_bias: bool = False,
        qk_scale: float | None = None,
        attn_drop: float = 0.0,
        proj_drop: float = 0.0,
    ):
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"num_heads: {num_heads} heads do not divide embed_dim {dim}")
        self.num_heads = num_heads
        self.scale = qk_scale or (dim // num_heads) ** -0.5
        self.qkv = Linear(dim, 3 * dim, bias_attr=None if qkv_bias else False)
        self.proj = Linear(dim, dim)
        self.attn_drop, self.proj_drop = nn.Dropout(attn_drop), nn.Dropout(proj_drop)
        self.attention_hook: Callable[[paddle.Tensor], None] | None = None

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, L, D] -> [B, L, D]."""
        length, dim = x.shape[1:]
        qkv = self.qkv(x).reshape([-1, length, 3, self.num_heads, dim // self.num_heads])
        mixed = self._fused(qkv) if self._can_fuse(qkv) else self._written_out(qkv)  # [B, L, heads, D / heads]
        return self.proj_drop(self.proj(mixed.reshape([-1, length, dim])))

    def _can_fuse(self, qkv: paddle.Tensor) -> bool:
        return self.attention_hook is None and paddle.in_dynamic_mode() and qkv.place.is_gpu_place()

    def _fused(self, qkv: paddle.Tensor) -> paddle.Tensor:
        """Flash attention for half precision, the device's kernel for float32; never an L x L matrix in memory."""
        q, k, v = qkv.unbind(2)
        correction = self.scale * q.shape[-1] ** 0.5  # the kernel's own factor is 1 / sqrt(D / heads)
        if not math.isclose(correction, 1.0):
            q = q * correction
        return F.scaled_dot_product_attention(q, k, v, dropout_p=self.attn_drop.p, training=self.training)

    def _written_out(self, qkv: paddle.Tensor) -> paddle.Tensor:
        qkv = qkv.transpose([2, 0, 3, 1, 4])
        q, k, v = qkv[0], qkv[1], qkv[2]  # [B, heads, L, D / heads]
        weights = F.softmax(paddle.matmul(q * self.scale, k, transpose_y=True))  # scaling q is cheaper than L x L
        if self.attention_hook is not None:
            self.attention_hook(weights)
        return paddle.matmul(self.attn_drop(weights), v).transpose([0, 2, 1, 3])


class MLP(nn.Layer):
    """Two linear layers with an exact GELU between them."""

    def __init__(self, dim: int, hidden: int, drop: float = 0.0):
        super().__init__()
        self.fc1, self.fc2 = Linear(dim, hidden), Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[..., D] -> [..., D]."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))


class Block(nn.Layer):
    """Pre-norm transformer block; with divided attention, time comes first, then space, then the MLP.

    ``temporal_fc`` starts at zero, so a fresh divided block computes what the image transformer's block does.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        qk_scale: float | None,
        drop: float,
        attn_drop: float,
        drop_path: float,
        epsilon: float,
        num_seg: int,
        divided: bool,
    ):
        super().__init__()
        self.num_seg, self.divided = num_seg, divided
        self.norm1 = nn.LayerNorm(dim, epsilon)
        self.attn = Attention(dim, num_heads, qkv_bias, qk_scale, attn_drop, drop)
        if divided:
            self.temporal_norm1 = nn.LayerNorm(dim, epsilon)
            self.temporal_attn = Attention(dim, num_heads, qkv_bias, qk_scale, attn_drop, drop)
            self.temporal_fc = Linear(dim, dim)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, epsilon)
        self.mlp = MLP(dim, int(dim * mlp_ratio), drop)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[B, L, D] -> [B, L, D]; divided: [N, 1 + P * T, D], patches time-minor, after one class token per clip."""
        x = self._divided_attention(x) if self.divided else x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _divided_attention(self, x: paddle.Tensor) -> paddle.Tensor:
        length, dim = x.shape[1:]
        frames, patches = self.num_seg, (length - 1) // self.num_seg
        cls, tokens = x[:, :1], x[:, 1:]

        through_time = tokens.reshape([-1, frames, dim])  # [N * P, T, D]
        change = self.temporal_fc(self.drop_path(self.temporal_attn(self.temporal_norm1(through_time))))
        tokens = (through_time + change).reshape([-1, patches, frames, dim])  # [N, P, T, D]

        in_frames = tokens.transpose([0, 2, 1, 3])  # [N, T, P, D]
        copies = cls.unsqueeze(1).expand([-1, frames, 1, dim])  # the class token goes into every frame
        sequence = paddle.concat([copies, in_frames], axis=2).reshape([-1, 1 + patches, dim])  # [N * T, 1 + P, D]
        change = self.drop_path(self.attn(self.norm1(sequence))).reshape([-1, frames, 1 + patches, dim])

        cls = cls + change[:, :, 0].mean(1, keepdim=True)  # and comes back as the mean over the frames
        tokens = tokens + change[:, :, 1:].transpose([0, 2, 1, 3])
        return paddle.concat([cls, tokens.reshape([-1, patches * frames, dim])], axis=1)


class PatchEmbed(nn.Layer):
    """Every frame's patches as vectors, by one convolution whose stride is its size."""

    def __init__(self, in_channels: int, dim: int, patch_size: int):
        super().__init__()
        fan_in = in_channels * patch_size**2
        self.proj = nn.Conv2D(
            in_channels, dim, patch_size, patch_size,
            weight_attr=init.Normal(std=fan_in**-0.5), bias_attr=init.Constant(0.0),
        )  # fmt: skip

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> [N * T, P, D]."""
        channels, _, height, width = x.shape[1:]
        frames = x.transpose([0, 2, 1, 3, 4]).reshape([-1, channels, height, width])
        return self.proj(frames).flatten(2).transpose([0, 2, 1])


@BACKBONES.register
class VisionTransformer(Backbone):
    """TimeSformer's backbone: a ViT whose attention runs over time and space, divided, jointly, or over space only.

    Args:
        img_size: height and width of the frames, pixels.
        patch_size: side of a patch, pixels; divides ``img_size``.
        in_channels: 3 for RGB.
        embed_dim: D.
        depth: blocks.
        num_heads: heads of every attention.
        mlp_ratio: the MLP's hidden size over D.
        qkv_bias: bias of the query-key-value projections.
        qk_scale: factor of the attention's products; None: 1 / sqrt(D / num_heads).
        drop_rate: dropout of embeddings, projections and MLPs.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last block; it rises from 0 in equal steps.
        epsilon: of every layer normalisation.
        num_seg: frames of a clip.
        attention_type: divided_space_time, joint_space_time or space_only.
        pretrained: weights to start from, of an image ViT or of a recognition checkpoint; see ``adapt_pretrained``.
        recompute: keep only the blocks' inputs while training and compute the rest again on the way back: the same
            gradients, bit for bit, for one more forward pass; memory for the inside of one block instead of all.
        from_scratch: start values for training without an image ViT.  False: those of both references, small ones and
            no difference between frames, since a pretrained file replaces most of them.  True: linear layers start at
            a deviation of 1 / sqrt(inputs), places and times differ from the first step on (deviation 1).
        wd_bias, lr_mult_list: of PaddleVideo's files; accepted and without effect, as there.

    *Source*: TimeSformer (Bertasius et al., 2021); PaddleVideo ``VisionTransformer``, whose names and outputs it has.
    Linear layers start at a deviation of 0.02 where PaddleVideo's start at 1.0, and ``temporal_fc`` starts at zero.
    """

    layout = "tokens"
    # whether weight decay leaves out the class, place and time embeddings
    embeddings_exempt = False

    def __init__(
        self,
        img_size: PositiveInt = 224,
        patch_size: PositiveInt = 16,
        in_channels: PositiveInt = 3,
        embed_dim: PositiveInt = 768,
        depth: PositiveInt = 12,
        num_heads: Annotated[int, Divides("embed_dim")] = 12,
        mlp_ratio: Positive = 4,
        qkv_bias: bool = False,
        qk_scale: Positive | None = None,
        drop_rate: ProbabilityBelowOne = 0.0,
        attn_drop_rate: ProbabilityBelowOne = 0.0,
        drop_path_rate: ProbabilityBelowOne = 0.1,
        epsilon: Positive = 1e-5,
        num_seg: PositiveInt = 8,
        attention_type: Literal["divided_space_time", "joint_space_time", "space_only"] = "divided_space_time",
        pretrained: str | None = None,
        recompute: bool = False,
        from_scratch: bool = False,
        wd_bias: bool = True,
        lr_mult_list: list[NonNegative] | None = None,
    ):
        super().__init__()
        _check(img_size, patch_size)
        self.img_size, self.num_seg, self.attention_type = img_size, num_seg, attention_type
        self.structure = {"depth": depth, "attention_type": attention_type, "qkv_bias": qkv_bias}
        self.pretrained, self.out_channels, self.recompute = pretrained, embed_dim, recompute
        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_size)
        self.cls_token = self._embedding(1, embed_dim, init.TruncatedNormal(std=0.02))
        patches = (img_size // patch_size) ** 2
        self.pos_embed = self._embedding(1 + patches, embed_dim, init.TruncatedNormal(std=0.02))
        self.pos_drop = nn.Dropout(drop_rate)
        self.time_embed = None
        if attention_type != _SPACE:
            self.time_embed = self._embedding(num_seg, embed_dim, init.Constant(0.0))
            self.time_drop = nn.Dropout(drop_rate)
        rates = np.linspace(0.0, drop_path_rate, depth)
        self.blocks = nn.LayerList(
            Block(
                embed_dim, num_heads, mlp_ratio, qkv_bias, qk_scale, drop_rate, attn_drop_rate, float(rate), epsilon,
                num_seg, attention_type == _DIVIDED,
            )
            for rate in rates
        )  # fmt: skip
        self.norm = nn.LayerNorm(embed_dim, epsilon)
        for embedding in (self.cls_token, self.pos_embed, self.time_embed) if self.embeddings_exempt else ():
            if embedding is not None:
                hint(embedding, decay=0.0)
        if from_scratch:
            self._start_without_pretraining()
        else:
            init_linears(self.blocks)
        if attention_type == _DIVIDED:
            for block in self.blocks:
                init.Constant(0.0)(block.temporal_fc.weight)

    def _start_without_pretraining(self) -> None:
        init_linears_by_inputs(self.blocks)
        for embedding in (self.pos_embed, self.time_embed):
            if embedding is not None:
                init.Normal(std=1.0)(embedding)

    def _embedding(self, length: int, dim: int, start: init.Initializer) -> paddle.Tensor:
        return self.create_parameter([1, length, dim], default_initializer=start)

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N, C, T, H, W] -> the class tokens [N, D]."""
        frames, height, width = x.shape[2:]
        if (frames, height, width) != (self.num_seg, self.img_size, self.img_size):
            raise UserError(
                f"MODEL.backbone: expected {self.num_seg} frames (num_seg) of {self.img_size} x {self.img_size} pixels "
                f"(img_size), got {frames} of {height} x {width}; let the last crop of every PIPELINE give that size"
            )
        x = self._add_time(self._add_position(self.patch_embed(x)))
        for block in self.blocks:
            x = self._recomputed(block, x) if self.recompute and self.training else block(x)
        if self.attention_type == _SPACE:
            x = x.reshape([-1, frames, *x.shape[1:]]).mean(1)  # [N * T, 1 + P, D] -> [N, 1 + P, D]
        return self.norm(x)[:, 0]

    def _recomputed(self, block: Block, x: paddle.Tensor) -> paddle.Tensor:
        """``block(x)``, its activations computed again in the backward pass."""
        if not (paddle.in_dynamic_mode() and paddle.is_grad_enabled()):
            return block(x)
        from paddle.distributed.fleet.utils import recompute

        return recompute(block, x, use_reentrant=False)

    def _add_position(self, patches: paddle.Tensor) -> paddle.Tensor:
        """[N * T, P, D] -> [N * T, 1 + P, D], with a class token before each frame's patches."""
        cls = self.cls_token + self.pos_embed[:, :1]
        tokens = patches + self.pos_embed[0, 1:]  # without the axis of 1: Paddle's CPU kernel adds it 5 times as fast
        return self.pos_drop(paddle.concat([paddle.zeros_like(tokens[:, :1]) + cls, tokens], axis=1))

    def _add_time(self, x: paddle.Tensor) -> paddle.Tensor:
        """[N * T, 1 + P, D] -> [N, 1 + P * T, D]: one class token per clip, patches ordered by place, then by time."""
        if self.attention_type == _SPACE:
            return x
        length, dim = x.shape[1:]
        x = x.reshape([-1, self.num_seg, length, dim])  # [N, T, 1 + P, D]
        tokens = x[:, :, 1:].transpose([0, 2, 1, 3]) + self.time_embed[0]  # [N, P, T, D]
        tokens = self.time_drop(tokens).reshape([-1, (length - 1) * self.num_seg, dim])
        return paddle.concat([x[:, 0, :1], tokens], axis=1)

    def resize_embeddings(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays, with the ``pos_embed`` and ``time_embed`` of another picture size or frame count fitted.

        See ``resize_places`` and ``resize_times``; what is no [1, length, D] of this network's D stays as it is.
        """
        arrays = dict(arrays)
        sized = (("pos_embed", self.pos_embed, resize_places), ("time_embed", self.time_embed, resize_times))
        for name, own, resize in sized:
            value = arrays.get(name)
            if own is None or value is None or list(value.shape[::2]) != own.shape[::2]:
                continue
            if value.shape[1] != own.shape[1]:
                arrays[name] = resize(value, own.shape[1])
        return arrays

    def adapt_pretrained(self, arrays: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Fits an image ViT, or a checkpoint of another size or length, to this network.

        The classifier is left out; ``pos_embed`` and ``time_embed`` are resized (``resize_embeddings``); divided
        attention copies ``attn`` to ``temporal_attn`` and ``norm1`` to ``temporal_norm1`` if the file has none.

        Returns:
            The arrays, and the keys that an image ViT lacks by nature, with the reason.
        """
        arrays = {key: value for key, value in arrays.items() if not key.startswith(("head.", "pre_logits."))}
        arrays = self.resize_embeddings(arrays)
        if self.attention_type == _SPACE:
            arrays.pop("time_embed", None)
            return arrays, {}
        explained = {"time_embed": "an image network does not have start at zero"}
        if self.attention_type == _DIVIDED:
            for key in [key for key in arrays if re.match(r"blocks\.\d+\.(attn|norm1)\.", key)]:
                _, number, part, rest = key.split(".", 3)
                arrays.setdefault(f"blocks.{number}.temporal_{part}.{rest}", arrays[key])
            for number in range(len(self.blocks)):
                for part in ("weight", "bias"):
                    explained[f"blocks.{number}.temporal_fc.{part}"] = explained["time_embed"]
        return arrays, explained

    @staticmethod
    def names_in(origin: str, **structure: Any) -> dict[str, str]:
        """Of "mmaction2", "timm" and "timesformer" (the authors' own)."""
        return vit_names(origin, **structure)

    @classmethod
    def structures(cls, origin: str) -> Iterator[dict[str, Any]]:
        """All attentions, at every number of blocks."""
        kinds = _TYPES if origin != "timm" else (_SPACE,)
        for depth, kind, bias in itertools.product(range(1, 25), kinds, (True, False)):
            yield {"depth": depth, "attention_type": kind, "qkv_bias": bias}

    def convert(self, arrays: Mapping[str, np.ndarray], origin: str) -> dict[str, np.ndarray]:
        """As for every backbone; linear weights are transposed."""
        table = super().convert(arrays, origin)
        return {key: value.T if value.ndim == 2 else value for key, value in table.items()}


@BACKBONES.register
class VisionTransformer_tweaks(VisionTransformer):
    """PP-TimeSformer's backbone: the same network, without weight decay on its class, place and time embeddings.

    *Source*: PaddleVideo ``VisionTransformer_tweaks``.
    """

    embeddings_exempt = True


def vit_names(origin: str, depth: int, attention_type: str, qkv_bias: bool) -> dict[str, str]:
    """Name in ``origin`` -> name here, of every array of a ``VisionTransformer``; timm has the image network."""
    if origin not in ("mmaction2", "timm", "timesformer"):
        return {}
    divided, timed = attention_type == _DIVIDED and origin != "timm", attention_type != _SPACE and origin != "timm"
    parts = ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"]
    parts += [f"{part}.{tensor}" for part in ("mlp.fc1", "mlp.fc2") for tensor in ("weight", "bias")]
    attention = [part for part in _OF_ATTENTION if qkv_bias or part != "qkv.bias"]
    parts += [f"attn.{part}" for part in attention]
    if divided:
        parts += ["temporal_norm1.weight", "temporal_norm1.bias", "temporal_fc.weight", "temporal_fc.bias"]
        parts += [f"temporal_attn.{part}" for part in attention]
    ours = ["cls_token", "pos_embed", *(["time_embed"] if timed else []), "norm.weight", "norm.bias"]
    ours += ["patch_embed.proj.weight", "patch_embed.proj.bias"]
    names = {key: key for key in ours} | {
        f"blocks.{n}.{part}": f"blocks.{n}.{part}" for n in range(depth) for part in parts
    }
    if origin != "mmaction2":
        return names
    return {_in_mmaction2(key, divided): key for key in names}


def _in_mmaction2(key: str, divided: bool) -> str:
    match = re.fullmatch(r"blocks\.(\d+)\.((?:mlp\.)?\w+)\.(.+)", key)
    if match is None:
        return key.replace("patch_embed.proj.", "patch_embed.projection.")
    number, part, rest = match.groups()
    theirs = {**(_IN_DIVIDED if divided else _IN_PLAIN), **_IN_BOTH}[part]
    return f"transformer_layers.layers.{number}.{theirs}.{_OF_ATTENTION.get(rest, rest)}"


def _check(img_size: int, patch_size: int) -> None:
    if img_size < patch_size or img_size % patch_size:
        raise ValueError(f"img_size: {img_size} is no multiple of patch_size {patch_size}")
