"""What runs, and where: the files of an exported model with ``inference.yml``, the model loaded, or a trained network.

Paddle 3 writes a program as ``NAME.json``, Paddle 2 wrote ``NAME.pdmodel``; its weights are ``NAME.pdiparams``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from paddlevideo.build import normalization_of, pipelines_of, trained_network
from paddlevideo.config import Config, load_config
from paddlevideo.config.finding import find_config
from paddlevideo.config.merging import differences
from paddlevideo.config.reading import read_yaml
from paddlevideo.environment import available_cores, use_device
from paddlevideo.errors import ConfigError, DamagedFileError, UserError
from paddlevideo.extensions import declare_all, require_declared
from paddlevideo.loader.decode.reader import Damaged
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.memory import within_memory
from paddlevideo.registry import FRAMEWORKS
from paddlevideo.safe_io import read_json, reading, sha256, write_atomic

Say = Callable[[str], None]


def to_stderr(line: str) -> None:
    """Prints a remark; stdout holds results only."""
    print(line, file=sys.stderr)


PROGRAM_SUFFIXES = (".json", ".pdmodel")
PARAMS_SUFFIX = ".pdiparams"
_EXPORT_HINT = "paddlevideo export writes it"
_NEEDS_WEIGHTS = (
    "{}: a configuration; name the weights (.pdparams) that were trained with it, too, as in load(config, weights) or "
    "-c CONFIG -w WEIGHTS"
)
FILE_NAME = "inference.yml"
FORMAT_VERSION = 1
_KINDS = {"str": str, "dict": dict, "int": int}  # annotations of ``Description`` that are checked
ONE_LABEL, MULTI_LABEL = "probability", "sigmoid"  # kinds of scores


# ---- the files of an exported model


@dataclass(frozen=True)
class InputSpec:
    """One input of a program: -1 marks a free axis, dtype is numpy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


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
        raise UserError(_NEEDS_WEIGHTS.format(path))
    tried = ", ".join(str(stem) + suffix for suffix in PROGRAM_SUFFIXES)
    raise UserError(f"{path}: no such model file (looked for {tried}); {_EXPORT_HINT}")


def _program_of_folder(folder: Path) -> Path:
    description = read_description(folder)
    if description is not None:
        return folder / description.program
    programs = {p.with_suffix(""): p for p in sorted(folder.glob(f"*{PARAMS_SUFFIX}"))}
    if len(programs) != 1:
        what = f"several models ({', '.join(p.name for p in programs.values())})" if programs else "no exported model"
        raise UserError(f"{folder}: holds {what} and no {FILE_NAME}; name the model file")
    return next(iter(programs)).with_suffix(PROGRAM_SUFFIXES[0])


def find_params(path: str | Path | None, program: Path) -> Path:
    """The weights file: ``path``, or the one beside the program.

    Raises:
        UserError: it is not there; Paddle itself would run with arbitrary weights.
    """
    params = Path(path) if path is not None else program.with_suffix(PARAMS_SUFFIX)
    if not params.is_file():
        raise UserError(f"{params}: no such weights file for {program}; {_EXPORT_HINT} beside the model")
    return params


def program_inputs(program: Path) -> list[InputSpec]:
    """The inputs of an exported program, read from its file.  A damaged file is an error here, not a crash in Paddle.

    Raises:
        UserError: not an exported program.
    """
    read = _inputs_of_json if program.suffix == ".json" else _inputs_of_pdmodel
    with reading(program, "a model that Paddle exported", _EXPORT_HINT):
        inputs = read(program)
    if not inputs:
        raise UserError(f"{program}: an exported program, but without inputs; {_EXPORT_HINT}")
    return inputs


def _generation(suffix: str) -> str:
    return "Paddle 3's" if suffix == ".json" else "Paddle 2's"


def _inputs_of_json(program: Path) -> list[InputSpec]:
    content = read_json(program)
    operations = content["program"]["regions"][0]["blocks"][0]["ops"]
    inputs = []
    for operation in operations:
        if not operation["#"].endswith(".data"):
            continue
        attributes: dict[str, Any] = {entry["N"]: entry["AT"].get("D") for entry in operation["A"]}
        inputs.append(InputSpec(attributes["name"], tuple(attributes["shape"]), attributes["dtype"]))
    return inputs


