"""The boxes of a clip: drawing those for training, their features, their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import paddle
from paddle import nn

from paddlevideo.errors import UserError
from paddlevideo.modeling.heads.base import DetectionPart
from paddlevideo.modeling.heads.fbo_head import person_features
from paddlevideo.modeling.roi import owners
from paddlevideo.ranges import HeadSection, Positive, Probability
from paddlevideo.registry import HEADS

_WHERE = "MODEL.head"
_ASSIGNER = {"name": "MaxIoUAssignerAVA"}
_SAMPLER = {"name": "RandomSampler"}


@HEADS.register
class AVARoIHead(DetectionPart, nn.Layer):
    """Boxes and feature maps to logits; PaddleVideo's ``MODEL.head`` of a detector.

    Args:
        bbox_head: ``{name: BBoxHeadAVA, in_channels, num_classes...}``.
        bbox_roi_extractor: ``{name: SingleRoIExtractor3D, ...}``.
        shared_head: between the two, e.g. ``{name: ACRNHead, in_channels, out_channels}``; None without.
        assigner: ``{name: MaxIoUAssignerAVA, ...}``, for training.
        sampler: ``{name: RandomSampler, ...}``, for training.
        pos_weight: PaddleVideo's key, of which only the value without effect, 1, has a meaning.
        action_thr: scores above it are worth reporting, 0 to 1.

    *Source*: MMAction2 and PaddleVideo ``AVARoIHead``.
    """

    def __init__(
        self,
        bbox_head: HeadSection,
        bbox_roi_extractor: HeadSection,
        shared_head: HeadSection | None = None,
        assigner: HeadSection | None = None,
        sampler: HeadSection | None = None,
        pos_weight: Positive = 1.0,
        action_thr: Probability = 0.002,
    ):
        super().__init__()
        if pos_weight != 1:
            raise ValueError(f"pos_weight: has no effect in the reference; set it to 1, got {pos_weight}")
        self.bbox_roi_extractor = HEADS.build(bbox_roi_extractor, f"{_WHERE}.bbox_roi_extractor")
        self.shared_head = HEADS.build(shared_head, f"{_WHERE}.shared_head") if shared_head else None
        self.bbox_head = HEADS.build(bbox_head, f"{_WHERE}.bbox_head")
        self.assigner = HEADS.build(assigner or _ASSIGNER, f"{_WHERE}.assigner")
        self.sampler = HEADS.build(sampler or _SAMPLER, f"{_WHERE}.sampler")
        self.action_thr = action_thr

    @property
    def num_classes(self) -> int:
        """K, with the reserved class 0."""
        return self.bbox_head.num_classes

    @property
    def needs_long_term(self) -> bool:
        """Whether batches must have long-term features."""
        return self.shared_head is not None and self.shared_head.needs_long_term

    def forward(
        self,
        features: paddle.Tensor | Sequence[paddle.Tensor],
        boxes: paddle.Tensor,
        boxes_num: paddle.Tensor,
        long_term: tuple[paddle.Tensor, paddle.Tensor] | None = None,
    ) -> paddle.Tensor:
        """Logits [R, K].

        Args:
            features: a backbone's maps [N, C, T, h, w], one or one per pathway.
            boxes: float32 [R, 4] xyxy in pixels of the clips, all samples one after the other.
            boxes_num: int32 [N].
            long_term: [N, S, C'] and bool [N, S], for a shared head that needs it.
        """
        regions, context = self.bbox_roi_extractor(features, boxes, boxes_num)
        head = self.shared_head
        if head is not None:
            if head.needs_context:
                regions = head(regions, owners(boxes, boxes_num), context)
            elif self.needs_long_term:
                regions = head(regions, owners(boxes, boxes_num), *long_term)
            else:
                regions = head(regions)
        return self.bbox_head(regions)

    def person_features(
        self, features: paddle.Tensor | Sequence[paddle.Tensor], boxes: paddle.Tensor, boxes_num: paddle.Tensor
    ) -> paddle.Tensor:
        """The features of each box for a feature bank, [R, C]; arguments as for ``forward``."""
        regions, _ = self.bbox_roi_extractor(features, boxes, boxes_num)
        return person_features(regions)

    def draw(
        self, batch: Mapping[str, np.ndarray], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The boxes for training: float32 [S, 4], their number per sample int32 [N], labels float32 [S, K].

        There is always one: where a batch has none, the first picture's corner, without a label.

        Args:
            batch: "boxes", "boxes_num", "gt_boxes", "gt_boxes_num", "gt_labels" as arrays.

        Raises:
            UserError: the labels are for another number of classes.
        """
        if batch["gt_labels"].shape[1] != self.num_classes:
            raise UserError(
                f"labels are for {batch['gt_labels'].shape[1]} classes, MODEL.head.bbox_head.num_classes is "
                f"{self.num_classes}; both count the reserved class 0"
            )
        boxes = np.split(batch["boxes"], np.cumsum(batch["boxes_num"])[:-1])
        ends = np.cumsum(batch["gt_boxes_num"])[:-1]
        pairs = zip(boxes, np.split(batch["gt_boxes"], ends), np.split(batch["gt_labels"], ends))
        drawn = [self.sampler.sample(own, self.assigner.assign(own, gt), gt, labels, rng) for own, gt, labels in pairs]
        counts = np.array([len(own) for own, _ in drawn], "int32")
        if not counts.sum():
            counts[0] = 1
            stride = self.bbox_roi_extractor.featmap_stride
            return np.array([[0, 0, stride, stride]], "float32"), counts, np.zeros((1, self.num_classes), "float32")
        return np.concatenate([own for own, _ in drawn]), counts, np.concatenate([labels for _, labels in drawn])

    def channel_problems(self, channels: int) -> list[str]:
        """What does not fit, between a backbone of so many channels and the parts; each line with its key path."""
        problems = []
        regions = channels * (2 if self.bbox_roi_extractor.with_global else 1)
        source, head = "the RoI extractor gives", self.shared_head
        wanted = None if head is None else head.in_channels
        if wanted is not None:
            given = regions + channels if head.needs_context else regions
            if wanted != given:
                parts = f" ({regions} of a region, {channels} of the map)" if head.needs_context else ""
                problems.append(f"{_WHERE}.shared_head.in_channels: {source} {given} channels{parts}, got {wanted}")
            regions, source = head.out_channels, "the shared head gives"
        if self.bbox_head.in_channels != regions:
            problems.append(
                f"{_WHERE}.bbox_head.in_channels: {source} {regions} channels, got {self.bbox_head.in_channels}"
            )
        return problems

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Weights of another origin under these names; keys without ``roi_head.``."""
        converted: dict[str, Any] = {}
        for part, head in (("bbox_head", self.bbox_head), ("shared_head", self.shared_head)):
            own = {key[len(part) + 1 :]: value for key, value in arrays.items() if key.startswith(f"{part}.")}
            own = head.convert(own, origin) if head is not None else own
            converted |= {f"{part}.{key}": value for key, value in own.items()}
        rest = {key: value for key, value in arrays.items() if not key.startswith(("bbox_head.", "shared_head."))}
        return {**rest, **converted}
