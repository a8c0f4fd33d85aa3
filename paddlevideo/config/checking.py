"""What a configuration may hold.  Every mistake of a file is collected, with its key path and the nearest right name.

Only names, arguments and kinds of values are checked, from the sources of the registered classes; nothing heavy is
imported.  Whether files exist and shapes fit shows when the parts are built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddlevideo.addresses import secret_in, secret_option
from paddlevideo.config.data_arguments import followed, operators, value_at
from paddlevideo.config.reading import join
from paddlevideo.ranges import component_registry, misspelt, mistakes, near
from paddlevideo.registry import (
    BACKBONES,
    DATASETS,
    FRAMEWORKS,
    HEADS,
    LOSSES,
    METRICS,
    REGISTRIES,
    TRANSFORMS,
    Registry,
    suggest,
)
from paddlevideo.settings import SMALL_SECTIONS, Batches, Reading, Settings

SPLITS = ("train", "valid", "test")
AUTO = "auto"  # for a number of classes: as many as the data or the weights name
_CLASS_COUNTS = ("num_classes", "class_num")
# keys of a split that belong to the loader rather than to the dataset's class
LOADER_KEYS = {"format": "str", **Reading.kinds()}
# of a network that is one of several, besides the keys of MODEL
_OF_ONE_MODEL = {"weights": "str | None", "normalization": "dict"}
_FREE = ("OPTIMIZER", "INFERENCE", "DALI_LOADER", "imports")
# keys that a resolved configuration lacks
_RESOLVED = ("num_seg", "protocol", "PROTOCOLS", "augment", "AUGMENTS")
SECTIONS = ("MODEL", "DATASET", "PIPELINE", "OPTIMIZER", "METRIC", "MIX", *SMALL_SECTIONS)
Problems = Iterator[str]


def check(data: Mapping[str, Any], uses: Sequence[str] = SPLITS) -> list[str]:
    """One line per mistake, each beginning with its key path; an empty list for a valid configuration.

    Args:
        uses: the pipelines that are going to run: only theirs must fit the network's frames.
    """
    return [
        *_top_level(data),
        *_addresses(data, ""),
        *_file_name(data.get("model_name"), "model_name"),
        *_model(data.get("MODEL")),
        *_dataset(data.get("DATASET")),
        *_label_kinds(data),
        *_found_thresholds(data),
        *pipeline_problems(data, uses),
        *_swa(data.get("SWA"), data.get("epochs"), "EARLY_STOP" in data),
        *_sinks(data),
        *(component(METRICS, data["METRIC"], "METRIC") if "METRIC" in data else ()),
        *(component(TRANSFORMS, data["MIX"], "MIX") if "MIX" in data else ()),
    ]


def step_problems(steps: Any, where: str) -> list[str]:
    """What is wrong with the steps of one pipeline, each by itself."""
    return [line for key, spec in steps.items() for line in _step(spec, f"{where}.{key}")]


def pipeline_problems(data: Mapping[str, Any], uses: Sequence[str] = SPLITS) -> list[str]:
    """What is wrong with the steps of PIPELINE, among themselves and with MODEL.backbone."""
    return [*_pipelines(data.get("PIPELINE")), *_frame_counts(data, uses), *_runs(data), *_equal_values(data)]


def _top_level(data: Mapping[str, Any]) -> Problems:
    scalars = Settings.kinds()
    known = {*scalars, *SECTIONS, *_FREE}
    for key, value in data.items():
        if key in scalars:
            yield from mistakes(value, scalars[key], key)
        elif key in SMALL_SECTIONS:
            yield from key_problems(value, SMALL_SECTIONS[key], key)
        elif key not in known:
            yield f"{key}: unknown key{suggest(key, {*known, *_RESOLVED})}"
    for key in ("model_name", "MODEL"):
        if key not in data:
            yield f"{key}: is missing{misspelt(key, data, known)}"
    dataset = data.get("DATASET")
    if "DALI_LOADER" in data and not (isinstance(dataset, Mapping) and "train" in dataset):
        yield "DALI_LOADER: is not read, frames are decoded on the CPU; write the same data to DATASET.train"
    for key in ("use_npu", "use_xpu"):
        if data.get(key) is True:
            yield f"{key}: this suite runs on CPUs and NVIDIA GPUs; set it to False"


def _addresses(value: Any, where: str, are_options: bool = False) -> Problems:
    """Passwords and keys, in addresses and ``storage_options``: a configuration is printed, and stored with every
    resume point."""
    if isinstance(value, Mapping | list):
        for key, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            if are_options and (problem := secret_option(key, part)):
                yield f"{join(where, key)}: {problem}"
            else:
                yield from _addresses(part, join(where, key), are_options or key == "storage_options")
    elif isinstance(value, str) and (problem := secret_in(value)):
        yield f"{where}: {problem}"


def _file_name(value: Any, where: str) -> Problems:
    """A name that files and a folder begin with."""
    if isinstance(value, str) and (set(value) & set("/\\") or value in ("", ".", "..") or not value.isprintable()):
        yield f"{where}: expected a name, which files and the output folder get, got {value!r}; no folders in it"


def key_problems(section: Any, known: Mapping[str, str], where: str, more: Sequence[str] = ()) -> Problems:
    """Keys that are not known, and values that their annotations do not allow.

    Args:
        known: key -> annotation.
        more: further keys, for the nearest name in a message.
    """
    if not isinstance(section, Mapping):
        yield f"{where}: expected a mapping, got {section!r}"
        return
    for key, value in section.items():
        if key not in known:
            yield f"{join(where, key)}: unknown key{suggest(key, [*known, *more])}"
        else:
            yield from mistakes(value, known[key], join(where, key))


def _swa(section: Any, epochs: Any, early_stop: bool) -> Problems:
    """When averaging begins: named once, and within the run, which nothing ends earlier."""
    if not isinstance(section, Mapping):
        return
    given = [key for key in ("start_epoch", "last_epochs") if key in section]
    if len(given) != 1:
        yield "SWA: give start_epoch (the first epoch that counts, from 1) or last_epochs (how many count), one of them"
    if early_stop:
        yield "EARLY_STOP: may end a run before its last epochs, which SWA averages; take one of the two out"
    for key in given:
        value = section[key]
        if isinstance(value, int) and isinstance(epochs, int) and value > max(epochs, 1):
            yield f"SWA.{key}: expected at most {epochs} (epochs), got {value}"


def _sinks(data: Mapping[str, Any]) -> Problems:
    """Each named once, under one of the two names of the list."""
    if data.get("LOGGING") and data.get("log_sinks"):
        yield "log_sinks: another name of LOGGING, and both are given; keep LOGGING"
    for key in ("LOGGING", "log_sinks"):
        items = data.get(key)
        items = items if isinstance(items, list) else ()
        names = [str(next(iter(item), "") if isinstance(item, Mapping) else item).lower() for item in items]
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"{key}: {name} is named {names.count(name)} times; expected once"


def _model(model: Any) -> Problems:
    if model is None:
        return
    if not isinstance(model, Mapping):
        yield f"MODEL: expected a mapping, got {model!r}"
        return
    yield from _network(model, "MODEL")
    if isinstance(model.get("models"), list):
        yield from _models(model["models"], _constants(FRAMEWORKS, model.get("framework")).get("default_framework"))
    if isinstance(model.get("loss"), Mapping):
        yield from _pair_losses(model["loss"])
        yield from _class_weights(model)


def _network(model: Mapping[str, Any], where: str) -> Problems:
    spec = {("name" if key == "framework" else key): value for key, value in model.items()}
    yield from component(FRAMEWORKS, spec, where, key="framework", given=("normalization",))
    yield from _layouts(model, where)
    for key, registry in (("backbone", BACKBONES), ("head", HEADS)):
        if key in model:
            yield from component(registry, model[key], f"{where}.{key}")


def _layouts(model: Mapping[str, Any], where: str) -> Problems:
    """A framework's ``layouts`` are the kinds of backbone that it feeds; a backbone's ``layout`` is its own."""
    framework = _constants(FRAMEWORKS, model.get("framework")).get("layouts")
    backbone = model.get("backbone")
    name = backbone.get("name") if isinstance(backbone, Mapping) else None
    layout = _constants(BACKBONES, name).get("layout")
    if framework and layout and layout not in framework:
        layouts = {other: _constants(FRAMEWORKS, other).get("layouts", ()) for other in FRAMEWORKS.names()}
        fitting = " or ".join(other for other, fed in layouts.items() if layout in fed)
        known = {item for fed in layouts.values() for item in fed}
        way_out = f"; take {fitting}" if fitting else suggest(layout, known)
        yield f"{where}.framework: {model['framework']} feeds {' or '.join(framework)}, {name} takes {layout}{way_out}"


def _constants(registry: Registry, name: Any) -> Mapping[str, Any]:
    return registry.entry(name).constants if isinstance(name, str) and name in registry else {}


def _models(items: list[Any], framework: str | None) -> Problems:
    """The networks of a framework that has several: ``- Name:`` and a MODEL section below, with two keys more.

    Args:
        framework: of a network that names none.
    """
    default = {} if framework is None else {"framework": framework}
    for i, item in enumerate(items):
        where = f"MODEL.models[{i}]"
        if not (isinstance(item, Mapping) and len(item) == 1 and all(isinstance(v, Mapping) for v in item.values())):
            yield f"{where}: expected '- Teacher:' or another name with a MODEL section below, got {item!r}"
            continue
        ((name, model),) = item.items()
        own = {key: value for key, value in model.items() if key in _OF_ONE_MODEL}
        yield from key_problems(own, _OF_ONE_MODEL, f"{where}.{name}")
        colours = own.get("normalization")
        if isinstance(colours, Mapping) and set(colours) != {"mean", "std"}:
            yield f"{where}.{name}.normalization: expected mean and std on the 0..1 scale, got {sorted(colours)}"
        rest = {key: value for key, value in model.items() if key not in _OF_ONE_MODEL}
        yield from _network({**default, **rest}, f"{where}.{name}")


def _pair_losses(section: Mapping[str, Any]) -> Problems:
    for key, specs in section.items():
        where = f"MODEL.loss.{key}"
        if key not in ("Train", "Val"):
            yield f"{where}: unknown key{suggest(key, ('Train', 'Val'))}"
        elif not isinstance(specs, list):
            yield f"{where}: expected a list of losses, got {specs!r}"
        else:
            for i, spec in enumerate(specs):
                own = {k: v for k, v in spec.items() if k != "model_name_pairs"} if isinstance(spec, Mapping) else spec
                yield from component(LOSSES, own, f"{where}[{i}]")
                if isinstance(spec, Mapping) and "model_name_pairs" not in spec:
                    yield f"{where}[{i}].model_name_pairs: is missing; e.g. [Student, Teacher], [Student, GroundTruth]"
    if not section.get("Train"):
        yield "MODEL.loss.Train: is missing: the losses to train with"


def _dataset(section: Any) -> Problems:
    if section is None:
        return
    if not isinstance(section, Mapping):
        yield f"DATASET: expected a mapping, got {section!r}"
        return
    plain = {key: value for key, value in section.items() if key not in SPLITS}
    yield from key_problems(plain, Batches.kinds(), "DATASET", SPLITS)
    for split in SPLITS:
        if split not in section:
            continue
        spec, where = section[split], f"DATASET.{split}"
        if not isinstance(spec, Mapping):
            yield f"{where}: expected a mapping, got {spec!r}"
            continue
        yield from key_problems({k: v for k, v in spec.items() if k in LOADER_KEYS}, LOADER_KEYS, where)
        own = {k: v for k, v in spec.items() if k not in LOADER_KEYS}
        if "format" in spec:
            own["name"] = spec["format"]
        yield from component(DATASETS, own, where, key="format", given=("num_classes",))


def _label_kinds(data: Mapping[str, Any]) -> Problems:
    """Several labels per clip need losses, and scores, in which classes do not exclude one another."""
    dataset, model = data.get("DATASET"), data.get("MODEL")
    sections = dataset if isinstance(dataset, Mapping) else {}
    splits = [s for s in SPLITS if isinstance(sections.get(s), Mapping) and sections[s].get("multi_label") is True]
    if not splits or not isinstance(model, Mapping):
        return
    fitting = " or ".join(other for other in LOSSES.names() if _constants(LOSSES, other).get("multi_label"))
    wrong = [
        f"{_loss_of(head)} is for one label per clip; set {where}.loss_cfg.name to {fitting}"
        for where, head in _heads(model)
        if not _constants(LOSSES, _loss_of(head)).get("multi_label")
    ]
    for split in splits:
        yield from (f"DATASET.{split}.multi_label: {line}" for line in wrong[:1])
    pairs = model["loss"].get("Train") if isinstance(model.get("loss"), Mapping) else None
    for i, spec in enumerate(pairs if isinstance(pairs, list) else ()):
        name = spec.get("name") if isinstance(spec, Mapping) else None
        takes = LOSSES.entry(name).parameters if isinstance(name, str) and name in LOSSES else None
        if any(parameter.name == "act" for parameter in takes or ()) and spec.get("act") != "sigmoid":
            yield f"MODEL.loss.Train[{i}].act: {name} is for one label per clip; set it to sigmoid, for several labels"


def _class_weights(model: Mapping[str, Any]) -> Problems:
    """Those of a head in a distillation, which trains with other losses."""
    for where, head in _heads(model):
        loss = head.get("loss_cfg") if isinstance(head, Mapping) else None
        if isinstance(loss, Mapping) and "class_weights" in loss:
            yield (
                f"{where}.loss_cfg.class_weights: a distillation trains with MODEL.loss alone; write them to the "
                "DistillationCELoss with GroundTruth in MODEL.loss.Train"
            )


def _found_thresholds(data: Mapping[str, Any]) -> Problems:
    metric, model = data.get("METRIC"), data.get("MODEL")
    if isinstance(metric, Mapping) and metric.get("threshold") == "best_f1" and isinstance(model, Mapping):
        losses = [loss for _, head in _heads(model) if (loss := _loss_of(head)) in LOSSES]
        for loss in [loss for loss in losses if not _constants(LOSSES, loss).get("multi_label")][:1]:
            yield f"METRIC.threshold: best_f1 is for several labels per clip, {loss} is for one; take it out"


def _heads(model: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Key path and section of the head of each network."""
    items = model.get("models")
    if not isinstance(items, list):
        yield "MODEL.head", model.get("head")
        return
    for i, item in enumerate(items):
        for name, network in item.items() if isinstance(item, Mapping) else ():
            yield f"MODEL.models[{i}].{name}.head", network.get("head") if isinstance(network, Mapping) else None


