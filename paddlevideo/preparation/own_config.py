"""A configuration for own videos: one file over a shipped one, with the reasons for each choice as comments."""

from __future__ import annotations

import json
import os
import re
import shlex
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddlevideo.classes import Classes
from paddlevideo.config import Config, load_config
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import plural, table
from paddlevideo.mirroring import mirrored_classes, pairs_text
from paddlevideo.preparation.own_videos import VAL_SHARE, OwnVideos
from paddlevideo.safe_io import write_atomic
from paddlevideo.shipped import shipped

FEW_CLIPS = "few_clips"
_MOTION = "tsm_mv2_motion"
FILES = {  # word of --model -> shipped configuration
    "few_clips": FEW_CLIPS,
    "tsm": "tsm_own_videos",
    "tsm_mv2": "tsm_mv2_own_videos",
    _MOTION: _MOTION,
    "pptsm": "pptsm_own_videos",
    "timesformer": "timesformer_own_videos",
    "slowonly": "slowonly_own_videos",
}
_IF_STILL = f"--model {_MOTION} if the camera stands still and the classes differ in how something moves"
_FEW, _MANY = 50, 500  # training clips of a class, the median
_UNEVEN = 3.0  # largest class / smallest class, from which rare ones are drawn more often
_LONG_S = 10.0  # of a clip, from which frames spread over all of it may miss a short action
_NUM_FRAMES = 8  # of a clip, in all these files
_MAX_INTERVAL = 8  # of frames, which the released SlowOnly weights are trained with
_CLASSES = 30  # shown one by one


@dataclass(frozen=True)
class Choice:
    """The shipped configuration that is taken, why, and what else to try ("": nothing)."""

    file: str
    reason: str
    other: str = ""


def choose(videos: OwnVideos, model: str | None, has_gpu: bool) -> Choice:
    """The configuration for an amount of data and a machine.

    Args:
        model: a key of ``FILES``; None: by the rules of this function.
    """
    median = statistics.median(videos.counts())
    amount = f"{median:g} training clips per class (median)"
    if model is not None:
        return Choice(FILES[model], f"--model {model}; {amount}")
    if median < _FEW:
        return Choice(FEW_CLIPS, f"{amount}: fewer than {_FEW}, so a small network and weights of actions", _IF_STILL)
    if not has_gpu:
        return Choice(FILES["tsm_mv2"], f"{amount}, no GPU: MobileNetV2 on small pictures trains on a CPU", _IF_STILL)
    if median >= _MANY:
        return Choice(FILES["pptsm"], f"{amount}, a GPU: as fast as TSM, and better where there is enough data")
    return Choice(FILES["tsm"], f"{amount}, a GPU: ResNet-50 from Kinetics-400")


def summary(videos: OwnVideos) -> list[str]:
    """What was found, a short table and its remarks."""
    splits = ["train", "val", *(["test"] if videos.test else [])]
    counts = [videos.counts(split) for split in splits]
    rows = [["class", *splits, "seconds: min / median / max"]]
    for k, name in enumerate(videos.names[:_CLASSES]):
        lengths = [h.seconds for clip, h in zip(videos.clips, videos.headers) if clip.label == k]
        rows.append([printable(name), *(str(own[k]) for own in counts), _spread(lengths)])
    rest = len(videos.names) - _CLASSES
    if rest > 0:
        rows.append(
            [f"... {plural(rest, 'more class', 'more classes')}", *(str(sum(own[_CLASSES:])) for own in counts), ""]
        )
    rows.append(["all", *(str(sum(own)) for own in counts), _spread([h.seconds for h in videos.headers])])
    rates = [h.fps for h in videos.headers]
    sides = [min(h.width, h.height) for h in videos.headers]
    facts = f"frames per second: {_spread(rates)}; short side in pixels: {_spread(sides)} (min / median / max)"
    return [*table(rows), facts, *_split_lines(videos), *_sides_lines(videos), *videos.remarks]


def _sides_lines(videos: OwnVideos) -> Iterator[str]:
    """Classes that a mirrored clip exchanges."""
    mirrored = mirrored_classes(videos.names)
    if mirrored:
        text = pairs_text(videos.names, mirrored)
        yield f"left and right: {text}: clips are not mirrored (flip: auto); flip: map mirrors them and their labels"


