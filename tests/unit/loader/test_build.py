"""Batches: the same whatever computes them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader import workers
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.collate import collate
from paddlevideo.loader.mix import VideoMix
from paddlevideo.loader.sampler import BatchPlan
from tests.clips import numbered_frames, write_clip
from tests.unit.loader.fakes import DecodingPipeline, FakePipeline, arrays, assert_same, dataset_of, loader_of

NAMES = [f"clip_{n}.mp4" for n in range(22)]
REPOSITORY = Path(__file__).resolve().parents[3]


def indices(plan, epoch=0):
    return [batch.tolist() for batch in plan.batches(epoch)]


def flat(batches):
    return [index for batch in batches for index in batch]


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("num", [12, 13, 23, 24, 5])
@pytest.mark.parametrize("drop_last", [False, True])
def test_training_ranks_together_are_one_process(world, num, drop_last):
    one = indices(BatchPlan(num, 4 * world, 3, True, drop_last, pad=True), epoch=2)
    ranks = [BatchPlan(num, 4, 3, True, drop_last, rank, world, pad=True) for rank in range(world)]
    dealt = [indices(plan, epoch=2) for plan in ranks]
    assert [len(plan) for plan in ranks] == [len(d) for d in dealt] == [len(one)] * world
    for number, whole in enumerate(one):
        together = flat(d[number] for d in dealt)
        assert set(whole) <= set(together)
        assert len({len(d[number]) for d in dealt}) == 1
        if len(whole) % world == 0:
            assert sorted(together) == sorted(whole)


@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("num", [1, 2, 7, 12, 13])
def test_evaluation_sees_each_sample_once(world, num):
    plans = [BatchPlan(num, 2, rank=rank, world_size=world) for rank in range(world)]
    assert sorted(flat(flat(indices(plan) for plan in plans))) == list(range(num))
    assert [len(plan) for plan in plans] == [len(indices(plan)) for plan in plans]


def test_shuffle_depends_on_seed_and_epoch():
    plan = BatchPlan(40, 8, seed=1, shuffle=True)
    assert indices(plan, 0) == indices(plan, 0) != indices(plan, 1)
    assert indices(plan, 0) != indices(BatchPlan(40, 8, seed=2, shuffle=True), 0)
    assert flat(indices(BatchPlan(5, 2))) == [0, 1, 2, 3, 4]


@pytest.fixture
def dataset(tmp_path):
    return dataset_of(tmp_path, NAMES)


def test_batch_contract(dataset):
    loader = loader_of(dataset)
    batches = list(loader.epoch(0))
    assert len(batches) == len(loader) == 6
    first = batches[0]
    assert first["imgs"].shape == (4, 1, 2, 4, 4, 3) and first["imgs"].dtype == np.uint8
    assert {k: first[k].dtype.name for k in ("label", "index", "replaced", "valid")} == {
        "label": "int64", "index": "int64", "replaced": "int64", "valid": "uint8",
    }  # fmt: skip
    assert set(first) == {"imgs", "label", "index", "replaced", "valid"}
    assert [int(n) % 3 for n in first["index"]] == first["label"].tolist()
    assert sorted(flat(b["index"].tolist() for b in batches)) == list(range(22))


def test_soft_labels_and_shapes():
    sample = {"imgs": np.zeros((1, 2, 4, 4, 3), np.uint8), "index": 0, "label": np.array([0, 1.0], np.float32)}
    batch = collate([sample, sample])
    assert batch["label"].shape == (2, 2) and batch["label"].dtype == np.float32
    other = {**sample, "imgs": np.zeros((1, 2, 5, 4, 3), np.uint8), "index": 7}
    with pytest.raises(UserError, match=r"\[1, 2, 5, 4, 3\] \(sample 7\)"):
        collate([sample, other])
    del sample["label"]
    assert "label" not in collate([sample])


def test_number_of_workers_changes_nothing(dataset):
    runs = [arrays(loader_of(dataset, num_workers=n).epoch(1)) for n in (0, 1, 2)]
    assert_same(runs[0], runs[1])
    assert_same(runs[0], runs[2])


def test_ranks_draw_what_one_process_draws(dataset):
    one = {int(i): x for b in loader_of(dataset, 8).epoch(3) for i, x in zip(b["index"], b["imgs"])}
    seen = {}
    for rank in (0, 1):
        for batch in loader_of(dataset, 4, rank=rank, world_size=2).epoch(3):
            seen.update({int(i): x for i, x in zip(batch["index"], batch["imgs"])})
    assert seen.keys() == one.keys()
    assert all(np.array_equal(seen[i], one[i]) for i in one)


def test_augmentation_changes_with_epoch_and_seed(dataset):
    def clip(epoch, **kwargs):
        return next(loader_of(dataset, shuffle=False, **kwargs).epoch(epoch))["imgs"]

    assert not np.array_equal(clip(0), clip(1))
    assert not np.array_equal(clip(0), clip(0, seed=6))
    assert len({x.tobytes() for x in clip(0)}) == 4


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_inside_an_epoch(dataset, num_workers):
    whole = arrays(loader_of(dataset).epoch(4))
    loader = loader_of(dataset, num_workers=num_workers)
    assert_same(whole[3:], arrays(loader.epoch(4, start_batch=3)))
    assert list(loader.epoch(4, start_batch=len(loader))) == []


def test_mixing_is_keyed_too(dataset):
    def run(**kwargs):
        return arrays(loader_of(dataset, mix=VideoMix(), **kwargs).epoch(1))

    whole = run()
    assert whole[0]["label"].dtype == np.float32 and whole[0]["label"].shape == (4, 3)
    assert_same(whole, run(num_workers=2))
    loader = loader_of(dataset, mix=VideoMix(), num_workers=1)
    assert_same(whole[2:], arrays(loader.epoch(1, start_batch=2)))


def test_early_break_leaves_no_workers(dataset):
    loader = loader_of(dataset, 1, num_workers=2)
    for epoch in range(3):
        for _ in loader.epoch(epoch):
            break
    loader.close()
    assert not multiprocessing.active_children()
    loader.close()


def test_two_iterators_side_by_side(dataset):
    loader = loader_of(dataset, num_workers=1)
    outer = loader.epoch(0)
    first = next(outer)
    inner = arrays(loader.epoch(1))  # e.g. precise BN in the middle of an epoch
    assert_same(arrays([first, *outer]), arrays(loader_of(dataset).epoch(0)))
    assert_same(inner, arrays(loader_of(dataset).epoch(1)))
    loader.epoch(0)
    loader.close()


@pytest.mark.scorecard(25)
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(n, marks=pytest.mark.reliability) for n in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS)),
        pytest.param(signal.SIGFPE, marks=pytest.mark.reliability),
    ],
)
def test_killed_worker(dataset, number):
    batches = loader_of(dataset, 1, num_workers=1, pipeline=SlowPipeline()).epoch(0)
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid, number)
    start = time.monotonic()
    words = "-9.*num_workers" if number == signal.SIGKILL else ""  # Paddle handles the others
    with pytest.raises(UserError, match=f"a data worker died .*exit code {words}.*clip_"):
        list(batches)
    assert time.monotonic() - start < 15
    assert not multiprocessing.active_children()


class SlowPipeline(FakePipeline):
    def __call__(self, sample, rng):
        time.sleep(0.2)
        return super().__call__(sample, rng)


class DeafPipeline(FakePipeline):
    """Stuck where the time limit's signal does not reach."""

    def __call__(self, sample, rng):
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        time.sleep(60)


