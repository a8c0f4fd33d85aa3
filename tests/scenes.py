"""Videos of scenes that a tiny network tells apart, and lists of their spans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from paddlevideo.spans import Span, SpanTable, write_spans
from tests.clips import write_clip

FPS = 12
SCENE_S = 3.0
NONE = "none"  # a scene without a span
WINDOWS = {"window_s": 1.0, "hop_s": 0.5}
_PATTERNS = {NONE: 40, "walk": 41, "run": 42, "jump": 43}


def _frames(kind: str, rng: np.random.Generator) -> np.ndarray:
    """uint8 [T, 48, 64, 3]: the pattern of a kind, which moves by a pixel, with noise."""
    blocks = np.random.default_rng(_PATTERNS[kind]).integers(30, 226, (6, 8, 3))
    pattern = np.kron(blocks, np.ones((8, 8, 1)))
    frames = [np.roll(pattern, rng.integers(2), axis=1) for _ in range(round(SCENE_S * FPS))]
    return np.clip(np.stack(frames) + rng.normal(0, 4, (len(frames), 48, 64, 1)), 0, 255).astype(np.uint8)


def write_scenes(path: Path, kinds: Sequence[str], seed: int) -> list[Span]:
    """Writes a video of scenes of 3 s each; its spans."""
    rng = np.random.default_rng(seed)
    write_clip(path, np.concatenate([_frames(kind, rng) for kind in kinds]), FPS)
    return [Span(k * SCENE_S, (k + 1) * SCENE_S, kind, video=path.name) for k, kind in enumerate(kinds) if kind != NONE]


def write_list(path: Path, videos: Path, scenes: dict[str, Sequence[str]], seed: int = 0) -> SpanTable:
    """Writes ``NAME.mp4`` of every entry, and the list of their spans; a video that is there stays."""
    spans = [
        span for k, (name, kinds) in enumerate(scenes.items())
        for span in write_scenes(videos / f"{name}.mp4", kinds, seed + k)
    ]  # fmt: skip
    facts = {f"{name}.mp4": {"duration_s": len(kinds) * SCENE_S} for name, kinds in scenes.items()}
    table = SpanTable(spans, facts, sorted({span.label for span in spans}))
    write_spans(path, table)
    return table
