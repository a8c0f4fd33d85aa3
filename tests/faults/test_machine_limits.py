"""What a machine lacks (room, memory, packages, permission) ends in one line that says so, with exit code 2."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.cli.command import EXIT_USER_ERROR, run_command
from paddlevideo.config import Config
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.loader.collate import BatchSource
from paddlevideo.loader.datasets.lists import sample_error
from paddlevideo.loader.workers import _death
from paddlevideo.memory import OutOfMemoryError
from paddlevideo.safe_io import write_atomic
from paddlevideo.settings import Options
from tests.tiny import ROOT, make_clips, run_test, save, tsm_config

ALLOCATION = (
    "(ResourceExhausted) Fail to alloc memory of 2433228800 size, error code is 12.\n  [Hint: ...] (at /x.cc:44)\n"
)


def _raise(error):
    raise error


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_an_output_folder_that_cannot_be_is_named(below, tmp_path):
    (tmp_path / "taken").write_text("a file")
    folder = tmp_path / f"taken{below}"
    with pytest.raises(UserError, match=r"taken.*: cannot be written to \(.*\); name another folder"):
        RunFolder(folder, "TSM")
    with pytest.raises(UserError, match=r"cannot be written \((File exists|Not a directory)\)"):
        write_atomic(folder / "x.json", "text")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(ALLOCATION), "error: out of memory (Fail to alloc memory of 2433228800 size, error code is 12)"),
        (MemoryError(), "error: out of memory (MemoryError)"),
        (RuntimeError("std::bad_alloc"), "error: out of memory (std::bad_alloc)"),
        (PermissionError(errno.EACCES, "Permission denied", "/out/log.txt"), "error: /out/log.txt: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "error: No space left on device"),
        (ModuleNotFoundError("No module named 'paddle'", name="paddle"), "'paddle' is not installed here: pip install"),
    ],
)
def test_a_command_ends_in_one_line(error, line, capsys):
    assert run_command(lambda: _raise(error)) == EXIT_USER_ERROR
    shown = capsys.readouterr().err
    assert line in shown and shown.count("\n") == 1


@pytest.mark.parametrize(
    "error", [ValueError("x"), RuntimeError("x"), OSError("x"), ModuleNotFoundError("x", name="paddlevideo.x")]
)
def test_a_mistake_of_the_suite_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        run_command(lambda: _raise(error))


@pytest.mark.parametrize("mode", ["train", "test"])
def test_out_of_memory_names_the_batch(mode, tmp_path, monkeypatch):
    from paddlevideo.modeling.frameworks.recognizers import Recognizer2D

    config = Config(tsm_config(make_clips(tmp_path / "clips"), tmp_path / "out"))
    if mode == "test":
        weights = f"{train(config, Options(max_iters=1)).folder.stem('epoch_00001')}.pdparams"
    monkeypatch.setattr(Recognizer2D, "forward", lambda self, batch, mode: _raise(MemoryError(ALLOCATION)))
    with pytest.raises(OutOfMemoryError) as caught:
        train(config, Options()) if mode == "train" else run_test(config, Options(weights=weights))
    clips = "2 clips" if mode == "train" else "3 clips"
    assert f"{clips} (1 view of 4 frames, 32 x 32 pixels) (Fail to alloc memory of 2433228800" in str(caught.value)
    assert "lower DATASET." in str(caught.value) and "\n" not in str(caught.value)


GREEDY = """
import resource, runpy, sys
from pathlib import Path
import paddle
from paddlevideo.engine.trainer import Trainer
from paddlevideo.modeling.frameworks.recognizers import Recognizer2D
step, forward, limited = Trainer._step, Recognizer2D.forward, sys.argv.pop(1) == "limited"
values = [1]
def at_step_six(run, window):
    if run.progress.step == 6:
        values[0] = 1 << 28  # a gibibyte
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (1 << 28)
        if limited:
            resource.setrlimit(resource.RLIMIT_AS, (size, size))
    return step(run, window)
def with_more(self, batch, mode="loss"):
    paddle.ones(values)
    return forward(self, batch, mode)
Trainer._step, Recognizer2D.forward = at_step_six, with_more
sys.argv[0] = "main.py"
runpy.run_path("main.py", run_name="__main__")
"""


@pytest.mark.reliability
@pytest.mark.parametrize("limit", ["limited", "unlimited"])
@pytest.mark.scorecard(31)
def test_a_process_at_its_limit_of_memory_ends_in_one_line_and_keeps_its_points(clips, tmp_path, limit):
    config = tsm_config(clips, tmp_path / "out") | {"checkpoint_steps": 1}
    command = [sys.executable, "-c", GREEDY, limit, "-c", str(save(config, tmp_path / "config.yaml"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if limit == "unlimited":
        assert done.returncode == 0, done.stderr
        return
    assert done.returncode == EXIT_USER_ERROR, done.stderr
    last = done.stderr.splitlines()[-1]
    assert "out of memory in" in last and "lower DATASET." in last and "Traceback" not in done.stderr
    assert RunFolder(tmp_path / "out", "TSM", lock=False).newest().state["progress"]["step"] >= 5


def test_what_the_machine_lacks_is_not_laid_at_the_clip():
    record = {"filename": "a.mp4"}
    line = str(sample_error(record, MemoryError("Unable to allocate 3 GiB")))
    assert line.startswith("out of memory while a.mp4 was read (Unable to allocate 3 GiB); lower DATASET.num_workers")
    line = str(sample_error(record, ImportError("libgnutls.so: cannot allocate")))
    assert line.startswith("a Python module cannot be imported (libgnutls.so") and "not this file" in line
    assert str(sample_error(record, KeyError("x"))).startswith("a.mp4: KeyError")


@pytest.mark.parametrize(
    ("code", "words"), [(-9, "memory limit"), (-7, "/dev/shm"), (-11, "a library crashed"), (-6, "aborted"), (3, "")]
)
def test_a_dead_worker_is_explained_by_its_own_exit_code(code, words):
    iterator = SimpleNamespace(_workers=[SimpleNamespace(pid=7, exitcode=code), SimpleNamespace(pid=8, exitcode=0)])
    records = [{"filename": "a.mp4"}]
    source = BatchSource(SimpleNamespace(dataset=SimpleNamespace(records=records)))
    watch = SimpleNamespace(expired_s=None, is_set=lambda: False)
    line = str(_death(iterator, watch, source, np.array([0]), RuntimeError()))
    assert f"pid 7: exit code {code}" in line and "a.mp4" in line and words in line
    assert ("-9" in line) == (code == -9)
    assert os.linesep not in line
