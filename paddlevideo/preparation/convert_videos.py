"""Videos to folders of numbered images, or to smaller videos, below another folder.

A conversion is atomic per video: it is made beside its place under another name, then renamed.  So a file at its
place is whole, and a command that was stopped continues where it was when it is rerun.  One run at a time per output
folder.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import MAX_SHOWN, Findings, cut, plural
from paddlevideo.loader.datasets.lists import parse_label, read_rows
from paddlevideo.loader.decode import FrameReader, VideoReadError, open_video
from paddlevideo.preparation.list_files import FrameNames
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.video_files import VIDEO_ENDINGS, encode_h264, videos_below


@dataclass(frozen=True)
class Job:
    """One video: ``name`` is its path below the folder of videos, with ending, parts parted by ``/``."""

    source: str
    name: str

    @property
    def stem(self) -> str:
        return os.path.splitext(self.name)[0]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a job.

    Attributes:
        num_frames: of the result; 0 if there is none.
        done_before: nothing was to do.
        error: why there is no result, or None.
        moved_s: by how much the times of its frames are not the source's.
    """

    num_frames: int = 0
    done_before: bool = False
    error: str | None = None
    moved_s: float = 0.0


@dataclass(frozen=True)
class Line:
    """One line of a list: its job's ``name`` and its class id."""

    name: str
    label: int


def read_lists(files: Sequence[Path], videos: Path, ending: str) -> tuple[list[Job], dict[Path, list[Line]]]:
    """The jobs of ``path label`` lists, each video once, and the lines of each list.

    Args:
        videos: the folder, with a structure that is kept; a list's path is taken as written where
            that is in the folder, else below it.
        ending: appended to every path, as ``DATASET.*.suffix`` is.

    Raises:
        ConfigError: lines that are wrong or lead out of the folder.
        UserError: two videos would have the same name without ending.
    """

    def exists(name: str) -> bool:
        return any(os.path.exists(os.path.join(root, name + ending)) for root in ("", videos))

    jobs: dict[str, Job] = {}
    lines: dict[Path, list[Line]] = {}
    for file in files:
        problems = Findings(str(file))
        lines[file] = []
        for row in read_rows(str(file), ("path", "label"), problems, exists=exists):
            label = parse_label(row, None, problems)
            name = _below(row.fields["path"] + ending, videos)
            if name is None:
                problems.add(row.line, f"{printable(row.fields['path'])!r} leads out of {videos} (--videos)")
                continue
            jobs.setdefault(name, Job(os.path.join(videos, *name.split("/")), name))
            lines[file].append(Line(name, label))
        problems.raise_if_any()
    return _check_names(jobs.values(), videos), lines


def scan_videos(videos: Path) -> list[Job]:
    """A job per video below a folder, sorted by path.

    Raises:
        UserError: no such folder, no videos, or two with the same name without ending.
    """
    if not videos.is_dir():
        raise UserError(f"{videos}: no such folder (--videos)")
    names = videos_below(videos)
    if not names:
        raise UserError(f"{videos}: no videos in it or below (looked for {', '.join(VIDEO_ENDINGS)})")
    return _check_names([Job(str(videos / name), name) for name in names], videos)


def convert_all(
    task: Callable[[Job], Outcome], jobs: Sequence[Job], processes: int, title: str, quiet: bool = False
) -> dict[str, Outcome]:
    """Outcome by the jobs' ``name``; a process that dies is an outcome, too."""
    outcomes = {}
    for index, outcome in run_tasks(task, jobs, processes, title, quiet):
        crashed = isinstance(outcome, Crashed)
        outcomes[jobs[index].name] = (
            Outcome(error=f"{printable(jobs[index].source)}: {outcome.detail}") if crashed else outcome
        )
    return outcomes


def report_lines(outcomes: dict[str, Outcome], out: Path, max_shown: int = MAX_SHOWN) -> list[str]:
    """Counts, and the first failures by name."""
    failed = {name: outcome.error for name, outcome in sorted(outcomes.items()) if outcome.error}
    before = sum(outcome.done_before for outcome in outcomes.values())
    made = len(outcomes) - before - len(failed)
    lines = [f"{made} made, {before} done before, {len(failed)} failed in {out}"]
    if moved := {name: outcome.moved_s for name, outcome in outcomes.items() if outcome.moved_s}:
        most = max(moved, key=moved.__getitem__)
        lines.append(
            f"note: {plural(len(moved), 'video')} of a variable frame rate got the average one: moments of {most} are "
            f"up to {moved[most]:.2f} s from where they were, which annotations in seconds do not know"
        )
    return lines + [f"  {line}" for line in cut([f"failed: {error}" for error in failed.values()], max_shown)]


