"""A video with the labels of its spans: what holds now, and a bar of all spans below the picture."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from paddlevideo.drawing import Bar, bars_picture, with_bars
from paddlevideo.inference.video_output import as_shown, shown_frames
from paddlevideo.loader.decode import FrameReader, open_video
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.spans import SpanTable
from paddlevideo.video_files import write_video


def write_timeline_video(path: str | Path, source: str, table: SpanTable, damaged: Damaged = "refuse") -> str:
    """Writes the video at its own speed, without sound, in a pass of its own: each frame is decoded once more.

    Args:
        path: ends in .mp4, .mov, .mkv or .avi.
        source: the file that the spans are of.
        damaged: ``read``: what can be decoded of a damaged file.

    Returns:
        A line on what was written.

    Raises:
        UserError: the source cannot be read, or the file not be written.
    """
    with open_video(Path(source).expanduser(), damaged=damaged) as reader:
        indices, fps = shown_frames(reader, None, None)
        count = write_video(path, labelled_frames(reader, indices, table), fps)
    return f"output video: {path}, {count} frames at {fps:.4g} fps"


def labelled_frames(reader: FrameReader, indices: np.ndarray, table: SpanTable) -> Iterator[np.ndarray]:
    """Frames with the labels that hold at their times, best first, and the bar: uint8 [H, W, 3] RGB.

    Args:
        indices: which frames, ascending; repeated ones are given again.
        table: spans of this video.
    """
    times = reader.times()
    length_s = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 1.0)
    colours = table.colours()
    bars = [Bar(span.start_s / length_s, span.end_s / length_s, colours[span.label]) for span in table.spans]
    below = None
    for index in indices.tolist():
        (frame,) = reader.get([index])
        frame, _ = as_shown(frame, reader.pixel_aspect)
        if below is None:
            below = bars_picture(bars, *frame.shape[:2])
        now_s = float(times[index])
        current = [span for span in table.spans if span.start_s <= now_s < span.end_s]
        current.sort(key=lambda span: -(span.score or 0.0))
        lines = [(colours[span.label], f"{span.label} {span.score:.2f}") for span in current]
        yield with_bars(frame, lines, below, now_s / length_s)
