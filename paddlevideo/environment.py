"""The process's environment: variables for Paddle's CPU build, the device, this rank, the installed versions.

Nothing of Paddle is imported before ``use_device`` or ``versions`` is called.
"""

import contextlib
import ctypes
import logging
import os
import platform
import warnings
from collections.abc import Callable, Iterator

from paddlevideo.errors import UserError

# Measured on PaddlePaddle 3.3.1: strided views cost dygraph transformers 1.4-1.6x, and n processes of one thread beat
# one process of n threads.
_CPU_DEFAULTS = {"FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"}
# The wheel's MKL takes a path without AVX on processors that are not Intel's unless MKL_DEBUG_CPU_TYPE names one.
# float32 products of 1024 x 1024 on an AMD EPYC, GFLOP/s of a core: unset 46, "5" (AVX2) 123, "7" (AVX-512) 235.
_CPU_INFO = "/proc/cpuinfo"
_AVX2, _AVX512 = "5", "7"
_AVX512_PARTS = {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"}
# glibc's numbers of M_MMAP_MAX (no mappings for single allocations), M_TRIM_THRESHOLD and M_TOP_PAD (bytes)
_MALLOC_OPTIONS = ((-4, 0), (-1, 2**31 - 1), (-2, 64 * 2**20))


def set_cpu_environment() -> None:
    """Sets the variables above, never over what the user has set, and ``keep_freed_memory``.

    Call before ``import paddle``.
    """
    for name, value in _CPU_DEFAULTS.items():
        os.environ.setdefault(name, value)
    if "MKL_DEBUG_CPU_TYPE" not in os.environ:
        os.environ["MKL_DEBUG_CPU_TYPE"] = mkl_cpu_type()
    keep_freed_memory()


def mkl_cpu_type() -> str:
    """The value of MKL_DEBUG_CPU_TYPE: AVX-512 where the processor has all parts that MKL uses, else AVX2.

    An instruction that the processor does not have ends the process.
    """
    return _AVX512 if cpu_flags() >= _AVX512_PARTS else _AVX2


def keep_freed_memory() -> bool:
    """Lets glibc keep what is freed for the next allocation, instead of giving every large tensor back to the kernel.

    Without it each tensor above 128 kB to 32 MB costs its page faults anew: 8 to 19 % of a prediction on a CPU, up to
    25 % of a training step; peak memory grows by up to 15 %.  Only with glibc on Linux, and not if the environment has
    ``PADDLEVIDEO_KEEP_MEMORY=0`` or allocator settings of its own (``MALLOC_*_``, ``GLIBC_TUNABLES``).  Processes that
    are forked later inherit it.

    Returns:
        Whether it is in force.

    Raises:
        UserError: the variable is neither 0 nor 1.
    """
    wanted = os.environ.get("PADDLEVIDEO_KEEP_MEMORY", "1")
    if wanted not in ("0", "1"):
        raise UserError(f"environment variable PADDLEVIDEO_KEEP_MEMORY: expected 0 or 1, got {wanted!r}")
    own = [name for name in os.environ if name == "GLIBC_TUNABLES" or (name.startswith("MALLOC_") and name[-1] == "_")]
    if wanted == "0" or own or platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(option, value) for option, value in _MALLOC_OPTIONS)


def has_gpu() -> bool:
    """Whether Paddle and the machine have a GPU."""
    import paddle

    return paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0


def use_device(device: str = "auto") -> str:
    """Chooses the device that tensors and networks are on.

    Args:
        device: ``auto`` (a GPU if Paddle and the machine have one), ``cpu``, ``gpu`` (of several ranks each its own)
            or ``gpu:N``.

    Returns:
        The device in use, e.g. ``cpu`` or ``gpu:0``.

    Raises:
        UserError: a GPU is named and none can be used; another name.
    """
    import paddle

    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if device == "auto":
        device = "gpu" if gpus else "cpu"
    if device.startswith("gpu") and not gpus:
        why = "no GPU is visible" if paddle.is_compiled_with_cuda() else "this PaddlePaddle is the CPU build"
        raise UserError(f"--device {device}: {why}; use --device cpu, or install paddlepaddle-gpu (README, Install)")
    if device == "gpu" and world_size() > 1:
        device = f"gpu:{gpu_number()}"
    try:
        paddle.set_device(device)
    except ValueError as error:
        raise UserError(f"--device {device}: {' '.join(str(error).split())}; expected cpu, gpu or gpu:N") from None
    return device


def gpu_number() -> int:
    """The GPU of this rank: the one that Paddle's launcher gave to it, else 0."""
    if world_size() == 1:
        return 0
    import paddle

    return paddle.distributed.ParallelEnv().device_id  # which is there on GPUs alone


def hide_paddle_remarks(glog: bool = True) -> None:
    """Hides Paddle's remarks for its own developers; call before ``import paddle``.

    Args:
        glog: its C++ log's information and warnings too, unless the environment sets their level.
    """
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    if glog:
        os.environ.setdefault("GLOG_minloglevel", "2")


@contextlib.contextmanager
def log_lines_to(say: Callable[[str], None]) -> Iterator[None]:
    """Hands the package's log lines to ``say``: outside of a run no log takes them, and Paddle's root handler would."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            say(record.getMessage())

    log, handler = logging.getLogger("paddlevideo"), Lines()
    level, propagate = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel("INFO")
    log.propagate = False
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = propagate


def available_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


def rank() -> int:
    """This process's number among those that run together, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID", 0))


def world_size() -> int:
    """How many processes run together."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", 1))


def is_main() -> bool:
    """True on the one rank that writes files and prints."""
    return rank() == 0


def versions() -> dict[str, str]:
    """What a result depends on besides the configuration."""
    import numpy as np
    import paddle

    import paddlevideo

    return {
        "paddlevideo": paddlevideo.__version__,
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def cpu_name() -> str:
    """The processor, e.g. ``AMD EPYC (family 26, model 2)``: virtual machines give several processors one name."""
    found = _cpu_table()
    name = found.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in found:
        return name
    return f"{name} (family {found['cpu family']}, model {found.get('model', '?')})"


def cpu_flags() -> set[str]:
    """The processor's instruction sets by Linux's names, e.g. ``avx512_bf16``; empty where they are not known."""
    return set(_cpu_table().get("flags", "").split())


def _cpu_table() -> dict[str, str]:
    """What Linux says about the first processor."""
    try:
        with open(_CPU_INFO, encoding="utf-8") as file:
            lines = file.read().partition("\n\n")[0].splitlines()
    except OSError:  # not on Linux
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