def inside_folder(videos: Path, out: Path) -> bool:
    """Whether results would land among the videos that are still to be read."""
    return Path(os.path.abspath(out)).is_relative_to(os.path.abspath(videos))


def _below(path: str, videos: Path) -> str | None:
    """The path below the folder, or None if it leads out of it."""
    absolute, root = os.path.abspath(path), os.path.abspath(videos)
    if not absolute.startswith(root.rstrip(os.sep) + os.sep):
        if os.path.isabs(path):
            return None
        absolute = os.path.abspath(os.path.join(videos, path))
        if not absolute.startswith(root.rstrip(os.sep) + os.sep):
            return None
    return PurePosixPath(Path(os.path.relpath(absolute, root))).as_posix()


def _check_names(jobs: Iterable[Job], videos: Path) -> list[Job]:
    jobs, taken = list(jobs), {}
    for job in jobs:
        other = taken.setdefault(job.stem, job)
        if other is not job:
            raise UserError(
                f"{videos}: {printable(other.name)} and {printable(job.name)} differ in their ending only, so their "
                "results would have one name; rename one"
            )
    return jobs


RECORD = "extraction.json"  # in each folder: how its frames were made
_BLOCK_BYTES = 256 << 20  # decoded frames held at once


@dataclass(frozen=True)
class FrameSettings:
    """How frames are written.

    Args:
        frame_name: template with a place for the number, which counts from 1.
        short_side_px: larger frames are scaled down to this shorter side; 0: sizes stay.
        quality: of JPEG, 1..100.
        backend: the suite's decode backend.

    Raises:
        UserError: a value that is none of these.
    """

    frame_name: str = "img_{:05}.jpg"
    short_side_px: int = 0
    quality: int = 95
    backend: str = "pyav"

    def __post_init__(self):
        FrameNames(self.frame_name)
        if not self.frame_name.lower().endswith((".jpg", ".jpeg", ".png")):
            raise UserError(f"frame name {self.frame_name!r}: expected the ending .jpg or .png")
        if self.short_side_px < 0 or not 1 <= self.quality <= 100:
            raise UserError(f"short side {self.short_side_px} and quality {self.quality}: expected 0 or more, 1..100")


def extract_frames(job: Job, out: Path, settings: FrameSettings, overwrite: bool = False) -> Outcome:
    """Writes ``out/<name without ending>/img_00001.jpg``... unless the folder holds just that.

    Args:
        overwrite: replace a folder that this function did not make.

    Raises:
        UserError: the disk is full or cannot be written to.
    """
    folder = out.joinpath(*job.stem.split("/"))
    record = asdict(settings) | _fingerprint(job.source)
    known = _read_record(folder)
    if known is not None and {key: known.get(key) for key in record} == record:
        return Outcome(known["num_frames"], done_before=True)
    if known is None and folder.exists() and not overwrite:
        return Outcome(
            error=f"{folder}: exists without {RECORD}: this command did not make its frames; see --overwrite"
        )
    below = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if folder.exists() else []
    if below:
        what = f"{folder}: holds {below[0]!r} and perhaps more folders, of other videos, which would be removed with it"
        return Outcome(error=f"{what}; rename {printable(job.source)}, or give another --out")
    temporary = folder.with_name(f".{folder.name}.extracting")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with open_video(job.source, settings.backend) as reader:
            record["num_frames"], record["fps"] = len(reader), reader.fps
            for number, image in enumerate(read_all(reader), 1):
                _write_image(temporary / settings.frame_name.format(number), image, settings)
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except VideoReadError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        return Outcome(error=str(error))
    except FileExistsError as error:
        raise UserError(f"{temporary}: another run is at work there; one run at a time per output folder") from error
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return Outcome(record["num_frames"])


