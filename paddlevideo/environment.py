"""What Paddle's CPU build needs in the environment to run at full speed; call before ``import paddle``."""

import os
import warnings

# Measured on PaddlePaddle 3.3.1: the wheel's MKL takes a slow path on AMD unless told otherwise (models 1.7-2.3x),
# strided views cost dygraph transformers 1.4-1.6x, and n processes of one thread beat one process of n threads.
_CPU_DEFAULTS = {"MKL_DEBUG_CPU_TYPE": "5", "FLAGS_use_stride_kernel": "0", "OMP_NUM_THREADS": "1"}


def set_cpu_environment() -> None:
    """Sets the variables above, never over what the user has set."""
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
