"""The demo's model and videos for the tests here, made once in a session."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from demo.run_studio import CLASSES, NEW_CLASS, SETTINGS, DemoFiles, make_demo, run_command  # noqa: F401 (for tests)
from paddlevideo.spans import Span

ANALYSIS = ["--analysis", *(f"{name}={value}" for name, value in SETTINGS.items())]  # words of the studio


@contextmanager
def one_process(file: Path) -> Iterator[None]:
    """Other processes wait here until the block has ended."""
    with open(file, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def demo_files(tmp_path_factory: pytest.TempPathFactory) -> DemoFiles:
    """Made once in a session; the workers of pytest-xdist share it."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, done = base / "demo model", base / "demo model.done"
    with one_process(base / "demo model.lock"):
        if not done.exists():
            make_demo(folder)
            done.touch()
    return DemoFiles(folder)


@pytest.fixture(scope="session")
def demo_model(demo_files: DemoFiles) -> Path:
    """The folder of an exported model of ``CLASSES``."""
    return demo_files.export


@pytest.fixture(scope="session")
def demo_videos(demo_files: DemoFiles) -> list[tuple[Path, list[Span]]]:
    """Videos of 40 to 50 s with five scenes of ``CLASSES`` each, and their true spans."""
    return demo_files.videos("videos")


@pytest.fixture(scope="session")
def new_class_videos(demo_files: DemoFiles) -> list[tuple[Path, list[Span]]]:
    """Videos of 30 to 42 s with six scenes each, one or two of them of ``NEW_CLASS``, and their true spans."""
    return demo_files.videos("new")
