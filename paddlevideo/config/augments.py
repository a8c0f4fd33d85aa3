"""``augment``: one word for the augmentation of training, made into PIPELINE.train and MIX at load.

    augment: strong  # light, strong, none, or a level of the file's own AUGMENTS

A level (``configs/_base_/augment.yaml``) has up to three keys: ``clip``, steps behind the decoder; ``transform``, steps
in the place of those that crop, resize, mirror or recolour (constant ``augments`` of a transform's class); ``MIX``.  A
size that a step lacks (``side``) is the one that PIPELINE.train has.  Where PIPELINE.train mirrors nothing, neither
does the level; where its decoder draws the clip (``cuts_time``), steps behind it that vary the time are left out.

A resolved configuration has the steps in PIPELINE.train and neither key: what is printed and kept is what runs.  What
mirroring does to classes such as "turn left" depends on their names, which are the data's: ``flip``, which a level sets
to auto, stays in the configuration until training begins (``paddlevideo.mirroring``).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from typing import Any

from paddlevideo.config.checking import step_problems
from paddlevideo.config.reading import Lines, join, read_yaml
from paddlevideo.ranges import suggest
from paddlevideo.registry import DATASETS, TRANSFORMS
from paddlevideo.shipped import ROOT

log = logging.getLogger("paddlevideo")

KEYS = ("augment", "AUGMENTS")
LEVELS = ROOT / "configs" / "_base_" / "augment.yaml"
_PARTS = ("clip", "transform", "MIX")
_TRAIN = "PIPELINE.train"


def is_level(assignment: str) -> bool:
    """Whether ``-o assignment`` is about levels: those come first, so that others can change what a level sets."""
    return assignment.partition("=")[0].strip().split(".")[0] in KEYS


def resolve(data: dict[str, Any], lines: Lines) -> list[str]:
    """Removes both keys from ``data``, and sets the steps of the level in PIPELINE.train, and MIX.

    Args:
        lines: file and line of each key; gets those of the new steps.

    Returns:
        Problem lines; with any, PIPELINE.train is left as it is.
    """
    level, own = data.pop("augment", None), data.pop("AUGMENTS", None)
    if level is None:
        return [] if own is None else ["augment: is missing; AUGMENTS defines levels, and it names one of them"]
    shipped, places = read_yaml(LEVELS)
    levels = {**shipped["AUGMENTS"], **(own if isinstance(own, Mapping) else {})}
    problems = list(_level_problems({} if own is None else own))
    if not isinstance(level, str) or level not in levels:
        problems.append(f"augment: there is no level {level!r}{suggest(str(level), levels)}")
    problems += _refusals(data)
    size = None if problems else _size(data["PIPELINE"]["train"])
    if not problems and size is None:
        problems.append(f"augment: no step of {_TRAIN} states the size of a clip's pictures (target_size)")
    if problems:
        return problems
    places = lines if level in (own or {}) else places
    steps = _Steps(lines, levels[level], f"AUGMENTS.{level}", places, size)
    data["PIPELINE"]["train"] = steps.into(data["PIPELINE"]["train"])
    if "MIX" in levels[level]:
        data.pop("MIX", None)
        if levels[level]["MIX"] is not None:
            data["MIX"] = copy.deepcopy(levels[level]["MIX"])
    data.setdefault("flip", "auto")
    return []


def _level_problems(own: Any) -> Iterator[str]:
    """Mistakes in the form of the file's own levels; their steps are checked where they end up."""
    if not isinstance(own, Mapping):
        yield f"AUGMENTS: expected a mapping of names to levels ({', '.join(_PARTS)}), got {own!r}"
        return
    for name, level in own.items():
        where = join("AUGMENTS", name)
        if not isinstance(level, Mapping):
            yield f"{where}: expected a mapping with {', '.join(_PARTS)}, got {level!r}"
            continue
        for key, value in level.items():
            if key not in _PARTS:
                yield f"{join(where, key)}: unknown key{suggest(str(key), _PARTS)}"
            elif key != "MIX" and not isinstance(value, list):
                yield f"{join(where, key)}: expected a list of steps, got {value!r}"


def _refusals(data: Mapping[str, Any]) -> Iterator[str]:
    pipelines, dataset = data.get("PIPELINE"), data.get("DATASET")
    steps = pipelines.get("train") if isinstance(pipelines, Mapping) else None
    section = dataset.get("train") if isinstance(dataset, Mapping) else None
    form = section.get("format") if isinstance(section, Mapping) else None
    if isinstance(form, str) and form in DATASETS and DATASETS.entry(form).constants.get("has_boxes"):
        yield f"augment: {form} has boxes, which a level does not move; write the steps in {_TRAIN}"
    elif not isinstance(steps, Mapping):
        yield f"augment: there is no {_TRAIN} with steps that a level could replace"
    else:
        yield from step_problems(steps, _TRAIN)  # of steps that the level replaces, too


