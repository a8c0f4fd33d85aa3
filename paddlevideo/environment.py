"""The process's environment: what Paddle's CPU build needs in it, which rank this is, which versions are installed.

Nothing of Paddle is imported before ``versions`` is called.
"""

import os
import platform
import warnings

# Measured on PaddlePaddle 3.3.1: the wheel's MKL takes a slow path on AMD unless told otherwise (models 1.7-2.3x),
# strided views cost dygraph transformers 1.4-1.6x, and n processes of one thread beat one process of n threads.
_CPU_DEFAULTS = {"MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"}


def set_cpu_environment() -> None:
    """Sets the variables above, never over what the user has set; call before ``import paddle``."""
    for name, value in _CPU_DEFAULTS.items():
        os.environ.setdefault(name, value)


def hide_paddle_remarks(glog: bool = True) -> None:
    """Keeps off the screen what Paddle says to its own developers; call before ``import paddle``.

    Args:
        glog: its C++ log's information and warnings too, unless the environment sets their level.
    """
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="Tensor do not have 'place' interface")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean and variance")
    if glog:
        os.environ.setdefault("GLOG_minloglevel", "2")


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
