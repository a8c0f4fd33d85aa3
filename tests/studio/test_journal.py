"""The journal: a line per change, complete after a kill, undone by more lines, read by the package."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.journal import HUMAN, Changed, Journal
from paddlevideo_studio.limited import environment

from paddlevideo.errors import UserError
from paddlevideo.spans import read_spans

SPAN = {"video": "a.mp4", "start_s": 1.0, "end_s": 2.0, "label": "run"}


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "spans.jsonl")
    yield journal
    journal.close()


def lines(journal):
    return journal.path.read_text().splitlines()


def test_a_change_is_one_line_and_undo_is_one_more(journal):
    (found,) = journal.append([{**SPAN, "score": 0.5}], "model 1")
    journal.append([{**SPAN, "end_s": 2.5, "replaces": found["id"]}], HUMAN, "1")
    assert len(lines(journal)) == 2
    assert [(e["end_s"], e["by"]) for e in journal.current("a.mp4")] == [(2.5, HUMAN)]
    assert [span.end_s for span in read_spans(journal.path).spans] == [2.5]
    journal.undo("a.mp4", "1")
    assert len(lines(journal)) == 3
    assert [(e["end_s"], e["by"], e["score"]) for e in journal.current("a.mp4")] == [(2.0, "model 1", 0.5)]
    assert [(s.end_s, s.score) for s in read_spans(journal.path).spans] == [(2.0, 0.5)]
    assert journal.last_change("a.mp4") is None and not journal.can_undo("a.mp4")


def test_steps_are_undone_from_the_last_to_the_first(journal):
    (a,) = journal.append([SPAN], HUMAN, "1")
    (b,) = journal.append([{**SPAN, "label": "walk", "replaces": a["id"]}], HUMAN, "2")
    journal.append([{"video": "a.mp4", "removed": True, "replaces": b["id"]}, {**SPAN, "start_s": 0}], HUMAN, "3")
    journal.append([{**SPAN, "video": "b.mp4"}], HUMAN, "4")
    shown = []
    for _ in range(3):
        shown.append([e["label"] for e in journal.current("a.mp4")])
        journal.undo("a.mp4", journal.last_change("a.mp4"))
    assert shown == [["run"], ["walk"], ["run"]] and journal.current("a.mp4") == []
    assert len(journal.current()) == len(read_spans(journal.path).spans) == 1
    before = [e["id"] for e in journal.current()]
    again = Journal(journal.path)
    assert [e["id"] for e in again.current()] == before and not again.can_undo("a.mp4") and again.can_undo("b.mp4")
    again.close()


def test_what_is_not_current_cannot_be_replaced(journal):
    (a,) = journal.append([SPAN], HUMAN, "1")
    journal.append([{**SPAN, "replaces": a["id"]}], HUMAN, "2")
    for replaced in (a["id"], "ffff"):
        with pytest.raises(Changed):
            journal.append([SPAN, {**SPAN, "replaces": replaced}], HUMAN, "3")
    assert len(lines(journal)) == 2  # not one of the two was written


def test_an_incomplete_last_line_is_cut_off_and_a_damaged_one_named(journal):
    journal.append([SPAN, {**SPAN, "start_s": 0}], HUMAN, "1")
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole[:-20])
    again = Journal(journal.path)
    assert len(again.current()) == 1 and journal.path.read_bytes() == whole.splitlines(keepends=True)[0]
    again.append([SPAN], HUMAN, "2")
    again.close()
    assert len(read_spans(journal.path).spans) == 2
    journal.path.write_bytes(whole[:-1])  # an editor that writes no last line break
    Journal(journal.path).close()
    assert journal.path.read_bytes() == whole
    journal.path.write_bytes(b'{"start_s"\n' + whole)
    with pytest.raises(UserError, match=r"spans.jsonl:1: expected a JSON object"):
        Journal(journal.path)


def test_a_full_disk_changes_nothing(journal, monkeypatch):
    journal.append([SPAN], HUMAN, "1")
    before, write = journal.path.read_bytes(), os.write

    def half(file, text):
        write(file, text[: len(text) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(UserError, match="No space left on device.*nothing was changed"):
        journal.append([SPAN], HUMAN, "2")
    monkeypatch.undo()
    assert journal.path.read_bytes() == before and len(journal.current()) == 1
    journal.append([SPAN], HUMAN, "3")
    assert len(read_spans(journal.path).spans) == 2


def test_a_killed_writer_leaves_a_readable_file(tmp_path):
    file = tmp_path / "spans.jsonl"
    code = (
        "from pathlib import Path; from paddlevideo_studio.journal import Journal\n"
        f"journal = Journal(Path({str(file)!r}))\n"
        "for n in range(10**6):\n"
        "    journal.append([{'video': 'a.mp4', 'start_s': n, 'end_s': n + 1, 'label': 'x' * 2000}], 'human', str(n))\n"
        "    print(n, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env=environment(), stdout=subprocess.PIPE)
    written = [process.stdout.readline() for _ in range(20)]
    time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    written += process.stdout.read().splitlines()
    process.wait()
    journal = Journal(file)
    assert len(journal.current()) >= len(written) > 19
    journal.close()
    assert len(read_spans(file).spans) == len([json.loads(line) for line in file.read_text().splitlines()])
