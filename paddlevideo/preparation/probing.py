"""What is seen of a video file or a folder of frames, and which of them have equal content."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paddlevideo.loader.decode import VideoReadError, open_video
from paddlevideo.loader.decode.index import packed
from paddlevideo.preparation.convert_videos import read_all
from paddlevideo.preparation.list_files import FrameNames
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.preparation.video_indexes import Entry
from paddlevideo.safe_io import sha256

Depth = Literal["open", "sample", "full"]


@dataclass(frozen=True)
class VideoSource:
    """A video file (``frame_name`` None) or a folder of frames."""

    path: str
    frame_name: str | None = None


@dataclass(frozen=True)
class Probe:
    """What was seen.

    Attributes:
        reason: None if it is readable; ``missing``, or a word of ``VideoReadError``, or ``crashed``.
        detail: what was seen, for people.
        num_frames: exact; of a folder, the largest N of frames 1..N that are all there.
        num_bytes: of the file, or of all frames together.
    """

    reason: str | None = None
    detail: str = ""
    num_frames: int = 0
    fps: float = 0.0
    width: int = 0
    height: int = 0
    num_bytes: int = 0
    extra: str = ""  # readable, and still a remark
    remarks: tuple[str, ...] = ()  # of the reader
    entry: Entry | None = None  # of a video, for the index
    pixel_aspect: float = 1.0  # width of a pixel divided by its height, of the upright picture


def probe(source: VideoSource, depth: Depth, backend: str) -> Probe:
    """Opens a source and decodes by ``depth``: nothing, first, middle and last frame, or everything."""
    try:
        return _folder(source, depth) if source.frame_name else _video(source.path, depth, backend)
    except VideoReadError as error:
        return Probe(error.reason, error.detail)


def identities(probes: Mapping[VideoSource, Probe], jobs: int, quiet: bool) -> dict[VideoSource, str]:
    """A key per source that is equal for equal content; only files of equal size are read.

    Args:
        probes: of readable sources.
        jobs: processes that read.
        quiet: no progress bar.
    """
    sizes: dict[tuple[int, int], list[VideoSource]] = defaultdict(list)
    for source, seen in probes.items():
        sizes[seen.num_bytes, seen.num_frames].append(source)
    alike = [source for group in sizes.values() if len(group) > 1 for source in group]
    identity = {source: os.path.realpath(source.path) for source in probes}
    for index, value in run_tasks(digest, alike, jobs, "equal sizes", quiet):
        if value and not isinstance(value, Crashed):
            identity[alike[index]] = value
    return identity


def digest(source: VideoSource) -> str:
    """sha256 of the content: of the file, or of all frames one after the other; empty if it cannot be read."""
    try:
        return sha256(*_files(source))
    except OSError:
        return ""


def _video(path: str, depth: Depth, backend: str) -> Probe:
    status = os.stat(path) if os.path.isfile(path) else None
    with open_video(path, backend) as reader:
        count, height, width = len(reader), 0, 0
        if depth == "sample":
            height, width = reader.get(sorted({0, count // 2, count - 1})).shape[1:3]
        elif depth == "full":
            for image in read_all(reader):
                height, width = image.shape[:2]
        known = reader.known()
        content = packed(known) if known is not None else None
        entry = (status.st_size, status.st_mtime_ns, content) if content else None
        size = os.path.getsize(path)
        remarks, aspect = tuple(reader.remarks), reader.pixel_aspect
        return Probe(None, "", count, reader.fps, width, height, size, "", remarks, entry, aspect)


def _folder(source: VideoSource, depth: Depth) -> Probe:
    import cv2

    if not os.path.isdir(source.path):
        return Probe("missing", "no such folder of frames")
    numbers = FrameNames(source.frame_name).numbers(os.listdir(source.path))
    if not numbers - {0}:
        return Probe("no_frames", f"no frame is called {source.frame_name!r}")
    count = next(n for n in range(1, len(numbers) + 2) if n not in numbers) - 1
    if count == 0:
        return Probe("no_frames", f"frame 1 is missing; the others reach up to {max(numbers)}")
    wanted = {"open": [], "sample": sorted({1, (count + 1) // 2, count}), "full": range(1, count + 1)}[depth]
    width = height = 0
    for number in wanted:
        file = os.path.join(source.path, source.frame_name.format(number))
        image = cv2.imread(file, cv2.IMREAD_COLOR)
        if image is None:
            return Probe("corrupt", f"frame {number} ({os.path.basename(file)}) is no readable image", count)
        height, width = image.shape[:2]
    last = max(numbers)
    extra = f"frame {count + 1} is missing, though they reach up to {last}" if last > count else ""
    num_bytes = sum(os.path.getsize(file) for file in _files(source, count))
    return Probe(None, "", count, 0.0, width, height, num_bytes, extra)


def _files(source: VideoSource, count: int | None = None) -> list[str]:
    if not source.frame_name:
        return [source.path]
    if count is None:
        numbers = sorted(FrameNames(source.frame_name).numbers(os.listdir(source.path)))
    else:
        numbers = range(1, count + 1)
    return [str(Path(source.path, source.frame_name.format(n))) for n in numbers]
