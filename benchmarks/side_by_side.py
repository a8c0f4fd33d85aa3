"""Compares callables of several environments in one run: A B C, A B C, ... after one round that is thrown away.

Each contestant is one process that lives through all rounds, so that a change of the machine's speed affects all alike
and no start is measured.  This file runs in the peers' environments too: it imports the standard library only.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Contestant:
    """One thing to measure.

    Args:
        name: in the table.
        interpreter: of ``benchmarks.peers``: ``path`` of the executable, ``root`` of the project or None.
        target: ``FILE:FUNCTION``, the file relative to the checkout; the function takes ``arguments``, sets up, and
            returns what each round calls. What that returns must be JSON (None, a figure, a list of figures).
        environment: variables in addition.
    """

    name: str
    interpreter: Any
    target: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """Of one contestant: median CPU and wall seconds per call, peak resident memory in MB, the last call's value, and
    where the contestant failed, the last line of its error (the figures are NaN then)."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    value: Any = None
    error: str = ""


def compare(contestants: Sequence[Contestant], rounds: int = 3, threads: int = 1) -> dict[str, Result]:
    """The results by name; a contestant that fails is left out of further rounds and named in its result.

    Args:
        rounds: that count.
        threads: of the numeric libraries (OMP, MKL, OpenBLAS), for every contestant.
    """
    names = [contestant.name for contestant in contestants]
    if len(set(names)) < len(names):
        raise ValueError(f"contestants of the same name: {names}")
    with contextlib.ExitStack() as stack:
        processes = {each.name: stack.enter_context(_process(each, threads)) for each in contestants}
        replies: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
        for number in range(-1, rounds + 1):  # -1: set-up, 0: thrown away
            for name, process in processes.items():
                if replies[name] and "error" in replies[name][-1]:
                    continue
                reply = _reply(process, "run" if number >= 0 else "")
                if number > 0 or "error" in reply:
                    replies[name].append(reply)
    return {name: _result(found) for name, found in replies.items()}


@contextlib.contextmanager
def _process(contestant: Contestant, threads: int) -> Iterator[subprocess.Popen[str]]:
    from paddlevideo.environment import mkl_cpu_type  # on the side of the project's own environment alone

    numeric = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {
        **os.environ,
        **dict.fromkeys(numeric, str(threads)),
        "MKL_DEBUG_CPU_TYPE": mkl_cpu_type(),
        "FLAGS_use_stride_kernel": "0",
        **contestant.environment,
    }
    root = contestant.interpreter.root
    environment.pop("PYTHONPATH", None)
    if root is not None:
        environment["PYTHONPATH"] = str(root)
    process = subprocess.Popen(
        [str(contestant.interpreter.path), str(Path(__file__).resolve()), contestant.target,
         json.dumps({**contestant.arguments})],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=root or ROOT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _reply(process: subprocess.Popen[str], command: str) -> dict[str, Any]:
    assert process.stdin is not None and process.stdout is not None
    try:
        if command:
            process.stdin.write(command + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
    except OSError:
        line = ""
    return json.loads(line) if line else {"error": f"ended with exit code {process.wait()}"}


def _result(replies: list[dict[str, Any]]) -> Result:
    last = replies[-1]
    if "error" in last:
        return Result(float("nan"), float("nan"), float("nan"), error=last["error"])
    cpu_s, wall_s = (statistics.median(reply[key] for reply in replies) for key in ("cpu_s", "wall_s"))
    return Result(cpu_s, wall_s, last["peak_mb"], last["value"])


def serve(target: str, arguments: Mapping[str, Any]) -> None:
    """The contestant's side: one JSON line after set-up and after each call."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the libraries print is no reply
    call = None
    for _ in _commands():
        try:
            reply = _measure(call) if call else {}
            call = call or _load(target)(**arguments)
        except Exception as error:  # the table names it and the others go on
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(reply), file=out, flush=True)


def _commands() -> Iterator[str]:
    yield "set up"
    yield from sys.stdin


def _load(target: str) -> Any:
    file, function = target.rsplit(":", 1)
    path = ROOT / file
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return getattr(module, function)


def _measure(call: Any) -> dict[str, Any]:
    """CPU seconds of the process with all its threads, not of processes that it started."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_s": cpu_s, "wall_s": wall_s, "peak_mb": _peak_mb(), "value": value}


def _peak_mb() -> float:
    """Of this program: ``ru_maxrss`` would include the process that started it."""
    peak_kb = next((line.split()[1] for line in _lines("/proc/self/status") if line.startswith("VmHWM")), None)
    return int(peak_kb or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / 1024


def header(command: str, seed: int | None = 0) -> str:
    """One line for above a table: command, seed, date, processor, cores, load, versions."""
    cpu = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    seeded = "" if seed is None else f", seed {seed}"
    return (
        f"`{command}`{seeded}, {datetime.date.today()}, {cpu}, {os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )


def _lines(path: str) -> list[str]:
    with contextlib.suppress(OSError), open(path) as file:
        return file.readlines()
    return []


def row(*cells: object) -> None:
    """Prints a row of a table."""
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(*names: str) -> None:
    """Prints the head of a table."""
    row(*names)
    print("|" + "---|" * len(names), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], json.loads(sys.argv[2]))
