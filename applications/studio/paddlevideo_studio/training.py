"""Training on what persons have annotated: the lists, and the commands.

Whole videos are held out: a video stays on its side in all trainings, so that figures of models compare.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException

from paddlevideo.classes import Classes
from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.safe_io import write_atomic
from paddlevideo.shipped import ROOT
from paddlevideo.spans import Span, SpanTable, write_spans
from paddlevideo_studio import people_training
from paddlevideo_studio.held_out import digest_of, sides_of
from paddlevideo_studio.jobs import ACTIVE
from paddlevideo_studio.journal import HUMAN
from paddlevideo_studio.people_training import PeopleSplit
from paddlevideo_studio.project import Project
from paddlevideo_studio.work import COMMAND, settings_words

if TYPE_CHECKING:
    from paddlevideo_studio.jobs import Job, Jobs
    from paddlevideo_studio.studio import Studio

TEACH, IGNORE = "teach", "ignore.json"
_NAMES = "model_classes.txt"  # of the model that is taught, where classes were renamed since
CONFIGS = ROOT / "configs"
_FIXED = ("imports", "output_dir", "model_name")
FIGURES = "paddlevideo_studio.figures"


@dataclass(frozen=True)
class TrainRequest:
    """What is trained: ``head`` or ``full``; of the latter the configuration, and its ``-o``.

    Args:
        of: ``timeline``, spans, or ``people``, boxes; None: the project's kind.
    """

    mode: str
    config: str | None = None
    override: tuple[str, ...] = ()
    of: str | None = None


def submit_training(studio: Studio, wanted: TrainRequest) -> Job:
    """Writes the lists and adds the job.

    Raises:
        HTTPException: 409 with too little annotation, or without a model in use.
        UserError: no configuration.
    """
    project = studio.project
    if wanted.mode == "full" and not wanted.config:
        raise UserError("config: full training needs a configuration, e.g. tsm_own_spans")
    of_people = (wanted.of or project.settings.kind) == "people"
    if of_people and wanted.mode == "head":
        raise UserError("mode: models of people are trained whole: full, with a config of detection")
    if wanted.mode == "full":
        wanted = replace(wanted, config=str(shipped_config(wanted.config or "")))
        check_overrides(wanted.override)
    if of_people:
        people_training.check_config(Path(wanted.config or ""))
    elif wanted.mode == "full":
        check_config(Path(wanted.config or ""), wanted.override)
    model = project.models.get(project.settings.model)
    if wanted.mode == "head" and model is None:
        raise HTTPException(409, "no model is in use, whose backbone a head could be trained on")
    taught_from = project.present_classes(model) if wanted.mode == "head" and model else ()
    try:
        parts = people_training.split(project) if of_people else split(project, wanted.mode == "full", taught_from)
    except UserError as error:
        raise HTTPException(409, str(error)) from None
    ignored = unchecked(project, parts, _analysed(studio)) if wanted.mode == "head" else SpanTable([])

    def plan(folder: Path) -> list[list[str]]:
        if of_people:
            people_training.write_lists(project, parts, folder / "data")
        else:
            write_lists(project, parts, folder / "data")
        if wanted.mode == "head":
            write_spans(folder / "data" / IGNORE, ignored)
        refuse_the_same(studio.jobs, folder, kind, number, options)
        if of_people:
            return people_training.steps(project, folder, wanted.config or "", wanted.override)
        steps = teach_steps if wanted.mode == "head" else full_steps
        return steps(project, folder, wanted)

    kind = "teach" if wanted.mode == "head" else "train"
    options = {"mode": wanted.mode, "config": wanted.config, "override": list(wanted.override)}
    options |= {"of": "people" if of_people else "timeline", "videos": [n.partition(".")[0] for n in names_in(parts)]}
    options["measured_on"] = people_training.measured_on(parts) if of_people else measured_on(project, parts, ignored)
    if wanted.mode == "head":
        options["left_out"] = sum(span.person is not None for span in spans_by_persons(project))
    total_s = 0.0
    if wanted.mode == "head":
        total_s = sum(facts.get("duration_s", 0.0) for part in parts.values() for facts in part.videos.values())
    number = model.id if model else None
    return studio.jobs.submit(kind, plan, model=number, total_s=total_s, options=options)


def refuse_the_same(jobs: Jobs, folder: Path, kind: str, model: int | None, options: dict[str, Any]) -> None:
    """
    Raises:
        HTTPException: 409 where a run that waits or runs does the same on the same lists, as after a second click.
    """
    for job in jobs:
        same = (job.kind, job.model, job.options) == (kind, model, options) and job.state in ACTIVE
        if same and _contents(jobs.folder(job) / "data") == _contents(folder / "data"):
            raise HTTPException(409, f"run {job.id} is {job.state} and trains the same on the same annotations")


def _contents(folder: Path) -> dict[str, bytes]:
    """Of the files of annotation, which lie in the folder itself; a run writes below it."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.is_file()}