def _loss_of(head: Any) -> str:
    """The name of a head's loss, in words where nothing states it."""
    loss = head.get("loss_cfg") if isinstance(head, Mapping) else None
    default = _constants(HEADS, head.get("name") if isinstance(head, Mapping) else None).get("default_loss")
    return loss.get("name") if isinstance(loss, Mapping) else default or "the loss"


def _pipelines(section: Any) -> Problems:
    if section is None:
        return
    if not isinstance(section, Mapping):
        yield f"PIPELINE: expected a mapping of train, valid, test, got {section!r}"
        return
    for split, steps in section.items():
        where = f"PIPELINE.{split}"
        if split not in SPLITS:
            yield f"{where}: unknown key{suggest(split, SPLITS)}"
        elif not isinstance(steps, Mapping):
            yield f"{where}: expected a mapping of steps (decode, sample, transform), got {steps!r}"
        else:
            yield from step_problems(steps, where)


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


def _frame_counts(data: Mapping[str, Any], uses: Sequence[str]) -> Problems:
    """The network's num_seg is the pipeline's: a mismatch shows up as an unreadable shape error otherwise."""
    pipelines = data.get("PIPELINE")
    where, wanted = next(_wanted_frames(data.get("MODEL")), ("", None))
    if wanted is None or not isinstance(pipelines, Mapping):
        return
    for split, steps in pipelines.items():
        steps = steps if split in uses and isinstance(steps, Mapping) else {}
        joins = any(True for _ in _joining(steps))
        for key, spec in steps.items():
            argument, got = _frames_of(spec if isinstance(spec, Mapping) else {}, joins)
            if got not in (None, wanted):
                yield f"PIPELINE.{split}.{key}.{argument}: gives {got} frames, {where} takes {wanted}"


