"""What an uploaded file is, and pictures of it.  Runs as a process of its own:

    python -m paddlevideo_studio.inspection FILE --name NAME --pictures FOLDER/ID

prints ``{"duration_s", "fps", "num_frames", "even", "times_s", "width", "height", "playable", "container"}`` or
``{"error"}``, and writes ``ID.jpg`` and ``ID.strip.jpg``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.errors import UserError, printable
from paddlevideo_studio.limited import Bounds, bounded

if TYPE_CHECKING:
    import numpy as np

MAX_PIXELS = 8192 * 4352  # of one picture
MAX_FRAMES = 5_000_000
BOUNDS = Bounds(time_s=120)
STRIP, COLUMNS = 100, 10  # pictures of the strip
_HEIGHT = 72  # px of a picture of the strip
_WIDEST = 4 * _HEIGHT
_BUDGET_S = 20.0  # of exact pictures; after that, of key frames
_MP4, _WEBM = {"mp4", "mov"}, {"webm"}  # FFmpeg's names of containers
_CODECS = {"mp4": {"h264", "av1", "vp9"}, "webm": {"vp8", "vp9", "av1"}}  # that browsers play
_PIXELS = {"yuv420p", "yuvj420p", "nv12"}
_JITTER_S, _SHARE = 0.001, 0.25  # frames of an even rate may be so far from it: seconds, and the share of a frame


def inspect(file: Path, name: str) -> tuple[dict[str, Any], Any]:
    """What a video is; and the opened ``OpenVideo``.

    Args:
        name: that it was uploaded with; its ending tells webm from other Matroska files.

    Raises:
        UserError: no video, a damaged one, or too large.
    """
    from paddlevideo.loader.decode import open_video
    from paddlevideo.loader.decode.packets import OpenVideo

    with open_video(file, max_pixels=MAX_PIXELS) as reader:
        times, fps, count, aspect = reader.times(), reader.fps, len(reader), reader.pixel_aspect
        height, width = reader.get([0]).shape[1:3]
    if count > MAX_FRAMES:
        raise UserError(f"it has {count:,} frames, more than {MAX_FRAMES:,}; cut it")
    if times is None or not fps:
        raise UserError("it has no frame rate, so the times of its frames are unknown; convert it to mp4")
    video = OpenVideo(str(file), MAX_PIXELS)
    even = is_even(times, round(fps, 6), float(video.stream.time_base))
    ending = Path(name).suffix.lower().lstrip(".")
    container = "webm" if ending == "webm" and "webm" in video.container else "mp4" if "mp4" in video.container else ""
    codec, pixels = video.stream.codec_context.codec.canonical_name, video.stream.codec_context.pix_fmt
    playable = codec in _CODECS.get(container, ()) and pixels in _PIXELS and abs(_start_s(video)) < 0.5 / fps
    facts = {
        "duration_s": round(float(times[-1]) + 1 / fps, 3), "fps": round(fps, 6), "num_frames": count, "even": even,
        "times_s": None if even else [round(float(second), 4) for second in times],
        "width": round(width * aspect), "height": height, "playable": playable, "container": container,
    }  # fmt: skip
    return facts, video


def is_even(times_s: np.ndarray, fps: float, unit_s: float) -> bool:
    """Whether frame ``n`` is at ``n / fps``, but for a millisecond and the rounding of the container.

    Args:
        times_s: of every frame, float64 [frames].
        unit_s: of the container's time stamps; of a coarse one a millisecond counts.
    """
    import numpy as np

    most_s = min(_JITTER_S + min(unit_s, _JITTER_S), _SHARE / fps)
    return bool(np.abs(times_s - np.arange(len(times_s)) / fps).max() <= most_s)


def _start_s(video: Any) -> float:
    """The first frame by the file's own time stamps: a browser's clock begins at their 0, and not at that frame."""
    start = video.stream.start_time
    return 0.0 if start is None else float(start * video.stream.time_base)


def _frames(video: Any) -> Any:
    """Decoded frames from where the video is, without those that are damaged."""
    lines: list[Any] = []
    for packet in video.demux():
        yield from video.decode(packet, lines)
        lines.clear()
    yield from video.decode(None, lines)


def pictures(video: Any, facts: dict[str, Any], target: Path) -> dict[str, Any]:
    """Writes ``TARGET.jpg`` and ``TARGET.strip.jpg``; the shape of the strip."""
    import cv2
    import numpy as np

    from paddlevideo.loader.decode.rgb import to_rgb

    count = min(STRIP, facts["num_frames"])
    every_s = facts["duration_s"] / count
    width = min(max(round(_HEIGHT * facts["width"] / facts["height"]), 16), _WIDEST)
    rows = math.ceil(count / COLUMNS)
    strip = np.zeros((rows * _HEIGHT, COLUMNS * width, 3), np.uint8)
    unit, begun = float(video.time_base), time.monotonic()
    start = video.stream.start_time or 0
    frame = None
    for k in range(count):
        wanted = start + round((k + 0.5) * every_s / unit)
        exact = time.monotonic() - begun < _BUDGET_S
        frame = _frame_at(video, wanted, exact) or frame
        if frame is None:
            continue
        small = cv2.resize(to_rgb(frame), (width, _HEIGHT), interpolation=cv2.INTER_AREA)
        row, column = divmod(k, COLUMNS)
        strip[row * _HEIGHT : (row + 1) * _HEIGHT, column * width : (column + 1) * width] = small
        if k == count // 2 or k == 0:
            _write_jpeg(Path(f"{target}.jpg"), small)
    _write_jpeg(Path(f"{target}.strip.jpg"), strip)
    return {"num": count, "columns": COLUMNS, "width": width, "height": _HEIGHT, "every_s": round(every_s, 6)}


def _frame_at(video: Any, stamp: int, exact: bool) -> Any:
    """The frame shown at a time stamp, or the key frame before it; None: it cannot be decoded."""
    shown = None
    if not video.seek(stamp):
        return None
    for frame in _frames(video):
        if shown is not None and frame.pts is not None and frame.pts > stamp:
            return shown
        shown = frame
        if not exact:
            return shown
    return shown


def _write_jpeg(path: Path, image: Any) -> None:
    import cv2

    from paddlevideo.safe_io import write_atomic

    _, content = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])
    write_atomic(path, content.tobytes())


def _in_words(error: UserError, file: Path) -> str:
    """A reader's error without the upload's temporary path and its kind's underscores, and what may help."""
    text = printable(str(error)).replace(str(file), "the file").removeprefix("the file: ")
    kind, _, rest = text.partition(" ")
    if "_" in kind:
        text = f"{kind.replace('_', ' ')} {rest}"
    # what has no picture stays without one, and some errors name their own way out
    is_damaged = not kind.startswith("no_") and "convert" not in text
    return f"{text}. If a player shows it, convert it: ffmpeg -i FILE NEW.mp4" if is_damaged else text


def main() -> int:
    """The process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--pictures", type=Path)
    args = parser.parse_args()
    bounded(BOUNDS)
    try:
        facts, video = inspect(args.file, args.name)
        if args.pictures:
            facts["strip"] = pictures(video, facts, args.pictures)
    except UserError as error:
        facts = {"error": _in_words(error, args.file)}
    except MemoryError:
        facts = {"error": f"decoding it takes more than {BOUNDS.memory_bytes >> 30} GB of memory"}
    print(json.dumps(facts))
    return 2 if "error" in facts else 0


if __name__ == "__main__":
    sys.exit(main())
