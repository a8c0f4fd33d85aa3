"""What export must know of a network that takes people's boxes: its inputs, and clips to compare it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.inference.array_reader import synthetic_reader
from paddlevideo.inference.ava_clips import ClipMaker, KeyMoment
from paddlevideo.inference.bank_windows import Window, without_windows
from paddlevideo.loader.pipelines import Pipeline

# clips, and people in each, of the batches compared: several clips, one of them empty; then another size of picture
_PEOPLE = ((1,), (4, 0, 3))


def synthetic_key_frame(pipeline: Pipeline) -> np.ndarray:
    """What the pipeline makes of a grey clip with one person, [1, T, H, W, 3]."""
    pipeline.refuse_boxes()
    maker = ClipMaker(without_windows(pipeline), synthetic_reader(), clip_fps=30.0, timestamp_start=0.0)
    whole = np.array([[0, 0, 1, 1]], np.float32)
    return maker.sample(0, KeyMoment(30, 1.0, 1.0), whole, np.ones(1, np.float32))["imgs"]


def people_batches(
    clips_like: Any, clip: np.ndarray, window: Window | None = None, seed: int = 0
) -> list[dict[str, np.ndarray]]:
    """Seeded batches to compare the program with the network on.

    Args:
        clips_like: ``random_clips``.
        clip: [1, T, H, W, 3]; the second batch has pictures of half its height and three quarters of its width.
        window: of a network that looks into a feature bank; its slots are filled by chance.
    """
    rng = np.random.default_rng(seed)
    batches = []
    for people, part in zip(_PEOPLE, (clip, clip[:, :, : clip.shape[2] // 2, : clip.shape[3] * 3 // 4])):
        height, width = part.shape[2:4]
        corners = np.sort(rng.uniform(0, 1, (sum(people), 2, 2)), axis=1) * [width - 1, height - 1]
        batches.append(
            {
                "imgs": clips_like(part, len(people), seed),
                "sizes": np.array([[height, width]] * len(people), np.int64),
                "boxes": corners.reshape(-1, 4).astype(np.float32),
                "boxes_num": np.array(people, np.int32),
                **(_random_window(window, len(people), rng) if window else {}),
            }
        )
    return batches


def _random_window(window: Window, num_clips: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = window.empty(num_clips)
    filled = rng.random(arrays["long_term_filled"].shape) < 0.5  # [N, S]
    arrays["long_term"][filled] = rng.gamma(1.0, 1.0, (filled.sum(), window.channels))  # as behind a ReLU
    return {**arrays, "long_term_filled": filled}


def save_people_program(framework: Any, specs: list[Any], stem: Path) -> None:
    """Writes the program of ``framework.predict_scores(imgs, boxes, boxes_num[, long_term, long_term_filled])``."""
    import paddle
    from paddle import nn

    class ScoresOfPeople(nn.Layer):
        """The network as one function of clips and boxes, and of windows if it looks into feature banks."""

        def __init__(self, network: nn.Layer):
            super().__init__()
            self.network = network

        # Paddle traces a forward only if its first parameter is self
        def forward(self, imgs, boxes, boxes_num, long_term=None, long_term_filled=None):
            if long_term is None:
                return self.network.predict_scores(imgs, boxes, boxes_num)
            # zeros there anyway; but a program cannot have an input that some networks do not use
            long_term = long_term * long_term_filled.astype(long_term.dtype).unsqueeze(-1)  # [N, S, C]
            return self.network.predict_scores(imgs, boxes, boxes_num, long_term, long_term_filled)

    model = ScoresOfPeople(framework)
    model.eval()
    paddle.jit.save(paddle.jit.to_static(model, input_spec=specs, full_graph=True), str(stem))
