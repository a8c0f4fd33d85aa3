"""Where and how an exported model runs: the choices, checked against what this machine has, and Paddle's predictor."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.inference.model_files import program_inputs
from paddlevideo.memory import within_memory

Say = Callable[[str], None]


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

    def device(self) -> str:
        """``gpu``, ``xpu``, ``npu`` or ``cpu``.

        Raises:
            UserError: something was asked for that this machine or this Paddle does not have; with the way out.
        """
        device = self._wanted_device()
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

    def _wanted_device(self) -> str:
        import paddle

        if self.use_xpu:
            if not paddle.is_compiled_with_xpu():
                raise UserError("XPU asked for, but this Paddle is built without it; leave --use_xpu out")
            return "xpu"
        if self.use_npu:
            if not paddle.is_compiled_with_custom_device("npu"):
                raise UserError("NPU asked for, but this Paddle is built without it; leave --use_npu out")
            return "npu"
        if self.use_gpu is False:
            return "cpu"
        lacking = gpu_lacking()
        if lacking and self.use_gpu:
            raise UserError(f"GPU asked for, but {lacking}; use --use_gpu=False to run on the CPU")
        return "cpu" if lacking else "gpu"


def gpu_lacking() -> str | None:
    """Why Paddle cannot use a GPU here, or None if it can."""
    import paddle

    if not paddle.is_compiled_with_cuda():
        return "this Paddle is built for CPUs only (the wheel paddlepaddle-gpu has GPU support)"
    if paddle.device.cuda.device_count() == 0:
        return "Paddle finds no NVIDIA GPU on this machine"
    return None


class ExportedModel:
    """An exported program, loaded: arrays in, arrays out.

    Args:
        program: ``.json`` or ``.pdmodel``.
        params: ``.pdiparams``.
        runtime: where it runs.
        say: receives a line for each choice that was not the caller's.

    Raises:
        UserError: damaged files, or a runtime that is not there.
    """

    def __init__(self, program: Path, params: Path, runtime: Runtime, say: Say):
        self._program = program
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
        return finite_scores(output, str(self._program))


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


def available_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