def _inputs_of_pdmodel(program: Path) -> list[InputSpec]:
    from paddle.base import core

    description = core.ProgramDesc(program.read_bytes())  # must outlive its blocks: they point into it
    if description.num_blocks() == 0:  # what an empty file parses to; Paddle would crash
        raise ValueError("no blocks")
    block = description.block(0)
    inputs = []
    for i in range(block.op_size()):
        operation = block.op(i)
        if operation.type() == "feed":
            name = operation.output("Out")[0]
            variable = block.find_var(name.encode())
            inputs.append(InputSpec(name, tuple(variable.shape()), str(variable.dtype()).rsplit(".", 1)[-1]))
    return inputs


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
        files: file name -> sha256, of the program and its weights.
        imports: file or module -> sha256, of the user's modules that operators of the pipeline are from.
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
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> Path:
        """Writes ``inference.yml`` into ``folder``."""
        values = asdict(self)
        if not self.detection:
            del values["detection"]
        if not self.imports:
            del values["imports"]
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
    defaults = {"model_name": Path(values["program"]).stem, "output": {}, "score_type": ONE_LABEL}
    values = {**defaults, "views": 1, "avg_type": None, **values}
    if values["score_type"] not in (ONE_LABEL, MULTI_LABEL):
        raise UserError(
            f"{path}: score_type: expected {ONE_LABEL} or {MULTI_LABEL}, got {values['score_type']!r}; export the "
            "model again"
        )
    require_declared(values.get("imports", {}), str(path))
    return Description(**values)


@dataclass(frozen=True)
class Export:
    """The files of an exported model; ``description`` is None where no ``inference.yml`` is about it."""

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
        program = find_program(path, say)
        description = read_description(program.parent)
        if description is not None and Path(description.program).stem != program.stem:
            say(f"{program.parent / FILE_NAME} is about {description.program}, not {program.name}: it is not used")
            description = None
        return cls(program, find_params(params, program), description)

    @property
    def file(self) -> Path:
        """The path of ``inference.yml``, whether it is there or not."""
        return self.program.parent / FILE_NAME

    def load(self, runtime: Runtime, say: Say) -> ExportedModel:
        """The model, its files compared with the digests noted at export.

        Raises:
            UserError: a file is damaged, or belongs to another export than ``inference.yml``.
        """
        for path in (self.program, self.params):
            noted = self.description.files.get(path.name) if self.description else None
            if noted is not None and sha256(path) != noted:
                raise UserError(
                    f"{path}: differs from what {FILE_NAME} beside it was written for: damaged, or of another export; "
                    f"export again, or remove {path.name} from the 'files' of {FILE_NAME} if you changed it on purpose"
                )
        return ExportedModel(self.program, self.params, runtime, say)

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
        if other is None:
            return exported
        given = Pipeline(other, "PIPELINE.test")
        normalization_of({"exported": exported, "test": given}, str(self.file))
        if given.normalization is not None and exported.normalization is None and not exported.normalizes:
            what = "PIPELINE.test has a Normalization, the exported pipeline has none; export with it"
            raise ConfigError(str(self.file), [what])
        return given

    def section(self, config: Config | None, overrides: Sequence[str], say: Say) -> dict[str, Any] | None:
        """The ``PIPELINE.test`` of a configuration where it replaces the exported one, else None.

        ``inference.yml`` travels with the weights, so it holds: a configuration that differs is named in one line,
        since a file that was edited after the export is the usual reason.  An override of ``PIPELINE.test`` is used,
        with a line.  Without ``inference.yml`` the configuration decides.

        Args:
            overrides: the ``-o KEY=VALUE`` that are already in ``config``.
        """
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


# ---- from a configuration


