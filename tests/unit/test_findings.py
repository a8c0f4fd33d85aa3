"""Mistakes are told all at once: twenty of them, the same one once, and nothing that writes to a terminal."""

import pytest

from paddlevideo.errors import ConfigError
from paddlevideo.findings import Findings, Report


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


def test_every_line_of_the_source_is_listed_in_order_and_rows_behind_the_twentieth_are_counted():
    findings = Findings("a.list")
    findings.add(9, "no label")
    findings.add(3, "no label")
    findings.add(0, "too short")
    findings.add_rows(range(50), [10 + row for row in range(50)], lambda row: f"row {row}")
    with pytest.raises(ConfigError) as caught:
        findings.raise_if_any("is data_prefix right?")
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.list: is data_prefix right?: 53 mistakes" and len(findings) == 53
    assert [line.strip() for line in lines[1:5]] == [
        "a.list: too short",
        "a.list:3: no label",
        "a.list:9: no label",
        "a.list:10: row 0",
    ]
    assert lines[-1] == "  ... and 33 more" and len(lines) == 22


def test_a_report_keeps_some_of_a_kind_and_counts_all():
    class Small(Report):
        errors, notes, most = {"gone": "it is not there"}, {"odd": "worth a look"}, 2

    report = Small()
    report.add("odd", "val", "b.csv", 0, "why")
    assert report.is_sound and report.kinds == ["odd"]
    for line in (7, 5, 6):
        report.add("gone", "train", "a.csv", line, f"no \x1b {line}", "v.mp4")
    report.sort()
    assert not report.is_sound and report.num_errors == 3
    assert report.kind_lines(1) == [
        "",
        "error: gone (3): it is not there",
        "  a.csv:5: v.mp4: no \\x1b 5",
        "  ... and 2 more",
        "",
        "note: odd (1): worth a look",
        "  b.csv: why",
    ]
    stored = report.stored({}, None, {"split": "set"})
    assert stored["counts"] == {"odd": 1, "gone": 3} and stored["num_errors"] == 3
    assert [(f["set"], f["line"]) for f in stored["findings"]] == [("train", 5), ("train", 7), ("val", 0)]