def shipped_config(name: str) -> Path:
    """The configuration of that file name that comes with the package; a path could name any file of this machine.

    Raises:
        UserError: there is none, or several.
    """
    stem = name.removesuffix(".yaml")
    found = [file for file in sorted(CONFIGS.rglob("*.yaml")) if file.stem == stem and "_base_" not in file.parts]
    if len(found) != 1:
        raise UserError(
            f"config: expected the name of a configuration of the package, e.g. tsm_own_spans, got {name!r}"
        )
    return found[0]


def check_config(file: Path, changes: Sequence[str]) -> None:
    """
    Raises:
        UserError: the configuration, with the changes, trains on something other than spans.
    """
    found = (load_config(str(file), changes).to_dict().get("DATASET") or {}).get("train") or {}
    if found.get("format") != "SpanDataset":
        kind = found.get("format")
        raise UserError(f"config: {file.stem} trains on {kind}; expected spans (SpanDataset), e.g. tsm_own_spans")


def check_overrides(changes: Sequence[str]) -> None:
    """
    Raises:
        UserError: no ``key=value``, or the key names modules to import or another folder to write to.
    """
    for change in changes:
        key = change.partition("=")[0]
        if "=" not in change or not change.isprintable() or not key.strip() or key.split(".")[0].strip() in _FIXED:
            raise UserError(f"override: expected key=value, and none of {', '.join(_FIXED)}, got {change!r:.80}")


def spans_by_persons(project: Project) -> list[Span]:
    """The spans that persons have made or kept; an end that is behind the video's is the video's."""
    keys = ("start_s", "end_s", "label", "score", "person", "video")
    spans = []
    for entry in project.spans.current():
        video = project.videos.of_file(entry["video"])
        if entry["by"] != HUMAN or (video is not None and entry["start_s"] >= video.duration_s):
            continue
        span = Span(**{key: entry.get(key) for key in keys})
        spans.append(span if video is None else replace(span, end_s=min(span.end_s, video.duration_s)))
    return spans


def split(project: Project, with_persons: bool = True, learnt: Sequence[str] = ()) -> dict[str, SpanTable]:
    """``train`` and ``val``: the spans by persons, whole videos each; stores which videos are held out.

    Args:
        with_persons: also spans of one person of the picture, which a head is not taught.
        learnt: see ``sides_of``.

    Raises:
        UserError: spans of fewer than two videos, or none can be held out.
    """
    spans = [span for span in spans_by_persons(project) if with_persons or span.person is None]
    names = sorted({span.video for span in spans})
    if len(names) < 2:
        raise UserError(
            f"spans by a person in {len(names)} video{'s' * (len(names) != 1)}: training needs two or more videos, of "
            "which some are held out; check or mark spans in another one"
        )
    labels = {name: {span.label for span in spans if span.video == name} for name in names}
    videos = {name: project.videos.of_file(name) for name in names}
    sides = sides_of(project, labels, learnt)
    classes = [name for name in project.class_names() if any(span.label == name for span in spans)]
    facts = {name: video.facts() for name, video in videos.items() if video is not None}
    return {
        part: SpanTable(
            [span for span in spans if sides[span.video] is held_out],
            {name: facts[name] for name in names if sides[name] is held_out and name in facts},
            classes,
        )
        for part, held_out in (("train", False), ("val", True))
    }


