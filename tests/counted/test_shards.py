"""Requests and bytes of an epoch over shards: by windows of neighbours, not by samples."""

import io
import tarfile
from collections import Counter

import numpy as np
import pytest

from paddlevideo.loader.datasets.shard import ShardDataset
from paddlevideo.loader.sampler import BatchPlan
from paddlevideo.loader.shards.storage import Storage

SHARDS, PER_SHARD, SIZE = 8, 64, 3000
NUM = SHARDS * PER_SHARD


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    for number in range(SHARDS):
        with tarfile.open(folder / f"a-{number}.tar", "w") as archive:
            for k in range(PER_SHARD):
                for name, content in ((f"{k:04d}.mp4", bytes([k]) * SIZE), (f"{k:04d}.cls", b"0")):
                    member = tarfile.TarInfo(name)
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return folder


class Counted:
    """Reads of shards: (name, bytes)."""

    def __init__(self, monkeypatch):
        self.reads = []
        read = Storage.read

        def counted(storage, name, start, end):
            content = read(storage, name, start, end)
            self.reads.append((name, len(content)))
            return content

        monkeypatch.setattr(Storage, "read", counted)

    @property
    def num_bytes(self):
        return sum(size for _, size in self.reads)


def read_epoch(folder, counted, ranks, workers, batch, shuffle=True, start=0):
    """What the worker processes of all ranks do, each holding no more than the page of shards states; the reads of one
    epoch."""
    data, seen = ShardDataset(str(folder)), Counter()
    data._reader._read_ahead = 16 * 8 * batch // 4 // workers * SIZE
    counted.reads.clear()
    for rank in range(ranks):
        plan = BatchPlan(NUM, batch, 1, shuffle, False, rank, ranks, shuffled=data.shuffled)
        batches = plan.batches(3)[start:]
        for worker in range(workers):
            order = np.concatenate(batches[worker::workers])
            data.expect(order)
            for k in order.tolist():
                assert data.sample(k)["content"] == bytes([k % PER_SHARD]) * SIZE
                seen[k] += 1
    assert set(seen.values()) == {1} and len(seen) == NUM - start * batch * ranks
    return len(counted.reads)


@pytest.mark.parametrize(
    ("ranks", "workers", "batch"), [(1, 1, 4), (1, 4, 4), (1, 8, 8), (2, 2, 4), (2, 4, 8), (4, 1, 4)]
)
def test_a_training_epoch_reads_windows(shards, monkeypatch, ranks, workers, batch):
    counted = Counted(monkeypatch)
    requests = read_epoch(shards, counted, ranks, workers, batch)
    # 32 windows of 16 samples, some of them cut where a lane ends, and samples at the end of the epoch
    assert requests <= 2 * NUM // 16, requests
    total = sum(file.stat().st_size for file in shards.glob("*.tar"))
    assert 0.7 * total < counted.num_bytes < 1.0 * total


def test_other_numbers_of_workers_read_smaller_pieces_and_no_more_bytes(shards, monkeypatch):
    counted = Counted(monkeypatch)
    assert NUM // 16 < read_epoch(shards, counted, 1, 3, 4) <= NUM
    assert counted.num_bytes < sum(file.stat().st_size for file in shards.glob("*.tar"))


def test_evaluation_reads_batches_or_more(shards, monkeypatch):
    counted = Counted(monkeypatch)
    assert read_epoch(shards, counted, 1, 1, 8, shuffle=False) <= 2 * SHARDS
    assert read_epoch(shards, counted, 2, 2, 8, shuffle=False) == NUM // 8


def test_a_resumed_epoch_reads_nothing_that_is_done(shards, monkeypatch):
    counted = Counted(monkeypatch)
    read_epoch(shards, counted, 1, 1, 4)
    whole = counted.num_bytes
    read_epoch(shards, counted, 1, 1, 4, start=NUM // 4 - 8)
    assert counted.num_bytes <= whole * 32 * 1.1 / NUM


def test_what_is_held_stays_below_the_limit(shards, monkeypatch):
    data = ShardDataset(str(shards), read_ahead_mb=1)
    data._reader._read_ahead = 20 * SIZE
    order = BatchPlan(NUM, 4, 1, True, shuffled=data.shuffled)._order(0)
    data.expect(order)
    most = 0
    for k in order.tolist():
        data.sample(k)
        most = max(most, sum(map(len, data._reader._held.values())))
    assert most <= 20 * SIZE
