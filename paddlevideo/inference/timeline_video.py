"""A video with the labels of its spans: what holds now, and a bar of all spans below the picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from paddlevideo.drawing import Bar, bars_picture, with_bars
from paddlevideo.inference.source_address import Address
from paddlevideo.inference.stream import FileStream, TimedFrame
from paddlevideo.inference.video_output import as_shown, shown_frames
from paddlevideo.loader.decode import open_video
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.decode.rgb import to_rgb
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
    address = Address.parse(source)
    with open_video(address.text, damaged=damaged) as reader:
        indices, fps = shown_frames(reader, None, None)
        times, pixel_aspect = reader.times(), reader.pixel_aspect
    length_s = float(times[-1]) + (float(np.median(np.diff(times))) if len(times) > 1 else 1.0)
    frames = FileStream(address, lambda remark: None, damaged)  # its remarks came with the first pass
    pictures = labelled_pictures(frames, indices, pixel_aspect, table, length_s)
    count = write_video(path, pictures, fps)
    return f"output video: {path}, {count} frames at {fps:.4g} fps"


def labelled_pictures(
    frames: Iterable[TimedFrame], indices: np.ndarray, pixel_aspect: float, table: SpanTable, length_s: float
) -> Iterator[np.ndarray]:
    """Frames with the labels that hold at their times, best first, and the bar: uint8 [H, W, 3] RGB.

    Args:
        frames: all of the video, in order.
        indices: which of them, ascending; repeated ones are given again.
        pixel_aspect: width of a pixel divided by its height, of the upright frames.
        table: spans of this video.
        length_s: of the whole bar.
    """
    colours = table.colours()
    bars = [Bar(span.start_s / length_s, span.end_s / length_s, colours[span.label]) for span in table.spans]
    repeats = np.bincount(indices)
    size = below = None
    for timed, count in zip(frames, repeats.tolist()):
        size = size or (timed.frame.width, timed.frame.height)
        if not count:
            continue
        picture, _ = as_shown(to_rgb(timed.frame, size), pixel_aspect)
        below = bars_picture(bars, *picture.shape[:2]) if below is None else below
        current = [span for span in table.spans if span.start_s <= timed.time_s < span.end_s]
        current.sort(key=lambda span: -span.score)
        lines = [(colours[span.label], f"{span.label} {span.score:.2f}") for span in current]
        marked = with_bars(picture, lines, below, timed.time_s / length_s)
        for _ in range(count):
            yield marked
