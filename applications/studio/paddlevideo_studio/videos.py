"""The videos of a project: files named by their ids, and ``videos/ID.json`` with the name that people gave each."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

from paddlevideo.errors import UserError, printable
from paddlevideo.safe_io import write_atomic
from paddlevideo_studio.descriptions import read_description
from paddlevideo_studio.journal import new_id, now

ID = re.compile(r"[0-9a-f]{16}")
_LONGEST_NAME = 200
_SLACK_S = 0.05
_MEDIA = {".mp4": "video/mp4", ".webm": "video/webm"}


@dataclass(frozen=True)
class Video:
    """One video.

    Args:
        id: 16 hex digits.
        name: as people gave it; text, never a path.
        file: below ``videos/``; "" while it is being made.
        original: below ``originals/``, where the upload is not what is played; else "".
        state: ``preparing``, ``ready`` or ``failed``.
        even: frames are evenly spaced; else ``times_s`` has the second of each.
        width, height: as shown, after the pixel aspect ratio.
        held_out: it is not trained on; None: no training has seen it.
        strip: num, columns, width, height, every_s of ``ID.strip.jpg``.
    """

    id: str
    name: str
    file: str = ""
    original: str = ""
    state: str = "ready"
    error: str | None = None
    duration_s: float = 0.0
    fps: float = 0.0
    num_frames: int = 0
    even: bool = True
    times_s: list[float] | None = None
    width: int = 0
    height: int = 0
    strip: dict[str, float] = field(default_factory=dict)
    created: str = ""
    held_out: bool | None = None

    @property
    def media_type(self) -> str:
        """Of the file that is played."""
        return _MEDIA[Path(self.file).suffix]

    @property
    def slack_s(self) -> float:
        """How far a second may lie after the end: a frame, or what a player's clock is off."""
        return max(1 / self.fps if self.fps else 0.0, _SLACK_S)

    def checked_end(self, start_s: float, end_s: float) -> float:
        """The end of a span; the video's, where it is at most ``slack_s`` later.

        Raises:
            UserError: the span begins at the video's end or after it, or ends later than that.
        """
        if start_s >= self.duration_s or end_s > self.duration_s + self.slack_s:
            raise UserError(
                f"{printable(self.name)}: a span is from {start_s:.3f} to {end_s:.3f} s, but the video lasts "
                f"{self.duration_s:.3f} s"
            )
        return min(end_s, self.duration_s)

    def facts(self) -> dict[str, float]:
        """Of a file of spans."""
        return {"duration_s": self.duration_s, "fps": self.fps, "width": self.width, "height": self.height}

    def with_facts(self, found: dict[str, Any]) -> Video:
        """The video with what ``inspection`` printed."""
        keys = ("duration_s", "fps", "num_frames", "even", "times_s", "width", "height", "strip")
        return replace(self, **{key: found[key] for key in keys if key in found})


