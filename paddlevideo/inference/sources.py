"""What ``--input_file`` means: one video, a folder of videos, or a text file that lists them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import address_scheme
from paddlevideo.video_files import VIDEO_ENDINGS, is_video, left_out_text

LIST_SUFFIXES = frozenset((".csv", ".list", ".txt"))
_LABEL = re.compile(r"^(.*?\S)[\s,]+[\d.,;\s]+$")  # "path label", "path 64 label", "path 0;3;17"
_QUOTED = re.compile(r'"((?:[^"]|"")*)"[\s,]')  # '"a 7.mp4" 0'


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
