"""What the clips of a network are: frames, or what a step made of them, and how they are normalised.

Stored beside weights, and compared wherever weights and a pipeline come together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.pipeline import Pipeline
from paddlevideo.manifest import SUFFIX, read_manifest, read_note
from paddlevideo.weight_names import is_export, read_names

NOTE, KEY = ".json", "input"  # the note beside a weights file, and its field
_DEPLOYED = ("test", "valid", "train")  # the first of them that there is


def input_of(pipelines: Mapping[str, Pipeline]) -> dict[str, Any]:
    """What the pipeline that a network is deployed with gives it (``Pipeline.input``); empty: no pipeline."""
    return next((pipelines[split].input for split in _DEPLOYED if split in pipelines), {})


def input_of_weights(path: str | Path) -> dict[str, Any] | None:
    """What a weights file was trained on.

    Args:
        path: as of ``classes.classes_of_weights``, which compares its digest.

    Returns:
        As ``input_of``; None where it is unknown: there is no note, or one of an earlier version.
    """
    path = local_weights(path)
    if is_export(path):
        return read_names(path, check=False).input
    note, manifest = path.with_name(path.name + NOTE), path.with_suffix(SUFFIX)
    if note.is_file():
        return read_note(note).get(KEY)
    if path.suffix == ".pdparams" and manifest.is_file():
        sections = read_manifest(manifest)["state"]["config"].get("PIPELINE", {})
        return input_of({split: Pipeline(steps, f"PIPELINE.{split}") for split, steps in sections.items()})
    return None


def compare_input(
    pipelines: Mapping[str, Pipeline], weights: str | Path, refuses: bool, say: Callable[[str], None]
) -> None:
    """Compares what weights were trained on with what the pipelines give.

    Args:
        refuses: the weights' scores are used, so that other clips are an error; else they are a start.
        say: receives a line for each difference that is no error.

    Raises:
        UserError: a step that decides what the pictures show is missing, or is there for the first time.
    """
    theirs, mine = input_of_weights(weights), input_of(pipelines)
    if not theirs or not mine:
        return
    for name in sorted(theirs["steps"].keys() ^ mine["steps"].keys()):
        have, lack = ("they were", "PIPELINE has no") if name in theirs["steps"] else ("they were not", "PIPELINE has")
        line = f"{weights}: {have} trained on clips of {name}, and {lack} {name}"
        if refuses:
            raise UserError(f"{line}; the scores would mean nothing. Use the PIPELINE of the training")
        say(f"{line}; they are a start, no more")
    for name in sorted(theirs["steps"].keys() & mine["steps"].keys()):
        if theirs["steps"][name] != mine["steps"][name]:
            there, here = _listed(theirs["steps"][name]), _listed(mine["steps"][name])
            say(f"{weights}: trained with {name} of {there}; PIPELINE has {here}")
    if (theirs["mean"], theirs["std"]) != (mine["mean"], mine["std"]):
        there, here = _normalization(theirs), _normalization(mine)
        say(f"{weights}: trained on clips normalised with {there}; PIPELINE has {here}")


def _listed(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(arguments.items()))


def _normalization(clips: Mapping[str, Any]) -> str:
    return "none" if clips["mean"] is None else f"mean {clips['mean']} std {clips['std']}"