def _named(item: Any) -> tuple[str, dict[str, Any]]:
    """Class name and arguments of an entry of a list of steps."""
    ((name, arguments),) = item.items() if isinstance(item, Mapping) else [(item, None)]
    return name, arguments or {}


def _varied(name: str) -> str | None:
    return TRANSFORMS.entry(name).constants.get("augments")


def _size(steps: Mapping[str, Any]) -> int | list[int] | None:
    """The side of the pictures that the steps give, or [width, height]; None: none of them states it."""
    found = None
    for spec in steps.values():
        for name, arguments in map(_named, spec) if isinstance(spec, list) else [(spec["name"], spec)]:
            for key in TRANSFORMS.entry(name).constants.get("side", ()):
                value = arguments.get(key)
                if isinstance(value, int) or (isinstance(value, list) and len(value) == 2 and min(value) > 0):
                    found = value
    return found[0] if isinstance(found, list) and found[0] == found[1] else found


class _Steps:
    """The steps of a level.

    Args:
        lines: of the configuration; gets the places of the new steps.
        level: the level.
        where: its key path, by which ``places`` has the lines of its steps.
        size: of ``_size``.
    """

    def __init__(self, lines: Lines, level: Mapping[str, Any], where: str, places: Lines, size: int | list[int]):
        self._lines, self._level, self._where, self._places, self._size = lines, level, where, places, size

    def into(self, steps: Mapping[str, Any]) -> dict[str, Any]:
        """PIPELINE.train with the level's steps, where the first one that they replace was."""
        names = [name for spec in steps.values() if isinstance(spec, list) for name, _ in map(_named, spec)]
        mirrors = any(_varied(name) == "mirror" for name in names)
        result: dict[str, Any] = {}
        for number, (key, spec) in enumerate(steps.items()):
            result[key] = self._replaced(spec, f"{_TRAIN}.{key}", mirrors) if isinstance(spec, list) else spec
            if number == 0 and (clip := self._of_clips(spec, mirrors)):
                result["clip"] = self._numbered(clip, f"{_TRAIN}.clip")
        return result

    def _of_clips(self, decoder: Any, mirrors: bool) -> list[tuple[Any, str | None]]:
        """The level's steps behind the decoder, and their places."""
        pairs = list(self._own("clip", mirrors))
        names = [name for name, _ in map(_named, decoder)] if isinstance(decoder, list) else [decoder["name"]]
        cutting = [name for name in names if TRANSFORMS.entry(name).constants.get("cuts_time")]
        if not cutting:
            return pairs
        kept = [pair for pair in pairs if not (_is_step(pair[0]) and self._varies_time(pair[0]))]
        if len(kept) < len(pairs):
            log.info("%s.clip: left out: %s draws the time of a clip itself", self._where, cutting[0])
        return kept

    @staticmethod
    def _varies_time(item: Mapping[str, Any]) -> bool:
        name, _ = _named(item)
        return name in TRANSFORMS and _varied(name) == "time"

    def _replaced(self, steps: list[Any], where: str, mirrors: bool) -> list[Any]:
        pairs: list[tuple[Any, str | None]] = []  # a step, and its place
        place = None
        for i, item in enumerate(steps):
            if _varied(_named(item)[0]) is None:
                pairs.append((item, self._lines.get(join(where, i))))
            elif place is None:
                place = len(pairs)
        if place is None:
            return steps
        pairs[place:place] = self._own("transform", mirrors)
        return self._numbered(pairs, where)

    def _numbered(self, pairs: list[tuple[Any, str | None]], where: str) -> list[Any]:
        """The steps; ``lines`` gets their places by their new numbers."""
        for path in [path for path in self._lines if path.startswith(f"{where}[")]:
            del self._lines[path]
        self._lines.update({join(where, i): place for i, (_, place) in enumerate(pairs) if place})
        return [item for item, _ in pairs]

    def _own(self, part: str, mirrors: bool) -> Iterator[tuple[Any, str | None]]:
        """The level's steps of a part, with their sizes, and their places."""
        for i, item in enumerate(self._level.get(part, ())):
            name, arguments = _named(item) if isinstance(item, str) or _is_step(item) else (None, {})
            constants = TRANSFORMS.entry(name).constants if name in TRANSFORMS else {}
            if constants.get("augments") == "mirror" and not mirrors:
                continue
            side = constants.get("side", ())
            if side and not set(side) & set(arguments):
                item = {name: {side[0]: self._size, **arguments}}
            yield copy.deepcopy(item), self._places.get(join(f"{self._where}.{part}", i))


def _is_step(item: Any) -> bool:
    """Whether it has the form ``Name: {arguments}``; the check of the steps reports others."""
    return isinstance(item, Mapping) and len(item) == 1 and isinstance(next(iter(item.values())) or {}, Mapping)
