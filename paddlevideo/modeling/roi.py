"""Features of regions: a feature map sampled within boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import paddle
from paddle import nn
from paddle.autograd import PyLayer
from paddle.nn import functional as F
from paddle.vision import ops

from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.modeling.layers import max_over
from paddlevideo.modeling.operators import differentiates_on_cpu
from paddlevideo.ranges import NonNegativeInt, PositiveInt
from paddlevideo.registry import HEADS

_LEAST_PX = 1e-3  # the kernel divides by the number of sampling points, which is 0 in a box without area


def owners(boxes: paddle.Tensor, boxes_num: paddle.Tensor) -> paddle.Tensor:
    """int64 [R]: the sample that each of boxes [R, 4] belongs to, by the samples' counts [N]."""
    ends = paddle.cumsum(boxes_num.astype("int64"))  # [N]
    places = paddle.cumsum(paddle.ones_like(boxes[:, 0], dtype="int64")) - 1  # [R]
    return (places.unsqueeze(1) >= ends.unsqueeze(0)).astype("int64").sum(1)


def roi_align(
    features: paddle.Tensor,
    boxes: paddle.Tensor,
    boxes_num: paddle.Tensor,
    output_size: int,
    stride: float,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> paddle.Tensor:
    """Averages over ``output_size`` x ``output_size`` parts of each box, float32 [R, C, output_size, output_size].

    Values between pixels are interpolated linearly; more than a pixel outside of the map there are zeros.  A box
    without area, or with corners in the wrong order, gives zeros.

    Args:
        features: [N, C, h, w].
        boxes: float32 [R, 4] in pixels of the picture, all samples one after the other.
        boxes_num: int32 [N].
        stride: pixels of the picture per pixel of the map.
        sampling_ratio: points per part and direction; 0 takes one per pixel of the map, rounded up.
        aligned: whether the middle of the first pixel is at 0.5, which shifts by half a pixel of the map.

    *Source*: Mask R-CNN (He et al., 2017); MMCV ``RoIAlign``.  Paddle's kernel, which gives NaN without area.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    real = (high > low).astype("float32").prod(1)  # [R]
    # without the shift by half a pixel of the map a box has at least one; paddle2onnx 2.1 converts aligned boxes only
    shift, least = (0.0, _LEAST_PX) if aligned else (stride / 2, stride)
    boxes = paddle.concat([low + shift, paddle.maximum(high, low + least) + shift], axis=1)
    ratio = sampling_ratio if sampling_ratio > 0 else -1
    with paddle.amp.auto_cast(enable=False):
        features = features.astype("float32")
        align = _AlignOnCpu.apply if differentiates_on_cpu(features) else _align
        out = align(features, boxes, boxes_num, output_size, stride, ratio)
    return out * real.reshape([-1, 1, 1, 1])


def _align(
    features: paddle.Tensor, boxes: paddle.Tensor, boxes_num: paddle.Tensor, size: int, stride: float, ratio: int
) -> paddle.Tensor:
    return ops.roi_align(features, boxes, boxes_num, size, 1.0 / stride, ratio, aligned=True)


class _AlignOnCpu(PyLayer):
    """Paddle's kernel with a gradient of its own.

    Paddle 3.3.1's gradient on a CPU spreads the points of a box over at least one pixel of the map, which the forward
    kernel does for boxes that are not ``aligned`` alone: small persons would move the weights of pixels beside them.
    """

    @staticmethod
    def forward(ctx: Any, features: paddle.Tensor, boxes: paddle.Tensor, boxes_num: paddle.Tensor, *how: Any):
        ctx.save_for_backward(boxes, boxes_num)
        ctx.shape, ctx.how = features.shape, how
        return _align(features, boxes, boxes_num, *how)

    @staticmethod
    def backward(ctx: Any, gradient: paddle.Tensor) -> tuple[paddle.Tensor | None, ...]:
        boxes, boxes_num = ctx.saved_tensor()
        size, stride, ratio = ctx.how
        of_maps = paddle.zeros(ctx.shape, gradient.dtype)
        if not boxes.shape[0]:
            return of_maps, None, None
        boxes = boxes.astype(gradient.dtype)
        columns, rows = (
            _point_weights(boxes[:, axis] / stride - 0.5, boxes[:, axis + 2] / stride - 0.5, size, length, ratio)
            for axis, length in ((0, ctx.shape[3]), (1, ctx.shape[2]))
        )  # [R, size, w], [R, size, h]
        of_boxes = rows.transpose([0, 2, 1]).unsqueeze(1) @ gradient @ columns.unsqueeze(1)  # [R, C, h, w]
        return paddle.index_add(of_maps, owners(boxes, boxes_num), 0, of_boxes), None, None


def _point_weights(low: paddle.Tensor, high: paddle.Tensor, parts: int, length: int, ratio: int) -> paddle.Tensor:
    """[R, parts, length]: the weight of each pixel in the mean over the points of each part, in one direction.

    Args:
        low, high: [R], in pixels of the map, whose first one has its middle at 0.
        ratio: points per part; -1 takes one per pixel, rounded up.
    """
    per_part = (high - low) / parts  # [R]
    count = paddle.ceil(per_part) if ratio < 0 else paddle.full_like(per_part, ratio)
    step = per_part / count  # between two points
    # where a part has several points, these are more than half a pixel apart: so many lie on the map, at most
    most = parts * ratio if ratio > 0 else max(parts, 2 * (length + 2))
    first = (paddle.ceil((-1 - low) / step - 0.5) - 1).clip(min=0)  # the last point before the map
    point = first.unsqueeze(1) + paddle.arange(most, dtype=low.dtype)  # [R, most], of all parts one after the other
    place = low.unsqueeze(1) + (point + 0.5) * step.unsqueeze(1)
    counted = paddle.logical_and(place >= -1, place <= length)  # beyond there are zeros
    pixel = paddle.arange(length, dtype=low.dtype)
    near = F.relu(1 - (place.clip(0, length - 1).unsqueeze(2) - pixel).abs())  # linear between neighbours
    near = near * counted.unsqueeze(2).astype(low.dtype)  # [R, most, length]
    part = paddle.arange(parts, dtype=low.dtype).unsqueeze(1)
    of_part = (paddle.floor(point / count.unsqueeze(1)).unsqueeze(1) == part).astype(low.dtype)  # [R, parts, most]
    return of_part @ near / count.reshape([-1, 1, 1])


def pooled_to(maps: paddle.Tensor, size: int) -> paddle.Tensor:
    """[N, C, T, h, w] -> [N, C, T, size, size], the mean of each part; parts overlap where they do not divide h, w.

    Two products of float32 with matrices of any h, w, which every runtime takes; Paddle's pool has no form in ONNX.
    """
    height, width = maps.shape[3:]
    if not paddle.in_dynamic_mode():  # may be free
        height, width = (paddle.shape(maps)[axis].astype("int64") for axis in (3, 4))
    rows, columns = _parts(height, size), _parts(width, size)  # [size, h], [size, w]
    with paddle.amp.auto_cast(enable=False):  # products are in half precision otherwise, which the pool is not
        return paddle.matmul(paddle.matmul(rows, maps), columns, transpose_y=True)


def _parts(length: int | paddle.Tensor, size: int) -> paddle.Tensor:
    """float32 [size, length]: the weight of each position in each part of ``F.adaptive_avg_pool2d``."""
    part = paddle.arange(size, dtype="int64").unsqueeze(1)  # [size, 1]
    start, end = part * length // size, ((part + 1) * length + size - 1) // size  # [size, 1]
    place = paddle.arange(length, dtype="int64").unsqueeze(0)  # [1, length]
    inside = paddle.logical_and(place >= start, place < end).astype("float32")
    return inside / (end - start).astype("float32")


@paddle.jit.not_to_static
def _differ_in_size(first: paddle.Tensor, second: paddle.Tensor) -> bool:
    """Whether h, w of two maps are known to differ; in a static program with free sizes they are not known."""
    return list(first.shape[3:]) != list(second.shape[3:])


@HEADS.register
class SingleRoIExtractor3D(DetectionPart, nn.Layer):
    """Features of regions from the feature maps of one or several pathways.

    Args:
        roi_layer_type: how a region is read; only "RoIAlign".
        featmap_stride: pixels of the clip per pixel of the map.
        output_size: a region becomes ``output_size`` x ``output_size`` parts.
        sampling_ratio, aligned: see ``roi_align``.
        pool_mode: of the points within a part; only "avg".
        with_temporal_pool: whether the maps are pooled over time first.
        temporal_pool_mode: "avg" or "max".
        with_global: whether each region has its whole picture beside it, pooled to the same size, in channels of its
            own after the region's.

    *Source*: MMAction2 and PaddleVideo ``SingleRoIExtractor3D``.
    """

    def __init__(
        self,
        roi_layer_type: Literal["RoIAlign"] = "RoIAlign",
        featmap_stride: PositiveInt = 16,
        output_size: PositiveInt = 8,
        sampling_ratio: NonNegativeInt = 0,
        pool_mode: Literal["avg"] = "avg",
        aligned: bool = True,
        with_temporal_pool: bool = True,
        temporal_pool_mode: Literal["avg", "max"] = "avg",
        with_global: bool = False,
    ):
        super().__init__()
        self.featmap_stride, self.output_size, self.sampling_ratio = featmap_stride, output_size, sampling_ratio
        self.aligned, self.with_global = aligned, with_global
        self.with_temporal_pool, self.temporal_pool_mode = with_temporal_pool, temporal_pool_mode

    def forward(
        self, features: paddle.Tensor | Sequence[paddle.Tensor], boxes: paddle.Tensor, boxes_num: paddle.Tensor
    ) -> tuple[paddle.Tensor, paddle.Tensor]:
        """Region features float32 [R, C, T', output_size, output_size], and the map they are from, [N, C, T', h, w].

        C is the sum over the pathways, twice that of regions with ``with_global``; T' is 1 with temporal pooling.

        Args:
            features: [N, C, T, h, w], or one per pathway; T may differ, and h, w of all are brought to the first's.
            boxes: float32 [R, 4] in pixels of the clips, all samples one after the other; R may be 0.
            boxes_num: int32 [N].
        """
        context = self._join(features if isinstance(features, list | tuple) else [features])
        options = (self.output_size, self.featmap_stride, self.sampling_ratio, self.aligned)
        frames = [context.squeeze(2)] if self.with_temporal_pool else paddle.unbind(context, axis=2)
        regions = paddle.stack([roi_align(frame, boxes, boxes_num, *options) for frame in frames], axis=2)
        if self.with_global:
            whole = pooled_to(context.astype("float32"), self.output_size)  # [N, C, T', s, s]
            regions = paddle.concat([regions, paddle.gather(whole, owners(boxes, boxes_num))], axis=1)
        return regions, context

    def _join(self, maps: list[paddle.Tensor]) -> paddle.Tensor:
        """The pathways in one map [N, C, T', h, w]."""
        longest = max(one.shape[2] for one in maps)
        joined = []
        for value in maps:
            # pooling over time is the same before and after every frame is repeated equally often
            pools_equally = self.with_temporal_pool and longest % value.shape[2] == 0
            if value.shape[2] != longest and not pools_equally:
                nearest = np.arange(longest) * value.shape[2] // longest
                value = paddle.index_select(value, paddle.to_tensor(nearest), axis=2)
            if self.with_temporal_pool:
                average = self.temporal_pool_mode == "avg"
                value = value.mean(2, keepdim=True) if average else max_over(value, 2, keepdim=True)
            if _differ_in_size(value, maps[0]):
                shape = [value.shape[2], *maps[0].shape[3:]]
                value = F.interpolate(value, shape, mode="nearest", data_format="NCDHW")
            joined.append(value)
        return joined[0] if len(joined) == 1 else paddle.concat(joined, axis=1)
