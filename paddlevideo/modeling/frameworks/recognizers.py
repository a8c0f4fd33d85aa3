"""The three ways in which a network wants its clips."""

from __future__ import annotations

import paddle

from paddlevideo.modeling.frameworks.base import Recognizer
from paddlevideo.registry import FRAMEWORKS


@FRAMEWORKS.register
class Recognizer2D(Recognizer):
    """Frames side by side in the batch axis, for 2-D backbones.  *Source*: PaddleVideo ``Recognizer2D``."""

    def clip_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N * V, K] of clips [N, V, T, H, W, 3]."""
        frames, *pixels = imgs.shape[2:]
        x = imgs.reshape([-1, *pixels]).transpose([0, 3, 1, 2])  # [N * V * T, 3, H, W]
        return self.head(self.backbone(self.normalize(x, channel_axis=1)), frames)


@FRAMEWORKS.register
class Recognizer3D(Recognizer):
    """Clips as volumes, for 3-D backbones and transformers.  *Source*: MMAction2 ``Recognizer3D``."""

    def clip_logits(self, imgs: paddle.Tensor) -> paddle.Tensor:
        """Logits [N * V, K] of clips [N, V, T, H, W, 3]."""
        x = imgs.reshape([-1, *imgs.shape[2:]]).transpose([0, 4, 1, 2, 3])  # [N * V, 3, T, H, W]
        return self.head(self.backbone(self.normalize(x, channel_axis=1)))


@FRAMEWORKS.register
class RecognizerTransformer(Recognizer3D):
    """``Recognizer3D`` under PaddleVideo's name for transformers.  *Source*: PaddleVideo ``RecognizerTransformer``."""
