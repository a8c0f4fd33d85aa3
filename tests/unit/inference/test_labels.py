import logging

import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.lists import Row, parse_label, scan_folder
from paddlevideo.loader.labels import read_labels


@pytest.mark.parametrize(
    "content, names",
    [
        (b"archery\nair drumming\n", ["archery", "air drumming"]),
        (b"\xef\xbb\xbfarchery\r\nair drumming\r\n\r\n", ["archery", "air drumming"]),
        (b"1: b\n0: a\n2: c", ["a", "b", "c"]),
        (b"0 a man\n1 b", ["a man", "b"]),
        (b"1,b\n0,a", ["a", "b"]),
        (b"1 finger\n2 fingers\n", ["1 finger", "2 fingers"]),
        ("\u5c04\u7bad\n\u8df3\u6c34".encode(), ["\u5c04\u7bad", "\u8df3\u6c34"]),
    ],
)
def test_reads_names_in_class_order(tmp_path, content, names):
    (tmp_path / "labels.txt").write_bytes(content)
    assert read_labels(tmp_path / "labels.txt", len(names)) == names


@pytest.mark.parametrize(
    "content, message", [(b"2 b\n1 a", "no order"), (b"0 a\n0 b", "no order"), (b"\xff\xfe\x00", "UTF-8")]
)
def test_refuses_what_would_name_classes_wrongly(tmp_path, content, message):
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_labels(tmp_path / "labels.txt")


def test_the_count_is_that_of_the_classes(tmp_path):
    (tmp_path / "labels.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="2 class names, but the model has 3"):
        read_labels(tmp_path / "labels.txt", 3)
    with pytest.raises(UserError, match="none.txt"):
        read_labels(tmp_path / "none.txt")


def test_a_name_of_two_classes_is_a_warning_and_by_that_name_no_class_is_found(tmp_path, caplog):
    """By its name a clip would count as the first of the two; its number is as good as ever."""
    (tmp_path / "labels.txt").write_text("jump\nrun\njump\n")
    with caplog.at_level(logging.WARNING, "paddlevideo"):
        names = read_labels(tmp_path / "labels.txt")
    assert "'jump' is the name of two classes, 0 and 2" in caplog.text
    findings = Findings("clips.list")
    rows = [Row(number, {"path": "a.mp4", "label": text}) for number, text in enumerate(("run", "2", "jump"), 1)]
    assert [parse_label(row, 3, findings, names) for row in rows[:2]] == [1, 2]
    findings.raise_if_any()
    parse_label(rows[2], 3, findings, names)
    with pytest.raises(ConfigError, match="3.*'jump' is the name of two classes"):
        findings.raise_if_any()
    (tmp_path / "videos" / "run").mkdir(parents=True)
    with pytest.raises(UserError, match="'jump' is the name of two classes"):
        scan_folder(str(tmp_path / "videos"), names)
