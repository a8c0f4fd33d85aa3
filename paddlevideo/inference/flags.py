"""Which preprocessing a prediction uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paddlevideo.config import Config
from paddlevideo.inference.description import FILE_NAME, Description
from paddlevideo.inference.runtime import Say
from paddlevideo.loader.pipelines import Pipeline


def chosen_pipeline(
    config: Config | None, overrides: Sequence[str], description: Description | None, say: Say
) -> dict[str, Any] | None:
    """Which preprocessing predict uses, when a configuration was named.

    ``inference.yml`` travelled with the weights, so it holds; a configuration that differs is named in one line, since
    a file that was edited since the export is the usual reason.  An ``-o PIPELINE.test...`` of this very command line
    is a wish for something else, and is followed, which is said too.  Without ``inference.yml`` the configuration
    decides.

    Returns:
        A ``PIPELINE.test`` section, or None for the exported one.
    """
    if config is None:
        return None
    own = (config.to_dict().get("PIPELINE") or {}).get("test")
    if description is None or own is None:
        return own
    # what operators leave unsaid may mean something else in an older export
    meant, exported = Pipeline(own, "PIPELINE.test"), Pipeline.of_export(description.pipeline, f"{FILE_NAME}: pipeline")
    difference = first_difference(meant.describe(), exported.describe(), "PIPELINE.test")
    if difference is None:
        return None
    if any(override.strip().startswith("PIPELINE.test") for override in overrides):
        say(f"-o PIPELINE.test: using the configuration's preprocessing; {FILE_NAME} differs: {difference}")
        return own
    say(
        f"{config.source} differs from {FILE_NAME}, which was exported with the weights and is used: {difference} "
        "(-o PIPELINE.test... overrides it)"
    )
    return None


def first_difference(ours: Any, theirs: Any, where: str) -> str | None:
    """``key path: here ..., exported ...`` for the first place where two sections differ, or None."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        if list(ours) != list(theirs):
            return f"{where}: here {', '.join(map(str, ours))}, exported {', '.join(map(str, theirs))}"
        pairs = [(ours[key], theirs[key], f"{where}.{key}") for key in ours]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(ours, theirs))]
    else:
        return None if ours == theirs else f"{where}: here {ours!r}, exported {theirs!r}"
    return next((d for d in (first_difference(*pair) for pair in pairs) if d is not None), None)
