"""TSM's training clips by webdataset and torchcodec: 8 frames, short side 256, a random crop of 224, uint8."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import webdataset as wds
from torch.nn.functional import interpolate
from torchcodec.decoders import VideoDecoder


def _samples(pattern: str) -> Iterator[dict[str, Any]]:
    return iter(wds.WebDataset(pattern, shardshuffle=100, seed=0).shuffle(64))


def _clip(content: bytes, mode: str, rng: np.random.Generator) -> torch.Tensor:
    decoder = VideoDecoder(content, seek_mode=mode, num_ffmpeg_threads=1)
    length = len(decoder) // 8
    frames = decoder.get_frames_at([k * length + int(rng.integers(length)) for k in range(8)]).data  # [8, 3, H, W]
    height, width = frames.shape[2:]
    scale = 256 / min(height, width)
    frames = interpolate(frames, (round(height * scale), round(width * scale)), mode="bilinear", antialias=True)
    top, left = (int(rng.integers(size - 224 + 1)) for size in frames.shape[2:])
    clip = frames[:, :, top : top + 224, left : left + 224]
    return (clip.flip(3) if rng.random() < 0.5 else clip).contiguous()


def epoch(pattern: str, batch: int = 8, mode: str = "exact") -> Any:
    """One epoch; the number of clips."""

    def run() -> list[int]:
        rng, clips, count = np.random.default_rng(0), [], 0
        for sample in _samples(pattern):
            clips.append((_clip(sample["mp4"], mode, rng), json.loads(sample["json"])["label"]))
            count += 1
            if len(clips) == batch:
                torch.stack([clip for clip, _ in clips])
                clips.clear()
        return [count, 0]

    return run


def first_batch(pattern: str, batch: int = 8, start: int = 0) -> Any:
    """The first batch, from batch ``start`` of the epoch on: what comes before is read and dropped, not decoded."""

    def run() -> None:
        rng, clips = np.random.default_rng(0), []
        for number, sample in enumerate(_samples(pattern)):
            if number >= start * batch:
                clips.append(_clip(sample["mp4"], "exact", rng))
            if len(clips) == batch:
                torch.stack(clips)
                return

    return run
