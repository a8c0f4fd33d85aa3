"""Where an exported model runs (``Runtime``), and what a loaded one is (``ExportedModel``)."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np

from paddlevideo.environment import cpu_flags
from paddlevideo.errors import UserError
from paddlevideo.memory import within_memory

Say = Callable[[str], None]
Backend = Literal["paddle", "onnx", "openvino"]
BACKENDS = ("paddle", "onnx", "openvino")
PRECISIONS = ("fp32", "fp16", "bf16", "int8")
LIBRARIES = {"onnx": "onnxruntime", "openvino": "openvino"}
_END_WITH_PARENT = (  # prctl(PR_SET_PDEATHSIG, SIGKILL)
    "import ctypes, sys; sys.platform == 'linux' and ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
)


def to_stderr(line: str) -> None:
    """Prints a remark; stdout holds results only."""
    print(line, file=sys.stderr)


@dataclass(frozen=True)
class InputSpec:
    """One input of a program: -1 marks a free axis, dtype is numpy's name."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Runtime:
    """How to run an exported model.

    Args:
        backend: ``paddle``, ``onnx`` (ONNX Runtime) or ``openvino``, the latter two on the CPU; None: the one that
            ``inference.yml`` names for this machine, else the first of these that has its files.
        use_gpu: True: required; None: if Paddle has one; False: CPU.
        precision: fp16 needs a GPU; bf16 a CPU that has it, with oneDNN or OpenVINO; int8 ``NAME.int8.onnx`` and
            backend ``onnx``, or TensorRT and a quantised model.
        use_tensorrt: through Paddle's TensorRT engine; Paddle's own wheels mostly lack it.
        gpu_mem_mb: memory that Paddle reserves on the GPU at once.
        enable_mkldnn: oneDNN of Paddle on the CPU; None: as ``inference.yml`` names, else off.
        cpu_threads: None: as ``inference.yml`` names, else all cores that this process may use.
        disable_glog: keep Paddle's own log lines off the screen.
    """

    backend: Backend | None = None
    use_gpu: bool | None = False
    use_xpu: bool = False
    use_npu: bool = False
    precision: Literal["fp32", "fp16", "bf16", "int8"] = "fp32"
    ir_optim: bool = True
    use_tensorrt: bool = False
    gpu_mem_mb: int = 8000
    enable_mkldnn: bool | None = None
    cpu_threads: int | None = None
    disable_glog: bool = True

    @classmethod
    def on(cls, device: str, backend: Backend | None = None, cpu_threads: int | None = None) -> Runtime:
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
        use_gpu = None if device == "auto" else device.startswith("gpu")
        return cls(backend, use_gpu, cpu_threads=cpu_threads)

    def device(self) -> str:
        """``gpu``, ``xpu``, ``npu`` or ``cpu``.

        Raises:
            UserError: this machine or this Paddle lacks a requirement; with the way out.
        """
        device = self._required_device()
        if self.backend not in (None, *BACKENDS):
            raise UserError(f"backend {self.backend!r}: expected {', '.join(BACKENDS)}")
        if self.precision not in PRECISIONS:
            raise UserError(f"precision {self.precision!r}: expected {', '.join(PRECISIONS)}")
        if self.backend in ("onnx", "openvino"):
            self._check_other(device)
        if self.precision == "fp16" and device != "gpu":
            raise UserError("precision fp16 needs a GPU: Paddle has no such kernels on a CPU; use --precision=fp32")
        if self.precision == "bf16":
            _require_bf16(device, self)
        if self.precision == "int8" and self.backend != "onnx" and not self.use_tensorrt:
            raise UserError(
                "precision int8 needs TensorRT and a quantised model, or --backend onnx and the file that paddlevideo "
                "export --int8 makes; use --precision=fp32"
            )
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
        refuse_backend(self.backend)
        given = {
            "enable_mkldnn": self.enable_mkldnn is not None, "cpu_threads": self.cpu_threads is not None,
            "ir_optim": not self.ir_optim,
        }  # fmt: skip
        if used := [name for name, is_given in given.items() if is_given]:
            raise UserError(f"{', '.join(used)}: of an exported model, not of trained weights; leave it out, or export")
        if device not in ("cpu", "gpu") or self.precision != "fp32" or self.use_tensorrt:
            raise UserError(
                "trained weights run in float32 on a CPU or a GPU; for precisions, TensorRT and other devices export "
                "the model: paddlevideo export"
            )
        return device

    def _check_other(self, device: str) -> None:
        """Raises UserError where ONNX Runtime or OpenVINO cannot run as required."""
        if device != "cpu":
            raise UserError(f"backend {self.backend}: runs on the CPU here; add --use_gpu=False (--device cpu)")
        if self.enable_mkldnn:
            raise UserError(f"enable_mkldnn: is of backend paddle, not of {self.backend}; leave one of them out")
        other = "bf16" if self.backend == "openvino" else "int8"
        if self.precision not in ("fp32", other):
            raise UserError(
                f"precision {self.precision}: backend {self.backend} runs in float32 or {other}; leave it out"
            )
        require_installed(self.backend)

    def _required_device(self) -> str:
        if self.use_gpu is False and not (self.use_xpu or self.use_npu):
            return "cpu"  # without Paddle's import, which takes longer than ONNX Runtime's and a model together
        import paddle

        if self.use_xpu:
            if not paddle.is_compiled_with_xpu():
                raise UserError("XPU required, but this Paddle is built without it; leave --use_xpu out")
            return "xpu"
        if self.use_npu:
            if not paddle.is_compiled_with_custom_device("npu"):
                raise UserError("NPU required, but this Paddle is built without it; leave --use_npu out")
            return "npu"
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