def config_of(
    model: str | Path | Config, weights: str | Path | None, overrides: Sequence[str] = (), imports: Sequence[str] = ()
) -> Config | None:
    """The configuration of trained weights; None where there are none and ``model`` is an exported one.

    Args:
        model: a configuration, its file or file name, or an exported model.
        overrides: ``KEY=VALUE`` that change the file.
        imports: modules or .py files with registered classes of the user's own.

    Raises:
        UserError: a configuration without weights, or weights without a configuration.
    """
    if weights is not None:
        if not isinstance(model, Config):
            return load_config(model, overrides, uses=("test",), imports=imports)
        declare_all(imports)
        return model
    if isinstance(model, Config) or Path(model).suffix in (".yaml", ".yml"):
        name = model.source if isinstance(model, Config) else model
        raise UserError(_NEEDS_WEIGHTS.format(name))
    if Path(model).suffix == ".pdparams":
        raise UserError(f"{model}: weights; name the configuration that they were trained with first, then the weights")
    declare_all(imports)
    return None


def pipelines_with_test(config: Config) -> dict[str, Pipeline]:
    """The pipelines of a configuration, ``test`` among them.

    Raises:
        UserError: there is no ``PIPELINE.test``.
    """
    if not isinstance(config.section("PIPELINE").get("test"), Mapping):
        raise UserError(f"{config.source}: PIPELINE.test: is missing; export and predict take their clips from it")
    return pipelines_of(config)


def damaged_of(config: Config | None) -> Damaged:
    """What testing does with damaged videos: ``DATASET.test.damaged``."""
    section = ((config or {}).get("DATASET") or {}).get("test") or {}
    return section.get("damaged", "refuse")


# ---- where it runs


@dataclass(frozen=True)
class Runtime:
    """How to run an exported model.

    Args:
        use_gpu: True: required; None: if Paddle has one; False: CPU.
        precision: fp16 needs a GPU; int8 needs TensorRT and a quantised model.
        use_tensorrt: through Paddle's TensorRT engine; Paddle's own wheels mostly lack it.
        gpu_mem_mb: memory that Paddle reserves on the GPU at once.
        enable_mkldnn: oneDNN on the CPU.  Off by default: Paddle 3.3 cannot load transformers with it.
        cpu_threads: None: all cores that this process may use.
        disable_glog: keep Paddle's own log lines off the screen.
    """

    use_gpu: bool | None = False
    use_xpu: bool = False
    use_npu: bool = False
    precision: Literal["fp32", "fp16", "int8"] = "fp32"
    ir_optim: bool = True
    use_tensorrt: bool = False
    gpu_mem_mb: int = 8000
    enable_mkldnn: bool = False
    cpu_threads: int | None = None
    disable_glog: bool = True

    @classmethod
    def on(cls, device: str) -> Runtime:
        """On ``auto``, ``cpu``, ``gpu`` or ``gpu:0``.

        Raises:
            UserError: another name.
        """
        if device != "auto" and device != "cpu" and not device.startswith("gpu"):
            raise UserError(f"--device {device}: expected cpu, gpu, gpu:N or auto")
        if device.partition(":")[2] not in ("", "0"):
            raise UserError(
                f"--device {device}: an exported model runs on GPU 0; CUDA_VISIBLE_DEVICES chooses which that is"
            )
        return cls(use_gpu=None if device == "auto" else device.startswith("gpu"))

    def device(self) -> str:
        """``gpu``, ``xpu``, ``npu`` or ``cpu``.

        Raises:
            UserError: this machine or this Paddle lacks a requirement; with the way out.
        """
        device = self._required_device()
        if self.precision not in ("fp32", "fp16", "int8"):
            raise UserError(f"precision {self.precision!r}: expected fp32, fp16 or int8")
        if self.precision == "fp16" and device != "gpu":
            raise UserError("precision fp16 needs a GPU: Paddle has no such kernels on a CPU; use --precision=fp32")
        if self.precision == "int8" and not self.use_tensorrt:
            raise UserError("precision int8 needs TensorRT and a quantised model; use --precision=fp32")
        if self.use_tensorrt:
            _require_tensorrt(device)
        if self.cpu_threads is not None and self.cpu_threads < 1:
            raise UserError(f"cpu_threads: expected at least 1, got {self.cpu_threads}")
        return device

    def device_of_network(self) -> str:
        """``gpu`` or ``cpu``, for a network that is not exported.

        Raises:
            UserError: as ``device``; a precision or an engine that only exported models have.
        """
        device = self.device()
        if device not in ("cpu", "gpu") or self.precision != "fp32" or self.use_tensorrt:
            raise UserError(
                "trained weights run in float32 on a CPU or a GPU; for precisions, TensorRT and other devices export "
                "the model: paddlevideo export"
            )
        return device

    def _required_device(self) -> str:
        import paddle

        if self.use_xpu:
            if not paddle.is_compiled_with_xpu():
                raise UserError("XPU required, but this Paddle is built without it; leave --use_xpu out")
            return "xpu"
        if self.use_npu:
            if not paddle.is_compiled_with_custom_device("npu"):
                raise UserError("NPU required, but this Paddle is built without it; leave --use_npu out")
            return "npu"
        if self.use_gpu is False:
            return "cpu"
        lacking = _gpu_lacking()
        if lacking and self.use_gpu:
            raise UserError(f"GPU required, but {lacking}; use --use_gpu=False to run on the CPU")
        return "cpu" if lacking else "gpu"


