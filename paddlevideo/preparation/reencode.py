"""A video to a smaller one that is cheap to decode: H.264, short groups of pictures, no deblocking.

Training decodes a few frames of each clip.  What that costs is set by the size of the frames and by the distance to
the key frame before them, so files prepared like this are read many times faster.  It is lossy: an accuracy on such
files is not one on the originals.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import FrameReader, VideoReadError, open_video
from paddlevideo.preparation.conversion import Job, Outcome
from paddlevideo.preparation.frames import read_all, resize, scaled_size
from paddlevideo.video_files import encode_h264

_DEFAULT_FPS = 25.0  # for sources without a frame rate


@dataclass(frozen=True)
class VideoSettings:
    """How videos are written.

    Args:
        short_side_px: larger frames are scaled down to this shorter side; 0: sizes stay.
        group: frames from key frame to key frame.
        crf: x264's constant rate factor; less is better and larger.
        preset: x264's.
        backend: the suite's decode backend, for reading.
    """

    short_side_px: int = 256
    group: int = 12
    crf: int = 20
    preset: str = "medium"
    backend: str = "pyav"


def reencode(job: Job, out: Path, settings: VideoSettings) -> Outcome:
    """Writes ``out/<name without ending>.mp4`` with the same number of frames and no sound, unless it stands there.

    A variable frame rate becomes its average, as frames are sampled by number and not by time.

    Raises:
        UserError: the disk is full or cannot be written to, or there is no encoder.
    """
    target = out.joinpath(*job.stem.split("/")).with_name(job.stem.rpartition("/")[2] + ".mp4")
    try:
        if target.exists():
            return _done_before(target, settings)
        temporary = target.with_name(f".{target.name}.writing.mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_video(job.source, settings.backend) as reader:
            count = len(reader)
            _encode(temporary, reader, settings)
        with open_video(temporary) as written:
            if len(written) != count:
                raise VideoReadError(temporary, "corrupt", f"{len(written)} frames were written of {count}")
        os.replace(temporary, target)
    except VideoReadError as error:
        target.with_name(f".{target.name}.writing.mp4").unlink(missing_ok=True)
        return Outcome(error=str(error))
    except OSError as error:
        target.with_name(f".{target.name}.writing.mp4").unlink(missing_ok=True)
        raise UserError(f"{target}: cannot be written ({error.strerror or error})") from error
    return Outcome(count)


def _done_before(target: Path, settings: VideoSettings) -> Outcome:
    import av

    with open_video(target) as reader:
        count = len(reader)
    with av.open(str(target)) as container:
        comment = container.metadata.get("comment")
    if comment != _comment(settings):
        return Outcome(error=f"{target}: stands there, made by others or with other settings; remove it first")
    return Outcome(count, done_before=True)


def _comment(settings: VideoSettings) -> str:
    """Goes into the file, so that a later call knows how it was made."""
    return f"short side {settings.short_side_px}, group {settings.group}, crf {settings.crf}, {settings.preset}"


def _encode(file: Path, reader: FrameReader, settings: VideoSettings) -> None:
    import av

    options = {
        **{"crf": str(settings.crf), "preset": settings.preset, "tune": "fastdecode", "g": str(settings.group)},
        "threads": "1",  # the processes are the parallelism
    }
    try:
        encode_h264(file, _scaled(reader, settings), reader.fps or _DEFAULT_FPS, options, comment=_comment(settings))
    except av.error.FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise UserError(
            f"{file}: the encoder refuses ({error}); is --preset {settings.preset} one of x264's?"
        ) from error


def _scaled(reader: FrameReader, settings: VideoSettings) -> Iterator[np.ndarray]:
    """All frames, uint8 [H, W, 3] with even sides."""
    size = None
    for image in read_all(reader):
        size = size or scaled_size(image.shape[1], image.shape[0], settings.short_side_px, multiple=2)
        yield resize(image, size)
