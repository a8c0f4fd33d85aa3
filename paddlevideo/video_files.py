"""What a video file is by its name, what of a folder is none, and names that are safe to print."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping

# What PyAV's wheels read, and cameras, browsers and recorders write.  One list for training folders, preparation,
# annotations of people and prediction.
VIDEO_ENDINGS = (
    *(".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"),
    *(".3g2", ".asf", ".divx", ".dv", ".f4v", ".gif", ".m1v", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mjpg", ".mpe"),
    *(".mts", ".mxf", ".ogm", ".ogv", ".qt", ".vob", ".webp", ".y4m", ".h264", ".264", ".h265", ".hevc", ".265"),
)
BESIDE = "beside the class folders"
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/{1,2}[^/]")  # a Path makes one slash of two
_SCHEMES = frozenset({"ftp", "http", "https", "mms", "rtmp", "rtmps", "rtp", "rtsp", "s3", "srt", "udp"})


def printable(text: object) -> str:
    """The text with line breaks and control characters escaped, so that a file name cannot write to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(text))


def is_video(name: str) -> bool:
    """Whether a file is taken for a video in a folder: by its ending, hidden files never."""
    return name.lower().endswith(VIDEO_ENDINGS) and not os.path.basename(name).startswith(".")


def address_scheme(name: str | os.PathLike) -> str | None:
    """``http``, ``rtsp``, ... if the name is an address; None: it is a path."""
    match = _ADDRESS.match(os.fspath(name))
    return match[1].lower() if match and match[1].lower() in _SCHEMES else None


def count_left_out(root: str) -> dict[str, int]:
    """How many files of a folder with one sub-folder per class are no samples, by what they are: their ending, or
    ``beside the class folders`` for videos outside of them.  Hidden files do not count."""
    counts: Counter[str] = Counter()
    for folder, folders, files in os.walk(root):
        top = os.path.samefile(folder, root)
        if top:
            folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and (top or not is_video(name)):
                ending = os.path.splitext(name)[1].lower() or "without an ending"
                counts[BESIDE if is_video(name) else ending] += 1
    return dict(sorted(counts.items()))


def left_out_text(counts: Mapping[str, int]) -> str:
    """``5 files are left out: 2 beside the class folders, 3 .txt``."""
    total = sum(counts.values())
    parts = ", ".join(f"{count} {printable(kind)}" for kind, count in counts.items())
    return f"{total} file{'s are' if total != 1 else ' is'} left out: {parts}"
