"""The files of an exported model: program, weights, ``inference.yml``, and the forms for ONNX Runtime and OpenVINO."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from paddlevideo.build import normalization_of
from paddlevideo.config import Config
from paddlevideo.config.checking import AUTO
from paddlevideo.config.finding import find_config
from paddlevideo.config.merging import differences
from paddlevideo.config.reading import read_yaml
from paddlevideo.errors import ConfigError, DamagedFileError, UserError
from paddlevideo.extensions import require_declared
from paddlevideo.inference.runtimes.base import BACKENDS, ExportedModel, Runtime, Say
from paddlevideo.inference.runtimes.choice import doubt, files_of, open_model, resolved
from paddlevideo.inference.runtimes.paddle import EXPORT_HINT, PARAMS_SUFFIX, PROGRAM_SUFFIXES
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.network_input import check_rates
from paddlevideo.safe_io import sha256, write_atomic
from paddlevideo.weight_names import check_thresholds

NEEDS_WEIGHTS = (
    "{}: a configuration; name the weights (.pdparams) that were trained with it, too, as in load(config, weights) or "
    "-c CONFIG -w WEIGHTS"
)
FILE_NAME = "inference.yml"
CONFIG_SUFFIX = "_config.yml"  # after the export's name: its configuration, resolved
FORMAT_VERSION = 1
_KINDS = {"str": str, "dict": dict, "int": int}  # annotations of ``Description`` that are checked
CONVERTED = {".onnx": "onnx", ".xml": "openvino"}  # ending -> backend
ONE_LABEL, MULTI_LABEL = "probability", "sigmoid"  # kinds of scores


def find_program(path: str | Path, say: Say) -> Path:
    """The program file that ``path`` names: itself, the one of a folder, or the same model in the other format.

    Args:
        say: receives a line where the other format is taken.

    Raises:
        UserError: it is not there; a folder holds none or several.
    """
    path = Path(path)
    if path.is_dir():
        path = _program_of_folder(path)
    if path.is_file():
        return path
    stem = path.with_suffix("") if path.suffix in PROGRAM_SUFFIXES else path
    for suffix in PROGRAM_SUFFIXES:
        other = stem.with_name(stem.name + suffix)
        if other.is_file():
            say(f"{path} is not there; using {other}, the same model in {_generation(suffix)} format")
            return other
    try:
        find_config(path)
    except UserError:
        pass
    else:
        raise UserError(NEEDS_WEIGHTS.format(path))
    tried = ", ".join(str(stem) + suffix for suffix in PROGRAM_SUFFIXES)
    raise UserError(f"{path}: no such model file (looked for {tried}); {EXPORT_HINT}")


def _program_of_folder(folder: Path) -> Path:
    description = read_description(folder)
    if description is not None:
        return folder / description.program
    programs = {p.with_suffix(""): p for p in sorted(folder.glob(f"*{PARAMS_SUFFIX}"))}
    if len(programs) != 1:
        what = f"several models ({', '.join(p.name for p in programs.values())})" if programs else "no exported model"
        raise UserError(f"{folder}: holds {what} and no {FILE_NAME}; name the model file")
    return next(iter(programs)).with_suffix(PROGRAM_SUFFIXES[0])


def _converted(path: Path) -> Path | None:
    """The program that ``path`` names, where it is gone and ``inference.yml`` and a form for another runtime are there;
    else None."""
    folder = path if path.is_dir() else path.parent
    description = read_description(folder) if (folder / FILE_NAME).is_file() else None
    if description is None:
        return None
    program = folder / description.program
    stem = program.with_suffix("")
    if path != folder and path.name not in (stem.name, *(stem.name + suffix for suffix in PROGRAM_SUFFIXES)):
        return None
    gone = not files_of("paddle", stem)
    forms = (files_of("onnx", stem), files_of("openvino", stem), files_of("onnx", stem, "int8"))
    return program if gone and any(forms) else None


def find_params(path: str | Path | None, program: Path) -> Path:
    """The weights file: ``path``, or the one beside the program.

    Raises:
        UserError: it is not there; Paddle itself would run with arbitrary weights.
    """
    params = Path(path) if path is not None else program.with_suffix(PARAMS_SUFFIX)
    if not params.is_file():
        raise UserError(f"{params}: no such weights file for {program}; {EXPORT_HINT} beside the model")
    return params


def _generation(suffix: str) -> str:
    return "Paddle 3's" if suffix == ".json" else "Paddle 2's"


@dataclass(frozen=True)
class Description:
    """``inference.yml``: everything that prediction needs about an exported model, written beside it by ``export``.

    Args:
        input: name, dtype, shape (-1: free) and the order of the axes.
        score_type: ``probability``: of one class out of all, needs no softmax; ``sigmoid``: of every class by itself,
            for several labels per clip.
        views: clips x crops that one video gives, averaged inside the model.
        pipeline: the ``PIPELINE.test`` section, as ``Pipeline.describe()`` gives it.
        labels: K names, or None.
        detection: of a model that takes persons' boxes: its inputs, and ``DetectionSettings``; else empty.
        weights: file name and sha256 of the checkpoint that was exported.
        check: largest difference of a score to the network's, ``max_difference``, and its ratio, ``max_ratio``; of
            forms for other runtimes the same under ``onnx`` and ``openvino``.
        files: file name -> sha256, of the program, its weights, and its forms for other runtimes.
        runtime: which runtime was the fastest on the machine that timed them, see ``runtimes.choice``; may be empty.
        int8: what ``NAME.int8.onnx`` was calibrated on, and its cost, see ``inference.quantisation``; may be empty.
        imports: file or module -> sha256, of the user's modules that operators of the pipeline are from.
        background: the class of time in which nothing happens, where one was taught; else None.
        thresholds: of several labels per clip, the least score per class that counts as found, K numbers, as the
            validation found them; empty: none were found.
        fps: lowest and highest usual frame rate of the training videos, where the clips depend on it; empty: unknown.
    """

    model_name: str
    program: str
    params: str
    input: dict[str, Any]
    output: dict[str, Any]
    num_classes: int
    score_type: str
    views: int
    avg_type: str | None
    pipeline: dict[str, Any]
    labels: list[str] | None = None
    weights: dict[str, str] = field(default_factory=dict)
    check: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    detection: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    runtime: dict[str, Any] = field(default_factory=dict)
    int8: dict[str, Any] = field(default_factory=dict)
    background: str | None = None
    thresholds: list[float] = field(default_factory=list)
    fps: list[float] = field(default_factory=list)
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> Path:
        """Writes ``inference.yml`` into ``folder``."""
        values = asdict(self)
        for key in ("detection", "imports", "runtime", "int8", "background", "thresholds", "fps"):
            if not values[key]:
                del values[key]
        ordered = {"format_version": values.pop("format_version"), **values}
        path = folder / FILE_NAME
        write_atomic(path, yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120))
        return path


def read_description(folder: Path) -> Description | None:
    """The description in a folder, or None if there is none.

    Raises:
        UserError: it is damaged, of a later format, or lacks a key.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return None
    try:
        values, _ = read_yaml(path, plain=True)
    except ConfigError as error:
        raise DamagedFileError(f"{path}: damaged ({'; '.join(error.problems[:3])}); export the model again") from None
    if "format_version" not in values:
        raise UserError(f"{path}: not a description of an exported model; export the model again")
    if values["format_version"] != FORMAT_VERSION:
        raise UserError(
            f"{path}: format {values['format_version']}, but this version reads format {FORMAT_VERSION}; "
            "export the model again with this version, or predict with the one that exported it"
        )
    known = {f.name: f for f in fields(Description)}
    missing = [name for name in ("program", "params", "input", "num_classes", "pipeline") if name not in values]
    unknown = [name for name in values if name not in known]
    if missing or unknown:
        what = f"lacks {', '.join(missing)}" if missing else f"has the unknown key {', '.join(unknown)}"
        raise UserError(f"{path}: {what}; export the model again")
    kinds = {name: _KINDS.get(known[name].type.partition("[")[0], object) for name in values}
    wrong = [f"{name}: expected {kind.__name__}, got {values[name]!r:.80}" for name, kind in kinds.items()
             if not isinstance(values[name], kind)]  # fmt: skip
    if wrong:
        raise DamagedFileError(f"{path}: damaged ({'; '.join(wrong[:3])}); export the model again")
    if "files" not in values:  # every export has it, after the pipeline and the labels
        raise DamagedFileError(f"{path}: cut off, or edited (it has no 'files'); export the model again")
    defaults = {"model_name": Path(values["program"]).stem, "output": {}, "score_type": ONE_LABEL}
    values = {**defaults, "views": 1, "avg_type": None, **values}
    if values["score_type"] not in (ONE_LABEL, MULTI_LABEL):
        raise UserError(
            f"{path}: score_type: expected {ONE_LABEL} or {MULTI_LABEL}, got {values['score_type']!r}; export the "
            "model again"
        )
    if values.get("fps"):
        check_rates(values["fps"], f"{path}: damaged")
    if values.get("thresholds"):
        check_thresholds(values["thresholds"], values["num_classes"], path)
    require_declared(values.get("imports", {}), str(path))
    return Description(**values)


