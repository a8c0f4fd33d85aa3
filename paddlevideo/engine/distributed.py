"""Ranks, and what they exchange.  One process is the special case of one rank everywhere below.

Paddle's collectives carry gradients and gathered objects only.  Sums of a few figures and barriers have connections of
their own (``rank_channel``), without a timeout, and a watch (``rank_watch``) ends all ranks when one is
lost or hangs.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import paddle
import paddle.distributed as dist

from paddlevideo.engine.rank_channel import RankChannel, connect
from paddlevideo.engine.rank_watch import RankWatch
from paddlevideo.environment import is_main, rank, use_device, world_size  # noqa: F401  (all about ranks is here)
from paddlevideo.errors import UserError

_CHANNEL_KEY = "paddlevideo/channel"
_channel: RankChannel | None = None


def set_up(device: str = "auto") -> str:
    """Chooses the device, joins the other ranks, and begins to watch them.

    Args:
        device: ``auto`` (a GPU if Paddle and the machine have one), ``cpu``, ``gpu`` or ``gpu:N``.

    Returns:
        The device in use, e.g. ``cpu`` or ``gpu:0``.

    Raises:
        UserError: no such device; a rank does not join; a bad limit in the environment.
    """
    device = use_device(device)
    _join()
    return device


def _join() -> None:
    global _channel
    if _channel is not None:
        return
    # only launchers set this; a process that a shell started outlives it
    launcher = os.getppid() if "PADDLE_RANK_IN_NODE" in os.environ else None
    if world_size() == 1:
        if launcher:
            RankWatch(0, {}, launcher).start()
        return
    limits = (_seconds("PADDLEVIDEO_HANG_LIMIT_S", 120.0), _seconds("PADDLEVIDEO_STALL_LIMIT_S", 1800.0))
    dist.init_parallel_env()
    from paddle.base.core import create_or_get_global_tcp_store

    store = create_or_get_global_tcp_store()
    sums, heartbeats = connect(
        rank(), world_size(), _host_of_rank_zero(),
        lambda address: store.set(_CHANNEL_KEY, address), lambda: store.get(_CHANNEL_KEY).decode(),
    )  # fmt: skip
    watch = RankWatch(rank(), heartbeats, launcher, *limits)
    _channel = RankChannel(rank(), sums, watch)
    watch.start()


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable, str(default))
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (variable == "PADDLEVIDEO_HANG_LIMIT_S" and value == 0):
        raise UserError(f"environment variable {variable}: expected seconds above 0, got {text!r}")
    return value


def _host_of_rank_zero() -> str:
    """The address of Paddle's own store."""
    if "MASTER_ADDR" in os.environ and "MASTER_PORT" in os.environ:
        return os.environ["MASTER_ADDR"]
    endpoint = os.environ.get("PADDLE_MASTER") or os.environ["PADDLE_TRAINER_ENDPOINTS"].split(",")[0]
    return endpoint.rsplit(":", 1)[0]


def barrier() -> None:
    """Blocks until every rank has called it; no timeout."""
    if _channel is not None:
        _channel.barrier()


def all_reduce_sum(values: list[float]) -> list[float]:
    """The elementwise sum over the ranks, on every rank; blocks until every rank has called it; no timeout."""
    return values if _channel is None else _channel.all_reduce_sum(values)


def read_checked(
    values: paddle.Tensor, num_checked: int, stops: Sequence[bool]
) -> tuple[list[float], bool, tuple[bool, ...]]:
    """The one read from the device and the one exchange between ranks of an optimizer step.

    With NCCL the flags of the ranks are summed on the device before the read; otherwise by ``all_reduce_sum`` after it.

    Args:
        values: float32 [n], of this rank.
        num_checked: so many of them, from the first one on, must be finite.
        stops: whether this rank is to stop, for each reason.

    Returns:
        The values; whether one that must be finite is not, on any rank; whether any rank is to stop, for each reason.
    """
    if _channel is not None and dist.get_backend() == "NCCL":
        wrong = paddle.logical_not(paddle.isfinite(values[:num_checked])).any().astype("float32")
        flags = paddle.concat([wrong.reshape([1]), paddle.to_tensor([float(stop) for stop in stops])])
        dist.all_reduce(flags)
        read = paddle.concat([values, flags]).tolist()
        own, (refused, *stopped) = read[: len(read) - len(stops) - 1], read[len(read) - len(stops) - 1 :]
    else:
        own = values.tolist()
        wrong = not all(map(math.isfinite, own[:num_checked]))
        refused, *stopped = all_reduce_sum([float(wrong), *map(float, stops)])
    return own, refused > 0, tuple(flag > 0 for flag in stopped)


@contextlib.contextmanager
def collective() -> Iterator[None]:
    """Context of Paddle's collectives, as in a backward pass: ranks begin them together, and a failure names a rank.

    gloo times out on a rank that is 30 s late, and no argument of Paddle 3.3.1 changes that; NCCL waits.  Any step may
    be late: a clip on a storage that hangs, a checkpoint, a long evaluation.  So every backward pass over gloo begins
    with a barrier, 0.1 ms on two ranks of one machine; NCCL has none.
    """
    if _channel is None:
        yield
        return
    if dist.get_backend() == "GLOO":
        _channel.barrier()
    try:
        yield
    except RuntimeError as error:
        if "gloo" in str(error).lower():
            _channel.diagnose_failure(error)
        raise


def gather(value: Any) -> list[Any]:
    """The value of every rank, in rank order, on every rank; blocks until every rank has called it; no timeout."""
    if world_size() == 1:
        return [value]
    barrier()
    values: list[Any] = []
    with collective():
        dist.all_gather_object(values, value)
    return values


def parallel(model: paddle.nn.Layer) -> paddle.nn.Layer:
    """The model with gradients averaged over the ranks."""
    if world_size() == 1:
        return model
    with collective():
        return paddle.DataParallel(model)