def stop_worker(sample, rng):
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.scorecard(26)
@pytest.mark.parametrize("stuck", [DeafPipeline(), stop_worker], ids=["in a read", "stopped"])
def test_a_stuck_worker_is_ended(dataset, monkeypatch, stuck):
    monkeypatch.setattr(workers, "hang_limit_s", lambda *_: 1.0)
    with pytest.raises(
        UserError, match=r"data workers timed out \(no batch for 1 s\) on the batch starting with .*clip_"
    ):
        list(loader_of(dataset, 8, num_workers=2, pipeline=stuck).epoch(0))


def test_the_limit_of_workers_is_one_clips_whatever_the_batch(dataset, monkeypatch):
    assert workers.hang_limit_s(60) == 150 and workers.hang_limit_s(0) is None
    monkeypatch.setattr(workers, "hang_limit_s", lambda *_: 1.0)
    assert len(list(loader_of(dataset, 11, num_workers=1, pipeline=SlowPipeline()).epoch(0))) == 2  # 2.2 s each


def test_a_worker_that_never_begins_is_replaced(dataset, monkeypatch, tmp_path):
    """A fork can inherit a lock that nobody will ever release; it happened in this very test suite."""
    begin = workers._start_worker

    def begin_or_hang(*arguments):
        if not (tmp_path / "hung").exists():
            (tmp_path / "hung").touch()
            time.sleep(60)
        begin(*arguments)

    monkeypatch.setattr(workers, "_start_worker", begin_or_hang)
    monkeypatch.setattr(workers, "_START_S", 2)
    start = time.monotonic()
    assert_same(arrays(loader_of(dataset, num_workers=1).epoch(0)), arrays(loader_of(dataset).epoch(0)))
    assert (tmp_path / "hung").exists() and time.monotonic() - start < 20


def test_sigterm_to_the_whole_job_leaves_the_workers_to_the_parent(dataset):
    batches = loader_of(dataset, 1, num_workers=1, pipeline=SlowPipeline()).epoch(0)
    next(batches)
    multiprocessing.active_children()[0].terminate()
    assert len(list(batches)) == len(NAMES) - 1