def read_all(reader: FrameReader) -> Iterator[np.ndarray]:
    """All frames in order, uint8 [H, W, 3] RGB, decoded in blocks of bounded size."""
    count, start, size = len(reader), 0, 1
    while start < count:
        block = reader.get(range(start, min(start + size, count)))  # [T, H, W, 3]
        yield from block
        start += len(block)
        size = max(1, _BLOCK_BYTES // max(1, block[0].nbytes))


def scaled_size(width: int, height: int, short_side_px: int, multiple: int = 1) -> tuple[int, int]:
    """(width, height) with that shorter side, never larger than before, both rounded to a multiple."""
    scale = min(1.0, short_side_px / min(width, height)) if short_side_px else 1.0
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (width, height))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] to ``size`` = (width, height), averaging over the area."""
    import cv2

    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _write_image(file: Path, image: np.ndarray, settings: FrameSettings) -> None:
    import cv2

    image = resize(image, scaled_size(image.shape[1], image.shape[0], settings.short_side_px))
    options = [] if file.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, settings.quality]
    encoded = cv2.imencode(file.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    file.write_bytes(encoded.tobytes())  # not imwrite, which gives no reason for a failure


def _fingerprint(source: str) -> dict[str, int]:
    """Size and time of the video, to detect another one; zeros if it is not there, which reading it will report."""
    try:
        status = os.stat(source)
    except OSError:
        return {"source_bytes": 0, "source_mtime_ns": 0}
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _read_record(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("num_frames"), int) else None


_DEFAULT_FPS = 25.0  # for sources without a frame rate
_OF_BYTES = ", source bytes "


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
    """Writes ``out/<name without ending>.mp4`` with the same number of frames and no sound, unless that exists.

    One of a source with another number of bytes is made anew.  A variable frame rate becomes its average, as frames
    are sampled by number and not by time; the outcome has by how much times move.

    Raises:
        UserError: the disk is full or cannot be written to, or there is no encoder.
    """
    target = out.joinpath(*job.stem.split("/")).with_name(job.stem.rpartition("/")[2] + ".mp4")
    try:
        if target.exists() and (before := _done_before(target, job.source, settings)):
            return before
        temporary = target.with_name(f".{target.name}.writing.mp4")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_video(job.source, settings.backend) as reader:
            count, moved_s = len(reader), _moved_s(reader)
            _encode(temporary, reader, job.source, settings)
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
    return Outcome(count, moved_s=moved_s)


def _moved_s(reader: FrameReader) -> float:
    """By how much a frame of a variable rate is elsewhere at its average; 0.0: by less than half a frame."""
    times, fps = reader.times(), reader.fps
    if times is None or not fps:
        return 0.0
    moved_s = float(np.abs(times - np.arange(len(times)) / fps).max())
    return moved_s if moved_s > 0.5 / fps else 0.0


def _done_before(target: Path, source: str, settings: VideoSettings) -> Outcome | None:
    """None: it was made of another file of that name."""
    import av

    with open_video(target) as reader:
        count = len(reader)
    with av.open(str(target)) as container:
        comment = container.metadata.get("comment")
    made_with, mark, num_bytes = (comment or "").partition(_OF_BYTES)
    if made_with != _comment(settings):
        return Outcome(error=f"{target}: exists, made by another program or with other settings; remove it first")
    if mark and num_bytes != str(_fingerprint(source)["source_bytes"]):  # without a mark: by an earlier version
        return None
    return Outcome(count, done_before=True)


def _comment(settings: VideoSettings) -> str:
    """Stored in the file: a rerun compares it with its own settings."""
    return f"short side {settings.short_side_px}, group {settings.group}, crf {settings.crf}, {settings.preset}"


def _encode(file: Path, reader: FrameReader, source: str, settings: VideoSettings) -> None:
    import av

    options = {
        **{"crf": str(settings.crf), "preset": settings.preset, "tune": "fastdecode", "g": str(settings.group)},
        "threads": "1",  # the processes are the parallelism
    }
    try:
        comment = f"{_comment(settings)}{_OF_BYTES}{_fingerprint(source)['source_bytes']}"
        encode_h264(file, _scaled(reader, settings), reader.fps or _DEFAULT_FPS, options, comment=comment)
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
