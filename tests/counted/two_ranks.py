"""Trains the configuration of the first argument and prints what its steps cost; run by the launcher.

With a second argument, a name of a backend, the exchange of a step is the one of that backend (over gloo, on the CPU).
"""

import json
import os
import socket
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import paddle.distributed as dist
import pytest

from paddlevideo.config import load_config
from paddlevideo.engine import distributed
from paddlevideo.engine.rank_channel import RankChannel
from paddlevideo.engine.trainer import Trainer
from paddlevideo.engine.training import train
from paddlevideo.settings import Options
from tests.counted.reads import count_reads

_TCP_INFO_BYTES = 120  # tcpi_bytes_acked and tcpi_bytes_received, 64 bits each


def store_bytes() -> int:
    """Bytes that this process has exchanged with the job's store, by the kernel's count."""
    port, total = int(os.environ["PADDLE_MASTER"].rsplit(":", 1)[1]), 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if not os.readlink(entry).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                if port in (connection.getsockname()[1:2] + connection.getpeername()[1:2]):
                    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
                    total += sum(struct.unpack_from("2Q", info, _TCP_INFO_BYTES))
        except (OSError, IndexError, TypeError):
            continue
    return total


def main() -> None:
    patch = pytest.MonkeyPatch()
    steps, total = [], {"exchanges": 0, "collectives": 0}

    def counted(owner, name, key):
        method = getattr(owner, name)

        def call(*arguments, **named):
            total[key] += 1
            return method(*arguments, **named)

        patch.setattr(owner, name, call)

    reads = count_reads(patch)
    counted(RankChannel, "all_reduce_sum", "exchanges")  # a barrier is one, too
    counted(dist, "all_reduce", "collectives")
    step = Trainer._step

    def watched(run, window):
        if len(sys.argv) > 2:
            patch.setattr(dist, "get_backend", lambda: sys.argv[2])
        reads.clear()
        before, bytes_before = dict(total), store_bytes()
        assert bytes_before > 0, "no connection to the store was found"
        figures = step(run, window)
        cost = {key: total[key] - before[key] for key in total}
        steps.append({**cost, "reads": len(reads), "store bytes": store_bytes() - bytes_before})
        return figures

    patch.setattr(Trainer, "_step", watched)
    train(load_config(sys.argv[1]), Options())
    patch.undo()
    for line in distributed.gather(json.dumps(steps)):
        if distributed.is_main():
            print(f"steps: {line}", flush=True)


if __name__ == "__main__":
    main()