SCRIPT = """
import multiprocessing, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from tests.unit.loader.fakes import *
names = ["clip_%d" % n for n in range(50)]
batches = loader_of(dataset_of(Path({folder!r}), names), 1, num_workers=2).epoch(0)
next(batches)
print(*[p.pid for p in multiprocessing.active_children()], flush=True)
"""


def run_script(tmp_path, ending):
    code = SCRIPT.format(root=str(REPOSITORY), folder=str(tmp_path)) + ending
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_workers_die_with_their_parent(tmp_path):
    parent = run_script(tmp_path, "time.sleep(60)")
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(workers) == 2
    parent.kill()
    parent.communicate(timeout=10)  # the pipe closes only when the workers are gone too
    assert not [pid for pid in workers if alive(pid)]


def test_exit_in_the_middle_of_an_epoch(tmp_path):
    parent = run_script(tmp_path, "")
    out, _ = parent.communicate(timeout=25)
    assert parent.returncode == 0 and not [pid for pid in out.split() if alive(pid)]


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def section(tmp_path, count=5, **more):
    file = tmp_path / "l.list"
    names = [f"c{n}.mp4" for n in range(count)]
    file.write_text("".join(f"{name} {n % 2}\n" for n, name in enumerate(names)))
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    return {"format": "VideoDataset", "file_path": str(file), "data_prefix": str(tmp_path), **more}


GIVEN = {"seed": 1, "num_classes": 2, "batch_size": 4, "num_workers": 0, "shuffle": False, "drop_last": False}


@pytest.fixture
def fake_pipeline(monkeypatch):
    monkeypatch.setattr("paddlevideo.loader.build.Pipeline", FakePipeline)


def test_build_loader(tmp_path, fake_pipeline):
    loader = build_loader(section(tmp_path), {}, "valid", **GIVEN)
    assert [b["index"].tolist() for b in loader.epoch(0)] == [[0, 1, 2, 3], [4]]
    assert loader.dataset.records[4]["filename"] == str(tmp_path / "c4.mp4")
    assert isinstance(loader.pipeline, FakePipeline)


def test_reading_keys_belong_to_the_loader(tmp_path, fake_pipeline):
    keys = {"on_error": "raise", "timeout_s": 7.5, "max_replacements": 2}
    samples = build_loader(section(tmp_path, **keys), {}, "train", **GIVEN)._source.samples
    assert (samples.on_error, samples.timeout_s, samples.max_replacements) == ("raise", 7.5, 2)


@pytest.mark.scorecard(33)
def test_training_set_smaller_than_a_batch(tmp_path, fake_pipeline):
    with pytest.raises(UserError, match="5 samples make no batch of 4 on 2"):
        build_loader(section(tmp_path), {}, "train", **{**GIVEN, "drop_last": True}, world_size=2)


def test_bad_sections(tmp_path, fake_pipeline):
    with pytest.raises(ConfigError, match="did you mean 'VideoDataset'"):
        build_loader(section(tmp_path, format="VideoDataSet"), {}, "train", **GIVEN)
    with pytest.raises(ConfigError, match="DATASET.train.format: missing"):
        build_loader({"file_path": "x"}, {}, "train", **GIVEN)
    with pytest.raises(ConfigError, match="DATASET.test.on_error: 'skip' is not possible"):
        build_loader(section(tmp_path, on_error="skip"), {}, "test", **GIVEN)
    with pytest.raises(ConfigError, match="DATASET.train.on_error: 'count' is not possible"):
        build_loader(section(tmp_path, on_error="count"), {}, "train", **GIVEN)
    with pytest.raises(UserError, match="seed"):
        build_loader(section(tmp_path), {}, "train", **{**GIVEN, "seed": -1})


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (("c0.mp4", 0), "is a tuple"),
        ({"path": "c0.mp4", "label": 1}, "has only path, label"),
    ],
)
def test_records_without_a_path_are_named(tmp_path, fake_pipeline, monkeypatch, record, words):
    monkeypatch.setattr("paddlevideo.loader.datasets.video.VideoDataset._from_list", lambda *arguments: [record])
    with pytest.raises(UserError) as caught:
        build_loader(section(tmp_path), {}, "train", **GIVEN)
    text = f"DATASET.train: VideoDataset.records[0] {words}, expected a dict with 'filename' or 'frame_dir'"
    assert str(caught.value) == text


def test_main_process_ignores_no_signals_afterwards(dataset):
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)]
    list(loader_of(dataset).epoch(0))
    list(loader_of(dataset, num_workers=1).epoch(0))
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)] == before


def test_real_files_through_workers(tmp_path):
    names = [f"v{n}.mp4" for n in range(4)]
    for seed, name in enumerate(names):
        write_clip(tmp_path / name, numbered_frames(20, seed=seed))
    dataset = dataset_of(tmp_path, names)
    runs = [arrays(loader_of(dataset, 2, n, pipeline=DecodingPipeline()).epoch(0)) for n in (0, 2)]
    assert_same(*runs)
    assert runs[0][0]["imgs"].shape == (2, 1, 2, 48, 64, 3)
