"""One of N processes that only exchange the flags of a step: ``exchange.py RANK N FOLDER ROUNDS``.  Needs no Paddle."""

from __future__ import annotations

import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))


def main(rank: int, world: int, folder: Path, rounds: int) -> None:
    from paddlevideo.engine.rank_channel import RankChannel, connect
    from paddlevideo.engine.rank_watch import RankWatch

    def fetch() -> str:
        while not (folder / "address").exists():
            time.sleep(0.05)
        return (folder / "address").read_text()

    def publish(address: str) -> None:
        (folder / "new").write_text(address)
        (folder / "new").rename(folder / "address")

    sums, heartbeats = connect(rank, world, "127.0.0.1", publish, fetch)
    watch = RankWatch(rank, heartbeats)
    channel = RankChannel(rank, sums, watch)
    watch.start()
    channel.barrier()
    seconds, cpu = [], time.process_time()
    for _ in range(rounds):
        begun = time.perf_counter()
        channel.all_reduce_sum([0.0, 0.0])
        seconds.append(time.perf_counter() - begun)
    cpu = time.process_time() - cpu
    if rank == 0:
        figures = {"ms": 1e3 * statistics.median(seconds), "cpu_ms": 1e3 * cpu / rounds}
        print(json.dumps(figures), flush=True)
    channel.barrier()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