_live: weakref.WeakSet[KeptWhenForked] = weakref.WeakSet()
_inherited: list[KeptWhenForked] = []
if os.name == "posix":
    os.register_at_fork(after_in_child=lambda: _inherited.extend(_live))


class KeptWhenForked:
    """What holds a model of ONNX Runtime or OpenVINO: a forked process keeps it, also where it is garbage of a cycle.

    There the threads of the library are gone, and its destructor waits for them without end.
    """

    def __new__(cls, *_: object, **__: object) -> Self:
        made = super().__new__(cls)
        _live.add(made)
        return made


class ExportedModel(KeptWhenForked, ABC):
    """An exported model, loaded: arrays in, arrays out.

    Attributes:
        name: of its file.
        inputs: names, shapes and dtypes.
        device: ``gpu``, ``xpu``, ``npu`` or ``cpu``.
        runtime: what it runs with.
    """

    name: str
    inputs: Sequence[InputSpec]
    device: str
    runtime: Runtime

    @abstractmethod
    def output(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """The first output of one batch, its inputs in the order of ``inputs``."""

    def run(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Runs one batch, inputs by their names; gives the first output."""
        return self(*(batch[spec.name] for spec in self.inputs))

    def __call__(self, *arrays: np.ndarray) -> np.ndarray:
        """Runs one batch; gives the first output.

        Raises:
            UserError: it holds NaN or infinity; memory runs out.
        """
        with within_memory("the model's run", arrays[0], "lower --batch_size"):
            output = self.output([np.ascontiguousarray(array) for array in arrays])
        return finite_scores(output, self.name)


def run_alone(code: str, arguments: Sequence[str], limit_s: float, variables: Mapping[str, str]) -> str | None:
    """Runs Python code that may abort or hang in a process that ends with this one, its output unseen.

    Args:
        code: as of ``python -c``.
        arguments: ``sys.argv[1:]`` there.
        limit_s: seconds after which it is killed.
        variables: of its environment, over this process's.

    Returns:
        Why it failed, in one line; None if it did not.
    """
    command, environment = [sys.executable, "-c", _END_WITH_PARENT + code, *arguments], {**os.environ, **variables}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="replace",
            timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no result within {limit_s:g} s"
    if done.returncode < 0:
        return f"the process ended with {signal.Signals(-done.returncode).name}"
    if done.returncode == 0:
        return None
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {done.returncode}"


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


def installed(backend: str) -> bool:
    """Whether the library of a backend is there."""
    return backend == "paddle" or importlib.util.find_spec(LIBRARIES[backend]) is not None


def refuse_backend(backend: str | None) -> None:
    """
    Raises:
        UserError: a backend that does not run trained weights.
    """
    if backend not in (None, "paddle"):
        raise UserError(f"backend {backend}: runs exported models; export these weights first: paddlevideo export")


def require_installed(backend: str) -> None:
    """
    Raises:
        UserError: the library of a backend is missing.
    """
    if not installed(backend):
        raise UserError(f"backend {backend}: {LIBRARIES[backend]} is not installed: pip install {LIBRARIES[backend]}")


def _require_bf16(device: str, runtime: Runtime) -> None:
    if device != "cpu":
        raise UserError(f"precision bf16 is for CPUs; on a {device} use --precision=fp16")
    if not has_bf16():
        raise UserError("precision bf16: this CPU has no instructions for it; use --precision=fp32")
    if runtime.enable_mkldnn is False:
        raise UserError("precision bf16 needs oneDNN; leave --enable_mkldnn=False out, or use --precision=fp32")


def has_bf16() -> bool:
    """Whether the CPU multiplies bfloat16 numbers."""
    return bool({"avx512_bf16", "amx_bf16"} & cpu_flags())


def _require_tensorrt(device: str) -> None:
    from paddle.inference import get_trt_compile_version

    if device != "gpu":
        raise UserError("TensorRT needs a GPU; use --use_tensorrt=False")
    if tuple(get_trt_compile_version()) == (0, 0, 0):
        raise UserError("this Paddle is built without TensorRT; use --use_tensorrt=False")
