"""Tests run Paddle with the settings that the commands set, so that both compute the same bits."""

import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from paddlevideo.environment import set_cpu_environment
from tests.tiny import make_clips
from tests.tiny_ava import tiny_ava  # noqa: F401 (a fixture)
from tests.tiny_export import tiny  # noqa: F401 (a fixture)

set_cpu_environment()


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The list of eight clips of two classes, for whoever only reads them."""
    return make_clips(tmp_path_factory.mktemp("clips"))


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


@pytest.fixture(autouse=True)
def _log_of_its_own():
    """A test that sets up logging leaves no handlers to the next one."""
    yield
    log = logging.getLogger("paddlevideo")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True
