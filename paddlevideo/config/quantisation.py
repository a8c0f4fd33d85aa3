"""PaddleVideo's quantisation file: an exported model, and the samples and the pipeline that calibrate it in int8.

It has no MODEL.  ``paddlevideo export -c FILE`` runs it, ``check`` accepts it, other commands refuse it in one line.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from paddlevideo.config.checking import LOADER_KEYS, component, key_problems, step_problems
from paddlevideo.ranges import misspelt, mistakes
from paddlevideo.registry import DATASETS, suggest
from paddlevideo.settings import Calibration, Settings

QUANT = "quant"  # the one split
_PATHS = ("inference_model_dir", "quant_output_dir")
_TOP = ("DATASET", "PIPELINE", *_PATHS)
_UP = "../../"  # to the root of PaddleVideo's repository from deploy/slim, where its script runs


def is_quantisation(data: Mapping[str, Any]) -> bool:
    """Whether a configuration is such a file."""
    sections = (data.get(key) for key in ("DATASET", "PIPELINE"))
    splits = {split for section in sections if isinstance(section, Mapping) for split in section}
    return "MODEL" not in data and (QUANT in splits or any(key in data for key in _PATHS))


def refusal(source: str) -> str:
    """The line of a command that trains, tests or predicts."""
    return (
        f"{source}: calibrates an exported model in int8 and has no MODEL to train, test or predict with; export the "
        f"model, then run: paddlevideo export -c {source}"
    )


def remark(source: str) -> str:
    """The line of a check that has found no mistake."""
    return f"{source}: calibrates an exported model in int8; paddlevideo export -c {source} runs it"


def problems(data: Mapping[str, Any]) -> Iterator[str]:
    """One line per mistake of such a file, each beginning with its key path."""
    scalars = {key: kind for key, kind in Settings.kinds().items() if key in ("model_name", "log_level")}
    for key, value in data.items():
        if key in scalars:
            yield from mistakes(value, scalars[key], key)
        elif key in _PATHS:
            yield from mistakes(value, "str", key)
        elif key not in _TOP:
            yield f"{key}: unknown key in a quantisation file{suggest(key, {*scalars, *_TOP})}"
    for key in _TOP:
        if key not in data:
            yield f"{key}: is missing{misspelt(key, data, _TOP)}"
    yield from _dataset(data.get("DATASET", {}))
    yield from _pipeline(data.get("PIPELINE", {}))


def _dataset(section: Any) -> Iterator[str]:
    if not isinstance(section, Mapping):
        yield f"DATASET: expected a mapping, got {section!r}"
        return
    plain = {key: value for key, value in section.items() if key != QUANT}
    yield from key_problems(plain, Calibration.kinds(), "DATASET", (QUANT,))
    spec, where = section.get(QUANT), f"DATASET.{QUANT}"
    if not isinstance(spec, Mapping):
        yield f"{where}: expected a mapping with 'format' and 'file_path', got {spec!r}"
        return
    yield from key_problems({k: v for k, v in spec.items() if k in LOADER_KEYS}, LOADER_KEYS, where)
    own = {k: v for k, v in spec.items() if k not in LOADER_KEYS}
    named = {"name": spec["format"]} if "format" in spec else {}
    yield from component(DATASETS, own | named, where, key="format", given=("num_classes",))


def _pipeline(section: Any) -> Iterator[str]:
    steps = section.get(QUANT) if isinstance(section, Mapping) else None
    if not isinstance(steps, Mapping):
        yield f"PIPELINE.{QUANT}: expected a mapping of steps (decode, sample, transform), got {steps!r}"
        return
    yield from step_problems(steps, f"PIPELINE.{QUANT}")
    for split in section:
        if split != QUANT:
            yield f"PIPELINE.{split}: unknown key{suggest(split, (QUANT,))}; the one split is {QUANT}"


@dataclass(frozen=True)
class QuantisationFile:
    """What such a file names.

    Args:
        model_dir: folder of the exported model.
        output_dir: folder for the int8 form.
        dataset: ``DATASET.quant``.
        steps: ``PIPELINE.quant``.
        num_samples: the first so many of the data set calibrate.
        below: the folder that the paths count from, "" for the working directory.
    """

    model_dir: str
    output_dir: str
    dataset: Mapping[str, Any]
    steps: Mapping[str, Any]
    num_samples: int
    below: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> QuantisationFile:
        """From a checked configuration.

        PaddleVideo's own files count their paths from ``deploy/slim``.  Where the exported model is not there from the
        working directory, but is from ``deploy/slim`` of it, all paths of the file count from that folder.
        """
        scalars = Calibration.of(data["DATASET"], "DATASET")
        file = cls(
            data["inference_model_dir"], data["quant_output_dir"], dict(data["DATASET"][QUANT]),
            dict(data["PIPELINE"][QUANT]), scalars.batch_size * scalars.batch_nums,
        )  # fmt: skip
        inner = file.model_dir.removeprefix(_UP)
        if inner != file.model_dir and not os.path.exists(file.model_dir) and os.path.exists(inner):
            paths = {key: file.dataset[key] for key in ("file_path", "data_prefix") if file.dataset.get(key)}
            moved = {key: str(path).removeprefix(_UP) for key, path in paths.items()}
            output = file.output_dir.removeprefix(_UP)
            return replace(
                file, model_dir=inner, output_dir=output, dataset={**file.dataset, **moved}, below="deploy/slim"
            )
        return file
