"""What every framework has; and ``Recognizer``, which averages over views and takes the loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import paddle
from paddle import nn

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling.backbones.base import Backbone
from paddlevideo.modeling.layers import ClipNormalize
from paddlevideo.modeling.weights import load_pretrained
from paddlevideo.ranges import RuntimeConfig, Within
from paddlevideo.registry import BACKBONES, HEADS, suggest


class Framework(nn.Layer, ABC):
    """A batch to a loss or to scores.  A subclass has ``forward``, ``predict_scores``, ``input_spec``, ``num_classes``.

    Attributes:
        num_classes: K.
        num_frames: T, the frames that a clip must have; None: any number.
        layouts: the ``Backbone.layout`` s that it feeds; empty: any.
        head_name: the part after the backbone, as checkpoints call it.
        avg_type: how views are averaged: "score", "prob" or "none"; None: there are no views.
        multi_label: the classes do not exclude one another, and scores are every class's own.
        takes_boxes: clips come with boxes, and scores are theirs.
        frame_by_frame: it also takes the frames of a stream one by one (``stream``).
        action_thr: scores above it are worth reporting; None: no such threshold.
        needs_long_term: batches must have long-term features, of ``long_term_channels`` values.
        bank_request: the feature bank that a test run writes (``BankRequest``), or None.
        classifier_prefixes: of the names of parameters with a shape that depends on K.
        weights_prefix: where this network's names begin in a checkpoint that holds several networks.
        frozen: paths of the layers that do not learn.
        host_keys: entries of a training batch that are read on the host; they may stay numpy arrays.
    """

    num_classes: int
    num_frames: int | None = None
    layouts: Sequence[str] = ()
    head_name: str = "head"
    avg_type: str | None = None
    multi_label: bool = False
    takes_boxes: bool = False
    frame_by_frame: bool = False
    action_thr: float | None = None
    needs_long_term: bool = False
    long_term_channels: int = 0
    bank_request: Any = None
    classifier_prefixes: tuple[str, ...] = ("head.",)
    weights_prefix: str = ""
    frozen: Sequence[str] = ()
    host_keys: Sequence[str] = ()

    @abstractmethod
    def forward(self, batch: Mapping[str, Any], mode: str = "loss") -> dict[str, paddle.Tensor]:
        """One step.

        Args:
            batch: "imgs" [N, V, T, H, W, 3], uint8 or normalised float32, and what else the pipeline gives.
            mode: "loss" or "predict".

        Returns:
            Of "loss": the scalar "loss", and figures for the log; of "predict": "scores" float32 [N, K]; boxes [R, K].
        """

    @abstractmethod
    def predict_scores(self, imgs: paddle.Tensor, *others: paddle.Tensor) -> paddle.Tensor:
        """Scores [N, K] or [R, K] of clips [N, V, T, H, W, 3] and other inputs: what ``export`` makes a program of."""

    @abstractmethod
    def input_spec(self, batch: Mapping[str, Any]) -> list[paddle.static.InputSpec]:
        """The inputs of ``predict_scores`` with their free axes, for a static program."""

    def check_layout(self, backbone: Backbone) -> None:
        """The backbone takes what this framework feeds.

        Raises:
            ConfigError: it does not.
        """
        if self.layouts and backbone.layout not in self.layouts:
            ours, theirs = type(self).__name__, type(backbone).__name__
            problem = f"MODEL.framework: {ours} feeds {' or '.join(self.layouts)}, {theirs} takes {backbone.layout}"
            raise ConfigError("MODEL", [problem])

    def freeze(self, parts: Sequence[str]) -> None:
        """Freezes these layers: no gradient, not in the optimizer, batch norms and dropouts as in a test.

        Args:
            parts: their paths as parameters' names have them: ``backbone``, or ``backbone.conv``, ``backbone.res2a``.

        Raises:
            ConfigError: there is no such layer.
        """
        layers, children = dict(self.named_sublayers()), ", ".join(dict(self.named_children()))
        problems = [
            f"MODEL.freeze.{i}: no part {part!r} of {children}{suggest(str(part), layers)}"
            for i, part in enumerate(parts)
            if part not in layers
        ]
        if problems:
            raise ConfigError("MODEL", problems)
        self.frozen = tuple(parts)
        for part in self.frozen:
            for parameter in layers[part].parameters():
                parameter.stop_gradient = True
        self.train()

    def train(self) -> None:
        """Training mode for all but the frozen layers."""
        super().train()
        layers = dict(self.named_sublayers()) if self.frozen else {}
        for part in self.frozen:
            layers[part].eval()

    def check_losses(self) -> None:
        """Called before training.

        Raises:
            ConfigError: a loss has arguments of another number of classes.
        """

    def checkpoints(self) -> dict[str, nn.Layer]:
        """The networks saved as the best ones: an ending of the file's name, and the network."""
        return {"": self}

    def networks(self) -> list[nn.Layer]:
        """The networks that this one is made of, each with a classifier of its own."""
        return [self]

    def kept_elsewhere(self) -> dict[str, str]:
        """Parts that a checkpoint leaves out since they come from files again: their names, and the files' sha256."""
        return {}

    def start_files(self) -> dict[str, tuple[str, bool]]:
        """Weights that whole networks of this one start from: key path -> (file, whether the logits teach others)."""
        return {}

    def convert(self, arrays: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """A whole checkpoint of another origin under the names here, by ``convert`` of the backbone and the head.

        Args:
            arrays: numpy arrays by name, e.g. ``backbone.conv1.conv.weight``, ``cls_head.fc_cls.weight``.
            origin: "mmaction2", or another that the backbone's ``convert`` takes.

        Raises:
            UserError: only PaddleVideo has this backbone.
        """
        parts: dict[str, dict[str, Any]] = {"backbone": {}, self.head_name: {}}
        for key, value in arrays.items():
            part, _, rest = key.partition(".")
            parts.setdefault({"cls_head": "head"}.get(part, part), {})[rest] = value
        layers = dict(self.named_children())
        for name in ("backbone", self.head_name):
            parts[name] = layers[name].convert(parts[name], origin)
        return {f"{part}.{key}": value for part, table in parts.items() for key, value in table.items()}

    @classmethod
    def deployed(cls, section: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        """The MODEL section of what is tested and exported, and its ``weights_prefix``."""
        return dict(section), cls.weights_prefix

    @classmethod
    def without_start_weights(cls, section: Mapping[str, Any]) -> dict[str, Any]:
        """A copy of the MODEL section that starts from no files that a checkpoint will replace."""
        section = dict(section)
        if isinstance(section.get("backbone"), Mapping):
            section["backbone"] = {key: value for key, value in section["backbone"].items() if key != "pretrained"}
        return section


# rank and axes of what a backbone gives, by its layout
_AXES = {"frames": (4, "[N * T, C, h, w]"), "volumes": (5, "[N, C, T, h, w]"), "tokens": (2, "[N, C]")}


def _form(value: Any) -> str:
    """The shape of a tensor, or of each tensor of a list; the type of anything else."""
    if paddle.is_tensor(value):
        return str(list(value.shape))
    kind = type(value).__name__
    return f"a {kind} of {', '.join(map(_form, value))}" if isinstance(value, list | tuple) and value else kind


@paddle.jit.not_to_static
def check_features(
    backbone: Backbone, features: Any, imgs: paddle.Tensor, frames: int = 1, num_maps: int | None = None
) -> None:
    """The backbone's output fits its layout and ``out_channels``.

    Args:
        features: a tensor, or, of the layout "volumes", one per pathway.
        imgs: the clips [N, V, T, H, W, 3]; of a static program N may be -1, which is unknown.
        frames: of a clip, side by side in the first axis of the layout "frames".
        num_maps: the number of pathways that the head takes; None: any.

    Raises:
        UserError: it does not.
    """
    several = backbone.layout == "volumes" and isinstance(features, list | tuple)
    maps = features if several else [features]
    shapes = [list(one.shape) for one in maps if paddle.is_tensor(one)]
    (rank, axes), rows = _AXES[backbone.layout], imgs.shape[0] * imgs.shape[1] * frames
    fits = len(shapes) == len(maps) and all(
        len(shape) == rank and (rows < 0 or shape[0] in (rows, -1)) for shape in shapes
    )
    gives = f"MODEL.backbone: {type(backbone).__name__}.forward gives {_form(features)}"
    if not fits or sum(shape[1] for shape in shapes) != backbone.out_channels:
        wanted = f"{axes} with {rows} rows and C = {backbone.out_channels} (out_channels), layout {backbone.layout!r}"
        raise UserError(f"{gives}, expected {wanted}")
    if num_maps is not None and (len(maps) != num_maps or several != (num_maps > 1)):
        wanted = f"a tuple of {num_maps} tensors" if num_maps > 1 else "one tensor"
        raise UserError(f"{gives}, MODEL.head takes {wanted}; choose another head")


@paddle.jit.not_to_static
def _check_logits(head: nn.Layer, logits: Any, imgs: paddle.Tensor, num_classes: int) -> None:
    """Raises UserError if a head's output is not [N, K]."""
    shape, clips = list(logits.shape) if paddle.is_tensor(logits) else [], imgs.shape[0] * imgs.shape[1]
    if len(shape) != 2 or shape[1] != num_classes or (clips >= 0 and shape[0] not in (clips, -1)):
        wanted = f"logits [N, K] = [{clips}, {num_classes}]"
        raise UserError(f"MODEL.head: {type(head).__name__}.forward gives {_form(logits)}, expected {wanted}")


def _check_loss(criterion: nn.Layer, loss: Any) -> None:
    """Raises UserError if a loss is not one floating-point value."""
    got = _form(loss)
    if paddle.is_tensor(loss):
        if loss.size == 1 and loss.is_floating_point():
            return
        got += "" if loss.is_floating_point() else f" of {str(loss.dtype).rpartition('.')[2]}"
    name = type(criterion).__name__
    raise UserError(f"MODEL.head.loss_cfg: {name}.forward gives {got}, expected a scalar tensor of float32")


class Recognizer(Framework):
    """A backbone and a head over one batch of clips.

    Args:
        backbone: ``{name: Class, arguments}``.
        head: ``{name: Class, arguments}``.
        runtime_cfg: ``{test: {num_seg, avg_type}}``; "score" averages the views' logits, "prob" their probabilities;
            "none" is "score" for the one row per sample that metrics and reports need, and predicts the views too.
            Left out: the head's ``avg_type``.
        normalization: (mean, std) on the 0..1 scale: clips are uint8 and normalised here; None takes them as they are.
        freeze: parts that do not learn, see ``Framework.freeze``.
    """

    def __init__(
        self,
        backbone: dict[str, Any],
        head: dict[str, Any],
        runtime_cfg: RuntimeConfig | None = None,
        normalization: Sequence[Sequence[float]] | None = None,
        freeze: list[Annotated[str, Within("backbone", "head")]] | None = None,
    ):
        super().__init__()
        self.backbone = BACKBONES.build(backbone, "MODEL.backbone")
        self.check_layout(self.backbone)
        self.head = HEADS.build(head, "MODEL.head")
        self.normalize = ClipNormalize(*(normalization or (None, None)))
        self._check_agreement()
        self.avg_type = self._average_type(runtime_cfg or {})
        if self.backbone.pretrained:
            load_pretrained(self.backbone, self.backbone.pretrained)
        self.freeze(freeze or ())

    @property
    def num_classes(self) -> int:
        """K."""
        return self.head.num_classes or self.backbone.out_channels

    @property
    def multi_label(self) -> bool:
        """Whether a clip may have several classes."""
        return self.head.multi_label

    @property
    def classifier_prefixes(self) -> tuple[str, ...]:
        """Prefixes of the names of parameters with a shape that depends on the number of classes."""
        return ("head.", *(f"backbone.{name}" for name in self.backbone.classifier_prefixes))

    @property
    def feature_channels(self) -> int:
        """D, the channels of the backbone's output."""
        return self.backbone.out_channels

    @property
    def num_frames(self) -> int | None:
        """T, the frames that a clip must have; None if the network takes any number."""
        return self.backbone.num_seg

    def check_losses(self) -> None:
        self.head.criterion.check_classes(self.num_classes)

    def input_spec(self, batch: Mapping[str, Any]) -> list[paddle.static.InputSpec]:
        """The clips' axes for a static program: N is free, everything else as in ``batch["imgs"]``."""
        imgs = batch["imgs"]
        return [paddle.static.InputSpec([None, *imgs.shape[1:]], str(imgs.dtype).rpartition(".")[2], name="imgs")]

    def forward(self, batch: Mapping[str, Any], mode: str = "loss") -> dict[str, paddle.Tensor]:
        """One step.

        Args:
            batch: "imgs" [N, V, T, H, W, 3], uint8 (float32 without ``normalization``); for the loss also "label",
                int [N] or float [N, K].
            mode: "loss", "predict" or "features".

        Returns:
            "scores": probabilities float32 [N, K]; in mode "predict" with ``avg_type: none`` also "view_logits" [N, V,
            K], not averaged; in mode "loss" the scalar "loss", every view counting as a clip; in mode "features" also
            "features" float32 [N, D], what the classifier takes, the mean over views, frames and places.
        """
        if mode not in ("loss", "predict", "features"):
            raise ValueError(f"mode: expected 'loss', 'predict' or 'features', got {mode!r}")
        if mode == "features":
            return self._features(batch["imgs"])
        logits = self.view_logits(batch["imgs"])  # [N, V, K]
        if mode == "predict":
            views = {"view_logits": logits.astype("float32")} if self.avg_type == "none" else {}
            return {"scores": self.average(logits), **views}
        labels, views = batch["label"], logits.shape[1]
        if views > 1:
            labels = labels.repeat_interleave(views, axis=0)
        loss = self.head.loss(logits.reshape([-1, self.num_classes]), labels)
        _check_loss(self.head.criterion, loss)
        return {"loss": loss, "scores": self.average(logits.detach())}

    @property
    def classifier(self) -> nn.Layer:
        """The last linear layer, features [..., D] to logits [..., K].

        Raises:
            UserError: neither head nor backbone names one.
        """
        layer = self.backbone.classifier or self.head.classifier
        if layer is None:
            name = type(self.head).__name__
            raise UserError(
                f"MODEL.head: {name} has no classifier (Head.classifier), so there are no features before it"
            )
        return layer

    def _features(self, imgs: paddle.Tensor) -> dict[str, paddle.Tensor]:
        taken: list[paddle.Tensor] = []
        hook = self.classifier.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
        try:
            logits = self.view_logits(imgs)
        finally:
            hook.remove()
        (rows,) = taken  # [N * V * ..., D]
        features = rows.astype("float32").reshape([imgs.shape[0], -1, rows.shape[-1]]).mean(1)
        return {"features": features, "scores": self.average(logits)}

    def predict_scores(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Probabilities [N, K] of clips [N, V, T, H, W, 3]: what ``export`` turns into a program."""
        return self.average(self.view_logits(imgs))

    def view_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N, V, K] of clips [N, V, T, H, W, 3].

        Raises:
            UserError: the clips are not 6-dimensional or have another number of frames than the network.
        """
        if imgs.ndim != 6:
            raise UserError(f"imgs: expected [N, V, T, H, W, 3], got {list(imgs.shape)}")
        views, frames = imgs.shape[1:3]
        if self.num_frames not in (None, frames):
            raise UserError(
                f"clips have {frames} frames, MODEL.backbone.num_seg is {self.num_frames}: set it and num_seg of every "
                "sampler in PIPELINE to the same number"
            )
        logits = self.clip_logits(imgs)
        _check_logits(self.head, logits, imgs, self.num_classes)
        return logits.reshape([-1, views, self.num_classes])

    @abstractmethod
    def clip_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N * V, K] of clips [N, V, T, H, W, 3], in the network's own layout."""

    def average(self, logits: paddle.Tensor) -> paddle.Tensor:
        """[N, V, K] -> probabilities float32 [N, K] by ``avg_type``."""
        logits = logits.astype("float32")
        if self.avg_type == "prob":
            return self.head.scores(logits).mean(1)
        return self.head.scores(logits.mean(1))

    def _check_agreement(self) -> None:
        given, wanted = self.head.in_channels, self.backbone.out_channels
        problems = []
        if given is not None and given != wanted:
            problems.append(f"MODEL.head.in_channels: the backbone gives {wanted!r} channels, got {given!r}")
        frames = self.head.num_seg
        if frames is not None and frames != self.num_frames:
            problems.append(f"MODEL.head.num_seg: expected MODEL.backbone.num_seg ({self.num_frames}), got {frames}")
        if problems:
            raise ConfigError("MODEL", problems)

    def _average_type(self, runtime_cfg: Mapping[str, Any]) -> str:
        test = runtime_cfg.get("test") or {}
        if self.num_frames not in (None, test.get("num_seg", self.num_frames)):
            problem = f"expected MODEL.backbone.num_seg ({self.num_frames}), got {test['num_seg']}"
            raise ConfigError("MODEL", [f"MODEL.runtime_cfg.test.num_seg: {problem}"])
        return test.get("avg_type", self.head.avg_type)
