"""Which videos are held out: a video stays on its side in all trainings, so that figures of models compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paddlevideo.preparation.person_annotations import split_names
from paddlevideo_studio.project import Project

_HELD_OUT = 0.25  # of the videos


def sides_of(project: Project, labels: Mapping[str, set[str]]) -> dict[str, bool]:
    """Which videos are held out; stores it, so that it stays.

    Args:
        labels: that each video has, by its file; two videos or more, sorted.
    """
    videos = {name: project.videos.of_file(name) for name in labels}
    sides = {name: video.held_out for name, video in videos.items() if video is not None and video.held_out is not None}
    _assign(labels, sides)
    for name, video in videos.items():
        if video is not None and video.held_out is None:
            project.videos.write(replace(video, held_out=sides[name]))
    return sides


def _assign(labels: Mapping[str, set[str]], sides: dict[str, bool]) -> None:
    """Gives a side to every video that has none."""
    names = list(labels)
    new = [name for name in names if name not in sides]
    if not sides:
        held_out = set(split_names({name: labels[name] for name in new}, {"val": _HELD_OUT}, 0)["val"])
        sides.update({name: name in held_out for name in new})
        return
    for name in new:  # the classes of held-out videos are those of the first ones, mostly
        share = sum(sides.values()) / len(sides)
        sides[name] = share < _HELD_OUT
    if len({*(sides[name] for name in names)}) < 2:  # videos of one side alone are left
        last = new[-1] if new else names[-1]
        sides[last] = not sides[last]
