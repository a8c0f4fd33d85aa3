"""Ranks, and what they tell each other.  One process is the special case of one rank everywhere below.

Paddle 3.3.1's gloo gives up on a rank that waits 30 s in a collective, and no argument changes that.  Work of uneven
length (evaluation, checkpoints, a slow file) therefore ends with ``meet``, a barrier over the job's TCP store that
waits as long as it takes; the collectives themselves then start together.
"""

from __future__ import annotations

import os
import time
from typing import Any

import paddle
import paddle.distributed as dist

from paddlevideo.errors import UserError

_meetings = 0


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ.get("PADDLE_TRAINER_ID", 0))


def world_size() -> int:
    """How many processes train together."""
    return int(os.environ.get("PADDLE_TRAINERS_NUM", 1))


def is_main() -> bool:
    """True on the one rank that writes files and prints."""
    return rank() == 0


def set_up(device: str = "auto") -> str:
    """Chooses the device and joins the other ranks.

    Args:
        device: ``auto`` (a GPU if Paddle and the machine have one), ``cpu``, ``gpu`` or ``gpu:N``.

    Returns:
        The device in use, e.g. ``cpu`` or ``gpu:0``.

    Raises:
        UserError: a GPU is asked for and none can be used.
    """
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if device == "auto":
        device = "gpu" if gpus else "cpu"
    if device.startswith("gpu") and not gpus:
        why = "no GPU is visible" if paddle.is_compiled_with_cuda() else "this PaddlePaddle is the CPU build"
        raise UserError(f"--device {device}: {why}; use --device cpu, or install paddlepaddle-gpu (README, Install)")
    if device == "gpu" and world_size() > 1:
        device = f"gpu:{dist.ParallelEnv().device_id}"
    try:
        paddle.set_device(device)
    except ValueError as error:
        raise UserError(f"--device {device}: {' '.join(str(error).split())}; expected cpu, gpu or gpu:N") from None
    if world_size() > 1:
        dist.init_parallel_env()
        meet()
    return device


def meet() -> None:
    """Waits for all ranks, however long they take.  Every rank must call it equally often."""
    global _meetings
    if world_size() == 1:
        return
    from paddle.base.core import create_or_get_global_tcp_store

    store = create_or_get_global_tcp_store()
    key = f"paddlevideo/meeting/{_meetings}"
    _meetings += 1
    store.add(key, 1)
    pause_s = 0.0005
    while store.add(key, 0) < world_size():
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.1)


def gather(value: Any) -> list[Any]:
    """The value of every rank, in rank order, on every rank.  Waits for late ranks."""
    if world_size() == 1:
        return [value]
    meet()
    values: list[Any] = []
    dist.all_gather_object(values, value)
    return values


def add_up(values: list[float]) -> list[float]:
    """The elementwise sum over the ranks.  Waits for late ranks."""
    if world_size() == 1:
        return values
    meet()
    tensor = paddle.to_tensor(values, dtype="float32")
    dist.all_reduce(tensor)
    return [float(v) for v in tensor.numpy()]


def parallel(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """The model whose gradients are averaged over the ranks."""
    return paddle.DataParallel(model) if world_size() > 1 else model
