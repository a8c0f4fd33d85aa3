"""Frameworks of recognition, by the layout of the network's clips."""

from __future__ import annotations

from collections.abc import Sequence

import paddle

from paddlevideo.errors import ConfigError
from paddlevideo.modeling.frameworks.base import Recognizer, check_features
from paddlevideo.modeling.frameworks.online import OnlineTSM
from paddlevideo.modeling.shift import ShiftState
from paddlevideo.registry import FRAMEWORKS


@FRAMEWORKS.register
class Recognizer2D(Recognizer):
    """Frames side by side in the batch axis, for 2-D backbones.  *Source*: PaddleVideo ``Recognizer2D``."""

    layouts = ("frames",)

    @property
    def frame_by_frame(self) -> bool:
        """Whether ``stream`` is there: no frame sees a later one."""
        return self.backbone.shift_mode == "online"

    def clip_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N * V, K] of clips [N, V, T, H, W, 3]."""
        x = imgs.reshape([-1, *imgs.shape[3:]]).transpose([0, 3, 1, 2])  # [N * V * T, 3, H, W]
        features = self.backbone(self.normalize(x, channel_axis=1))
        frames = self.backbone.out_seg or self.backbone.num_seg or imgs.shape[2]
        if self.head.in_channels is not None:  # else the backbone gives logits
            check_features(self.backbone, features, imgs, frames)
        return self.head(features, frames)

    def frame_logits(
        self, frames: paddle.Tensor, past: Sequence[paddle.Tensor] = ()
    ) -> tuple[paddle.Tensor, list[paddle.Tensor]]:
        """One step of N streams: nothing but tensors go in and come out, so that it can become a static program.

        Args:
            frames: [N, H, W, 3], uint8, or float32 if the network does not normalise.
            past: what the step before gave; none at a stream's first frame.

        Returns:
            Logits [N, K] of these frames alone, and the next step's ``past``.

        Raises:
            ConfigError: the backbone's shift takes later frames.
        """
        if not self.frame_by_frame:
            problem = "MODEL.backbone.shift_mode: a stream needs 'online', and weights trained with it"
            raise ConfigError("MODEL", [problem])
        state = ShiftState(past)
        x = self.normalize(frames.transpose([0, 3, 1, 2]), channel_axis=1)  # [N, 3, H, W]
        logits = self.head(self.backbone(x, state), 1)
        return logits, state.present

    def stream(self, window: int | None = None) -> OnlineTSM:
        """A stream to be classified frame by frame, see ``OnlineTSM``."""
        return OnlineTSM(self, window)


@FRAMEWORKS.register
class Recognizer3D(Recognizer):
    """Clips as volumes, for 3-D backbones and transformers.  *Source*: MMAction2 ``Recognizer3D``."""

    layouts = ("volumes", "tokens")

    def clip_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N * V, K] of clips [N, V, T, H, W, 3]."""
        x = imgs.reshape([-1, *imgs.shape[2:]]).transpose([0, 4, 1, 2, 3])  # [N * V, 3, T, H, W]
        features = self.backbone(self.normalize(x, channel_axis=1))
        if self.head.in_channels is not None:
            check_features(self.backbone, features, imgs, num_maps=self.head.num_maps)
        return self.head(features, 1)


@FRAMEWORKS.register
class RecognizerTransformer(Recognizer3D):
    """``Recognizer3D`` under PaddleVideo's name for transformers.  *Source*: PaddleVideo ``RecognizerTransformer``."""
