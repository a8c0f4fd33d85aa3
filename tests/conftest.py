"""Tests run Paddle with the settings that the commands set, so that both compute the same bits."""

import logging

import pytest

from paddlevideo.environment import set_cpu_environment
from tests.tiny import make_clips

set_cpu_environment()


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """The list of eight clips of two classes, for whoever only reads them."""
    return make_clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture(autouse=True)
def _log_of_its_own():
    """A test that sets up logging leaves no handlers to the next one."""
    yield
    log = logging.getLogger("paddlevideo")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True
