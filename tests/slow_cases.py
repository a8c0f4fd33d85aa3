"""Cases of one test, of which the costly ones run with the slow tests."""

import pytest


def some_slow(cases, slow):
    """The cases as parameters; those for which ``slow(case)`` is true are marked."""
    return [pytest.param(case, marks=[pytest.mark.slow] if slow(case) else []) for case in cases]
