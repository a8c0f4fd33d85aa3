"""What a video file is by its name, which videos a folder or a list holds, and names that are safe to print."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paddlevideo.errors import UserError

# What PyAV's wheels read, and cameras, browsers and recorders write.  One list for training folders, preparation,
# annotations of people and prediction.
VIDEO_ENDINGS = (
    *(".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"),
    *(".3g2", ".asf", ".divx", ".dv", ".f4v", ".gif", ".m1v", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mjpg", ".mpe"),
    *(".mts", ".mxf", ".ogm", ".ogv", ".qt", ".vob", ".webp", ".y4m", ".h264", ".264", ".h265", ".hevc", ".265"),
)
LIST_SUFFIXES = frozenset((".csv", ".list", ".txt"))
_LABEL = re.compile(r"^(.*?\S)[\s,]+[\d.,;\s]+$")  # "path label", "path 64 label", "path 0;3;17"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"[\s,]')  # '"a 7.mp4" 0'
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


def find_videos(inputs: Sequence[str | Path], say: Callable[[str], None] = lambda line: None) -> list[Path]:
    """The videos that the inputs name, in order; of a folder those directly in it, sorted by name.

    Args:
        inputs: files, folders and list files (.txt, .list, .csv: a path per line, as in a data set's list file; labels
            after the path are passed over; relative paths count from here, else from the list's folder).
        say: receives a line per folder and list: how many videos were found.

    Raises:
        UserError: no such file, a folder without videos, an empty list, a list naming a file that is not there.
    """
    found: list[Path] = []
    for name in inputs:
        if address_scheme(name):
            raise UserError(f"{printable(name)}: an address; videos are read from files: download it first")
        entry = Path(name).expanduser()
        if entry.is_dir():
            videos, left_out = _of_folder(entry)
        elif entry.suffix.lower() in LIST_SUFFIXES and entry.is_file():
            videos, left_out = _of_list(entry), ""
        else:
            found.append(entry)  # a missing or unreadable file is the reader's to name
            continue
        say(f"{len(videos)} video{'s' if len(videos) != 1 else ''} found in {entry}{left_out}")
        found += videos
    return found


def _of_folder(folder: Path) -> tuple[list[Path], str]:
    """The videos, and what to say of the other files."""
    entries = [p for p in folder.iterdir() if not p.is_dir() and not p.name.startswith(".")]
    videos = sorted(p for p in entries if is_video(p.name))  # one that is no regular file is the reader's to name
    if not videos:
        raise UserError(f"{folder}: no videos directly in this folder; looked for {', '.join(VIDEO_ENDINGS)}")
    counts = Counter(p.suffix.lower() or "without an ending" for p in entries if not is_video(p.name))
    return videos, f"; {left_out_text(dict(sorted(counts.items())))}" if counts else ""


def _of_list(file: Path) -> list[Path]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a UTF-8 text file of video paths ({error.reason})") from None
    videos = [_of_line(line.strip(), file, number) for number, line in enumerate(lines, start=1) if line.strip()]
    if not videos:
        raise UserError(f"{file}: an empty list; expected one video path per line")
    return videos


def _of_line(line: str, file: Path, number: int) -> Path:
    names = [line]
    match = _QUOTED.match(line)
    if match:
        names = [match.group(1).replace('""', '"')] * 2
    elif match := _LABEL.match(line):
        names.append(match.group(1))
        names.append(line.replace(",", " ").split()[0])
    for name in names:
        for path in (Path(name), file.parent / name):
            if path.is_file():
                return path
    raise UserError(f"{file}, line {number}: there is no video {printable(names[1] if match else line)}")
