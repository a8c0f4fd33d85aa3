import json

import pytest

from paddlevideo.errors import UserError
from paddlevideo.inference.exported import find_params, find_program
from paddlevideo.inference.runtimes.paddle import program_inputs


def test_either_format_is_found_by_the_others_name_and_reported(tmp_path):
    for present, requested in [("a.json", "a.pdmodel"), ("b.pdmodel", "b.json"), ("c.json", "c")]:
        (tmp_path / present).touch()
        reported = []
        assert find_program(tmp_path / requested, reported.append) == tmp_path / present
        assert present in reported[0]


def test_a_file_that_is_there_is_taken_without_a_word(tmp_path):
    for name in ("a.json", "a.pdmodel"):
        (tmp_path / name).touch()
        assert find_program(tmp_path / name, pytest.fail) == tmp_path / name


def test_dots_in_a_name_are_part_of_it(tmp_path):
    (tmp_path / "tsm.v2.json").touch()
    assert find_program(tmp_path / "tsm.v2", lambda line: None).name == "tsm.v2.json"


def test_weights_that_are_not_there_are_an_error(tmp_path):
    with pytest.raises(UserError, match="a.pdiparams"):
        find_params(None, tmp_path / "a.json")


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.json", b"{"),
        ("a.json", b"[]"),
        ("a.json", b'{"a": 1}'),
        ("a.json", b"\xff\xfe"),
        ("a.json", json.dumps({"program": {"regions": [{"blocks": [{"ops": []}]}]}}).encode()),
        ("a.pdmodel", b"garbage" * 30),
        ("a.pdmodel", b""),
    ],
)
def test_a_damaged_program_is_named_and_does_not_crash_paddle(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        program_inputs(tmp_path / name)
