"""Rendered frames to H.264 whose frames do not depend on one another."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

QUANTISER = 18


def encode(path: Path, frames: Iterable[np.ndarray], fps: int, quantiser: int = QUANTISER) -> None:
    """Writes frames uint8 [H, W, 3] RGB, even sides, as H.264 in MP4: every frame coded by itself at one quantiser.

    So a decoded frame does not depend on its place in the stream, and a reader seeks to any of them at no cost.  The
    file is whole or not there.
    """
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    partial_path = path.with_name(path.name + ".part")
    frames = iter(frames)
    first = next(frames)
    with av.open(str(partial_path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"qp": str(quantiser), "preset": "veryfast", "g": "1", "x264-params": "ipratio=1:aq-mode=0"}
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, fps)
        for index, picture in enumerate(chain((first,), frames)):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    os.replace(partial_path, path)
