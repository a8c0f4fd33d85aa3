"""What the clips of a network are: frames, or what a step made of them, and how they are normalised; and what its
backbone makes of them that no array of a weights file states.

Stored beside weights, and compared wherever weights, a pipeline and a network come together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.classes import NOTE
from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.loader.pipelines.pipeline import SAME_RATE, Pipeline, rates_text
from paddlevideo.manifest import SUFFIX, read_manifest, read_note
from paddlevideo.registry import BACKBONES, FRAMEWORKS
from paddlevideo.weight_names import is_export, read_names

KEY = "input"  # field of the note beside a weights file
FPS = "fps"  # in it: lowest and highest usual frame rate of the training videos, where the clips depend on it
BACKBONE = "backbone"  # in it: name and arguments of the backbone
# arguments of a backbone that change training alone, or that are compared elsewhere
_OF_TRAINING = re.compile(
    r"pretrained|lr_mult_list|wd_bias|bn_wd|recompute|from_scratch|class_num|data_format|.*drop.*"
)
_LEARNED = ("train", "valid", "test")  # the first of them that there is; all make the same (``check_inputs``)
_TOLERANCE = 1e-5  # 58.395 / 255 is 0.229 but for rounding


def input_of(pipelines: Mapping[str, Pipeline], model: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a network's pipelines give it (``Pipeline.input``); empty: no pipeline.

    Args:
        model: the MODEL section, of which the backbone is noted, too.
    """
    clips = next((pipelines[split].input for split in _LEARNED if split in pipelines), {})
    return clips | {BACKBONE: _backbone_of(model)} if clips and model else clips


def _backbone_of(model: Mapping[str, Any]) -> dict[str, Any]:
    """Name and arguments, with their defaults, of the backbone of what is tested."""
    section = FRAMEWORKS.get(model["framework"]).deployed(model)[0].get("backbone") or {}
    entry = BACKBONES.entry(section["name"]) if section.get("name") in BACKBONES else None
    values = {each.name: section.get(each.name, each.default) for each in (entry and entry.parameters) or ()}
    values = {key: value for key, value in values.items() if not _OF_TRAINING.fullmatch(key)}
    return json.loads(json.dumps({"name": section.get("name"), **values}, default=str))


def input_problems(pipelines: Mapping[str, Pipeline]) -> list[str]:
    """One line where a step that decides what a picture shows is in some pipelines and not in others."""
    names = {split: sorted(pipeline.input["steps"]) for split, pipeline in pipelines.items()}
    if len({str(steps) for steps in names.values()}) <= 1:
        return []
    text = "; ".join(f"{split}: {', '.join(steps) or 'none'}" for split, steps in names.items())
    return [f"PIPELINE: steps that decide what a picture shows differ ({text}); write the same in all pipelines"]


def input_of_weights(path: str | Path) -> dict[str, Any] | None:
    """What a weights file was trained on.

    Args:
        path: as of ``classes.classes_of_weights``, which compares its digest.

    Returns:
        As ``input_of``, with ``fps`` where training knew it; None: unknown, as there is no note, or one of an earlier
        version.

    Raises:
        DamagedFileError: the note's field is not as training writes it.
    """
    path = local_weights(path)
    if is_export(path):
        names = read_names(path, check=False)
        return _checked(names.input, names.file)
    note, manifest = path.with_name(path.name + NOTE), path.with_suffix(SUFFIX)
    if note.is_file():
        return _checked(read_note(note).get(KEY), note)
    if path.suffix == ".pdparams" and manifest.is_file():
        return _checked(read_manifest(manifest)["state"].get(KEY), manifest)
    return None


def _checked(value: Any, where: Path) -> dict[str, Any] | None:
    if not value:
        return None
    is_whole = isinstance(value, dict) and {"steps", "mean", "std"} <= value.keys()
    if not is_whole or not isinstance(value["steps"], dict):
        raise DamagedFileError(f"{where}: damaged: {KEY}: expected steps, mean and std, got {value!r:.80}")
    if FPS in value:
        check_rates(value[FPS], f"{where}: damaged: {KEY}")
    return value


def check_rates(value: Any, where: str) -> tuple[float, float]:
    """A stored pair of frame rates.

    Raises:
        DamagedFileError: it is none.
    """
    is_pair = isinstance(value, list) and len(value) == 2 and all(type(rate) in (int, float) for rate in value)
    if not is_pair or not 0 < value[0] <= value[1] < np.inf:
        raise DamagedFileError(f"{where}: {FPS}: expected [lowest, highest] frames per second, got {value!r:.80}")
    return float(value[0]), float(value[1])


