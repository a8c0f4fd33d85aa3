"""A video that a browser plays, made of one that it does not.  Runs as a process of its own:

    python -m paddlevideo_studio.transcode SOURCE TARGET.mp4

H.264 without sound; the frames keep their times, and the first one is at 0.  Prints ``at 12.0 s`` as it goes.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from paddlevideo.errors import EXIT_USER_ERROR, UserError
from paddlevideo_studio.limited import Bounds, bounded

_TICKS = 90_000  # per second
_OPTIONS = {"crf": "18", "preset": "veryfast", "threads": "1"}
_KEY_EVERY = 50  # frames: seeking decodes at most so many
BOUNDS = Bounds(time_s=6 * 3600, file_bytes=1 << 40)


def transcode(source: Path, target: Path, progress: Callable[[float], None]) -> int:
    """Writes the video, and returns the number of its frames; it is whole or not there.

    Raises:
        UserError: the source cannot be read, or the disk is full.
    """
    import av
    import numpy as np

    from paddlevideo.inference.source_address import Address
    from paddlevideo.inference.stream import FileStream
    from paddlevideo.loader.decode.packets import OpenVideo
    from paddlevideo.loader.decode.rgb import orientation, to_rgb, upright_aspect
    from paddlevideo.safe_io import write_atomic
    from paddlevideo.video_files import require_encoder

    require_encoder()
    frames: Iterator[Any] = iter(FileStream(Address(str(source), "file", source.name), print))
    with OpenVideo(str(source)) as video:
        aspect = video.pixel_aspect
    count = 0

    def encode(stream: BinaryIO) -> None:
        nonlocal count
        with av.open(stream, "w", format="mp4") as output:
            track = size = None
            for timed in frames:
                size = size or (
                    timed.frame.width,
                    timed.frame.height,
                )  # of the first, as readers have it
                image = to_rgb(timed.frame, size)
                height, width = image.shape[:2]
                if track is None:
                    track = output.add_stream("libx264", rate=30)
                    track.width, track.height = width + width % 2, height + height % 2
                    track.pix_fmt, track.options = "yuv420p", {**_OPTIONS, "g": str(_KEY_EVERY)}
                    track.codec_context.time_base = Fraction(1, _TICKS)
                    shown = upright_aspect(aspect, orientation(timed.frame))
                    track.codec_context.sample_aspect_ratio = Fraction(shown).limit_denominator(255)
                image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                picture.pts, picture.time_base = round(timed.time_s * _TICKS), Fraction(1, _TICKS)
                output.mux(track.encode(picture))
                count += 1
                progress(timed.time_s)
            if track is not None:
                output.mux(track.encode(None))

    write_atomic(target, encode)
    return count


def main() -> int:
    """The process."""
    source, target = map(Path, sys.argv[1:])
    bounded(BOUNDS)
    shown = 0.0

    def progress(second: float) -> None:
        nonlocal shown
        if time.monotonic() >= shown:
            shown = time.monotonic() + 1.0
            print(f"at {second:.1f} s", flush=True)

    try:
        print(f"{transcode(source, target, progress)} frames", flush=True)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
