"""The process's environment: variables for Paddle's CPU build, the device, this rank, the installed versions.

Nothing of Paddle is imported before ``use_device`` or ``versions`` is called.
"""

import os
import platform
import warnings

from paddlevideo.errors import UserError

# Measured on PaddlePaddle 3.3.1: the wheel's MKL takes a slow path on AMD unless this is set (models 1.7-2.3x),
# strided views cost dygraph transformers 1.4-1.6x, and n processes of one thread beat one process of n threads.
_CPU_DEFAULTS = {"MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"}


def set_cpu_environment() -> None:
    """Sets the variables above, never over what the user has set; call before ``import paddle``."""
    for name, value in _CPU_DEFAULTS.items():
        os.environ.setdefault(name, value)


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
        device = f"gpu:{paddle.distributed.ParallelEnv().device_id}"  # which is there on GPUs alone
    try:
        paddle.set_device(device)
    except ValueError as error:
        raise UserError(f"--device {device}: {' '.join(str(error).split())}; expected cpu, gpu or gpu:N") from None
    return device


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
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = file.read().partition("\n\n")[0].splitlines()
    except OSError:  # not on Linux
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}
