"""Tests run Paddle with the settings that the commands set, so that both compute the same bits."""

import logging

import pytest

from paddlevideo.environment import set_cpu_environment

set_cpu_environment()


@pytest.fixture(autouse=True)
def _log_of_its_own():
    """A test that sets up logging leaves no handlers to the next one."""
    yield
    log = logging.getLogger("paddlevideo")
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    log.propagate = True
