"""Videos of lists to something else below another folder: which ones, in what order, what was done before, who failed.

A conversion is atomic per video: it is made beside its place under another name, then renamed.  So what stands at its
place is whole, and a command that was stopped goes on where it was when it is called again.  One run at a time per
output folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from paddlevideo.errors import UserError, printable
from paddlevideo.loader.datasets.lists import Problems, parse_label, read_rows
from paddlevideo.preparation.parallel import Crashed, run_tasks
from paddlevideo.video_files import VIDEO_ENDINGS, is_video


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
    """What became of a job.

    Attributes:
        num_frames: of the result; 0 if there is none.
        done_before: nothing was to do.
        error: why there is no result, or None.
    """

    num_frames: int = 0
    done_before: bool = False
    error: str | None = None


@dataclass(frozen=True)
class Line:
    """One line of a list: its job's ``name`` and its class id."""

    name: str
    label: int


def read_lists(files: Sequence[Path], videos: Path, ending: str) -> tuple[list[Job], dict[Path, list[Line]]]:
    """The jobs of ``path label`` lists, each video once, and the lines of each list.

    Args:
        videos: the folder whose structure is kept; paths lie in it as they stand, or below it.
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
        problems = Problems(str(file))
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
    files = sorted(
        Path(folder, file) for folder, _, names in os.walk(videos, followlinks=True) for file in names if is_video(file)
    )
    if not files:
        raise UserError(f"{videos}: no videos in it or below (looked for {', '.join(VIDEO_ENDINGS)})")
    return _check_names([Job(str(file), file.relative_to(videos).as_posix()) for file in files], videos)


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


def report_lines(outcomes: dict[str, Outcome], out: Path, max_shown: int = 20) -> list[str]:
    """Counts, and the first failures by name."""
    failed = {name: outcome.error for name, outcome in sorted(outcomes.items()) if outcome.error}
    before = sum(outcome.done_before for outcome in outcomes.values())
    made = len(outcomes) - before - len(failed)
    lines = [f"{made} made, {before} done before, {len(failed)} failed in {out}"]
    lines += [f"  failed: {error}" for error in list(failed.values())[:max_shown]]
    if len(failed) > max_shown:
        lines.append(f"  ... and {len(failed) - max_shown} more")
    return lines


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
