"""The script of checks for a GPU: its rows and exit codes, and on a CPU its small form."""

import pytest

from benchmarks import gpu


def passes(session):
    yield "a", "x", "1", True


def fails(session):
    yield "b", "y", "2", False


def breaks(session):
    raise RuntimeError("exit code 2: no memory")


def is_not_there(session):
    raise gpu.NotRun("no card")


def table(monkeypatch, capsys, *checks):
    monkeypatch.setattr(gpu, "CHECKS", checks)
    monkeypatch.setattr(gpu, "render", lambda folder, small: None)
    code = gpu.main(["--small"])
    return code, capsys.readouterr().out


def test_what_is_not_run_is_stated_and_what_fails_ends_with_1(monkeypatch, capsys):
    code, text = table(monkeypatch, capsys, passes, is_not_there)
    assert code == 0 and "| a | x | 1 | passed |" in text and "| is_not_there |  | no card | not run |" in text
    code, text = table(monkeypatch, capsys, fails, passes)
    assert code == 1 and "| b | y | 2 | FAILED |" in text and "| a | x | 1 | passed |" in text
    code, text = table(monkeypatch, capsys, breaks, passes)
    assert code == 1 and "| breaks |  | exit code 2: no memory | FAILED |" in text and "| a | x |" in text


def test_no_command_begins_after_the_time(tmp_path):
    with pytest.raises(gpu.NotRun, match="no time was left"):
        gpu.Session(tmp_path, "cpu", True, until=0.0).train("TSM")


@pytest.mark.slow
def test_the_small_form_runs_on_a_cpu(capsys):
    assert gpu.main(["--small"]) == 0
    text = capsys.readouterr().out
    assert text.count("| passed |") == 4 and "| two trainings | --deterministic | equal bits | passed |" in text
