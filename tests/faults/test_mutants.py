"""Damaged files against every reader: a share of ``tests/faults/mutants.py``, and all of it among the slow tests."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import mutants

ROUNDS = 4


def readers():
    return [name for name in mutants.READERS if name != "decord" or importlib.util.find_spec("decord")]


@pytest.mark.parametrize("name", ["h264.mp4", "h264.mkv", "h264.ts", "h264.flv", "mjpeg.avi", "mpeg4.avi", "vp9.webm"])
def test_no_reported_damage_is_missed(tmp_path, name):
    outcomes = mutants.run(tmp_path, 3, 1, [name], readers())
    assert {outcome.kind for outcome in outcomes} <= {"refused", "equal", "silent"}
    assert sum(outcome.kind == "refused" for outcome in outcomes) > len(outcomes) / 2
    assert max(outcome.seconds for outcome in outcomes) < mutants.MAX_SECONDS


@pytest.mark.scorecard(14, times=ROUNDS * len(mutants.SOURCES) * len(mutants.DAMAGES))
@pytest.mark.slow
def test_all_mutants():
    # a process of its own, so that a death is seen
    arguments = ["--seed", "0", "--rounds", str(ROUNDS), "--readers", *readers()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.mutants", *arguments],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
