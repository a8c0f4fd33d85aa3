"""Named ways to test one model: PROTOCOLS and the ``protocol`` that is in force, made into PIPELINE.test at load.

    protocol: accurate
    PROTOCOLS:  # each holds what is other than in PIPELINE.test, and merges with it as a file with its base
        efficient: {sample: {twice_sample: False}}
        accurate: {sample: {twice_sample: True}, transform: {CenterCrop: {name: ThreeCrop, crop_size: 256}}}

A resolved configuration has the chosen steps in PIPELINE.test and neither key: what is checked, printed, exported and
kept with a checkpoint is what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paddlevideo.config.checking import pipeline_problems, step_problems
from paddlevideo.config.merging import Merge
from paddlevideo.config.reading import Lines
from paddlevideo.ranges import misspelt, suggest

KEYS = ("protocol", "PROTOCOLS")


def is_choice(assignment: str) -> bool:
    """Whether ``-o assignment`` is about protocols: those come first, so that others can change what was chosen."""
    return assignment.partition("=")[0].strip().split(".")[0] in KEYS


def resolve(data: dict[str, Any], lines: Lines) -> list[str]:
    """Removes both keys from ``data`` and sets the chosen protocol's steps in PIPELINE.test.

    Every protocol is checked, chosen or not.  ``lines`` gets the lines of the new steps.

    Returns:
        Problem lines; with any, PIPELINE.test is left as it is.
    """
    protocols, chosen = data.pop("PROTOCOLS", None), data.pop("protocol", None)
    if protocols is None:
        return [] if chosen is None else [f"protocol: {chosen!r} is named, but there is no PROTOCOLS section"]
    if not isinstance(protocols, Mapping) or not all(isinstance(steps, Mapping) for steps in protocols.values()):
        return ["PROTOCOLS: expected a mapping of names to steps of PIPELINE.test (sample, transform, ...)"]
    pipelines = data.get("PIPELINE")
    if not (isinstance(pipelines, dict) and isinstance(pipelines.get("test"), Mapping)):
        return ["PROTOCOLS: there is no PIPELINE.test with steps that they could replace"]
    merge = Merge(lines)
    merged = {
        name: merge(pipelines["test"], steps, f"PROTOCOLS.{name}", "PIPELINE.test") for name, steps in protocols.items()
    }
    problems = merge.problems + [
        problem.replace("PIPELINE.test", f"PROTOCOLS.{name}", 1)
        for name, steps in merged.items()
        if name != chosen
        for problem in pipeline_problems({**data, "PIPELINE": {"test": steps}})
    ]
    if not isinstance(chosen, str) or chosen not in merged:
        what = "is missing" if chosen is None else f"there is no protocol {chosen!r}"
        return [*problems, f"protocol: {what}{misspelt('protocol', data) or suggest(str(chosen or ''), merged)}"]
    # what the protocol replaces is checked as well; the rest is checked where it ends up
    remaining = step_problems(merged[chosen], "PIPELINE.test")
    problems += [line for line in step_problems(pipelines["test"], "PIPELINE.test") if line not in remaining]
    pipelines["test"] = merged[chosen]
    prefix = f"PROTOCOLS.{chosen}."
    lines.update(
        {"PIPELINE.test." + key[len(prefix) :]: place for key, place in lines.items() if key.startswith(prefix)}
    )
    return problems
