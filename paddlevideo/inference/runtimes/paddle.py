"""Programs that Paddle exported, run by Paddle Inference.

Paddle 3 writes a program as ``NAME.json``, Paddle 2 wrote ``NAME.pdmodel``; its weights are ``NAME.pdiparams``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.environment import available_cores, gpu_number
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import ExportedModel, InputSpec, Runtime, Say
from paddlevideo.safe_io import read_json, reading

PROGRAM_SUFFIXES = (".json", ".pdmodel")
PARAMS_SUFFIX = ".pdiparams"
EXPORT_HINT = "paddlevideo export writes it"


def program_inputs(program: Path) -> list[InputSpec]:
    """The inputs of an exported program, read from its file.  A damaged file is an error here, not a crash in Paddle.

    Raises:
        UserError: not an exported program.
    """
    read = _inputs_of_json if program.suffix == ".json" else _inputs_of_pdmodel
    with reading(program, "a model that Paddle exported", EXPORT_HINT):
        inputs = read(program)
    if not inputs:
        raise UserError(f"{program}: an exported program, but without inputs; {EXPORT_HINT}")
    return inputs


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


class PaddleModel(ExportedModel):
    """A program, loaded by Paddle Inference.

    Args:
        program: ``.json`` or ``.pdmodel``.
        params: ``.pdiparams``.
        runtime: where it runs.
        say: receives a line for each setting that replaces the caller's.

    Raises:
        UserError: damaged files, or a runtime that is not there.
    """

    def __init__(self, program: Path, params: Path, runtime: Runtime, say: Say):
        self.name, self.runtime = str(program), runtime
        self.inputs = program_inputs(program)
        self.device = runtime.device()
        self._uses_onednn = self.device == "cpu" and (runtime.enable_mkldnn or runtime.precision == "bf16")
        self._predictor = _create(program, params, runtime, self.device, say)
        self._handles = [self._predictor.get_input_handle(spec.name) for spec in self.inputs]

    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """As ``ExportedModel.output``."""
        for handle, array in zip(self._handles, arrays, strict=True):
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        with _prints_to_stderr() if self._uses_onednn else contextlib.nullcontext():
            self._predictor.run()
        return self._predictor.get_output_handle(self._predictor.get_output_names()[0]).copy_to_cpu()


@contextlib.contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """What C++ prints to file descriptor 1 goes to 2: oneDNN's kernels print there, among a command's results."""
    if os.name != "posix":
        yield
        return
    flush = ctypes.CDLL(None).fflush  # C's own buffers are written when they are full, or the process ends
    sys.stdout.flush()
    flush(None)
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        flush(None)
        os.dup2(kept, 1)
        os.close(kept)


def _create(program: Path, params: Path, runtime: Runtime, device: str, say: Say) -> Any:
    from paddle.inference import create_predictor

    use_mkldnn = device == "cpu" and (runtime.enable_mkldnn or runtime.precision == "bf16")
    try:
        return create_predictor(_config(program, params, runtime, device, use_mkldnn))
    except (RuntimeError, ValueError, TypeError, OSError, SystemError) as error:
        if not use_mkldnn or runtime.precision == "bf16":
            raise _unloadable(program, params, error) from None
        say(f"oneDNN cannot run this model under this Paddle ({_first_line(error)}); running without it")
    try:
        return create_predictor(_config(program, params, runtime, device, use_mkldnn=False))
    except (RuntimeError, ValueError, TypeError, OSError, SystemError) as error:
        raise _unloadable(program, params, error) from None


def _config(program: Path, params: Path, runtime: Runtime, device: str, use_mkldnn: bool) -> Any:
    from paddle.inference import Config, PrecisionType

    config = Config(str(program), str(params))
    kinds = {"fp16": PrecisionType.Half, "int8": PrecisionType.Int8}
    precision = kinds.get(runtime.precision, PrecisionType.Float32)
    if device == "gpu":
        config.enable_use_gpu(runtime.gpu_mem_mb, gpu_number(), precision)
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
        if runtime.precision == "bf16":
            config.enable_mkldnn_bfloat16()
    config.switch_ir_optim(runtime.ir_optim)
    if runtime.disable_glog:
        config.disable_glog_info()
    return config


def _unloadable(program: Path, params: Path, error: Exception) -> UserError:
    return UserError(f"{program} with {params}: Paddle cannot load it ({_first_line(error)}); export the model again")


def _first_line(error: Exception) -> str:
    """Paddle's messages open with a C++ trace; the sentence comes after its last heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    for line in lines:
        if line.startswith("("):
            return line.split(" (at ")[0]
    return lines[-1] if lines else type(error).__name__
