"""What a configuration may hold.  Every mistake of a file is collected, with its key path and the nearest right name.

Only names, arguments and kinds of values are judged here, from the sources of the registered classes; nothing heavy is
imported.  Whether files exist and shapes fit shows when the parts are built.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from paddlevideo.config.reading import join
from paddlevideo.registry import BACKBONES, DATASETS, FRAMEWORKS, HEADS, METRICS, TRANSFORMS, Registry, suggest

# top-level scalars: name -> (kind, meaning)
SCALARS: dict[str, tuple[str, str]] = {
    "model_name": ("str", "names the output folder and its files"),
    "epochs": ("int", "passes over the training set"),
    "log_interval": ("int", "steps between log lines (10)"),
    "save_interval": ("int", "epochs between kept checkpoints (1)"),
    "val_interval": ("int", "epochs between validations (1)"),
    "output_dir": ("str", "where everything is written (output/<model_name>)"),
    "log_level": ("str", "DEBUG, INFO, WARNING or ERROR"),
    "resume_epoch": ("int", "continue after this epoch's checkpoint (0: do not)"),
    "checkpoint_steps": ("int", "optimizer steps between resume points within an epoch (0: epoch ends only)"),
    "keep_checkpoints": ("int", "resume points that are kept (2)"),
    "non_finite_limit": ("int", "non-finite losses in a row after which training stops (3)"),
    "sync_bn": ("bool", "batch statistics over all ranks (GPU only)"),
    "log_sinks": ("list[str]", "TensorBoard, VisualDL"),
    "to_static": ("bool", "compile the network before training"),
    "use_npu": ("bool", "PaddleVideo's flag; must be False"),
    "use_xpu": ("bool", "PaddleVideo's flag; must be False"),
}
_BATCHES = {
    "batch_size": "int",
    "valid_batch_size": "int",
    "test_batch_size": "int",
    "num_workers": "int",
    "valid_num_workers": "int",
    "test_num_workers": "int",
    "shuffle_valid": "bool",
    "drop_last": "bool",
    "label_names": "str | None",
}
_SPLITS = ("train", "valid", "test")
# keys of a split that belong to the loader rather than to the dataset's class
_LOADER_KEYS = {"format": "str", "on_error": "str", "timeout_s": "float", "max_replacements": "int"}
_SMALL: dict[str, dict[str, str]] = {
    "PRECISEBN": {"preciseBN_interval": "int", "num_iters_preciseBN": "int"},
    "GRADIENT_ACCUMULATION": {"global_batch_size": "int", "num_iters": "int"},
    "EMA": {"decay": "float", "warmup": "bool", "interval": "int"},
}
_FREE = ("OPTIMIZER", "INFERENCE")
SECTIONS = ("MODEL", "DATASET", "PIPELINE", "OPTIMIZER", "METRIC", "MIX", *_SMALL)
Problems = Iterator[str]


def check(data: Mapping[str, Any]) -> list[str]:
    """One line per mistake, each beginning with its key path; an empty list for a sound configuration."""
    return [
        *_top_level(data),
        *_model(data.get("MODEL")),
        *_dataset(data.get("DATASET")),
        *pipeline_problems(data),
        *(component(METRICS, data["METRIC"], "METRIC") if "METRIC" in data else ()),
        *(component(TRANSFORMS, data["MIX"], "MIX") if "MIX" in data else ()),
    ]


def pipeline_problems(data: Mapping[str, Any]) -> list[str]:
    """What is wrong with the steps of PIPELINE, among themselves and with MODEL.backbone."""
    return [*_pipelines(data.get("PIPELINE")), *_frame_counts(data)]


def _top_level(data: Mapping[str, Any]) -> Problems:
    known = {*SCALARS, *SECTIONS, *_FREE}
    for key, value in data.items():
        if key in SCALARS:
            yield from kind(value, SCALARS[key][0], key)
        elif key in _SMALL:
            yield from _keys(value, _SMALL[key], key)
        elif key not in known:
            yield f"{key}: unknown key{suggest(key, known)}"
    for key in ("model_name", "MODEL"):
        if key not in data:
            yield f"{key}: is missing"
    for key in ("use_npu", "use_xpu"):
        if data.get(key) is True:
            yield f"{key}: this suite runs on CPUs and NVIDIA GPUs; set it to False"
    for key in ("epochs", "log_interval", "save_interval", "val_interval", "non_finite_limit", "keep_checkpoints"):
        value = data.get(key, 1)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            yield f"{key}: expected at least 1, got {value}"


def _keys(section: Any, known: Mapping[str, str], where: str) -> Problems:
    if not isinstance(section, Mapping):
        yield f"{where}: expected a mapping, got {section!r}"
        return
    for key, value in section.items():
        if key not in known:
            yield f"{join(where, key)}: unknown key{suggest(key, known)}"
        else:
            yield from kind(value, known[key], join(where, key))


def _model(model: Any) -> Problems:
    if model is None:
        return
    if not isinstance(model, Mapping):
        yield f"MODEL: expected a mapping, got {model!r}"
        return
    spec = {("name" if key == "framework" else key): value for key, value in model.items()}
    if "name" not in spec:
        yield f"MODEL.framework: is missing{suggest('', FRAMEWORKS.names())}"
    else:
        yield from component(FRAMEWORKS, spec, "MODEL", key="framework", given=("normalization",))
    for key, registry in (("backbone", BACKBONES), ("head", HEADS)):
        if key in model:
            yield from component(registry, model[key], f"MODEL.{key}")


def _dataset(section: Any) -> Problems:
    if section is None:
        return
    if not isinstance(section, Mapping):
        yield f"DATASET: expected a mapping, got {section!r}"
        return
    plain = {key: value for key, value in section.items() if key not in _SPLITS}
    yield from _keys(plain, _BATCHES, "DATASET")
    for key in ("batch_size", "valid_batch_size", "test_batch_size"):
        if isinstance(section.get(key), int) and section[key] < 1:
            yield f"DATASET.{key}: expected at least 1, got {section[key]}"
    for split in _SPLITS:
        if split not in section:
            continue
        spec, where = section[split], f"DATASET.{split}"
        if not isinstance(spec, Mapping):
            yield f"{where}: expected a mapping, got {spec!r}"
            continue
        yield from _keys({k: v for k, v in spec.items() if k in _LOADER_KEYS}, _LOADER_KEYS, where)
        if spec.get("on_error", "raise") not in ("raise", "skip", "count"):
            yield f"{where}.on_error: expected raise, skip (training) or count (evaluation), got {spec['on_error']!r}"
        own = {k: v for k, v in spec.items() if k not in _LOADER_KEYS}
        if "format" in spec:
            own["name"] = spec["format"]
        yield from component(DATASETS, own, where, key="format", given=("num_classes",))


def _pipelines(section: Any) -> Problems:
    if section is None:
        return
    if not isinstance(section, Mapping):
        yield f"PIPELINE: expected a mapping of train, valid, test, got {section!r}"
        return
    for split, steps in section.items():
        where = f"PIPELINE.{split}"
        if split not in _SPLITS:
            yield f"{where}: unknown key{suggest(split, _SPLITS)}"
        elif not isinstance(steps, Mapping):
            yield f"{where}: expected a mapping of steps (decode, sample, transform), got {steps!r}"
        else:
            for key, spec in steps.items():
                yield from _step(spec, f"{where}.{key}")


def _step(spec: Any, where: str) -> Problems:
    """A step is a mapping with ``name``, or a list of ``- Name: {arguments}``."""
    if not isinstance(spec, list):
        yield from component(TRANSFORMS, spec, where)
        return
    for i, item in enumerate(spec):
        here = f"{where}[{i}]"
        if isinstance(item, str):
            item = {item: None}
        if not (isinstance(item, Mapping) and len(item) == 1):
            yield f"{here}: expected '- Name:' with its arguments below, got {item!r}"
            continue
        ((name, arguments),) = item.items()
        if arguments is not None and not isinstance(arguments, Mapping):
            yield f"{here}: the arguments of {name} must be a mapping, got {arguments!r}"
            continue
        yield from component(TRANSFORMS, {"name": name, **(arguments or {})}, here)


def _frame_counts(data: Mapping[str, Any]) -> Problems:
    """The network's num_seg is the pipeline's: a mismatch shows up as an unreadable shape error otherwise."""
    backbone = (data.get("MODEL") or {}).get("backbone") if isinstance(data.get("MODEL"), Mapping) else None
    pipelines = data.get("PIPELINE")
    wanted = backbone.get("num_seg") if isinstance(backbone, Mapping) else None
    if not (isinstance(wanted, int) and isinstance(pipelines, Mapping)):
        return
    for split, steps in pipelines.items():
        for key, spec in (steps if isinstance(steps, Mapping) else {}).items():
            argument, got = _frames_of(spec if isinstance(spec, Mapping) else {})
            if got not in (None, wanted):
                yield f"PIPELINE.{split}.{key}.{argument}: gives {got} frames, MODEL.backbone.num_seg wants {wanted}"


def _frames_of(spec: Mapping[str, Any]) -> tuple[str, int | None]:
    """The argument that decides on the frames of a clip, and their number; None where the step makes no clip.

    MMAction2's samplers take ``num_clips`` frames where a clip has one (``clip_len: 1``), else ``clip_len``.
    """
    if isinstance(spec.get("num_seg"), int):
        length = spec.get("seg_len") or 1
        return "num_seg", spec["num_seg"] * length if isinstance(length, int) else None
    if not isinstance(spec.get("clip_len"), int):
        return "", None
    argument = "num_clips" if spec["clip_len"] == 1 else "clip_len"
    got = spec.get(argument, 1)
    return argument, got if isinstance(got, int) else None


def component(registry: Registry, spec: Any, where: str, key: str = "name", given: tuple[str, ...] = ()) -> list[str]:
    """Problems of one ``{name: Class, argument: value, ...}``: the name, its arguments, what is missing.

    Args:
        key: how the YAML spells ``name`` here (``framework``, ``format``).
        given: arguments that the suite itself passes.
    """
    if not isinstance(spec, Mapping):
        return [f"{where}: expected a mapping with {key!r}, got {spec!r}"]
    name = spec.get("name")
    if name is None:
        return [f"{where}.{key}: is missing{suggest('', registry.names())}"]
    if name not in registry:
        return [f"{where}.{key}: {registry.unknown(name)}"]
    parameters = registry.entry(name).parameters
    if parameters is None:
        return []
    known = {parameter.name: parameter for parameter in parameters if parameter.name not in given}
    problems = []
    for argument, value in spec.items():
        if argument == "name":
            continue
        here = join(where, argument)
        if argument not in known:
            problems.append(f"{here}: {name} takes no {argument!r}{suggest(argument, known)}")
        else:
            problems += kind(value, known[argument].annotation, here)
    missing = [p.name for p in known.values() if p.required and p.name not in spec]
    return problems + [f"{join(where, argument)}: is missing; {name} needs it" for argument in missing]


_KINDS: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
    "dict": (Mapping,),
    "Mapping": (Mapping,),
    "list": (list, tuple),
    "tuple": (list, tuple),
    "Sequence": (list, tuple),
    "None": (type(None),),
}


def kind(value: Any, annotation: str | None, where: str) -> list[str]:
    """A problem line if ``value`` is not what the annotation, as written in the source, asks for; unknown ones pass."""
    if annotation is None:
        return []
    options = [option.strip() for option in _split(annotation)]
    allowed: tuple[type, ...] = ()
    for option in options:
        base = option.split("[")[0].rsplit(".", 1)[-1]
        if base == "Literal":
            choices = [choice.strip("'\" ") for choice in re.findall(r"'[^']*'|\"[^\"]*\"|[-\d.]+", option)]
            if str(value) in choices:
                return []
            if len(options) == 1:
                return [f"{where}: expected one of {', '.join(choices)}, got {value!r}{suggest(str(value), choices)}"]
            continue
        if base not in _KINDS:
            return []
        allowed += _KINDS[base]
    if isinstance(value, bool) and bool not in allowed:
        fits = False
    else:
        fits = isinstance(value, allowed)
    return [] if fits else [f"{where}: expected {annotation}, got {value!r}"]


def _split(annotation: str) -> list[str]:
    """``a | list[b | c]`` -> the alternatives at the outer level."""
    parts, depth, start = [], 0, 0
    for i, letter in enumerate(annotation):
        depth += (letter == "[") - (letter == "]")
        if letter == "|" and depth == 0:
            parts.append(annotation[start:i])
            start = i + 1
    return [*parts, annotation[start:]]
