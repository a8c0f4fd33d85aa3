"""What a video file is by its name, which videos a folder or a list holds, and the one H.264 writer."""

from __future__ import annotations

import csv
import functools
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np

from paddlevideo.addresses import without_secrets
from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import address_scheme, write_atomic

# What PyAV's wheels read, and cameras, browsers and recorders write.  One list for training folders, preparation,
# annotations of people and prediction.
VIDEO_ENDINGS = (
    *(".mp4", ".avi", ".mkv", ".webm", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".3gp"),
    *(".3g2", ".asf", ".divx", ".dv", ".f4v", ".gif", ".m1v", ".m2t", ".m2ts", ".m2v", ".mjpeg", ".mjpg", ".mpe"),
    *(".mts", ".mxf", ".ogm", ".ogv", ".qt", ".vob", ".webp", ".y4m", ".h264", ".264", ".h265", ".hevc", ".265"),
)
LIST_SUFFIXES = frozenset((".csv", ".list", ".txt"))
# of a list's header: column -> the words that name it
COLUMNS = {
    "path": ("path", "filename", "file", "video", "frame_dir", "dir"),
    "num_frames": ("num_frames", "total_frames", "frames"),
    "label": ("label", "labels", "class"),
}
_PICTURES = (".jpg", ".jpeg", ".png", ".bmp")
_HEADER_WORDS = frozenset(word for words in COLUMNS.values() for word in words)
_MAX_FIELDS = 256
_LABEL = re.compile(r"^(.*?\S)[\s,]+[\d.,;\s]+$")  # "path label", "path 64 label", "path 0;3;17"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"[\s,]')  # '"a 7.mp4" 0'
# endings of the videos that are written -> FFmpeg's container
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".avi": "avi"}
TO_WATCH = {"crf": "20", "preset": "veryfast"}  # x264's options
Say = Callable[[str], None]
BESIDE, HIDDEN = "beside the class folders", "hidden"


def is_video(name: str) -> bool:
    """Whether a file is taken for a video in a folder: by its ending, hidden files never."""
    return name.lower().endswith(VIDEO_ENDINGS) and not os.path.basename(name).startswith(".")


def videos_below(
    root: str | os.PathLike, follow_links: bool = True, on_error: Callable[[OSError], None] | None = None
) -> list[str]:
    """Videos at any depth, as paths below ``root`` with ``/``, sorted.

    Args:
        on_error: receives the error of a folder that cannot be listed; None: it counts as empty.
    """
    return sorted(
        os.path.relpath(os.path.join(folder, name), root).replace(os.sep, "/")
        for folder, _, names in os.walk(root, onerror=on_error, followlinks=follow_links)
        for name in names
        if is_video(name)
    )


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


def video_key(path: str | os.PathLike) -> str:
    """Digest of a file's real path, 16 hexadecimal digits: a name of a video that holds no path."""
    return blake2b(os.fsencode(os.path.realpath(path)), digest_size=8).hexdigest()


@dataclass(frozen=True)
class ListLine:
    """A line of a list: its video, and the whole numbers after it, one or several; None: none."""

    path: Path
    label: int | list[int] | None = None


def find_videos(inputs: Sequence[str | Path], say: Say = lambda line: None, keep_missing: bool = False) -> list[Path]:
    """The videos that the inputs name, in order; of a folder those directly in it, sorted by name.

    Args:
        inputs: files, folders and list files (.txt, .list, .csv: a path per line, as in a data set's list file; a
            header and labels, numbers or names, are ignored; relative paths count from here, else from the list's
            folder).
        say: receives a line per folder and list: how many videos were found.
        keep_missing: a file of a list that is not there is kept, as one that is named by itself is; reading it fails.

    Raises:
        UserError: no such file, a folder without videos, an empty list, a list naming a file that is not there.
    """
    found: list[Path] = []
    for name in inputs:
        if address_scheme(name):
            raise address_refused(name)
        entry = Path(name).expanduser()
        if entry.is_dir():
            videos, left_out = videos_of_folder(entry)
        elif entry.suffix.lower() in LIST_SUFFIXES and entry.is_file():
            videos = _of_list(entry, keep_missing)
            missing = sum(not video.is_file() for video in videos) if keep_missing else 0
            left_out = f"; {missing} of them not there" if missing else ""
        else:
            found.append(entry)  # the reader names a missing or unreadable file
            continue
        say(f"{len(videos)} video{'s' if len(videos) != 1 else ''} found in {entry}{left_out}")
        found += map(Path, videos)
    return found