def same_input(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two are equal, but for the rounding of mean and std."""
    return a["steps"] == b["steps"] and _same_normalization(a, b)


def _same_normalization(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    pairs = [(a[key], b[key]) for key in ("mean", "std")]
    return all(x == y or (None not in (x, y) and np.allclose(x, y, rtol=_TOLERANCE, atol=0)) for x, y in pairs)


def pretrained_files(model: Mapping[str, Any], where: str = "MODEL") -> Iterator[tuple[str, str]]:
    """Key path and file of every ``pretrained`` below MODEL."""
    for key, value in model.items():
        here = f"{where}.{key}"
        if key == "pretrained" and isinstance(value, str):
            yield here, value
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Mapping):
                yield from pretrained_files(item, here)


def compare_input(
    pipelines: Mapping[str, Pipeline],
    weights: str | Path,
    refuses: bool,
    say: Callable[[str], None],
    name: str = "",
    model: Mapping[str, Any] | None = None,
) -> None:
    """Compares what weights were trained on with what the pipelines give, and the backbones.

    Args:
        weights: the file.
        refuses: the weights' scores are used, so that other clips are an error; else they are a start.
        say: receives a line for each difference that is no error.
        name: what to call the file in messages; empty: as it is given.
        model: the MODEL section; None: another network may be meant.

    Raises:
        UserError: a step that decides what the pictures show is missing, or is there for the first time.
    """
    theirs, mine = input_of_weights(weights), input_of(pipelines)
    if not theirs or not mine:
        return
    weights = name or weights
    for name in sorted(theirs["steps"].keys() ^ mine["steps"].keys()):
        have, lack = ("was", "PIPELINE has no") if name in theirs["steps"] else ("was not", "PIPELINE has")
        line = f"{weights}: {have} trained on clips of {name}, and {lack} {name}"
        if refuses:
            raise UserError(f"{line}; the scores would mean nothing. Use the PIPELINE of the training")
        say(f"{line}; it is a start, no more")
    for name in sorted(theirs["steps"].keys() & mine["steps"].keys()):
        if theirs["steps"][name] != mine["steps"][name]:
            there, here = _listed(theirs["steps"][name]), _listed(mine["steps"][name])
            say(f"{weights}: trained with {name} of {there}; PIPELINE has {here}")
    if not _same_normalization(theirs, mine):
        there, here = _normalization(theirs), _normalization(mine)
        say(f"{weights}: trained on clips normalised with {there}; PIPELINE has {here}")
    if model and BACKBONE in theirs and (other := _other_arguments(theirs[BACKBONE], _backbone_of(model))):
        say(f"{weights}: trained with {other}: the same arrays, and another network")


def _other_arguments(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """The arguments of a backbone that differ; empty: none, or another class."""
    if theirs.get("name") != mine.get("name"):
        return ""
    changed = [key for key in mine if key in theirs and theirs[key] != mine[key]]
    return ", ".join(f"MODEL.backbone.{key} {theirs[key]} (here {mine[key]})" for key in changed)


def rates_of_weights(path: str | Path) -> tuple[float, float] | None:
    """Lowest and highest usual frame rate of the videos that weights were trained on; None: unknown."""
    rates = (input_of_weights(path) or {}).get(FPS)
    return None if rates is None else check_rates(rates, str(path))


def set_rates(pipelines: Mapping[str, Pipeline], weights: str | Path) -> None:
    """Gives the pipelines the frame rates of the training (``learned_fps``): the scores of these weights are used."""
    rates = rates_of_weights(weights)
    for pipeline in pipelines.values():
        pipeline.learned_fps = rates


def compare_rates(rates: Sequence[float], weights: str | Path, say: Callable[[str], None]) -> None:
    """Compares the frame rates of a training with those that the weights it starts from were trained on.

    Args:
        rates: lowest and highest.
        say: receives a line if they differ.
    """
    theirs = rates_of_weights(weights)
    if theirs and not alike([rates, theirs]):
        there, here = rates_text(theirs), rates_text(rates)
        what = "other times between the frames of a clip"
        say(f"{weights}: trained on videos of {there}; DATASET.train has {here}: {what}")


def alike(rates: Sequence[Sequence[float]]) -> bool:
    """Whether pairs of lowest and highest frame rates are of one kind."""
    return all(max(ends) <= min(ends) * SAME_RATE for ends in zip(*rates))


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(arguments.items()))


def _normalization(clips: Mapping[str, Any]) -> str:
    return "none" if clips["mean"] is None else f"mean {clips['mean']} std {clips['std']}"
