"""Classes that a mirrored clip exchanges, "turn left" and "turn right", found by their names; and what training does.

``flip`` of a configuration, which ``augment`` sets to auto: **auto** takes the mirroring steps out of PIPELINE.train
where there are such classes; **map** gives a mirrored clip the label of the other class (``flip_label_map``); **keep**
mirrors all the same; **none** takes the steps out in any case.  Without the key nothing is changed, and the log has a
warning.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from paddlevideo.config import Config
from paddlevideo.errors import ConfigError, printable
from paddlevideo.registry import TRANSFORMS

_PAIRS = (
    ("left", "right"),
    ("l", "r"),
    ("links", "rechts"),
    ("左", "右"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("clockwise", "counterclockwise"),
)
_MIRRORED = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_ALIKE = {"anticlockwise": "counterclockwise", "leftwards": "left", "rightwards": "right"}
_OPPOSITE = ("counter", "anti")  # before "clockwise" one word with it, however it is written
# words of letters, in camelCase too; numbers; each Chinese character alone, as no blank parts them
_TOKENS = re.compile(r"[㐀-鿿]|[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z㐀-鿿]+|\d+")
_MAP, _DIRECTION = "flip_label_map", "direction"
_SHOWN = 3
Say = Callable[[str], None]


def tokens_of(name: str) -> tuple[str, ...]:
    """The words of a class name in lower case: "TurnLeft_2" has turn, left, 2; "anti-clockwise" is one word."""
    words: list[str] = []
    for word in map(str.lower, _TOKENS.findall(name)):
        if word == "clockwise" and words and words[-1] in _OPPOSITE:
            word = words.pop() + word
        words.append(_ALIKE.get(word, word))
    return tuple(words)


def mirrored_classes(names: Sequence[str]) -> dict[int, int]:
    """Class -> class of the mirrored clip, for the names that differ in their sides alone.

    The sides are whole words: left and right, l and r, links and rechts, 左 and 右, ...; all of a name are exchanged.
    Of two spellings of one class (``spellings``) the last one is the mirrored clip's.
    """
    tokens = [tokens_of(name) for name in names]
    places = {words: k for k, words in enumerate(tokens)}
    mirrored = (tuple(_MIRRORED.get(word, word) for word in words) for words in tokens)
    return {k: places[words] for k, words in enumerate(mirrored) if places.get(words, k) != k}


def spellings(names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of classes with a mirrored one whose names differ in blanks, capitals and the like alone."""
    first: dict[tuple[str, ...], int] = {}
    pairs = [(first.setdefault(tokens_of(name), k), k) for k, name in enumerate(names)]
    mirrored = mirrored_classes(names)
    return [(names[one], names[other]) for one, other in pairs if one != other and other in mirrored]


def pairs_text(names: Sequence[str], mirrored: dict[int, int]) -> str:
    """``turn left / turn right, and 2 more pairs``."""
    pairs = [f"{printable(names[k])} / {printable(names[other])}" for k, other in mirrored.items() if k < other]
    more = f", and {len(pairs) - _SHOWN} more pairs" if len(pairs) > _SHOWN else ""
    return ", ".join(pairs[:_SHOWN]) + more


def settle_flip(config: Config, names: Sequence[str] | None, say: Say, warn: Say) -> Config:
    """The configuration of a training with its ``flip`` carried out, and without the key.

    Args:
        names: of the classes, in their order; None: unknown.
        say, warn: receive a line about what is changed, or left as it is.

    Raises:
        ConfigError: ``flip: map`` without class names, or where two classes are spellings of one.
    """
    data = config.to_dict()
    rule = data.pop("flip", None)
    steps = (data.get("PIPELINE") or {}).get("train") or {}
    mirrors = list(_unmapped(steps))
    mirrored = mirrored_classes(names or ())
    if rule == "map" and names is None:
        raise ConfigError(
            config.source, ["flip: map needs class names: DATASET.label_names, class folders, or label_file of persons"]
        )
    if mirrors and rule == "map" and (twice := spellings(names)):
        one, other = map(printable, twice[0])
        problem = f"flip: map: {one!r} and {other!r} are one class by their words, so that the mirrored one is unclear"
        raise ConfigError(config.source, [f"{problem}; rename or join them, or take flip: none"])
    if mirrors and (rule == "none" or (rule == "auto" and mirrored)):
        for key, spec in steps.items():
            if isinstance(spec, list):
                steps[key] = [item for item in spec if not any(item is mirror for mirror in mirrors)]
        if mirrored:
            say(
                f"flip: off, as a mirrored clip of one class is one of the other ({pairs_text(names, mirrored)}); "
                "flip: map exchanges the labels instead"
            )
    elif mirrors and rule == "map":
        # keys of texts, as JSON has them: a resumed run compares its steps with those of its resume point
        label_map = {str(k): other for k, other in mirrored.items()}
        for item in mirrors:
            ((name, arguments),) = item.items() if isinstance(item, dict) else [(item, None)]
            _replace(steps, item, {name: {**(arguments or {}), _MAP: label_map} if mirrored else arguments})
        exchanged = f"exchanges {pairs_text(names, mirrored)}" if mirrored else "finds no left and right in class names"
        say(f"flip: map: {exchanged}")
    elif rule == "map" and not mirrors:
        say("flip: map: PIPELINE.train mirrors nothing, so no labels are exchanged")
    elif mirrors and mirrored and rule is None:
        warn(
            f"PIPELINE.train mirrors clips, and a mirrored clip of one class is one of the other "
            f"({pairs_text(names, mirrored)}): flip: none, or flip: map, which exchanges the labels"
        )
    elif mirrors and rule == "auto" and names is None:
        say("flip: the class names are unknown, so that left and right in them go unnoticed; clips are mirrored")
    return Config(data, config.source)


def _unmapped(steps: dict[str, Any]) -> Iterator[Any]:
    """Entries of lists of steps that mirror left and right, and leave the label as it is."""
    for spec in steps.values():
        for item in spec if isinstance(spec, list) else ():
            ((name, arguments),) = item.items() if isinstance(item, dict) else [(item, None)]
            parameters = {parameter.name for parameter in TRANSFORMS.entry(name).parameters or ()}
            arguments = arguments or {}
            if _MAP in parameters and not arguments.get(_MAP) and arguments.get(_DIRECTION) in (None, "horizontal"):
                yield item


def _replace(steps: dict[str, Any], item: Any, other: Any) -> None:
    for key, spec in steps.items():
        if isinstance(spec, list):
            steps[key] = [other if entry is item else entry for entry in spec]