def _gpu_lacking() -> str | None:
    """Why Paddle cannot use a GPU here, or None if it can."""
    import paddle

    if not paddle.is_compiled_with_cuda():
        return "this Paddle is built for CPUs only (the wheel paddlepaddle-gpu has GPU support)"
    if paddle.device.cuda.device_count() == 0:
        return "Paddle finds no NVIDIA GPU on this machine"
    return None


class ExportedModel:
    """An exported program, loaded: arrays in, arrays out.

    Attributes:
        name: of its program.
        inputs: names, shapes and dtypes.
        device: ``gpu``, ``xpu``, ``npu`` or ``cpu``.

    Args:
        program: ``.json`` or ``.pdmodel``.
        params: ``.pdiparams``.
        runtime: where it runs.
        say: receives a line for each setting that replaces the caller's.

    Raises:
        UserError: damaged files, or a runtime that is not there.
    """

    def __init__(self, program: Path, params: Path, runtime: Runtime, say: Say):
        self.name = str(program)
        self.inputs = program_inputs(program)
        self.device = runtime.device()
        self._predictor = _create(program, params, runtime, self.device, say)
        self._input_handles = [self._predictor.get_input_handle(spec.name) for spec in self.inputs]

    def run(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Runs one batch, inputs by their names; gives the first output."""
        return self(*(batch[spec.name] for spec in self.inputs))

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Runs one batch; gives the first output.

        Raises:
            UserError: it holds NaN or infinity.
        """
        with within_memory("the model's run", arrays[0], "lower --batch_size"):
            for handle, array in zip(self._input_handles, arrays, strict=True):
                handle.reshape(array.shape)
                handle.copy_from_cpu(np.ascontiguousarray(array))
            self._predictor.run()
            output = self._predictor.get_output_handle(self._predictor.get_output_names()[0]).copy_to_cpu()
        return finite_scores(output, self.name)


class TrainedNetwork:
    """The network of a configuration with trained weights: arrays in, arrays out, as ``--test`` runs it.

    Args:
        config: MODEL; DATASET where the weights carry no class names.
        weights: ``.pdparams``.
        device: ``auto``, ``cpu``, ``gpu`` or ``gpu:N``.
        of_persons: whether the caller has persons' boxes.
        say: receives lines on the class names that are taken and on the keys of the weights that fit.

    Attributes:
        name: of its weights.
        pipeline: PIPELINE.test.
        config: the same with a number in place of each ``auto`` of MODEL.
        classes: what the outputs mean.
        framework: the network.

    Raises:
        UserError: no such device, weights that do not fit, a network that takes boxes or takes none.
    """

    inputs = (InputSpec("imgs", (-1,) * 6, "uint8"),)  # of any size
    _USED = ("imgs", "sizes", "boxes", "boxes_num", "long_term", "long_term_filled")

    def __init__(self, config: Config, weights: str | Path, device: str, of_persons: bool, say: Say):
        pipelines, name = pipelines_with_test(config), config.section("MODEL").get("framework")
        if name in FRAMEWORKS and FRAMEWORKS.get(name).takes_boxes != of_persons:
            what = "names whole videos, not people; use paddlevideo predict"
            what = what if of_persons else "names what people do and takes their boxes; use paddlevideo detect"
            raise UserError(f"{config.source}: MODEL {what}")
        self.name, self.pipeline, self.device = str(weights), pipelines["test"], use_device(device)
        self.config, self.framework, self.classes = trained_network(config, weights, say, pipelines)
        self.framework.eval()

    def run(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probabilities, float32 [N, K] of clips or [R, K] of persons.

        Raises:
            UserError: they hold NaN or infinity.
        """
        return finite_scores(self._output(batch, "predict", "scores"), self.name)

    def features(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a feature bank holds of each person, float32 [R, C]."""
        return self._output(batch, "features", "features")

    def _output(self, batch: Mapping[str, np.ndarray], mode: str, key: str) -> np.ndarray:
        import paddle

        with within_memory("the model's run", batch["imgs"], "lower --batch_size"), paddle.no_grad():
            tensors = {name: paddle.to_tensor(batch[name]) for name in self._USED if name in batch}
            return self.framework(tensors, mode=mode)[key].astype("float32").numpy()


def finite_scores(scores: np.ndarray, model: str) -> np.ndarray:
    """Gives the scores back.

    Raises:
        UserError: they hold NaN or infinity.
    """
    if not np.isfinite(scores).all():
        raise UserError(
            f"{model}: the scores hold NaN or infinity: the training that its weights come from has diverged, or the "
            "precision (--precision) is too low"
        )
    return scores


def _create(program: Path, params: Path, runtime: Runtime, device: str, say: Say) -> Any:
    from paddle.inference import create_predictor

    use_mkldnn = runtime.enable_mkldnn and device == "cpu"
    try:
        return create_predictor(_config(program, params, runtime, device, use_mkldnn))
    except (RuntimeError, ValueError, TypeError, OSError, SystemError) as error:
        if not use_mkldnn:
            raise _unloadable(program, params, error) from None
        say(f"oneDNN cannot run this model under this Paddle ({_first_line(error)}); running without it")
    try:
        return create_predictor(_config(program, params, runtime, device, use_mkldnn=False))
    except (RuntimeError, ValueError, TypeError, OSError, SystemError) as error:
        raise _unloadable(program, params, error) from None


def _config(program: Path, params: Path, runtime: Runtime, device: str, use_mkldnn: bool) -> Any:
    from paddle.inference import Config, PrecisionType

    config = Config(str(program), str(params))
    precision = {"fp32": PrecisionType.Float32, "fp16": PrecisionType.Half, "int8": PrecisionType.Int8}[
        runtime.precision
    ]
    if device == "gpu":
        config.enable_use_gpu(runtime.gpu_mem_mb, 0, precision)
        if runtime.use_tensorrt:
            config.enable_tensorrt_engine(max_batch_size=8, precision_mode=precision)
    elif device == "xpu":
        config.enable_xpu()
    elif device == "npu":
        config.enable_custom_device("npu")
    else:
        config.disable_gpu()
        config.set_cpu_math_library_num_threads(runtime.cpu_threads or available_cores())
        # Paddle's own default is on, which fails for transformers
        config.enable_mkldnn() if use_mkldnn else config.disable_mkldnn()
    config.switch_ir_optim(runtime.ir_optim)
    if runtime.disable_glog:
        config.disable_glog_info()
    return config


def _require_tensorrt(device: str) -> None:
    from paddle.inference import get_trt_compile_version

    if device != "gpu":
        raise UserError("TensorRT needs a GPU; use --use_tensorrt=False")
    if tuple(get_trt_compile_version()) == (0, 0, 0):
        raise UserError("this Paddle is built without TensorRT; use --use_tensorrt=False")


def _unloadable(program: Path, params: Path, error: Exception) -> UserError:
    return UserError(f"{program} with {params}: Paddle cannot load it ({_first_line(error)}); export the model again")


def _first_line(error: Exception) -> str:
    """Paddle's messages open with a C++ trace; the sentence comes after its last heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("("):
            return line.split(" (at ")[0]
    return lines[-1] if lines else type(error).__name__
