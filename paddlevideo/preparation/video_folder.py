"""The videos of a folder, by the names that annotations use."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.decode import open_video
from paddlevideo.preparation.importers.people import LONGEST_S, NoSuchVideo
from paddlevideo.preparation.probing import Probe, VideoSource, probe
from paddlevideo.video_files import videos_below

_EVEN = 0.5  # a frame may be this share of a frame from where an even rate has it
_SHOWN = 3  # videos in a message


class VideoFolder:
    """Videos, or folders of frames, by the names that annotations use.

    Args:
        root: the folder that holds them, at any depth.
        frame_name: of frames, for folders of frames; None: videos.
        fps: of frames; of videos: instead of the files' own.

    Raises:
        UserError: no such folder, nothing in it, or frames without a rate.
    """

    def __init__(self, root: Path, frame_name: str | None = None, fps: float | None = None):
        if not root.is_dir():
            raise UserError(f"{root}: no such folder ({'--frames' if frame_name else '--videos'})")
        if frame_name and not fps:
            raise UserError("folders of frames have no frame rate: --fps")
        self.root, self.frame_name, self._fps = root, frame_name, fps
        self.endings: dict[str, str] = {}  # name -> ending
        self._several: dict[str, str] = {}  # names with more than one ending -> the second one
        for path in _folders_below(root) if frame_name else videos_below(root):
            name, ending = (path, "") if frame_name else os.path.splitext(path)
            if self.endings.setdefault(name, ending) != ending:
                self._several.setdefault(name, ending)
        if not self.endings:
            raise UserError(f"{root}: no {'folders of frames' if frame_name else 'videos'} in it")
        self._by_base: dict[str, list[str]] = {}
        for name in self.endings:
            self._by_base.setdefault(os.path.basename(name), []).append(name)
        self._named: dict[str, list[str]] = {}
        self._seen: dict[str, Probe] = {}
        self._times: dict[str, np.ndarray | None] = {}

    def name_of(self, video: str) -> str | None:
        """The video of that name, as a path below the folder without ending; None: there is none, or several.

        Of videos with the same file name those count whose path ends with the other one, if there are any.
        """
        found = self._found(video)
        return found[0] if len(found) == 1 and found[0] not in self._several else None

    def _found(self, video: str) -> list[str]:
        if video not in self._named:
            self._named[video] = self._look_up(video)
        return self._named[video]

    def _look_up(self, video: str) -> list[str]:
        if video in self.endings:
            return [video]
        alike = self._by_base.get(os.path.basename(video), [])
        return [name for name in alike if is_end(video, name)] or alike

    def missing(self, video: str, named: str | None = None) -> str:
        """Why ``name_of`` gives none, for people.

        Args:
            named: as an annotation has it, with its ending.
        """
        shown = printable(repr(named or video))
        found = self._found(video)
        if len(found) == 1:
            (name,) = found
            endings = f"{self.endings[name]} and {self._several[name]}"
            return f"the video {shown} is in {self.root} as {endings}: rename one of them"
        if not found:
            return f"no video {shown} in {self.root}; --video names the one that a file is of"
        several = ", ".join(map(printable, found[:_SHOWN])) + (", ..." if len(found) > _SHOWN else "")
        return f"several videos of {self.root} may be {shown}: {several}; --video names the one"

    def taken_by_name(self, videos: Iterable[str]) -> list[str]:
        """Notes on annotated videos of which only the file name is that of a video here, and not the folder.

        Raises:
            UserError: two annotated videos would be one here.
        """
        notes, taken = [], defaultdict(list)
        for video in sorted(set(videos)):
            if name := self.name_of(video):
                taken[name].append(video)
        for name, named in taken.items():
            longest = max(named, key=len)
            other = next((video for video in named if not is_end(video, longest)), None)
            if other is not None:
                one, two = sorted(repr(printable(video)) for video in (longest, other))
                raise UserError(
                    f"{self.root}: {one} and {two} would both be {printable(name)!r}; put the missing one there, or "
                    "take its lines out"
                )
            notes += [
                f"video {video!r} in other folders is taken as {name!r}" for video in named if not is_end(video, name)
            ]
        return notes

    def probe(self, name: str) -> Probe:
        """What a video of ``endings`` is."""
        if name not in self._seen:
            path = str(self.root / (name + self.endings[name]))
            self._seen[name] = probe(VideoSource(path, self.frame_name), "sample", "pyav")
        return self._seen[name]

    def fps_of(self, video: str) -> float:
        """Frames per second.

        Raises:
            NoSuchVideo: there is none, or several.
            UserError: it states no rate.
        """
        if self._fps:
            return self._fps
        name = self.name_of(video)
        if name is None:
            raise NoSuchVideo(self.missing(video))
        seen = self.probe(name)
        if not seen.fps:
            raise UserError(f"{self.root}: the frame rate of {printable(video)!r} is not known ({seen.detail}): --fps")
        return seen.fps

    def times_s(self, video: str) -> np.ndarray | None:
        """Seconds of a video's frames, float64 [frames]; None: evenly spaced, given by ``fps``, or unknown."""
        name = self.name_of(video)
        if self._fps or self.frame_name or name is None or self.probe(name).reason is not None:
            return None
        if name not in self._times:
            with open_video(self.root / (name + self.endings[name])) as reader:
                times, fps = reader.times(), reader.fps
            even = times is None or not fps or np.abs(times - np.arange(len(times)) / fps).max() < _EVEN / fps
            self._times[name] = None if even else times
        return self._times[name]

    def last_s(self, video: str) -> float:
        """The second of a video's last frame; ``LONGEST_S`` where there is no such video."""
        name = self.name_of(video)
        if name is None or self.probe(name).reason is not None:
            return LONGEST_S
        times = self.times_s(name)
        return max(self.probe(name).num_frames - 1, 0) / self.fps_of(name) if times is None else float(times[-1])

    def video_suffix(self, names: Sequence[str]) -> str:
        """``DATASET.*.video_suffix``: the one ending of all, or nothing where they differ.

        Raises:
            UserError: they differ and lie in folders, where the loader does not search.
        """
        endings = {self.endings[name] for name in names}
        if len(endings) > 1 and any("/" in name for name in names):
            raise UserError(f"{self.root}: endings {', '.join(sorted(endings))} in sub-folders; use one ending")
        return endings.pop() if len(endings) == 1 else ""


def _folders_below(root: Path) -> list[str]:
    """Folders at any depth, as paths below ``root`` with ``/``, sorted."""
    walk = os.walk(root, followlinks=True)
    return sorted(Path(parent, name).relative_to(root).as_posix() for parent, names, _ in walk for name in names)


def is_end(a: str, b: str) -> bool:
    """Whether one path is the other, or its end: ``a/b`` of ``x/a/b``."""
    return f"/{a}".endswith(f"/{b}") or f"/{b}".endswith(f"/{a}")