def _runs(data: Mapping[str, Any]) -> Problems:
    """A step that makes one picture of a run needs a sampling step that takes such runs."""
    for split, steps in _mapping(data.get("PIPELINE")).items():
        for name, argument, run in _joining(_mapping(steps)):
            for key, spec in steps.items():
                kind = spec.get("name") if isinstance(spec, Mapping) else None
                usual = _default_of(TRANSFORMS, kind, "seg_len")
                if usual is not None and type(run) is int and run > 1 and spec.get("seg_len", usual) != run:
                    length = spec.get("seg_len", usual)
                    yield f"PIPELINE.{split}.{key}.seg_len: is {length}, {argument} of {name} is {run}; set both alike"


def _joining(steps: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Name, argument and its value of the steps that make one picture of several frames (``joins_frames``)."""
    for spec in steps.values():
        for _, name, arguments in operators(spec, ""):
            argument = _constants(TRANSFORMS, name).get("joins_frames")
            if argument:
                yield name, argument, arguments.get(argument)


def _equal_values(data: Mapping[str, Any]) -> Problems:
    """A class's ``must_equal`` and ``follows`` name arguments and the key paths of the values that they repeat."""
    for split, steps in _mapping(data.get("PIPELINE")).items():
        for key, spec in _mapping(steps).items():
            for here, name, arguments in operators(spec, f"PIPELINE.{split}.{key}"):
                paths = _constants(TRANSFORMS, name).get("must_equal", {}) | followed(name, split)
                yield from _unequal(data, paths, arguments, here)
    for registry, where, spec in (
        (HEADS, "MODEL.head", _mapping(data.get("MODEL")).get("head")),
        (METRICS, "METRIC", data.get("METRIC")),
    ):
        arguments = _mapping(spec)
        yield from _unequal(data, _constants(registry, arguments.get("name")).get("must_equal", {}), arguments, where)


def _unequal(data: Mapping[str, Any], paths: Mapping[str, str], arguments: Mapping[str, Any], where: str) -> Problems:
    for argument, path in paths.items():
        wanted = value_at(data, path)
        if wanted is not None and arguments.get(argument, wanted) != wanted:
            yield f"{where}.{argument}: is {arguments[argument]}, {path} is {wanted}"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _wanted_frames(model: Any) -> Iterator[tuple[str, int]]:
    """Numbers of frames of the networks, stated or their class's, with key paths; all of one MODEL take the same."""
    networks = [("MODEL", model)]
    items = model.get("models") if isinstance(model, Mapping) else None
    for i, item in enumerate(items if isinstance(items, list) else []):
        networks += [(f"MODEL.models[{i}].{k}", v) for k, v in item.items()] if isinstance(item, Mapping) else []
    for where, network in networks:
        backbone = network.get("backbone") if isinstance(network, Mapping) else None
        if isinstance(backbone, Mapping):
            stated = backbone.get("num_seg", _default_of(BACKBONES, backbone.get("name"), "num_seg"))
            if isinstance(stated, int):
                yield f"{where}.backbone.num_seg", stated


def _default_of(registry: Registry, name: Any, argument: str) -> Any:
    """What a class takes for an argument that is left out; None: nothing."""
    parameters = registry.entry(name).parameters if isinstance(name, str) and name in registry else None
    return next((p.default for p in parameters or () if p.name == argument), None)


def _frames_of(spec: Mapping[str, Any], joins: bool) -> tuple[str, int | None]:
    """The argument that decides on the frames of a clip, and their number; None where the step makes no clip.

    Args:
        joins: whether a later step makes one frame of each run of ``seg_len``.

    MMAction2's samplers take ``num_clips`` frames where a clip has one (``clip_len: 1``), else ``clip_len``.
    """
    if isinstance(spec.get("num_seg"), int):
        length = 1 if joins else spec.get("seg_len") or 1
        return "num_seg", spec["num_seg"] * length if isinstance(length, int) else None
    if joins or not isinstance(spec.get("clip_len"), int):
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
        words = misspelt(key, spec) or suggest("", registry.names())
        return [f"{where}.{key}: is missing{words}"]
    if name not in registry:
        return [f"{where}.{key}: {registry.unknown(name)}"]
    parameters = registry.entry(name).parameters
    if parameters is None:
        return []
    known = {parameter.name: parameter for parameter in parameters if parameter.name not in given}
    arguments = {argument: value for argument, value in spec.items() if argument != "name"}
    missing = [p.name for p in known.values() if p.required and p.name not in arguments]
    values = {p.name: p.default for p in known.values()} | arguments
    problems = []
    for argument, value in arguments.items():
        here = join(where, argument)
        if argument not in known:
            # a missing argument is a likelier match than one that is given as well
            meant = missing if near(argument, missing) else [other for other in known if other not in arguments]
            words = suggest(argument, meant) if near(argument, meant) else suggest(argument, known)
            problems.append(f"{here}: {name} takes no {argument!r}{words}")
        elif not (argument in _CLASS_COUNTS and value == AUTO):
            annotation = known[argument].annotation
            problems += mistakes(value, annotation, here, values)
            part = component_registry(annotation)
            if part is not None and isinstance(value, Mapping):
                problems += component(REGISTRIES[part], value, here)
    return problems + [
        f"{join(where, argument)}: is missing; {name} needs it{misspelt(argument, arguments, known)}"
        for argument in missing
    ]
