"""Runs a printed command in this process, and shares the tiny export with tests/inference."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from demo import ava_synthetic
from demo.stage.annotation import Video, annotate
from tests.tools.annotation_forms import SMALL

REPOSITORY = Path(__file__).resolve().parents[2]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"loaded_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(REPOSITORY / "tests" / "inference"))
tiny = load(REPOSITORY / "tests" / "inference" / "conftest.py").tiny


@pytest.fixture
def run_tool(capsys: pytest.CaptureFixture) -> Callable[..., SimpleNamespace]:
    """``run_tool("predict", "--flag", value)`` -> code, out, err."""
    from paddlevideo.cli.main import run_script

    def run(name: str, *arguments: object) -> SimpleNamespace:
        capsys.readouterr()
        try:
            code = run_script(f"tools/{name}.py", [str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        return SimpleNamespace(code=code, **capsys.readouterr()._asdict())

    return run


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    """Four videos in two folders, and who does what in them: (video, second, box, actions, person)."""
    out = tmp_path_factory.mktemp("own")
    truth = []
    for number in range(4):
        video = Video("train", number, 0)
        ava_synthetic.make_video(video, out, SMALL, with_frames=True)
        part = annotate(SMALL, video)
        for second, boxes, people in zip(part.timestamp, part.boxes, part.labels):
            truth += [(part.video, second, box, names, k) for k, (box, names) in enumerate(zip(boxes, people))]
    return out, truth
