"""What a video file is by its name, what of a folder is none, and names that are safe to print."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping

# What PyAV's wheels read, and cameras, browsers and recorders write.  One list for training folders, preparation,
# annotations of people and prediction.
VIDEO_ENDINGS = (
    *(".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"),
    *(".3g2", ".asf", ".divx", ".dv", ".f4v", ".gif", ".m1v", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mjpg", ".mpe"),
    *(".mts", ".mxf", ".ogm", ".ogv", ".qt", ".vob", ".webp", ".y4m", ".h264", ".264", ".h265", ".hevc", ".265"),
)
BESIDE, HIDDEN = "beside the class folders", "hidden"
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


def left_out_files(root: str) -> dict[str, list[str]]:
    """Why -> files below a folder with one sub-folder per class that are no samples, as paths below it.

    The reason is their ending, ``beside the class folders``, or ``hidden`` for videos whose names begin with a dot;
    other hidden files do not count.
    """
    found: dict[str, list[str]] = {}
    for folder, folders, files in os.walk(root):
        folders.sort()
        if folder == root:
            folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(files):
            if name.startswith("."):
                reason = HIDDEN if name.lower().endswith(VIDEO_ENDINGS) else None
            elif is_video(name):
                reason = BESIDE if folder == root else None
            else:
                reason = os.path.splitext(name)[1].lower() or "without an ending"
            if reason:
                found.setdefault(reason, []).append(os.path.relpath(os.path.join(folder, name), root))
    return dict(sorted(found.items()))


def left_out_text(counts: Mapping[str, int]) -> str:
    """``5 files are left out: 2 beside the class folders, 3 .txt``."""
    total = sum(counts.values())
    parts = ", ".join(f"{count} {printable(kind)}" for kind, count in counts.items())
    return f"{total} file{'s are' if total != 1 else ' is'} left out: {parts}"


def instead_of_a_file(path: str | os.PathLike) -> str:
    """What stands at a path where no regular file does, for messages."""
    path = os.fspath(path)
    if address_scheme(path):
        return "no such file; it is an address, and only files are read: download it first"
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if re.fullmatch(r"\d+", path):
            return "no such file; a number names a camera elsewhere, cameras are not read here"
        other = path.replace("\\", "/")
        if other != path and os.path.exists(other):
            return f"no such file, but {printable(other)} is there: write paths with /"
        return "no such file"
    kinds = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe (FIFO)", stat.S_ISSOCK: "a socket"}
    kind = next((name for test, name in kinds.items() if test(mode)), "a device")
    return f"it is {kind}, not a file" + ("" if kind == "a folder" else "; write its content to a file first")