class VideoStore:
    """Reads the folder when it is made, and keeps it in memory.

    Raises:
        UserError: a description is damaged.
    """

    def __init__(self, root: Path):
        self.folder, self.originals = root / "videos", root / "originals"
        for leftover in self.folder.glob(".upload-*"):
            leftover.unlink(missing_ok=True)
        videos = [_read(file) for file in self.folder.glob("*.json")]
        self._videos = {video.id: video for video in sorted(videos, key=lambda video: (video.created, video.id))}

    def __iter__(self) -> Iterator[Video]:
        """In the order in which they came."""
        return iter([*self._videos.values()])

    def __len__(self) -> int:
        return len(self._videos)

    def get(self, key: str) -> Video | None:
        """The video of that id."""
        return self._videos.get(key)

    def of_file(self, name: str) -> Video | None:
        """The video of a file's name below ``videos/``."""
        video = self._videos.get(name.partition(".")[0])
        return video if video is not None and name in (video.file, f"{video.id}.mp4") else None

    def write(self, video: Video) -> Video:
        """Stores a video's description."""
        video = video if video.created else replace(video, created=now())
        write_atomic(self.folder / f"{video.id}.json", _text(video))
        self._videos[video.id] = video
        return video

    def remove(self, video: Video) -> None:
        """Removes all files of a video, its description last."""
        del self._videos[video.id]
        for folder in (self.originals, self.folder):
            for file in sorted(folder.glob(f"{video.id}.*"), key=lambda file: file.suffix == ".json"):
                file.unlink(missing_ok=True)

    def discard(self, key: str) -> None:
        """Removes the files of an id that is no video: of an upload that was not taken."""
        if key not in self._videos:
            for folder in (self.originals, self.folder):
                for file in folder.glob(f"{key}.*"):
                    file.unlink(missing_ok=True)

    def sweep(self, named: Collection[str]) -> None:
        """Removes files of uploads that a killed server has not taken.

        Args:
            named: files that the journals name; what is left of a damaged project stays.
        """
        ids = {name.partition(".")[0] for name in named}
        for folder in (self.originals, self.folder):
            for key in {file.name.partition(".")[0] for file in folder.iterdir()} - ids:
                if ID.fullmatch(key):
                    self.discard(key)

    def missing(self, named: Collection[str]) -> list[str]:
        """A line for each file that a description names and the folder lacks, and for each without a description.

        Args:
            named: files that have current spans or boxes.
        """
        gone = [video for video in self if video.state == "ready" and not self.path(video).is_file()]
        lines = [f"{self.path(video)}: not there ({video.name}); restore it, or remove the video" for video in gone]
        known = {video.file for video in self}
        for name in sorted(named - known):
            description = self.folder / f"{name.partition('.')[0]}.json"
            lines.append(f"{description}: not there, so that the spans and boxes of {name} have no video; restore it")
        return lines

    def path(self, video: Video) -> Path:
        """What is played, analysed and trained on."""
        return self.folder / video.file

    def renamed(self, video: Video, ending: str) -> Video:
        """The description with another ending of the name, which is not stored."""
        return replace(video, name=Path(video.name).stem + ending)

    def new(self, name: str) -> Video:
        """A description with a new id, which is not stored."""
        return Video(new_id(), clean_name(name))

    def free_name(self, name: str) -> str:
        """The name, or, where a video has it, ``name (2).mp4``: names tell videos apart in files of spans."""
        taken, (stem, dot, ending) = {video.name for video in self}, name.rpartition(".")
        stem, ending = (stem, dot + ending) if stem else (name, "")
        return next(n for n in chain([name], (f"{stem} ({k}){ending}" for k in count(2))) if n not in taken)


def clean_name(name: str) -> str:
    """The name of an uploaded file as text to show: its last part, without control characters, 200 at most."""
    last = re.split(r"[/\\]", name)[-1]
    text = " ".join("".join(c if c.isprintable() else " " for c in last).split())
    if len(text) > _LONGEST_NAME:
        stem, dot, ending = text.rpartition(".")
        text = (
            f"{stem[: _LONGEST_NAME - len(ending) - 1]}{dot}{ending}" if 0 < len(ending) < 10 else text[:_LONGEST_NAME]
        )
    return text if text.strip(". ") else "video"


def _text(video: Video) -> str:
    """The description: a key a line, the seconds of the frames on one, as there may be 200,000 of them."""
    rest, times_s = asdict(replace(video, times_s=None)), json.dumps(video.times_s, separators=(",", ":"))
    return json.dumps(rest, indent=1, ensure_ascii=False).replace('"times_s": null', f'"times_s": {times_s}', 1) + "\n"


def _read(file: Path) -> Video:
    video = read_description(file, Video, "a video's description")
    if (
        not ID.fullmatch(str(video.id))
        or video.id != file.stem
        or not re.fullmatch(r"([0-9a-f]{16}\.\w{1,8})?", video.file)
    ):
        raise UserError(f"{file}: its id or file is not that of its name")
    return video
