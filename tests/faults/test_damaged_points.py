"""Resume points, damaged as often as the scorecard requires: the damage is named, and an older point is used."""

import json
import pickle
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine import checkpoint
from paddlevideo.engine.checkpoint import ARRAYS, MANIFEST, RunFolder
from paddlevideo.errors import UserError
from tests.tiny import ROOT, tsm_config

pytestmark = pytest.mark.reliability


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """The folder of a run whose last point has files of every kind."""
    from paddlevideo.engine.training import train
    from paddlevideo.settings import Options

    output = tmp_path_factory.mktemp("trained")
    config = tsm_config(clips, output) | {"epochs": 2, "checkpoint_steps": 1, "keep_checkpoints": 20}
    train(Config(config | {"EMA": {"decay": 0.9}, "SWA": {"start_epoch": 2}}), Options(seed=1))
    return RunFolder(output, "TSM", lock=False)


def files_of_newest(folder):
    """The newest point's stem, and its files from the weights to the manifest."""
    stem = folder.entries()[0][0].stem
    files = [stem.with_name(stem.name + suffix) for suffix in (*ARRAYS, MANIFEST)]
    assert all(file.is_file() for file in files)
    return stem, files


def put(file, content):
    """Replaces a file; points share files by hard links, which stay as they are."""
    file.unlink()
    file.write_bytes(content)


def means_the_same(file, one, other):
    """Whether two contents of a manifest are one: of white space or the last digit of a number."""
    if file.suffix != MANIFEST:
        return one == other
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False


def flipped(file, whole, rng):
    """The content with one bit changed, which changes what it means."""
    while True:
        changed = bytearray(whole)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        if not means_the_same(file, changed, whole):
            return bytes(changed)


def flips_that_load(stem, files, count):
    """Of ``count`` flipped bits, those that are loaded without an error that names the file."""
    rng, silent = random.Random(5), []
    for k in range(count):
        file = files[k % len(files)]
        whole = file.read_bytes()
        put(file, flipped(file, whole, rng))
        try:
            checkpoint.load(stem)
            silent.append((k, file.name))
        except UserError as error:
            assert file.name in str(error)
        finally:
            put(file, whole)
    checkpoint.load(stem)
    return silent


@pytest.mark.scorecard(20, times=300)
def test_every_flipped_bit_of_every_file_is_detected(trained):
    assert flips_that_load(*files_of_newest(trained), 300) == []


def test_without_digests_most_flipped_bits_load(trained, monkeypatch):
    stem, files = files_of_newest(trained)
    declared = json.loads(files[-1].read_text())["files"]
    monkeypatch.setattr(checkpoint, "sha256", lambda file: declared[file.name])
    assert len(flips_that_load(stem, files[:1], 40)) > 20


@pytest.mark.scorecard(19, times=200)
def test_every_truncation_of_every_file_is_named_and_the_older_point_is_used(trained):
    stem, files = files_of_newest(trained)
    older = trained.entries()[0][1].stem
    tried = 0
    for file in files:
        whole = file.read_bytes()
        for length in np.linspace(0, len(whole) - 1, 40, dtype=int):
            put(file, whole[:length])
            with pytest.raises(UserError) as caught:
                checkpoint.load(stem)
            assert file.name in str(caught.value)
            assert trained.newest().stem == older
            tried += 1
        put(file, whole)
    assert tried == 200 and trained.newest().stem == stem


SAVING = """
import sys
from pathlib import Path
import numpy as np
from paddlevideo.engine.checkpoint import RunFolder
from tests.faults.test_manifest import STATE
folder = RunFolder(Path(sys.argv[1]), "TSM")
folder.run = "of all processes"
step = max((entry.step for entry in folder.entries()[0]), default=0)
while True:
    step += 1
    arrays = {suffix: {"w": np.full(1 << 20, step, "float32")} for suffix in (".pdparams", ".pdopt")}
    folder.save(f"step_{step:08d}", arrays, {**STATE, "progress": {**STATE["progress"], "step": step}})
    folder.keep_newest("step_", 2, step)
"""
DIRECT = """
import pickle, sys
import numpy as np
while True:
    with open(f"{sys.argv[1]}/w.pdparams", "wb") as stream:
        pickle.dump({"w": np.ones(1 << 22, "float32")}, stream)
"""


def killed(code, folder, ready, pause_s):
    """Runs a process that writes, and kills it ``pause_s`` after ``ready()`` first holds."""
    process = subprocess.Popen([sys.executable, "-c", code, str(folder)], cwd=ROOT)
    deadline = time.monotonic() + 120
    while not ready():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.0005)
    time.sleep(pause_s)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


def unfinished(folder):
    """Files of a write that was not finished: temporary ones, and arrays newer than the newest manifest."""
    newest = max((file.stem for file in folder.glob(f"*{MANIFEST}")), default="")
    arrays = [file for suffix in ARRAYS for file in folder.glob(f"*{suffix}")]
    return [*folder.glob(".*.tmp"), *(file for file in arrays if file.stem > newest)]


@pytest.mark.scorecard(17, times=20)
def test_a_kill_within_a_write_leaves_a_valid_point_and_nothing_temporary(tmp_path):
    rng, within, tried = random.Random(3), 0, 0
    while within < 20:
        tried += 1
        assert tried <= 60, f"only {within} of {tried} kills hit a write"
        begun = [file.name for file in tmp_path.glob(f"*{MANIFEST}")]
        killed(
            SAVING,
            tmp_path,
            lambda begun=begun: (
                {file.name for file in tmp_path.glob(f"*{MANIFEST}")} - {*begun} and unfinished(tmp_path)
            ),
            rng.random() * 0.005,
        )
        within += bool(unfinished(tmp_path))
        with RunFolder(tmp_path, "TSM") as folder:  # takes the lock of the killed one
            assert not list(tmp_path.glob(".*.tmp"))
            point = folder.newest()
            step = point.state["progress"]["step"]
            assert all((arrays["w"] == step).all() for arrays in point.arrays.values()) and len(point.arrays) == 2


def test_a_kill_within_a_direct_write_destroys_the_file(tmp_path):
    file = tmp_path / "w.pdparams"
    damaged = 0
    for _ in range(10):
        killed(DIRECT, tmp_path, lambda: file.is_file() and 0 < file.stat().st_size < 1 << 24, 0)
        try:
            pickle.loads(file.read_bytes())
        except (pickle.UnpicklingError, EOFError, ValueError):
            damaged += 1
    assert damaged > 0
