"""Mistakes are told all at once: twenty of them, the same one once, and nothing that writes to a terminal."""

import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.findings import Findings


def test_the_same_mistake_is_one_line_with_its_count():
    findings = Findings("a.csv")
    findings.raise_if_any()
    for line in range(2, 39):
        findings.add(f"a.csv:{line}", "class 'run' is not in the class list")
    for line in range(100, 130):
        findings.add(f"a.csv:{line}", f"second {line} is\x1b behind the end")
    with pytest.raises(ConfigError) as caught:
        findings.raise_if_any()
    problems = caught.value.problems
    assert problems[0] == "a.csv:2: class 'run' is not in the class list (37 times, this is the first)"
    assert len(problems) == 21 and problems[-1] == "... and 11 more" and len(findings) == 67
    assert problems[1] == "a.csv:100: second 100 is\\x1b behind the end"
