"""A disk that is really full: a file system of a few megabytes, mounted for the test."""

import subprocess
import sys

import pytest

from paddlevideo.engine.checkpoint import RunFolder, load
from tests.tiny import ROOT, save, tsm_config

NUM_STEPS = 12


@pytest.fixture
def small_disk(tmp_path):
    """``small_disk(kib)``: mounts, or enlarges, a file system of this size; returns its folder."""
    folder, mounted = tmp_path / "disk", []
    folder.mkdir()

    def of(kib):
        options = f"size={kib}k" + ",remount" * len(mounted)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True)
        if done.returncode:
            pytest.skip("a file system cannot be mounted here (needs root)")
        mounted.append(folder)
        return folder

    yield of
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def run(config_file, *words):
    return subprocess.run(
        [sys.executable, "main.py", "-c", str(config_file), "--seed", "1", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.scorecard(18)
def test_a_run_ends_in_one_line_keeps_its_older_point_and_goes_on_when_there_is_room(clips, tmp_path, small_disk):
    whole = tsm_config(clips, tmp_path / "whole") | {"checkpoint_steps": 1, "keep_checkpoints": NUM_STEPS}
    assert run(save(whole, tmp_path / "whole.yaml")).returncode == 0
    size_kib = sum(file.stat().st_size for file in (tmp_path / "whole").iterdir()) // 1024
    output = small_disk(size_kib // 2) / "run"
    file = save(whole | {"output_dir": str(output)}, tmp_path / "run.yaml")
    done = run(file)
    assert done.returncode == 2, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if "No space left on device" in line]
    assert str(output) in line and "Traceback" not in done.stderr
    points = RunFolder(output, "TSM", lock=False).entries()[0]
    assert points and points[-1].step < NUM_STEPS
    assert load(points[-1].stem).state["progress"]["step"] == points[-1].step
    small_disk(2 * size_kib)
    done = run(file, "--resume", "auto")
    assert done.returncode == 0, done.stderr
    last = "TSM_epoch_00003.pdparams"
    assert (output / last).read_bytes() == (tmp_path / "whole" / last).read_bytes()