def write_lists(project: Project, parts: dict[str, SpanTable], folder: Path) -> None:
    """``train.json``, ``val.json`` and ``classes.txt``, as ``paddlevideo prepare spans`` writes them."""
    for part, table in parts.items():
        write_spans(folder / f"{part}.json", table)
    write_atomic(folder / "classes.txt", Classes(tuple(parts["train"].classes)).text())


def unchecked(project: Project, parts: dict[str, SpanTable], analysed: set[str]) -> SpanTable:
    """Time that is not trained on: all of a video in which spans that models found wait to be checked, or that no model
    has analysed.

    The time that a person has annotated counts all the same.  Without the rest, a video of which half is checked, or in
    which spans were marked here and there, would teach that nothing happens in the other half.

    Args:
        analysed: files of videos.
    """
    left = {entry["video"]: entry["label"] for entry in project.spans.current() if entry["by"] != HUMAN}
    lengths = {name: facts["duration_s"] for part in parts.values() for name, facts in part.videos.items()}
    label = parts["train"].spans[0].label
    return SpanTable(
        [
            Span(0.0, length, left.get(name, label), video=name)
            for name, length in sorted(lengths.items())
            if name in left or name not in analysed
        ]
    )


def _analysed(studio: Studio) -> set[str]:
    """Files of the videos that a model has analysed, by the jobs and by what the journal has of models."""
    videos = {job.video for job in studio.jobs if job.kind == "analyse" and job.state == "done"}
    return {
        video.file
        for video in studio.project.videos
        if video.id in videos or any(line["by"] != HUMAN for line in studio.project.spans.lines(video.file))
    }


def names_in(parts: dict[str, SpanTable] | PeopleSplit) -> list[str]:
    """The files of all videos that are read, each once."""
    if isinstance(parts, PeopleSplit):
        return list(dict.fromkeys(person.video for person in parts.people))
    return list(dict.fromkeys(span.video or "" for table in parts.values() for span in table.spans))


def measured_on(project: Project, parts: dict[str, SpanTable], ignored: SpanTable) -> dict[str, Any]:
    """What the figure of a training depends on besides the model: the held-out videos, and a digest of their spans and
    of how they are found."""
    table, names = parts["val"], parts["val"].video_names()
    spans = [span.to_dict() for span in [*table.spans, *ignored.spans] if span.video in names]
    return {"videos": sorted(names), "sha256": digest_of([spans, project.settings.analysis])}


def teach_steps(project: Project, folder: Path, wanted: TrainRequest) -> list[list[str]]:
    """``paddlevideo teach``: the exported model of a head, and its figures on the held-out videos."""
    taught = project.models.get(project.settings.model)
    data = folder / "data"
    words = ["--model_file", str(project.models.path(taught))]
    words += ["--train", str(data / "train.json"), "--val", str(data / "val.json")]
    words += ["--ignore", str(data / IGNORE), "--videos", str(project.videos.folder), "--out", str(folder / "export")]
    words += ["--features", str(project.features), *settings_words(project.settings.analysis)]
    present = project.present_classes(taught)
    if present != [*taught.classes]:
        write_atomic(data / _NAMES, Classes(tuple(present)).text())
        words += ["--label_file", str(data / _NAMES)]
    return [[*COMMAND, TEACH, *words, "--figures", str(folder / "figures.json")]]


def full_steps(project: Project, folder: Path, wanted: TrainRequest) -> list[list[str]]:
    """``paddlevideo train`` and ``export`` of a configuration whose DATASET is spans."""
    data, videos = folder / "data", project.videos.folder
    changes = [f"DATASET.label_names={data / 'classes.txt'}", "model_name=studio"]
    for part, file in (("train", "train"), ("valid", "val"), ("test", "val")):
        changes += [f"DATASET.{part}.file_path={data / file}.json", f"DATASET.{part}.data_prefix={videos}"]
    changes = [*changes, *wanted.override, f"output_dir={folder / 'out'}"]
    config = ["-c", wanted.config or "", *(word for change in changes for word in ("-o", change))]
    best = str(folder / "out" / "studio_best.pdparams")
    return [
        [*COMMAND, "train", "--validate", *config],
        [*COMMAND, "export", *config, "-w", best, "--out", str(folder / "export"), "--timing", "none"],
        [sys.executable, "-m", FIGURES, str(folder)],
    ]
