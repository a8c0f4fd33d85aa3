"""The files of a split, opened before the first step: one unreadable file must not end an evaluation hours later."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.findings import cut
from paddlevideo.loader.build import ClipLoader
from paddlevideo.loader.datasets.records import paths_of
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.safe_io import write_atomic

log = logging.getLogger("paddlevideo")

LIMIT_S = 30.0
_NUM_RATES, _RATES_S = 32, 5.0
_USUAL_RATES = (10, 90)  # percentiles: a few odd videos among many are not what was learned


def check_headers(loader: ClipLoader, where: str, cache: Path, limit_s: float = LIMIT_S) -> None:
    """Opens every file of a split where an unreadable file ends the run (``on_error: raise``); decodes nothing.

    Args:
        loader: of the split.
        where: its key path, ``DATASET.valid``.
        cache: JSON file of the files without errors, with size and modification time; these are not opened
            again.
        limit_s: seconds after which the remaining files are left to the evaluation; a log line counts them.

    Raises:
        UserError: files that cannot be opened, and the ways out.
    """
    if loader.on_error != "raise":
        return
    dataset = loader.dataset
    names = [str(path) for path in paths_of(dataset.records)]
    files = {name: index for index, name in reversed(list(enumerate(names)))}  # key frames share a video
    known = _read(cache)
    sound: dict[str, list[int]] = {}
    problems = []
    dataset.expect(np.fromiter(files.values(), np.int64))
    start = time.monotonic()
    for number, (name, index) in enumerate(files.items()):
        stamp = dataset.stamp(index) or _stamp(name)
        if stamp is None or known.get(name) != stamp:
            if time.monotonic() - start > limit_s:
                log.info("%s: %d of %d files were opened within %g s; the others are not checked before they are read",
                         where, number, len(files), limit_s)  # fmt: skip
                break
            try:
                loader.pipeline.open(loader.sample(index))
            except VideoReadError as error:
                problems.append(str(error))
                continue
        if stamp is not None and loader.damaged == "refuse":
            sound[name] = stamp
    if sound and sound != known:
        write_atomic(cache, json.dumps(sound))
    if problems:
        ways = (
            f"leave them out of the list, count them as wrong with -o {where}.on_error=count, take what can be decoded "
            f"of damaged ones with -o {where}.damaged=read, or see what is wrong with paddlevideo check-data"
        )
        raise UserError("\n  ".join([f"{where}: {len(problems)} unreadable files", *cut(problems), ways]))


def frame_rates(loader: ClipLoader) -> list[float] | None:
    """The lowest and the highest usual frame rate of a split, from a few of its videos, spread over it.

    Returns:
        [low, high]; None: the pipeline does not count frames, or no rate is known, as of folders of pictures.
    """
    if not loader.pipeline.counts_frames:
        return None
    count, start = len(loader.dataset), time.monotonic()
    chosen = np.unique(np.linspace(0, count - 1, min(count, _NUM_RATES)).astype(np.int64))
    chosen = np.random.default_rng(0).permutation(chosen)  # where the time is up, those read are spread, too
    loader.dataset.expect(chosen)
    rates = []
    for index in chosen:
        with contextlib.suppress(VideoReadError):  # reading it in its turn decides what becomes of it
            rates.append(loader.pipeline.open(loader.sample(int(index))))
        if time.monotonic() - start > _RATES_S:
            break
    known = [rate for rate in rates if rate > 0]
    if not known:
        return None
    ends = zip(_USUAL_RATES, ("lower", "higher"))  # rates that there are, not between two
    return [round(float(np.percentile(known, part, method=method)), 2) for part, method in ends]


def _stamp(name: str) -> list[int] | None:
    try:
        state = os.stat(name)
    except (OSError, ValueError):
        return None
    return [state.st_size, state.st_mtime_ns]


def _read(cache: Path) -> dict[str, list[int]]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
