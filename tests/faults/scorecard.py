"""The reliability scorecard: forty numbered faults, and how often the tests marked with a number caused each of them.

    python -m pytest -p tests.faults.scorecard --scorecard benchmarks/reliability.md -m scorecard

is what ``make test-reliability`` runs.  A test states by ``@pytest.mark.scorecard(number, times=N)`` that it causes the
fault ``number`` N times (of one test item; 1 by default), and fails if one of them ends wrongly.
"""

from __future__ import annotations

import collections
import datetime
import os
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import pytest

# number -> what is done and what has to hold, and how often at least
FAULTS: dict[int, tuple[str, int]] = {
    1: ("pickles that call code, at every door that reads weights: refused, nothing runs", 48),
    2: ("honest weights and optimizer states of pickle protocols 2 to 4: load bit for bit", 3),
    3: ("pickles that call code, as person boxes, feature banks and results: refused, nothing runs", 20),
    4: ("pickles, YAML and arrays that grow when they are read: refused within 5 s and 1 GiB", 20),
    5: ("YAML with tags of Python objects, or that expands without end: refused", 2),
    6: ("code as the value of `-o`: stays text; `=` may be in a value", 4),
    7: ("calls that run code (eval, exec, pickle.load, a shell) in the sources: none", 1),
    8: ("odd requests to the studio: an answer of 2xx or 4xx, and the server goes on", 500),
    9: ("names that lead out of a folder, in lists and uploads: refused, or kept as text", 20),
    10: ("addresses of weights that are files, redirect, never end or give another file: refused", 5),
    11: ("archives with links, members outside, or more than they state: nothing is written outside", 4),
    12: ("control characters in names: escaped in the log and on the terminal", 2),
    13: ("shell commands in names of files: not run", 5),
    14: ("damaged videos, each by every reader: no death, no hang, nothing that FFmpeg reports is missed", 400),
    15: ("unreadable videos in training: replaced by rule, and exactly they are reported", 1),
    16: ("an unreadable video in evaluation: the command ends and names it", 1),
    17: ("SIGKILL while a resume point is written: the points before it stay, leftovers are removed", 20),
    18: ("a write that fails for want of room: the run ends in one line, the older file stays", 3),
    19: ("a resume point cut off: named, and the older point is used", 200),
    20: ("a flipped bit in a file of a resume point: detected", 300),
    21: ("SIGKILL at a random step, 0 and 2 workers: the resumed run ends with the same bits", 40),
    22: ("the same with accumulation, EMA, SWA, distillation, detection, and two ranks: the same bits", 30),
    23: ("an item of the resume point left out: test 21 notices it", 7),
    24: ("SIGTERM or SIGINT at a step: saved, exit code 143 or 130, and the resumed run has the same bits", 10),
    25: ("a data worker that dies: an error within 15 s that names the clip", 5),
    26: ("a data worker that hangs: an error that names the clip", 2),
    27: ("a rank that dies: all ranks end, exit code other than 0", 3),
    28: ("a rank that hangs: named, and all ranks end", 3),
    29: ("SIGTERM to the launcher, or its death: the ranks save and end", 2),
    30: ("NaN in a clip, a loss or a gradient: no step is taken, the clips are named, the run ends if it goes on", 6),
    31: ("no memory left: one line that names the batch, exit code other than 0, older points stay", 1),
    32: ("labels that are out of range or no numbers: named with their lines before the first step", 1),
    33: ("no samples, or fewer than a batch: an error, and no run of 0 steps", 2),
    34: ("lists with spaces, byte-order marks, duplicates and missing files: one report of all", 1),
    35: ("a misspelt key of a configuration: refused, in nine of ten cases with the right key", 60),
    36: ("weights of another number of classes: refused with both shapes", 1),
    37: ("a GPU is requested where none is: one line, exit code other than 0", 1),
    38: ("prediction on files that are no videos: exit code other than 0, one line, no traceback", 10),
    39: ("two runs in one folder: the second is refused; a killed one holds nothing", 1),
    40: ("a worse epoch after a resume: the best weights stay", 1),
}
# what the scorecard has beside its numbers; not counted among them
BESIDE: dict[str, tuple[str, int]] = {
    "endurance": ("epochs of one run: memory, open files, threads and processes do not grow", 300),
}
ALL: dict[int | str, tuple[str, int]] = {**FAULTS, **BESIDE}
CANNOT_BE_TESTED = """\
- **Power loss.** SIGKILL leaves what the kernel has taken; what `fsync` has put on the disk shows without power only.
- **NCCL.** Ranks run over gloo on the CPU; a collective of NCCL that hangs or aborts was not seen.
- **GPU memory.** Out of memory is that of the process; an allocation on a GPU that fails was not seen. Neither was the
  state of a loss scaler of AMP, which is off on a CPU.
"""
_TESTS, _LOST, _MINUTE = "scorecard", "lost", 60


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scorecard", type=Path, metavar="PAGE", help="writes the reliability scorecard into this page")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Scorecard(), "scorecard of reliability")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers(_TESTS):
            (number,), times = mark.args, mark.kwargs.get("times", 1)
            assert number in ALL, f"{item.nodeid}: the scorecard has no number {number}"
            item.user_properties.append(
                (_TESTS, [number, times])
            )  # the only thing that reports carry between processes


