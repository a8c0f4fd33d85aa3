"""``num_seg`` at the top of a configuration: the frames of a clip, stated once for everything that counts them.

    num_seg: 16     # MODEL.backbone, MODEL.head, MODEL.runtime_cfg.test, decode and sample of every pipeline

Within a file the key fills places without a number, and contradicts places with another.  ``-o num_seg=16`` changes
every number of the file and contradicts other ``-o`` only; ``-o MODEL.backbone.num_seg=16`` changes that place only.
A resolved configuration has the numbers in their places and no such key: what is printed and kept is what runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paddlevideo.config.reading import Lines, join
from paddlevideo.registry import BACKBONES, HEADS, TRANSFORMS, Registry

KEY = "num_seg"


@dataclass
class FrameCount:
    """An argument that is a number of frames: ``owner[argument]``, given or not, at the key path ``path``."""

    path: str
    owner: dict[str, Any]
    argument: str

    @property
    def value(self) -> Any:
        return self.owner.get(self.argument)


def is_frames(assignment: str) -> bool:
    """Whether ``-o assignment`` is the one key."""
    return assignment.partition("=")[0].strip() == KEY


def follow(data: dict[str, Any], lines: Lines, assigned: Sequence[str] | None = None) -> list[str]:
    """Removes ``num_seg`` from ``data`` and sets its number where frames are counted.

    Args:
        data: the configuration; PROTOCOLS may still be in it.
        lines: file and line of each key, for the messages.
        assigned: None: the key is the file's own.  Else it comes from the command line, and these are the key paths
            that other assignments have set.

    Returns:
        Problem lines, one for each place that contradicts the key.
    """
    if KEY not in data:
        return []
    frames = data.pop(KEY)
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 1:
        return [f"{KEY}: expected a whole number of frames, at least 1, got {frames!r}"]
    problems, count = [], 0
    for place in _places(data):
        count += 1
        fixed = assigned is None or any(_within(place.path, path) for path in assigned)
        if fixed and place.value not in (None, frames):
            where = lines.get(place.path)
            problems.append(
                f"{KEY}: is {frames}, but {place.path} is {place.value!r}{f' ({where})' if where else ''}; "
                "leave one of the two out, or make them equal"
            )
        place.owner[place.argument] = frames
    return problems if count else [f"{KEY}: nothing in this configuration counts frames by it"]


def _within(path: str, ancestor: str) -> bool:
    return path == ancestor or path.startswith((ancestor + ".", ancestor + "["))


def _places(data: dict[str, Any]) -> Iterator[FrameCount]:
    model = data.get("MODEL")
    if isinstance(model, dict):
        yield from _of_model(model)
    for section, splits in (("PIPELINE", data.get("PIPELINE")), ("PROTOCOLS", data.get("PROTOCOLS"))):
        for split, steps in (splits if isinstance(splits, dict) else {}).items():
            for key, spec in (steps if isinstance(steps, dict) else {}).items():
                yield from _of_step(spec, f"{section}.{split}.{key}")


def _of_model(model: dict[str, Any]) -> Iterator[FrameCount]:
    networks = [("MODEL", model)]
    models = model.get("models")
    for i, item in enumerate(models if isinstance(models, list) else []):
        networks += [(f"MODEL.models[{i}].{name}", own) for name, own in item.items()] if isinstance(item, dict) else []
    for where, network in networks:
        for part, registry in (("backbone", BACKBONES), ("head", HEADS)):
            spec = network.get(part) if isinstance(network, dict) else None
            if isinstance(spec, dict) and KEY in _arguments(registry, spec.get("name")):
                yield FrameCount(f"{where}.{part}.{KEY}", spec, KEY)
        runtime = network.get("runtime_cfg") if isinstance(network, dict) else None
        if isinstance(runtime, dict) and isinstance(runtime.get("test"), dict):
            yield FrameCount(f"{where}.runtime_cfg.test.{KEY}", runtime["test"], KEY)


def _of_step(spec: Any, where: str) -> Iterator[FrameCount]:
    if isinstance(spec, list):
        for i, item in enumerate(spec):
            for name, own in item.items() if isinstance(item, dict) else ():
                if isinstance(own, dict):
                    yield from _of_transform(name, own, join(where, i))
    elif isinstance(spec, dict):
        yield from _of_transform(spec.get("name"), spec, where)
        for name, own in spec.items():  # a protocol's changes of a list: {Name: {...}}
            if isinstance(own, dict):
                yield from _of_transform(own.get("name", name), own, join(where, name))


def _of_transform(name: Any, spec: dict[str, Any], where: str) -> Iterator[FrameCount]:
    arguments = _arguments(TRANSFORMS, name)
    if KEY in arguments or (name is None and KEY in spec):  # a protocol's step need not repeat the class
        yield FrameCount(join(where, KEY), spec, KEY)
    elif "clip_len" in arguments:  # MMAction2's samplers: one-frame clips are the frames of one view
        argument = "num_clips" if spec.get("clip_len") == 1 else "clip_len"
        yield FrameCount(join(where, argument), spec, argument)


def _arguments(registry: Registry, name: Any) -> set[str]:
    if not isinstance(name, str) or name not in registry:
        return set()
    return {parameter.name for parameter in registry.entry(name).parameters or ()}
