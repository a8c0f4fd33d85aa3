"""A stream of frames, classified one by one."""

from __future__ import annotations

from collections import deque
from typing import Any

import paddle


class OnlineTSM:
    """Classifies every frame of a stream at the cost of one frame.

    Per shifted block it keeps the channels of the frame before that the next one takes (about 1 / shift_div of the
    features), and the last ``window`` frames' logits.  After the t-th frame the logits are the mean over the last
    min(t, window) frames: for t up to ``num_seg`` exactly what the network gives offline for a clip of those t frames.
    Later the mean moves along, while the shifts depend on the whole stream, not only the window.

    Args:
        network: a ``Recognizer2D`` whose backbone has ``shift_mode: online``, in eval mode.
        window: frames that are averaged; by default as many as a clip has; 1 is the last frame alone.

    *Source*: TSM (Lin et al., 2019), section 4.2, online models.

    Example:
        stream = network.stream()
        for frame in camera:                      # uint8 [H, W, 3]
            scores = stream.step(frame[None])     # [1, K]
    """

    def __init__(self, network: Any, window: int | None = None):
        window = network.num_frames if window is None else window
        if window < 1:
            raise ValueError(f"window: expected at least 1 frame, got {window}")
        self.network, self.window = network, window
        self.reset()

    def reset(self) -> None:
        """Resets the stream: the next frame is a first one."""
        self._past: list[paddle.Tensor] = []
        self._logits: deque[paddle.Tensor] = deque(maxlen=self.window)

    def step(self, frames: Any) -> paddle.Tensor:
        """Probabilities float32 [N, K] after the next frame of N streams.

        Args:
            frames: [N, H, W, 3], uint8, or float32 if the network does not normalise, array or tensor; N and size
                stay what they were.

        Raises:
            ConfigError: the network's shift takes later frames.
        """
        return self.network.head.scores(self.step_logits(frames))

    @paddle.no_grad()
    def step_logits(self, frames: Any) -> paddle.Tensor:
        """Mean logits float32 [N, K] of the window that ends with these frames; arguments as for ``step``."""
        if self.network.training:
            raise ValueError("a stream needs the running statistics: call network.eval() first")
        frames = frames if isinstance(frames, paddle.Tensor) else paddle.to_tensor(frames)
        logits, self._past = self.network.frame_logits(frames, self._past)
        self._logits.append(logits.astype("float32"))
        return paddle.stack(list(self._logits)).mean(0)