@dataclass(frozen=True)
class Export:
    """The files of an exported model; ``description`` is None where no ``inference.yml`` is about it.

    Args:
        program, params: may be gone where ``inference.yml`` and the files of another runtime are there.
    """

    program: Path
    params: Path
    description: Description | None

    @classmethod
    def find(cls, path: str | Path, params: str | Path | None, say: Say) -> Export:
        """The exported model that ``path`` names.

        Args:
            path: its folder, or its program.
            params: its weights; None: beside the program.
            say: receives a line where the program has the other format, or ``inference.yml`` is another model's.

        Raises:
            UserError: files missing, or a damaged ``inference.yml``.
        """
        if Path(path).suffix in CONVERTED and not Path(path).is_dir():
            backend = CONVERTED[Path(path).suffix]
            raise UserError(
                f"{path}: name its folder and the runtime: --model_file {Path(path).parent} --backend {backend}"
            )
        converted = _converted(Path(path)) if params is None else None
        program = converted or find_program(path, say)
        description = read_description(program.parent)
        if description is not None and Path(description.program).stem != program.stem:
            say(f"{program.parent / FILE_NAME} is about {description.program}, not {program.name}: it is not used")
            description = None
        return cls(program, converted.with_suffix(PARAMS_SUFFIX) if converted else find_params(params, program),
                   description)  # fmt: skip

    @property
    def file(self) -> Path:
        """The path of ``inference.yml``, whether it is there or not."""
        return self.program.parent / FILE_NAME

    def only_form(self, runtime: Runtime, say: Say) -> Runtime:
        """The runtime, with int8 where the folder has that form and no other, and the caller names none.

        Args:
            say: receives a line where int8 is taken.
        """
        stem = self.program.with_suffix("")
        if runtime.backend is not None or runtime.precision != "fp32" or not files_of("onnx", stem, "int8"):
            return runtime
        if any(files_of(backend, stem) for backend in BACKENDS):
            return runtime
        say(f"{self.file.parent}: holds the model in int8 alone: running it with ONNX Runtime")
        return replace(runtime, backend="onnx", precision="int8")

    def load(self, runtime: Runtime, say: Say) -> ExportedModel:
        """The model, its files compared with the digests noted at export.

        Args:
            runtime: what it leaves open is as ``inference.yml`` names for this machine.
            say: receives a line where that cannot run here, and where its scores were not compared or differ.

        Raises:
            UserError: a file is damaged, or belongs to another export than ``inference.yml``.
        """
        files, section = self.program.with_suffix(""), self.description.runtime if self.description else {}
        runtime = self._of_other_params(runtime, say)
        runtime = resolved(runtime, section, files, self.file, say)
        of_paddle = runtime.backend == "paddle"
        used = (self.program, self.params) if of_paddle else files_of(runtime.backend, files, runtime.precision)
        self.check(used)
        for file in () if of_paddle or self.description is None else used:
            if file.name not in self.description.files:
                say(
                    f"{file}: {FILE_NAME} has no digest of it, so it is used without a comparison: of this model, or "
                    "not"
                )
        line = self.description and doubt(runtime, section, self.description.check, self.file)
        if line:
            say(line)
        return open_model(self.program, self.params, runtime, say)

    def _of_other_params(self, runtime: Runtime, say: Say) -> Runtime:
        """The runtime that reads ``params`` where they are not the export's own, of which its other forms are made.

        Raises:
            UserError: another runtime is asked for.
        """
        own = self.program.with_suffix(PARAMS_SUFFIX)
        if not own.is_file() or not self.params.is_file() or self.params.samefile(own):
            return runtime
        if runtime.backend not in (None, "paddle"):
            raise UserError(
                f"{self.params}: is read by Paddle alone; --backend {runtime.backend} runs a form of {own.name}: "
                "export these weights"
            )
        if self.description:
            say(f"{self.params}: {FILE_NAME} is of {own.name}, so these weights are used without a comparison")
        return replace(runtime, backend="paddle")

    def check(self, paths: Iterable[Path]) -> None:
        """Compares files with the digests noted at export; one that is not there is left to the one who loads it.

        Raises:
            UserError: one differs.
        """
        for path in paths:
            noted = self.description.files.get(path.name) if self.description else None
            if noted is not None and path.is_file() and sha256(path) != noted:
                raise UserError(
                    f"{path}: differs from what {FILE_NAME} beside it was written for: damaged, or of another export; "
                    f"export again, or remove {path.name} from the 'files' of {FILE_NAME} if you changed it on purpose"
                )

    def pipeline(self, other: Mapping[str, Any] | None = None) -> Pipeline:
        """The exported pipeline, or another ``PIPELINE.test`` section in its place.

        Raises:
            ConfigError: the section leaves another normalisation to the model than the exported one, whose
                normalisation is part of the program.
            UserError: there is neither.
        """
        if self.description is None:
            if other is not None:
                return Pipeline(other, "PIPELINE.test")
            raise UserError(
                f"{self.file}: not there, so the pipeline of {self.program.name} is unknown; name the configuration "
                "(--config), or export the model again"
            )
        exported = Pipeline.of_export(self.description.pipeline, f"{self.file}: pipeline")
        given = exported if other is None else Pipeline(other, "PIPELINE.test")
        given.learned_fps = tuple(self.description.fps) or None
        if other is None:
            return exported
        normalization_of({"exported": exported, "test": given}, str(self.file))
        if given.normalization is not None and exported.normalization is None and not exported.normalizes:
            what = "PIPELINE.test has a Normalization, the exported pipeline has none; export with it"
            raise ConfigError(str(self.file), [what])
        return given

    def section(self, config: Config | None, overrides: Sequence[str], say: Say) -> dict[str, Any] | None:
        """The ``PIPELINE.test`` of a configuration where it replaces the exported one, else None.

        ``inference.yml`` travels with the weights, so it holds: a configuration that differs is named in one line,
        since a file that was edited after the export is the usual reason.  An override of ``PIPELINE.test`` is used,
        with a line.  Without ``inference.yml`` the configuration decides.  Its MODEL is not used: a line says so where
        it is another than the exported one.

        Args:
            overrides: the ``-o KEY=VALUE`` that are already in ``config``.
            say: receives the lines.
        """
        if config is not None:
            self._compare_network(config, say)
        own = (config.to_dict().get("PIPELINE") or {}).get("test") if config else None
        if self.description is None or own is None:
            return own
        # defaults of operators may differ in an older export
        exported = Pipeline.of_export(self.description.pipeline, f"{FILE_NAME}: pipeline").describe()
        pairs = differences(Pipeline(own, "PIPELINE.test").describe(), exported, "PIPELINE.test", ordered=True)
        difference = next((f"{path}: here {ours}, exported {theirs}" for path, ours, theirs in pairs), None)
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

    def _compare_network(self, config: Config, say: Say) -> None:
        """``say`` receives a line where MODEL is another than that of the configuration written at export."""
        file = self.program.with_name(self.program.stem + CONFIG_SUFFIX)
        own = config.to_dict().get("MODEL")
        if self.description is None or own is None or not file.is_file():
            return
        for path, ours, theirs in differences(own, read_yaml(file, plain=True)[0].get("MODEL"), "MODEL"):
            if not path.endswith(".pretrained") and ours != repr(AUTO):
                say(
                    f"{config.source} describes another network than {self.program.name}, which is used: {path}: here "
                    f"{ours}, exported {theirs}"
                )
                return