def videos_of_folder(folder: Path) -> tuple[list[str], str]:
    """The videos directly in a folder, sorted by name, and a text on the other files and on its sub-folders.

    Raises:
        UserError: there are none.
    """
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith(".")]
        names = [entry.name for entry in shown if not entry.is_dir()]
    num_folders = len(shown) - len(names)
    below = f"; sub-folders are not searched: {num_folders} folder{'s' * (num_folders != 1)}" if num_folders else ""
    videos = sorted(name for name in names if is_video(name))  # the reader names one that is no regular file
    pictures = sum(name.lower().endswith(_PICTURES) for name in names)
    if not videos and pictures:
        raise UserError(
            f"{folder}: a folder of {pictures} pictures, where videos are expected; test reads folders of frames "
            "(FrameDataset), for other commands make a video of it: ffmpeg -framerate 30 -i img_%05d.jpg a.mp4"
        )
    if not videos:
        raise UserError(f"{folder}: no videos directly in this folder; looked for {', '.join(VIDEO_ENDINGS)}{below}")
    endings = (os.path.splitext(name)[1].lower() for name in names if not is_video(name))
    counts = Counter(ending or "without an ending" for ending in endings)
    left_out = f"; {left_out_text(dict(sorted(counts.items())))}" if counts else ""
    return [os.path.join(folder, name) for name in videos], left_out + below


def address_refused(text: str | Path, where: str = "") -> UserError:
    """The refusal of an address where a file is expected; without its user name and password."""
    return UserError(f"{where}{without_secrets(str(text))}: an address; videos are read from files: download it first")


def _of_list(file: Path, keep_missing: bool) -> list[Path]:
    videos = []
    for number, line in lines_of_videos(file):
        video = read_line(line, file).path
        if not video.is_file():
            for path, _ in paths_of_line(line, file):
                if os.path.isdir(path):
                    videos_of_folder(Path(path))  # its error names the pictures in it
            if not keep_missing:
                raise UserError(
                    f"{file}, line {number}: there is no video {printable(video)}, neither from {os.getcwd()} nor from "
                    "the list's folder; where the paths count from a data_prefix, run this there"
                )
        videos.append(video)
    return videos


