"""Maps of what a prediction depends on: attention rollout for transformers, Grad-CAM for convolutional networks.

Both give one map per frame.  Rollout follows the attention from the output back to the patches, whatever the class;
Grad-CAM weights the places of a layer's features by their effect on one class.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.vit import Attention
from paddlevideo.registry import suggest

_FINE_ENOUGH = 7  # places along a side of a map worth drawing: what ImageNet's 224 pixels leave of themselves


@dataclass
class HeatMaps:
    """Maps of one sample.

    Args:
        scores: float32 [K], as in testing.
        heat: float32 [V, T, H, W], 0..1 in every view.
        method: what the maps are, in words.
    """

    scores: np.ndarray
    heat: np.ndarray
    method: str


def heat_maps(network: Any, imgs: np.ndarray, class_id: int | None = None, layer: str | None = None) -> HeatMaps:
    """Predicts a sample and maps what the prediction depends on.

    Args:
        network: a recognition framework; it is put into eval mode.
        imgs: [V, T, H, W, 3] from PIPELINE.test.
        class_id: the class that Grad-CAM maps; None: the one with the highest score.
        layer: of Grad-CAM, e.g. ``backbone.res4b``; None: the last block whose maps have 7 x 7 places (the 2 x 2 that
            a ResNet leaves of 64 pixels show nothing), or the last at all.

    Raises:
        UserError: no such class or layer; a layer without maps, or for a transformer.
    """
    network.eval()
    batch = {"imgs": paddle.to_tensor(imgs[None])}
    with paddle.no_grad():
        scores = network(batch, mode="predict")["scores"][0].astype("float32").numpy()
    if class_id is not None and not 0 <= class_id < len(scores):
        raise UserError(f"--class {class_id}: the network has {len(scores)} classes, 0 to {len(scores) - 1}")
    attention_type = network.backbone.attention_type
    if attention_type is None:
        maps, name = grad_cam(network, batch["imgs"], int(scores.argmax()) if class_id is None else class_id, layer)
        method = f"Grad-CAM at {name}"
    elif layer is not None:
        raise UserError(f"--layer {layer}: attention rollout goes through all layers; --layer is for Grad-CAM")
    else:
        maps = attention_rollout(network, batch["imgs"])
        method = f"attention rollout, {attention_type}"
    return HeatMaps(scores, stretched(enlarged(maps, imgs.shape[1:4])), method)


def attention_rollout(network: Any, imgs: paddle.Tensor) -> np.ndarray:
    """How much of the output comes from each patch.

    With the mean A over the heads, a residual layer ``x + attention(x)`` passes (A + 1) / 2 on: half of what is there
    comes from the attended tokens, half stays.  The layers' product, whose rows sum to one, is followed from the
    class token back to the patches.  MLPs and layer norms work token by token and move nothing.

    - joint: one matrix over 1 + P * T tokens per layer.
    - space only: a matrix over 1 + P tokens per layer and frame; the output is the mean of the frames' class tokens.
    - divided: two residual layers per block.  Time first: (A + 1) / 2 among the T patches of one place, and the class
      token stays.  Then space, frame by frame, with a copy of the class token c in each frame t: a patch receives
      (A_t + 1) / 2 of its frame and c; c receives the mean over t of what its copies receive.

    Args:
        network: a framework around a ``VisionTransformer``, in eval mode.
        imgs: [1, V, T, H, W, 3].

    Returns:
        float32 [V, T, h, w], all positive; what is missing from a view's sum of 1 stayed with the class token.

    *Source*: Quantifying Attention Flow in Transformers (Abnar and Zuidema, 2020), with equal weights for the residual
    path; the two steps of divided attention are this suite's.
    """
    backbone, views = network.backbone, imgs.shape[1]
    with _hooked_attention(backbone) as seen, paddle.no_grad():
        network.view_logits(imgs)
    frames = backbone.num_seg
    layers = [
        tuple(
            attention for name in ("temporal_attn", "attn") if (attention := seen.get(f"blocks.{i}.{name}")) is not None
        )
        for i in range(len(backbone.blocks))
    ]
    rows = ROLLOUTS[backbone.attention_type](layers, views, frames)  # [V, T, P]
    side = round(rows.shape[-1] ** 0.5)
    return rows.reshape(views, frames, side, side).astype("float32")


def joint_rollout(layers: Sequence[Sequence[np.ndarray]], views: int, frames: int) -> np.ndarray:
    """[V, T, P] from per layer ([V, 1 + P * T, 1 + P * T],), patches time-minor."""
    row = _class_row(views, layers[0][0].shape[-1])
    for (attention,) in reversed(layers):
        row = _back(row, attention)
    return row[:, 1:].reshape(views, -1, frames).transpose(0, 2, 1)


def space_rollout(layers: Sequence[Sequence[np.ndarray]], views: int, frames: int) -> np.ndarray:
    """[V, T, P] from per layer ([V * T, 1 + P, 1 + P],)."""
    row = _class_row(views * frames, layers[0][0].shape[-1])
    for (attention,) in reversed(layers):
        row = _back(row, attention)
    return row[:, 1:].reshape(views, frames, -1) / frames


def divided_rollout(layers: Sequence[Sequence[np.ndarray]], views: int, frames: int) -> np.ndarray:
    """[V, T, P] from per layer (time [V * P, T, T], space [V * T, 1 + P, 1 + P])."""
    patches = layers[0][1].shape[-1] - 1
    cls, tokens = np.ones(views), np.zeros((views, frames, patches))
    for time, space in reversed(layers):
        # the class token's copies share its weight; what goes back to any copy goes back to the one before
        spread = np.concatenate([np.repeat(cls[:, None, None] / frames, frames, 1), tokens], axis=2)  # [V, T, 1 + P]
        spread = _back(spread.reshape(views * frames, -1), space).reshape(views, frames, -1)
        cls, tokens = spread[:, :, 0].sum(1), spread[:, :, 1:]
        through_time = tokens.transpose(0, 2, 1).reshape(views * patches, frames)
        tokens = _back(through_time, time).reshape(views, patches, frames).transpose(0, 2, 1)
    return tokens


ROLLOUTS: Mapping[str, Callable[[Sequence[Sequence[np.ndarray]], int, int], np.ndarray]] = {
    "divided_space_time": divided_rollout,
    "joint_space_time": joint_rollout,
    "space_only": space_rollout,
}


def _class_row(count: int, length: int) -> np.ndarray:
    row = np.zeros((count, length))
    row[:, 0] = 1.0
    return row


def _back(row: np.ndarray, attention: np.ndarray) -> np.ndarray:
    """row [B, L] times (A + 1) / 2 with A [B, L, L]: one residual layer towards the input."""
    return (np.matmul(row[:, None], attention)[:, 0] + row) / 2


@contextlib.contextmanager
def _hooked_attention(backbone: nn.Layer) -> Iterator[dict[str, np.ndarray]]:
    """Within, every attention stores the mean of its heads' weights under its layer's name."""
    seen: dict[str, np.ndarray] = {}
    attentions = {name: part for name, part in backbone.named_sublayers() if isinstance(part, Attention)}
    for name, part in attentions.items():
        part.attention_hook = lambda weights, name=name: seen.update({name: weights.astype("float32").mean(1).numpy()})
    try:
        yield seen
    finally:
        for part in attentions.values():
            part.attention_hook = None


def grad_cam(network: Any, imgs: paddle.Tensor, class_id: int, layer: str | None = None) -> tuple[np.ndarray, str]:
    """Where a layer's features raise the score of a class.

    With features A [C, h, w] of a frame and the class's logit y, the mean over the views: channel weights are the
    means over h x w of dy / dA, frame by frame, and the map is max(0, sum over C of weight * A).

    Args:
        network: a recognition framework, in eval mode.
        imgs: [1, V, T, H, W, 3].
        layer: name of a layer with maps as output; None: see ``heat_maps``.

    Returns:
        float32 [V, T', h, w], and the layer's name.

    Raises:
        UserError: no such layer, or its output is no map of places.

    *Source*: Grad-CAM (Selvaraju et al., 2017); weights per frame as in MMAction2's ``demo_gradcam``.
    """
    views = imgs.shape[1]
    parts = dict(network.named_sublayers())
    if layer is not None and layer not in parts:
        raise UserError(f"--layer {layer}: the network has no such layer{suggest(layer, list(parts))}")
    outputs: dict[str, Any] = {}

    def keep(name: str) -> Callable:
        return lambda part, given, output: outputs.update({name: output})

    watched = {name: part for name, part in parts.items() if layer in (None, name) and name != "normalize"}
    hooks = [part.register_forward_post_hook(keep(name)) for name, part in watched.items()]
    try:
        logits = network.view_logits(imgs)  # [1, V, K]
    finally:
        for hook in hooks:
            hook.remove()
    name = layer if layer is not None else _default_layer(outputs)
    if not _is_map(outputs.get(name)):
        raise UserError(f"--layer {name}: its output is no map of places; name a convolution, or a block of them")
    features = outputs[name]
    (slope,) = paddle.grad(logits[0, :, class_id].mean(), features)
    spread = F.relu((slope.mean([-2, -1], keepdim=True) * features).sum(1))  # [V * T, h, w] or [V, T, h, w]
    return spread.reshape([views, -1, *spread.shape[-2:]]).detach().astype("float32").numpy(), name


def _is_map(output: Any) -> bool:
    """[N * T, C, h, w] or [N, C, T, h, w] with more than one place, that a gradient reaches."""
    return (
        isinstance(output, paddle.Tensor)
        and output.ndim in (4, 5)
        and output.shape[-1] * output.shape[-2] > 1
        and not output.stop_gradient
    )


def _default_layer(outputs: Mapping[str, Any]) -> str:
    """The last whole block with maps fine enough to be drawn, else the last block."""
    maps = {name: output for name, output in outputs.items() if _is_map(output)}
    if not maps:
        raise UserError("Grad-CAM needs a layer with a map of places as output; this network has none")
    blocks = [name for name in maps if name != "backbone" and not _inside(name, outputs)]
    fine = [name for name in blocks if min(maps[name].shape[-2:]) >= _FINE_ENOUGH]
    return (fine or blocks or list(maps))[-1]


def _inside(name: str, names: Collection[str]) -> bool:
    """Whether the layer is a part of another of them, other than the whole backbone."""
    return any(name.startswith(f"{other}.") for other in names if other != "backbone")


def enlarged(maps: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Maps [V, T', h, w] -> [V, T, H, W], linear along all three axes."""
    volume = paddle.to_tensor(maps[:, None])
    return F.interpolate(volume, list(shape), mode="trilinear", align_corners=False, data_format="NCDHW")[:, 0].numpy()


def stretched(maps: np.ndarray) -> np.ndarray:
    """Each view from 0, its least value, to 1, its greatest; maps without differences become 0."""
    low = maps.min(axis=(1, 2, 3), keepdims=True)
    reach = maps.max(axis=(1, 2, 3), keepdims=True) - low
    return np.where(reach > 1e-12, (maps - low) / np.maximum(reach, 1e-12), 0.0).astype("float32")


def heat_over(frames: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 frames [T, H, W, 3] under translucent colours from blue (0) over green to red (1).

    Args:
        heat: [T, H, W], 0..1.
    """
    # every colour rises and falls around its own place on the scale
    colours = np.stack([1.5 - 4 * np.abs(heat - place) for place in (0.75, 0.5, 0.25)], axis=-1).clip(0, 1) * 255
    return np.rint((frames.astype("float32") + colours) / 2).astype("uint8")