def _split_lines(videos: OwnVideos) -> Iterator[str]:
    if videos.sources is None:
        yield f"split: {_folders_text(videos)}"
        return
    count = len(set(videos.sources.names))
    if videos.sources.rule:
        yield f"sources: {count}, {videos.sources.rule}; none is in training and validation both"
    else:
        yield ("sources: the names do not show which clips are of one recording; if some are, the figures of the "
               "validation are too high; --source keeps them together")  # fmt: skip
    rest = f"; {_folders_text(videos)}" if videos.folders else ""
    yield f"split: {VAL_SHARE:.0%} of each class for validation{rest}"


def _folders_text(videos: OwnVideos) -> str:
    """``the folders Train (training), Val (validation)``."""
    uses = {"train": "training", "val": "validation", "test": "test"}
    named = [f"{printable(folder.name)} ({uses[split]})" for split, folder in videos.folders.items()]
    return f"the folder{'s' * (len(named) > 1)} {', '.join(named)}"


def _spread(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in (min(values), statistics.median(values), max(values)))


@dataclass(frozen=True)
class Written:
    """What ``write_config`` has made.

    Attributes:
        file: the configuration.
        lists: the other files.
        missing: start weights that are not there; None: they are, or come by name.
    """

    file: Path
    lists: list[Path]
    missing: str | None


def write_config(videos: OwnVideos, choice: Choice, place: Path, out: Path | None, num_cpus: int) -> Written:
    """Writes the configuration, and lists and class names unless the folders serve as they are.

    Args:
        place: the data, for the name and the comments.
        out: folder for the files, and by its last part their name and that of the run; None: own/<name of the data>.
        num_cpus: of the machine that trains.

    Raises:
        UserError: one of the files is there already; a name that a list cannot hold.
    """
    name = _name_of(place if out is None else out.expanduser().resolve())
    out = Path("own", name) if out is None else out.expanduser()
    contents = {} if videos.by_folder else _lists(videos)
    file = out / f"{name}.yaml"
    lists = [out / part for part in contents]
    there = next((path for path in (file, *lists) if path.exists()), None)
    if there is not None:
        raise UserError(f"{printable(there)}: is there already; nothing was written; name another folder with --out")
    base = load_config(choice.file)
    text = "\n".join(_lines(videos, choice, place, file, base, num_cpus)) + "\n"
    _encoded(text, file)
    for path, content in zip(lists, contents.values()):
        write_atomic(path, content)
    write_atomic(file, text)
    load_config(file)
    weights = base["MODEL"]["backbone"].get("pretrained")
    is_path = isinstance(weights, str) and weights.endswith(".pdparams")
    return Written(file, lists, weights if is_path and not shipped(weights).is_file() else None)


def _name_of(place: Path) -> str:
    stem = place.stem if place.is_file() else place.resolve().name
    return re.sub(r"[^\w-]+", "_", stem, flags=re.ASCII).strip("_") or "videos"


def _encoded(text: str, name: object) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        bad = printable(text[max(0, error.start - 60) : error.end + 20].splitlines()[-1])
        raise UserError(f"{printable(name)}: {bad}: a name that is no UTF-8; rename the file or folder") from None


def _lists(videos: OwnVideos) -> dict[str, str]:
    """Name -> content of the list files and the label file."""
    rows: dict[str, list[str]] = {split: [] for split in ("train", "val", *(["test"] if videos.test else []))}
    for i, clip in enumerate(videos.clips):
        path = clip.path
        _encoded(path, "a list")
        if path != path.strip() or not path.isprintable():
            raise UserError(
                f"{printable(repr(path))}: a list cannot hold a path with line breaks, or blanks at an end; rename it"
            )
        quoted = '"' + path.replace('"', '""') + '"' if re.search(r'[\s,;"]', path) else path
        rows[videos.split_of(i)].append(f"{quoted} {clip.label}\n")
    names = Classes(tuple(videos.names)).text()
    _encoded(names, "class names")
    return {**{f"{split}.list": "".join(own) for split, own in rows.items()}, "classes.txt": names}


def _lines(videos: OwnVideos, choice: Choice, place: Path, file: Path, base: Config, num_cpus: int) -> Iterator[str]:
    """The configuration."""
    train = sum(videos.counts())
    yield f"# Own videos of {printable(place)}, by paddlevideo new: {len(videos.names)} classes."
    of_test = f", {len(videos.test)} for the test" if videos.test else ""
    yield f"# Clips: {train} for training, {len(videos.val)} for validation{of_test}."
    yield from (f"#        {line}" for line in _split_lines(videos))
    yield "# Relative paths count from the folder in which commands are run."
    yield f"# Train: paddlevideo train -c {printable(shlex.quote(file.as_posix()))} --validate"
    yield f"# Model: {choice.reason}."
    if choice.other:
        yield f"#        Compare with {choice.other}."
    yield from _frame_comments(videos)
    yield f"_base_: {choice.file}.yaml"
    yield ""
    yield from _augment_lines(videos)
    yield ""
    yield from _dataset_lines(videos, file.parent, base, num_cpus)
    yield from _interval_lines(videos, base)
    yield from _imbalance_lines(videos)
    yield ""
    yield f"model_name: {_quoted(file.stem)}  # everything is written to output/{file.stem}"