@dataclass(frozen=True)
class Row:
    """Of one number: how often its fault was caused, and how often the outcome was wrong."""

    number: int | str
    tried: int
    lost: int
    skipped: int

    @property
    def holds(self) -> bool:
        return self.tried >= ALL[self.number][1] and not self.lost

    @property
    def reason(self) -> str:
        """Why it does not hold; empty if it does."""
        if self.lost:
            return f"{self.lost} of {self.tried} lost"
        if not self.tried:
            return "its tests were skipped" if self.skipped else "no test has this number"
        return "" if self.holds else f"{self.tried} times, {ALL[self.number][1]} are required"


class Scorecard:
    """Counts the outcomes of marked tests, prints them, and writes the page."""

    def __init__(self) -> None:
        self.tried: collections.Counter[int | str] = collections.Counter()
        self.lost: collections.Counter[int | str] = collections.Counter()
        self.skipped: collections.Counter[int | str] = collections.Counter()
        self.failed: list[str] = []
        self.started = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown" or (report.when == "setup" and report.passed):
            return
        for name, value in report.user_properties:
            if name == _TESTS:
                number, times = value
                self.skipped[number] += times * report.skipped
                self.tried[number] += times * (not report.skipped)
                self.lost[number] += (
                    max(times, 1) * report.failed
                )  # a test does not say how many of its repetitions were wrong
                if report.failed:
                    self.failed.append(f"{number}: {report.nodeid}")

    def rows(self) -> list[Row]:
        return [Row(n, self.tried[n], self.lost[n], self.skipped[n]) for n in ALL]

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config
    ) -> None:
        rows = self.rows()
        terminalreporter.section("reliability")
        for row in rows:
            if not row.holds:
                terminalreporter.write_line(f"{row.number} ({ALL[row.number][0]}): {row.reason}")
        terminalreporter.write_line(numbers_that_hold(rows))
        path = config.getoption("--scorecard")
        if path and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            path.write_text(self.page(rows), encoding="utf-8")

    def page(self, rows: list[Row]) -> str:
        minutes = (time.monotonic() - self.started) / _MINUTE
        table = "\n".join(
            f"| {row.number} | {ALL[row.number][0]} | {ALL[row.number][1]} | {row.tried} "
            f"| {row.tried - row.lost} | {row.lost} |"
            for row in rows
        )
        lines = [f"- {row.number}: {row.reason}." for row in rows if not row.holds]
        lines += [f"- failed: `{line}`." for line in self.failed]
        what_fails = "\n".join(lines) or "Nothing."
        return f"""# Reliability

Faults that tests cause on purpose, and what became of them. `make test-reliability` wrote this page on
{datetime.datetime.now(datetime.UTC):%Y-%m-%d} in {minutes:.0f} minutes on {machine()}.

**{numbers_that_hold(rows)}** hold. *Required* is how often a fault has to be caused at least;
a test that fails counts all its repetitions as lost.

| number | fault, and what has to hold | required | caused | passed | lost |
|---:|---|---:|---:|---:|---:|
{table}

## What does not hold

{what_fails}

## What cannot be tested here

{CANNOT_BE_TESTED}"""


def numbers_that_hold(rows: list[Row]) -> str:
    """For example ``40 of 40``."""
    numbered = [row for row in rows if row.number in FAULTS]
    return f"{sum(row.holds for row in numbered)} of {len(numbered)}"


def machine() -> str:
    """Processor, cores, memory and the versions that matter, in one line."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("paddlepaddle", "numpy"))
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB of memory, "
        f"{platform.system()}, Python {platform.python_version()}, {libraries}"
    )