def lines_of_videos(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list of videos: ``lines_of_list`` without a header.

    Raises:
        UserError: as ``lines_of_list``; there is nothing but a header.
    """
    lines = lines_of_list(file)
    first = next(lines)
    if _begins_a_list(first[1], file):
        first = next(lines, None)
        if first is None:
            raise UserError(f"{file}: a header and no videos")
    yield first
    yield from lines


def _begins_a_list(line: str, file: Path) -> bool:
    """Whether the first line of a list is a header: it names a column of paths, and no file is called so."""
    return _is_header(line) and not any(map(os.path.isfile, _places(_readings(line), file)))


def _places(names: Iterable[str], file: Path) -> list[str]:
    """Where the videos of a list may be: as named from here, or from its folder."""
    folder = os.path.dirname(file)
    return [path for name in names for path in (name, os.path.join(folder, name))]


def _columns_of(file: Path) -> tuple[str, ...] | None:
    """The columns of a CSV that begins with a header, in lower case; None: there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return _read_columns(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=16)
def _read_columns(file: Path, size: int, changed_ns: int) -> tuple[str, ...] | None:
    number_and_line = next(lines_of_list(file), None)
    line = number_and_line[1] if number_and_line else ""
    cells = _cells(line) if "," in line and _begins_a_list(line, file) else None
    return None if cells is None else tuple(cell.lower() for cell in cells)


def _by_columns(line: str, file: Path) -> tuple[str, int | list[int] | None] | None:
    """Path and labels of a line of a CSV with a header; None: there is no header, or the line has other columns."""
    columns = _columns_of(file)
    cells = _cells(line) if columns else None
    if not columns or cells is None:
        return None
    path_at = next(k for k, name in enumerate(columns) if name in COLUMNS["path"])
    label_at = next((k for k, name in enumerate(columns) if name in COLUMNS["label"]), None)
    several = len(cells) > len(columns) and label_at == len(columns) - 1
    if several and any(map(os.path.isfile, _places([cells[path_at]], file))):
        cells[label_at:] = [";".join(cells[label_at:])]
    if len(cells) != len(columns):
        return None
    return cells[path_at], None if label_at is None else _numbers(cells[label_at])


def _cells(text: str) -> list[str] | None:
    try:
        return [cell.strip() for cell in next(csv.reader([text], skipinitialspace=True))]
    except csv.Error:  # a field beyond the module's limit
        return None


def _is_header(line: str) -> bool:
    """Whether it names a column of paths, as one of the cells of a CSV or beside nothing but columns."""
    words = set(re.split(r"[\s,]+", line.lower(), maxsplit=len(_HEADER_WORDS)))
    cells = {cell.strip() for cell in line.lower().split(",", _MAX_FIELDS)} if "," in line else words
    return not cells.isdisjoint(COLUMNS["path"]) and ("," in line or words <= _HEADER_WORDS)


def lines_of_list(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a list that hold something, without white space around them, and their numbers.

    Raises:
        UserError: it is empty, holds an address, or is not UTF-8.
    """
    empty = True
    try:
        with file.open(encoding="utf-8-sig") as lines:  # a line ends with CR or LF: names may hold other separators
            for number, line in enumerate(map(str.strip, lines), 1):
                if address_scheme(line):
                    raise address_refused(line, f"{file}, line {number}: ")
                if line:
                    empty = False
                    yield number, line
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a UTF-8 text file of video paths ({error.reason})") from None
    if empty:
        raise UserError(f"{file}: an empty list; expected one video path per line")


def read_line(line: str, file: Path) -> ListLine:
    """The video of a line and its labels; where several paths can be meant, the first one that is there.

    Args:
        line: without white space around it.
        file: the list; relative paths count from here, else from its folder.

    Returns:
        The video; where none is there, what stands before the numbers, or else what ends as a video does.
    """
    named = _by_columns(line, file)
    if named is not None:
        name, label = named
        return ListLine(Path(next(filter(os.path.isfile, _places([name], file)), name)), label)
    for path, name in paths_of_line(line, file):
        if os.path.isfile(path):
            return ListLine(Path(path), _label_of(line, name))
    match, names = _LABEL.match(line), _readings(line)
    name = match.group(1) if match and len(names) > 1 else next(filter(is_video, names), line)
    return ListLine(Path(name), _label_of(line, name))


def paths_of_line(line: str, file: Path) -> list[tuple[str, str]]:
    """The paths that a line of a list can mean, and what of the line each is; the first one that is there counts."""
    named = _by_columns(line, file)
    names = _readings(line) if named is None else [named[0]]
    return [(path, name) for name in names for path in _places([name], file)]


def _readings(line: str) -> list[str]:
    """What of a line can be the path: the line, what stands before any of its fields, a cell of a CSV.

    Where one of these ends as a video does, the others are out: of ``clip 7.mp4 run`` a file ``clip`` is not meant.
    """
    if match := _QUOTED.match(line):
        return [match.group(1).replace('""', '"')]
    ends = [match.start() for match in re.finditer(r"[\s,]+", line)]
    if not 0 < len(ends) < _MAX_FIELDS:
        return [line]
    cells = [cell.strip().strip('"') for cell in line.split(",")[1:]]
    parts = [*(line[:end] for end in reversed(ends)), *filter(None, cells)]
    return [line, *([part for part in parts if is_video(part)] or parts)]


def _label_of(line: str, name: str) -> int | list[int] | None:
    rest = line[len(name) :] if line.startswith(name) else line.rpartition('"')[2]
    return _numbers(rest)


def _numbers(text: str) -> int | list[int] | None:
    words = [word for word in re.split(r"[\s,;]+", text) if word]
    if not words or not all(map(str.isdecimal, words)):
        return None
    return int(words[0]) if len(words) == 1 else [int(word) for word in words]


def check_video_name(path: str | Path) -> Path:
    """The path, if its ending is one that can be written.

    Raises:
        UserError: it is not.
    """
    path = Path(path)
    if path.suffix.lower() not in CONTAINERS:
        raise UserError(f"{path}: expected a name that ends in {', '.join(CONTAINERS)}")
    return path


def require_encoder() -> None:
    """
    Raises:
        UserError: this PyAV has no H.264 encoder.
    """
    import av

    if "libx264" not in av.codecs_available:
        raise UserError("this PyAV has no H.264 encoder (libx264); its wheels do: pip install --force-reinstall av")


def each_frame_alone(quantiser: int) -> dict[str, str]:
    """x264's options for frames that are coded independently of one another at one quantiser (0 to 51).

    A decoded frame does not depend on its place in the stream, and a reader seeks to any of them at no cost.
    """
    return {
        **{"qp": str(quantiser), "preset": "veryfast", "g": "1", "x264-params": "ipratio=1:aq-mode=0"},
        "threads": "1",
    }


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float, options: Mapping[str, str] = TO_WATCH
) -> int:
    """Writes frames as H.264 (yuv420p, which every player supports); the file is whole or not there.

    Args:
        path: ends in .mp4, .mov, .mkv or .avi.
        frames: uint8 [H, W, 3] RGB, of one size; an odd height or width gets its last row or column twice.
        options: FFmpeg's and x264's, by name.

    Returns:
        The number of frames.

    Raises:
        UserError: another ending, no frames, PyAV without an H.264 encoder, a folder that cannot be written to.
    """
    path = check_video_name(path)
    count = 0

    def encode(stream: BinaryIO) -> None:
        nonlocal count
        count = encode_h264(stream, frames, fps, options, CONTAINERS[path.suffix.lower()])
        if not count:
            raise UserError(f"{path}: there is no frame to write")

    write_atomic(path, encode)
    return count


def encode_h264(
    target: str | Path | BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float,
    options: Mapping[str, str],
    container: str = "mp4",
    comment: str = "",
) -> int:
    """Encodes frames into a file or stream, and returns their number; see ``write_video``, which is atomic.

    Args:
        container: FFmpeg's name of the form.
        comment: stored in the file's metadata.

    Raises:
        UserError: PyAV has no H.264 encoder.
        av.error.FFmpegError: the encoder rejects the options, or the file cannot be written.
    """
    import av

    require_encoder()
    count, stream = 0, None
    with av.open(target if hasattr(target, "write") else str(target), "w", format=container) as output:
        if comment:
            output.metadata["comment"] = comment
        for count, frame in enumerate(frames, 1):  # noqa: B007
            even = np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
            if stream is None:
                stream = output.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt, stream.options = "yuv420p", dict(options)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")))
        if stream is not None:
            output.mux(stream.encode(None))
    return count
