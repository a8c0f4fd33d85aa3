"""Eight pictures of a folder as uint8 [8, 224, 224, 3]: short side 256, centre 224."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

_SHORT, _CROP, _FRAMES = 256, 224, 8


def ours(folder: str, num_frames: int, **decoder: Any) -> Callable[[], float]:
    """This project's pipeline."""
    from paddlevideo.loader.pipelines import Pipeline

    section = {
        "decode": {"name": "FrameDecoder", **decoder},
        "sample": {"name": "Sampler", "num_seg": _FRAMES, "seg_len": 1, "valid_mode": True},
        "transform": [{"Scale": {"short_size": _SHORT, "backend": "cv2"}}, {"CenterCrop": {"target_size": _CROP}}],
    }
    pipeline = Pipeline(section, "PIPELINE.test")

    def run() -> float:
        sample = {"frame_dir": folder, "total_frames": num_frames, "suffix": "img_{:05}.jpg", "label": 0}
        return _mean(np.asarray(pipeline(sample, np.random.default_rng(0))["imgs"]))

    return _repeated(run)


def plain(folder: str, num_frames: int, flag: str = "IMREAD_COLOR") -> Callable[[], float]:
    """cv2.imread in a loop."""
    import cv2

    cv2.setNumThreads(0)

    def picture(file: str) -> np.ndarray:
        return _cropped(cv2, cv2.cvtColor(cv2.imread(file, getattr(cv2, flag)), cv2.COLOR_BGR2RGB))

    return _repeated(lambda: _mean(np.stack([picture(file) for file in _files(folder, num_frames)])))


def simplejpeg(folder: str, num_frames: int, min_side: int = 0) -> Callable[[], float]:
    """simplejpeg in a loop, without checks."""
    import cv2
    import simplejpeg as jpeg

    cv2.setNumThreads(0)

    def picture(file: str) -> np.ndarray:
        with open(file, "rb") as stream:
            return _cropped(cv2, jpeg.decode_jpeg(stream.read(), min_height=min_side, min_width=min_side))

    return _repeated(lambda: _mean(np.stack([picture(file) for file in _files(folder, num_frames)])))


def paddlevideo(folder: str, num_frames: int) -> Callable[[], float]:
    """PaddleVideo's way, re-made: cv2.imread, Pillow pictures, each resized and cropped by Pillow."""
    import cv2
    from PIL import Image

    cv2.setNumThreads(0)

    def picture(file: str) -> Any:
        image = Image.fromarray(cv2.cvtColor(cv2.imread(file, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), mode="RGB")
        width, height = image.size
        scale = _SHORT / min(width, height)
        image = image.resize((int(width * scale), int(height * scale)), Image.BILINEAR)
        left, top = (image.size[0] - _CROP) // 2, (image.size[1] - _CROP) // 2
        return image.crop((left, top, left + _CROP, top + _CROP))

    return _repeated(lambda: _mean(np.stack([picture(file) for file in _files(folder, num_frames)])))


def _mean(clip: np.ndarray) -> float:
    """Of a few pixels."""
    return float(clip[..., ::16, ::16, :].mean())


def _files(folder: str, num_frames: int) -> list[str]:
    places = (np.arange(_FRAMES) + 0.5) * num_frames / _FRAMES
    return [os.path.join(folder, f"img_{int(place) + 1:05}.jpg") for place in places]


def _cropped(cv2: Any, image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    scale = _SHORT / min(width, height)
    if scale != 1:
        image = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
    top, left = (image.shape[0] - _CROP) // 2, (image.shape[1] - _CROP) // 2
    return image[top : top + _CROP, left : left + _CROP]


def _repeated(run: Callable[[], float], times: int = 20) -> Callable[[], float]:
    def twenty() -> float:
        return [run() for _ in range(times)][-1]

    return twenty