def _frame_comments(videos: OwnVideos) -> Iterator[str]:
    lengths = [header.seconds for header in videos.headers]
    median = statistics.median(lengths)
    yield f"# Frames: {_NUM_FRAMES} of a clip; clips last {_spread(lengths)} s (min / median / max)."
    if median > _LONG_S:
        yield "#         Long clips: if what counts is short, label its spans (tsm_own_spans.yaml), or take 16 frames:"
        yield "#         -o num_seg=16"


def _augment_lines(videos: OwnVideos) -> Iterator[str]:
    yield "augment: light  # strong: for more epochs and few clips; none: configs/_base_/augment.yaml"
    mirrored = mirrored_classes(videos.names)
    if mirrored:
        yield f"# Left and right: {pairs_text(videos.names, mirrored)}: a mirrored clip is one of the other class."
        yield "flip: auto  # not mirrored; map: mirrored, and the labels exchanged"


def _dataset_lines(videos: OwnVideos, out: Path, base: Config, num_cpus: int) -> Iterator[str]:
    train, settings = sum(videos.counts()), base.settings.batches
    yield "DATASET:"
    if train < settings.batch_size:
        yield f"    batch_size: {train}  # all clips of training"
    if train < 4 * settings.batch_size:
        yield "    drop_last: False  # every clip counts in every epoch"
    yield f"    num_workers: {max(1, min(settings.num_workers, num_cpus - 1))}"
    if videos.by_folder:
        parts = {split: {"file_path": folder.as_posix()} for split, folder in videos.folders.items()}
    else:
        yield f"    label_names: {_quoted((out / 'classes.txt').as_posix())}"
        prefix = {} if videos.root == Path() else {"data_prefix": videos.root.as_posix()}
        splits = ("train", "val", "test")
        parts = {name: {"file_path": (out / f"{name}.list").as_posix(), **prefix} for name in splits}
    for split, part in (("train", "train"), ("valid", "val"), ("test", "test" if videos.test else "val")):
        yield f"    {split}:"
        if videos.outside:
            yield f"        allow_outside_root: True  # {plural(len(videos.outside), 'clip')}, by links or paths"
        yield from (f"        {key}: {_quoted(value)}" for key, value in parts[part].items())
        if split == "train" and _is_uneven(videos):
            yield "        sample_by_class: True  # a class is drawn first, then one of its clips"
            yield "        power: 0.5  # by the root of its number of clips; 0: all classes alike, 1: as they come"


def _interval_lines(videos: OwnVideos, base: Config) -> Iterator[str]:
    """Frame intervals of samplers that have one, so that a clip's frames fit into the videos."""
    samples = {split: steps["sample"] for split, steps in base.section("PIPELINE").items()}
    if not all("frame_interval" in sample for sample in samples.values()):
        return
    frames = statistics.median(header.seconds * (header.fps or 25.0) for header in videos.headers)
    interval = max(1, min(_MAX_INTERVAL, int(frames / _NUM_FRAMES)))
    yield ""
    yield "PIPELINE:"
    span = f"{_NUM_FRAMES} frames {interval} apart; half of the videos have {frames:.0f} frames or more"
    yield from (f"    {split}: {{sample: {{frame_interval: {interval}}}}}  # {span}" for split in samples)


def _imbalance_lines(videos: OwnVideos) -> Iterator[str]:
    """The figure that picks the best weights, where classes have very different sizes."""
    if not _is_uneven(videos):
        return
    counts = videos.counts()
    most, least = max(counts), min(counts)
    large, small = (printable(videos.names[counts.index(count)]) for count in (most, least))
    yield ""
    yield f"# Imbalance: {large} has {most} clips for training, {small} has {least}: rare classes are drawn more often"
    yield "# (sample_by_class above), and the best weights are those with the best mean class accuracy."
    yield "monitor: mean_class_accuracy"


def _is_uneven(videos: OwnVideos) -> bool:
    """Whether the largest class has many times the clips of the smallest."""
    counts = videos.counts()
    return max(counts) >= _UNEVEN * min(counts)


def _quoted(value: Any) -> str:
    """A text as YAML, in double quotes."""
    return json.dumps(os.fspath(value), ensure_ascii=False)
