"""From a checkpoint to files that run without this suite's model code: program, weights and ``inference.yml``.

The exported model takes the uint8 clips that ``PIPELINE.test`` makes; normalisation, softmax and the averaging over
views are inside.  It is compared with the network before it is written.  A network that takes persons' boxes
(``framework.takes_boxes``) becomes a program of clips of any size and any number of boxes, also of none; one that takes
feature banks has the windows as inputs.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

import paddlevideo
from paddlevideo.build import deployed_network
from paddlevideo.classes import agreed, check_count, missing_thresholds, settled, thresholds_of_weights
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.extensions import sources_of
from paddlevideo.inference.export_check import (
    CHECKED_VIEWS,
    Difference,
    Reference,
    compare,
    same_but_for_views,
    synthetic_clip,
    synthetic_key_frame,
)
from paddlevideo.inference.exported import (
    CONFIG_SUFFIX,
    FILE_NAME,
    MULTI_LABEL,
    ONE_LABEL,
    Description,
    read_description,
)
from paddlevideo.inference.formats import checked_formats, compare_formats, write_formats
from paddlevideo.inference.network import pipelines_with_test
from paddlevideo.inference.person_actions import DetectionSettings
from paddlevideo.inference.runtimes.base import BACKENDS, Backend, Say
from paddlevideo.inference.runtimes.choice import form_files, onnx_file
from paddlevideo.inference.runtimes.onnx import convert
from paddlevideo.inference.runtimes.paddle import PARAMS_SUFFIX, PROGRAM_SUFFIXES
from paddlevideo.inference.timing import time_runtimes
from paddlevideo.inference.video_bank import WINDOW, Window, window_of
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.network_input import FPS, compare_input, input_of, set_rates
from paddlevideo.safe_io import sha256, write_atomic
from paddlevideo.weight_names import SUFFIX as NAMES_SUFFIX
from paddlevideo.weight_names import weights_file, write_names

TIMINGS = ("quick", "none")
_WORK, _NEW_S = ".export-", 60.0  # a folder that new may not be locked yet
# boxes: x1, y1, x2, y2 in pixels of imgs, those of all clips one after the other; boxes_num: how many each clip has;
# long_term: S slots of C features, zeros where long_term_filled is false
_AXES = {"imgs": "NVTHWC", "boxes": "R4", "boxes_num": "N", "long_term": "NSC", "long_term_filled": "NS"}


@dataclass(frozen=True)
class ExportReport:
    """The files that were written, and how the exported model compares.

    Args:
        input_shape: of one batch, -1 for N: (-1, V, T, H, W, 3); with persons' boxes H and W are -1, too.
        max_difference: largest absolute difference of probabilities, exported against dygraph.
        format_differences: the same of each other form, ``onnx`` and ``openvino``.
    """

    program: Path
    params: Path
    input_shape: tuple[int, ...]
    num_classes: int
    max_difference: float
    format_differences: Mapping[str, float]


def export(
    config: Config,
    params_path: str | Path,
    output_dir: str | Path,
    save_name: str | None = None,
    say: Say = print,
    timing: Literal["none", "quick"] = "none",
    formats: Sequence[str] | None = None,
) -> ExportReport:
    """Exports a trained model and compares the result with the network.

    Everything is built in a hidden folder inside ``output_dir`` and moved into place at the end, ``inference.yml``
    last: when anything fails, an earlier export there is as it was.

    Args:
        config: MODEL, PIPELINE.test, ``model_name``; class names come from the weights, where these have none from
            ``DATASET.label_names`` or the training's class folders.
        params_path: the ``.pdparams`` file; or an earlier export, its ``.pdiparams`` or its folder.
        output_dir: folder for ``<save_name>.json``, ``<save_name>.pdiparams``, ``inference.yml``, the resolved
            configuration, ``<save_name>_config.yml``, and the parameters' names, ``<save_name>_names.json``.
        save_name: None: ``model_name``.
        say: receives progress lines.
        timing: ``quick``: the runtimes on this machine are timed, and ``inference.yml`` names the fastest, as the
            command and ``paddlevideo.export`` do unless told otherwise; ``none``: it names none.
        formats: of ``paddle`` (always written), ``onnx``, ``openvino``: these forms and no others are written, or it
            is an error.  None: Paddle's, and ``<save_name>.onnx`` where timing finds a runtime for it.

    Raises:
        UserError: an unknown timing or format, a form that cannot be made, weights that do not fit the model key by
            key, label names that do not fit it, a folder that holds another model's export, or an exported model with
            scores that differ from the network's.
    """
    from paddlevideo.modeling.exported_weights import digest_of_features, names_of, unnamed
    from paddlevideo.modeling.weights import load_weights

    if timing not in TIMINGS:
        raise UserError(f"timing {timing!r}: expected {' or '.join(TIMINGS)}")
    others = checked_formats(formats or ())
    output_dir, name = Path(output_dir), _checked_name(save_name or config["model_name"])
    _refuse_other_export(output_dir, name)
    pipelines = pipelines_with_test(config)
    pipeline = pipelines["test"]
    with on_cpu():
        say(f"Building model({config['model_name']})...")
        lines: list[str] = []
        classes = agreed(config, params_path, "test", lines.append)
        compare_input(pipelines, params_path, True, lines.append, model=config.section("MODEL"))
        set_rates(pipelines, params_path)
        config = settled(config, classes)
        framework = deployed_network(config, pipelines)
        framework.eval()
        say(f"Loading params from ({params_path})...")
        say(str(load_weights(framework, params_path, strict=True)))
        settings = DetectionSettings.of_config(config, framework, classes) if framework.takes_boxes else None
        check_count(config, framework.num_classes, classes, params_path)
        labels = list(settings.names) if settings else classes.names and list(classes.names)
        with _work_folder(output_dir) as folder:
            clip = synthetic_key_frame(pipeline) if settings else synthetic_clip(pipeline)
            window = window_of(pipeline, framework)
            specs = framework.input_spec({"imgs": clip[None], **(window.empty(1) if window else {})})
            inputs = [_described(spec) for spec in specs]
            program = _save_program(framework, specs, folder / name)
            converts = formats is None if timing == "quick" else None
            difference, of_others, runtime = _with_forms(framework, program, clip, window, others, converts, say)
            for line in lines:
                say(line)
            names = names_of(framework, program)
            if missing := unnamed(framework, names):
                say(
                    f"{len(missing)} weights are no part of the program: the export cannot be read back as a checkpoint"
                )
            features = digest_of_features(framework, config.section("MODEL"))
            thresholds = thresholds_of_weights(params_path, framework.num_classes) if framework.multi_label else None
            for line in missing_thresholds(config, params_path, thresholds) if framework.multi_label else ():
                say(line)
            params, clips = program.with_suffix(PARAMS_SUFFIX), input_of(pipelines, config.section("MODEL"))
            write_names(program, params, names, classes.describe(), features, clips, thresholds)
            description = _describe(config, pipeline, framework, program, inputs, labels, Path(params_path))
            check = difference.describe() | {form: found.describe() for form, found in of_others.items()}
            detection = {"inputs": inputs, **settings.describe()} if settings else {}
            detection |= {WINDOW: window.describe()} if window else {}
            more = {"check": check, "detection": detection, "runtime": runtime, "fps": clips.get(FPS, [])}
            replace(description, **more, thresholds=thresholds or []).write(folder)
            write_atomic(folder / (name + CONFIG_SUFFIX), config.to_yaml())
            _move_to_target(folder, output_dir)
    say(f"model ({config['model_name']}) has been already saved in ({output_dir}).")
    return ExportReport(
        program=output_dir / program.name,
        params=output_dir / (name + PARAMS_SUFFIX),
        input_shape=tuple(inputs[0]["shape"]),
        num_classes=framework.num_classes,
        max_difference=difference.absolute,
        format_differences={form: found.absolute for form, found in of_others.items()},
    )


def _with_forms(
    framework: Any,
    program: Path,
    clip: np.ndarray,
    window: Window | None,
    others: Sequence[Backend],
    converts: bool | None,
    say: Say,
) -> tuple[Difference, Mapping[Backend, Difference], dict[str, Any]]:
    """Writes the other forms; the differences of the program and of each form, and the section ``runtime``.

    Args:
        converts: as of ``_timed``; None: nothing is timed.
    """
    with _checked_form(framework, program, clip) as (checked, part):
        reference = Reference.of(framework, part, window)
        difference = _compared(reference, checked, say)
        write_formats(checked, others)
        of_others = compare_formats(checked, others, reference, say)
        if checked != program:
            write_formats(program, others)
        runtime = {} if converts is None else _timed(checked, program, reference, say, converts)
    return difference, of_others, runtime


@contextmanager
def _checked_form(framework: Any, program: Path, clip: np.ndarray) -> Iterator[tuple[Path, np.ndarray]]:
    """The program, or its twin of few views that stands for it, and a clip of as many views."""
    few = clip[:CHECKED_VIEWS]
    with tempfile.TemporaryDirectory(prefix="twin-", dir=program.parent) as folder:
        if len(few) < len(clip):
            twin = _save_program(framework, framework.input_spec({"imgs": few[None]}), Path(folder, program.stem))
            if same_but_for_views(program, twin, len(clip), len(few)):
                yield twin, few
                return
        yield program, clip


def _compared(reference: Reference, program: Path, say: Say) -> Difference:
    difference = compare(reference, program)
    say(f"exported model against the network, {difference}")
    if not difference.small:
        raise UserError(
            f"{program.stem}: the exported model differs from the network: {difference}; nothing was written. "
            "Please report it with the configuration and the versions"
        )
    return difference


def _timed(checked: Path, program: Path, reference: Reference, say: Say, converts: bool) -> dict[str, Any]:
    """The section ``runtime``; with ``converts``, ``NAME.onnx`` beside the program where a runtime takes it."""
    section = time_runtimes(checked, checked.with_suffix(PARAMS_SUFFIX), reference, say, converts)
    if converts and checked != program and onnx_file(checked.with_suffix("")).is_file():
        error = convert(program, program.with_suffix(PARAMS_SUFFIX), onnx_file(program.with_suffix("")))
        if error:
            say(f"{program.stem}: cannot be converted ({error}); Paddle runs it")
            return {}
    return section


def _described(spec: Any) -> dict[str, Any]:
    """An input for ``inference.yml``: -1 marks a free axis."""
    shape = [-1 if n in (None, -1) else int(n) for n in spec.shape]
    kind = str(spec.dtype).rpartition(".")[2]
    return {"name": spec.name, "dtype": kind, "shape": shape, "axes": _AXES.get(spec.name, "")}


def _save_program(framework: Any, specs: list[Any], stem: Path) -> Path:
    try:
        save_program(framework, specs, stem)
    except OSError as error:
        raise UserError(
            f"{stem.parent}: cannot be written ({error.strerror}); an existing export was left unchanged"
        ) from None
    return next(f for f in (stem.with_name(stem.name + s) for s in PROGRAM_SUFFIXES) if f.is_file())


def save_program(framework: Any, specs: list[Any], stem: Path) -> None:
    """Writes the program of ``framework.predict_scores`` with these inputs."""
    import paddle

    from paddlevideo.modeling.layers import fused

    # fused in the program alone: the network that it is compared with keeps its branches
    with fused(framework):
        paddle.jit.save(static_network(framework, specs), str(stem))


@contextmanager
def _without_rewriting(specs: list[Any]) -> Iterator[None]:
    """Has Paddle trace the functions of this package and its own as they are, where only the batch has a free size.

    Paddle rewrites the source of every function that it traces, so that branches may depend on tensors and shapes may
    be free; that takes three quarters of the time of an export, and the program is the same without it.  Functions of a
    user's module are rewritten.  ``ignore_module`` goes by the folder of a module; one without members is given, as
    Paddle goes through these for every call.
    """
    import paddle
    from paddle.jit.dy2static.convert_call_func import BUILTIN_LIKELY_MODULES as ignored

    before = list(ignored)
    if all(size is not None and size >= 0 for spec in specs for size in spec.shape[1:]):
        for package in (paddlevideo, paddle):
            folder = types.ModuleType(package.__name__)
            folder.__file__ = package.__file__
            paddle.jit.ignore_module([folder])
    try:
        yield
    finally:
        ignored[:] = before


def static_network(framework: Any, specs: list[Any]) -> Any:
    """``framework.predict_scores`` with these inputs as a static function, traced."""
    import paddle
    from paddle import nn

    class ScoresOfClips(nn.Layer):
        """The network as one function of its clips."""

        def __init__(self, network: nn.Layer):
            super().__init__()
            self.network = network

        def forward(self, imgs):  # Paddle traces a forward only if its first parameter is called self
            return self.network.predict_scores(imgs)

    class ScoresOfPersons(ScoresOfClips):
        """The network as one function of clips and boxes, and of windows if it takes feature banks."""

        def forward(self, imgs, boxes, boxes_num, long_term=None, long_term_filled=None):
            if long_term is None:
                return self.network.predict_scores(imgs, boxes, boxes_num)
            # zeros there anyway; but a program cannot have an input that some networks do not use
            long_term = long_term * long_term_filled.astype(long_term.dtype).unsqueeze(-1)  # [N, S, C]
            return self.network.predict_scores(imgs, boxes, boxes_num, long_term, long_term_filled)

    model = (ScoresOfPersons if framework.takes_boxes else ScoresOfClips)(framework)
    model.eval()
    static = paddle.jit.to_static(model, input_spec=specs, full_graph=True)
    with _without_rewriting(specs):
        static.forward.concrete_program  # noqa: B018 (traces, and keeps the program)
    return static


def _describe(
    config: Config,
    pipeline: Pipeline,
    framework: Any,
    program: Path,
    inputs: list[dict[str, Any]],
    labels: list[str] | None,
    params_path: Path,
) -> Description:
    import paddle

    params = program.with_suffix(PARAMS_SUFFIX)
    names = program.with_name(program.stem + NAMES_SUFFIX)
    source = weights_file(params_path)
    return Description(
        model_name=config["model_name"],
        program=program.name,
        params=params.name,
        input=inputs[0],
        output={"name": "scores", "dtype": "float32", "shape": [-1, framework.num_classes]},
        num_classes=framework.num_classes,
        score_type=MULTI_LABEL if framework.multi_label else ONE_LABEL,
        views=inputs[0]["shape"][1],
        avg_type=framework.avg_type,
        pipeline=pipeline.describe(),
        labels=labels,
        weights={"file": source.name, "sha256": sha256(source)},
        versions={
            "paddlevideo": paddlevideo.__version__,
            "paddle": paddle.__version__,
            "python": platform.python_version(),
        },
        files={file.name: sha256(file) for file in (program, params, names, *_others(program)) if file.is_file()},
        imports=sources_of(pipeline.entries),
    )


def _others(program: Path) -> list[Path]:
    """The files of other runtimes that a program may have beside it."""
    stem = program.with_suffix("")
    return [*(file for form in BACKENDS[1:] for file in form_files(form, stem)), onnx_file(stem, "int8")]


def _checked_name(name: str) -> str:
    if not name or Path(name).name != name or name.startswith("."):
        raise UserError(f"save name {name!r}: expected a plain file name without folders")
    return name


def _refuse_other_export(output_dir: Path, name: str) -> None:
    """``inference.yml`` is about one model: a second one in the folder would lose its preprocessing."""
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"{output_dir}: is a file, expected a folder for the exported model")
    try:
        present = read_description(output_dir) if output_dir.is_dir() else None
    except UserError:  # damaged or of another version: exporting again is the way out
        return
    if present is not None and Path(present.program).stem != name:
        raise UserError(
            f"{output_dir}: holds the exported model {Path(present.program).stem}, which {name} would orphan; "
            f"choose a folder of its own, e.g. {output_dir / name}"
        )


@contextmanager
def _work_folder(output_dir: Path) -> Iterator[Path]:
    """A hidden folder inside the target, hence on its file system, that is gone afterwards."""
    existed = output_dir.is_dir()
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        _sweep(output_dir)
        holder = tempfile.TemporaryDirectory(prefix=_WORK, dir=output_dir)
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be written to ({error.strerror})") from None
    try:
        with holder as folder, _locked(Path(folder)):
            yield Path(folder)
    finally:
        if not existed and not any(output_dir.iterdir()):
            output_dir.rmdir()


def _sweep(output_dir: Path) -> None:
    """Removes the hidden folders of exports that were killed."""
    for leftover in output_dir.glob(f"{_WORK}*"):
        with _locked(leftover) as free:
            if free and time.time() - leftover.stat().st_mtime > _NEW_S:
                shutil.rmtree(leftover, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Whether no other process holds the folder; if so, this one does within the block, until it ends."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # held, or a file system without locks of folders
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _move_to_target(folder: Path, output_dir: Path) -> None:
    """Every file by a rename; ``inference.yml``, which has the digests of the others, comes last.  Forms of an earlier
    export for other runtimes, which have other weights, are removed first."""
    files = sorted(folder.iterdir(), key=lambda file: (file.name == FILE_NAME, file.name))
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    for program in (file for file in files if file.suffix in PROGRAM_SUFFIXES):
        for form in _others(program):
            if not form.is_file():
                (output_dir / form.name).unlink(missing_ok=True)
    for file in files:
        os.replace(file, output_dir / file.name)


@contextmanager
def on_cpu() -> Iterator[None]:
    """Tracing and comparing happen on the CPU, in plain float32, wherever the model was trained."""
    import paddle

    before = paddle.device.get_device()
    paddle.set_device("cpu")
    try:
        yield
    finally:
        paddle.set_device(before)
