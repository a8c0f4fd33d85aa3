"""Actions of the persons in given boxes: a video backbone, and a head on regions of its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any

import numpy as np
import paddle

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling.frameworks.base import Framework, check_features
from paddlevideo.modeling.heads.roi_head import AVARoIHead
from paddlevideo.modeling.layers import ClipNormalize
from paddlevideo.modeling.weights import load_pretrained
from paddlevideo.ranges import Within
from paddlevideo.registry import BACKBONES, FRAMEWORKS, HEADS

_SMALL = ("boxes", "boxes_num", "gt_boxes", "gt_boxes_num", "gt_labels")


@FRAMEWORKS.register
class FastRCNN(Framework):
    """Classifies the boxes of the clips; it neither finds boxes nor moves them.

    The names of its parameters are PaddleVideo's: ``backbone``, ``roi_head.bbox_head.fc_cls``.

    Args:
        backbone: ``{name: Class, arguments}``; gives [N, C, T, h, w], or one such map per pathway.
        head: ``{name: AVARoIHead, ...}``.
        normalization: (mean, std) on the 0..1 scale: clips are uint8 and normalised here; None takes them as they are.
        freeze: parts that do not learn, see ``Framework.freeze``.

    *Source*: MMAction2 and PaddleVideo ``FastRCNN``.  There a test batch is one clip; here it is any.
    """

    takes_boxes = True
    layouts = ("volumes",)
    head_name = "roi_head"
    host_keys = (*_SMALL, "sizes")

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        normalization: Sequence[Sequence[float]] | None = None,
        freeze: list[Annotated[str, Within("backbone", "roi_head")]] | None = None,
    ):
        super().__init__()
        self.backbone = BACKBONES.build(backbone, "MODEL.backbone")
        self.check_layout(self.backbone)
        self.roi_head = HEADS.build(head, "MODEL.head")
        self.normalize = ClipNormalize(*(normalization or (None, None)))
        if not isinstance(self.roi_head, AVARoIHead):
            raise ConfigError("MODEL", [f"MODEL.head.name: FastRCNN needs AVARoIHead, got {head.get('name')!r}"])
        problems = self.roi_head.channel_problems(self.backbone.out_channels)
        if problems:
            raise ConfigError("MODEL", problems)
        if self.backbone.pretrained:
            load_pretrained(self.backbone, self.backbone.pretrained)
        self.freeze(freeze or ())

    @property
    def num_classes(self) -> int:
        """K, with the reserved class 0."""
        return self.roi_head.num_classes

    @property
    def num_frames(self) -> int | None:
        """T, the frames that a clip must have; None if the backbone takes any number."""
        return self.backbone.num_seg

    @property
    def classifier_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters with a shape that depends on the number of classes."""
        return ("roi_head.bbox_head.fc_cls.",)

    @property
    def needs_long_term(self) -> bool:
        """Whether batches must have long-term features."""
        return self.roi_head.needs_long_term

    @property
    def long_term_channels(self) -> int:
        """C' of the long-term features that batches must have; 0 where they need none."""
        return self.roi_head.shared_head.lt_feat_channels if self.needs_long_term else 0

    @property
    def bank_request(self) -> Any:
        """The feature bank that a test run writes (``BankRequest``), or None."""
        return None if self.roi_head.shared_head is None else self.roi_head.shared_head.bank_request

    @property
    def action_thr(self) -> float:
        """Scores above it are worth reporting."""
        return self.roi_head.action_thr

    @property
    def one_action(self) -> bool:
        """Whether scores are of one class out of all (softmax), rather than of every class by itself."""
        return not self.roi_head.bbox_head.multilabel

    def input_spec(self, batch: Mapping[str, Any]) -> list[paddle.static.InputSpec]:
        """The axes of ``predict_scores`` for a static program: N, H, W and R are free; V, T as in ``batch["imgs"]``.

        With long-term features in the batch these are inputs, too: S is free, C' as in ``batch["long_term"]``.
        """
        imgs = batch["imgs"]
        spec, kind = paddle.static.InputSpec, str(imgs.dtype).rpartition(".")[2]
        specs = [
            spec([None, *imgs.shape[1:3], None, None, 3], kind, name="imgs"),
            spec([None, 4], "float32", name="boxes"),
            spec([None], "int32", name="boxes_num"),
        ]
        if "long_term" in batch:
            specs.append(spec([None, None, batch["long_term"].shape[-1]], "float32", name="long_term"))
            specs.append(spec([None, None], "bool", name="long_term_filled"))
        return specs

    def forward(self, batch: Mapping[str, Any], mode: str = "loss") -> dict[str, paddle.Tensor]:
        """One step.

        Args:
            batch: "imgs" [N, 1, T, H, W, 3], uint8 (float32 without ``normalization``); "boxes" float32 [R, 4] xyxy in
                pixels, all samples one after the other; "boxes_num" int32 [N]; "sizes" int64 [N, 2], height and width
                of each sample inside of the padding, if there is any.  For the loss also "gt_boxes" [G, 4],
                "gt_boxes_num" [N], "gt_labels" [G, K].  For a head that needs them "long_term" and "long_term_filled".
            mode: "loss", "predict", or "features".

        Returns:
            Of "predict": "scores", float32 [R, K] in the order of the boxes; they do not depend on what else is in
            the batch; and with a head that keeps them "features".  Of "features": these alone, [R, C], what a feature
            bank holds of each person.  Of "loss": the scalar "loss", and the figures of ``BBoxHeadAVA.loss``.
        """
        if mode in ("predict", "features"):
            return self._evaluate(batch, mode)
        if mode != "loss":
            raise ValueError(f"mode: expected 'loss', 'predict' or 'features', got {mode!r}")
        if "gt_boxes" not in batch:
            raise UserError("a batch for training has no gt_boxes: DATASET must be of key frames (AVADataset)")
        arrays = {key: np.asarray(batch[key]) for key in _SMALL}
        rng = np.random.default_rng(_host_seed())
        boxes, counts, labels = self.roi_head.draw(arrays, rng)
        logits = self._per_box(
            batch, paddle.to_tensor(boxes), counts, self.box_logits, self.num_classes, skip_empty=False
        )
        return self.roi_head.bbox_head.loss(logits, labels)

    def _evaluate(self, batch: Mapping[str, Any], mode: str) -> dict[str, paddle.Tensor]:
        boxes, counts = batch["boxes"], batch["boxes_num"]
        if mode == "features":
            features = self._per_box(batch, boxes, counts, self.box_features, self.backbone.out_channels, True)
            return {"features": features}
        if self.bank_request is None:
            logits = self._per_box(batch, boxes, counts, self.box_logits, self.num_classes, skip_empty=True)
            return {"scores": self.roi_head.bbox_head.scores(logits)}
        width = self.num_classes + self.backbone.out_channels
        both = self._per_box(batch, boxes, counts, self._logits_and_features, width, skip_empty=True)
        logits, features = both[:, : self.num_classes], both[:, self.num_classes :]
        return {"scores": self.roi_head.bbox_head.scores(logits), "features": features}

    def predict_scores(
        self, imgs: paddle.Tensor, boxes: paddle.Tensor, boxes_num: paddle.Tensor, *long_term: paddle.Tensor
    ) -> paddle.Tensor:
        """Scores [R, K] of boxes in clips [N, 1, T, H, W, 3] of one size: what ``export`` turns into a program."""
        return self.roi_head.bbox_head.scores(self.box_logits(imgs, boxes, boxes_num, *long_term))

    def box_logits(
        self, imgs: paddle.Tensor, boxes: paddle.Tensor, boxes_num: paddle.Tensor, *long_term: paddle.Tensor
    ) -> paddle.Tensor:
        """Logits [R, K]; arguments as for ``predict_scores``.

        Raises:
            UserError: the clips are not 6-dimensional, have several views, or not as many frames as the network takes.
        """
        return self.roi_head(self._maps(imgs), boxes, boxes_num, long_term or None)

    def box_features(
        self, imgs: paddle.Tensor, boxes: paddle.Tensor, boxes_num: paddle.Tensor, *long_term: paddle.Tensor
    ) -> paddle.Tensor:
        """What a feature bank holds of each box, [R, C]; arguments as for ``predict_scores``."""
        return self.roi_head.person_features(self._maps(imgs), boxes, boxes_num)

    def _logits_and_features(self, imgs: paddle.Tensor, *others: paddle.Tensor) -> paddle.Tensor:
        """Both of one pass through the backbone, side by side: [R, K + C]."""
        maps, (boxes, boxes_num, *long_term) = self._maps(imgs), others
        logits = self.roi_head(maps, boxes, boxes_num, tuple(long_term) or None)
        return paddle.concat([logits, self.roi_head.person_features(maps, boxes, boxes_num)], axis=1)

    def _maps(self, imgs: paddle.Tensor) -> Any:
        self._check(imgs)
        x = self.normalize(imgs.squeeze(1).transpose([0, 4, 1, 2, 3]), channel_axis=1)  # [N, 3, T, H, W]
        maps = self.backbone(x)
        check_features(self.backbone, maps, imgs)
        return maps

    def _per_box(
        self,
        batch: Mapping[str, Any],
        boxes: paddle.Tensor,
        boxes_num: np.ndarray | paddle.Tensor,
        compute: Callable[..., paddle.Tensor],
        width: int,
        skip_empty: bool,
    ) -> paddle.Tensor:
        """What ``compute`` gives, [R, width], of a batch whose pictures may differ in size, in the order of the boxes.

        Args:
            compute: of clips of one size, their boxes, their number per clip, and long-term features if needed.
            skip_empty: leave out samples without boxes; not in training, where batch norms learn from them as well.
        """
        imgs, counts = batch["imgs"], np.asarray(boxes_num)
        boxes_num = paddle.to_tensor(counts)
        long_term = self._long_term(batch) if compute != self.box_features else ()
        groups = list(_groups(imgs, batch.get("sizes"), counts, skip_empty))
        if not groups:
            return paddle.zeros([0, width])
        if len(groups) == 1 and len(groups[0][0]) == len(counts):
            ((_, height, width),) = groups
            return compute(imgs[:, :, :, :height, :width], boxes, boxes_num, *long_term)
        starts = np.cumsum(counts) - counts
        parts, order = [], []
        for members, height, width in groups:
            rows = np.concatenate([np.arange(starts[i], starts[i] + counts[i]) for i in members])
            chosen, own = paddle.to_tensor(members), paddle.to_tensor(rows)
            clips = paddle.gather(imgs, chosen)[:, :, :, :height, :width]
            tensors = (paddle.gather(value, chosen) for value in long_term)
            found = paddle.index_select(boxes, own) if len(rows) else boxes[:0]
            parts.append(compute(clips, found, paddle.to_tensor(counts[members]), *tensors))
            order.append(rows)
        place = np.argsort(np.concatenate(order), kind="stable")
        return paddle.gather(paddle.concat(parts), paddle.to_tensor(place))

    def _long_term(self, batch: Mapping[str, Any]) -> tuple[paddle.Tensor, ...]:
        if not self.roi_head.needs_long_term:
            return ()
        if "long_term" not in batch:
            name = type(self.roi_head.shared_head).__name__
            raise UserError(f"MODEL.head.shared_head: {name} needs a feature bank: add LongTermFeatures to PIPELINE")
        return batch["long_term"], batch["long_term_filled"]

    def _check(self, imgs: paddle.Tensor) -> None:
        if imgs.ndim != 6 or imgs.shape[1] != 1:
            raise UserError(f"imgs: expected one view per clip, [N, 1, T, H, W, 3], got {list(imgs.shape)}")
        if self.num_frames not in (None, imgs.shape[2]):
            raise UserError(
                f"clips have {imgs.shape[2]} frames, MODEL.backbone.num_seg is {self.num_frames}: set it and clip_len "
                "of every sampler in PIPELINE to the same number"
            )


def _host_seed() -> int:
    """A draw of Paddle's generator of the CPU, which ``paddle.seed`` sets, too; that of a GPU would be waited for."""
    place = paddle.CPUPlace()
    return int(np.asarray(paddle._C_ops.randint(0, 2**31 - 1, [1], paddle.int64, place))[0])


def _groups(
    imgs: paddle.Tensor, sizes: Any, counts: np.ndarray, skip_empty: bool
) -> Iterator[tuple[np.ndarray, int, int]]:
    """Samples of one size: their numbers, height, width."""
    full = np.array([imgs.shape[3:5]] * len(counts), "int64")
    sizes = full if sizes is None else np.asarray(sizes)
    kept = np.flatnonzero(counts > 0) if skip_empty else np.arange(len(counts))
    for height, width in np.unique(sizes[kept], axis=0) if len(kept) else ():
        members = kept[(sizes[kept] == (height, width)).all(axis=1)]
        yield members, int(height), int(width)
