"""``paddlevideo predict --out results.jsonl``: a line per video, whatever happens in between."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


def lines_of(*files):
    """The results and errors of files, without their first lines, by what identifies an input."""
    records = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    assert sum("run" in record for record in records) == len(files)
    records = [record for record in records if "run" not in record]
    keys = [(record.get("input", record["path"]), record.get("occurrence", 1)) for record in records]
    assert max(Counter(keys).values()) == 1
    return dict(zip(keys, records))


@pytest.fixture
def listed(tiny, tmp_path):
    """A list of 18 lines with labels: videos, one line twice, a text, and a missing file."""
    lines = []
    for i in range(16):
        name = f"{i}.mp4"
        if i == 5:
            (tmp_path / name).write_text("no video")
        elif i != 9:
            shutil.copy(tiny.videos[i % 3], tmp_path / name)
        lines.append(f"{name} {i % 5}")
    lines += [lines[3], "0.mp4 1;2"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    return tmp_path / "list.txt"


def test_each_line_of_a_list_is_a_line_with_its_label(tiny, listed, run_tool, tmp_path):
    out = tmp_path / "r" / "results.jsonl"
    words = ["-i", listed, "--model_file", tiny.folder, "--top_k", 2, "-b", 4, "--out"]
    done = run_tool("predict", *words, out)
    assert (done.code, done.out) == (0, ""), done.err
    found = lines_of(out)
    assert sorted(text for text, _ in found) == sorted(listed.read_text().splitlines())
    assert {text for (text, _), record in found.items() if "error" in record} == {"5.mp4 0", "9.mp4 4"}
    assert "missing" in found["9.mp4 4", 1]["error"] and found["3.mp4 3", 2]["label"] == 3
    assert found["0.mp4 1;2", 1]["label"] == [1, 2] and found["7.mp4 2", 1]["path"] == str(tmp_path / "7.mp4")
    (tmp_path / "good.txt").write_text("".join(f"{i}.mp4\n" for i in (0, 1, 2)))
    assert run_tool("predict", "-i", tmp_path / "good.txt", *words[2:], tmp_path / "o.json").code == 0
    for record in json.loads((tmp_path / "o.json").read_text()):
        same = next(each for each in found.values() if each["path"] == record["path"])
        assert [top["class"] for top in same["top"]] == [top["class"] for top in record["top"]]
        np.testing.assert_allclose(same["scores"], record["scores"], atol=1e-6)


def test_the_same_command_continues_and_cuts_off_half_a_line(tiny, listed, run_tool, tmp_path):
    words = ["-i", listed, "--model_file", tiny.folder, "--scores", "False", "--out"]
    assert run_tool("predict", *words, tmp_path / "whole.jsonl").code == 0
    whole = (tmp_path / "whole.jsonl").read_bytes()
    for size in (5, len(whole) // 2, len(whole) - 1):
        out = tmp_path / f"{size}.jsonl"
        out.write_bytes(whole[:size])
        done = run_tool("predict", *words, out)
        assert (done.code, sorted(out.read_bytes().splitlines())) == (0, sorted(whole.splitlines())), done.err
        lines = max(whole[:size].count(b"\n") - 1, 0)
        assert (f"{lines} of 18 are in {out}" in done.err) == (lines > 0)
    assert "scores" not in lines_of(out)["0.mp4 0", 1]


def test_errors_are_repeated_on_request(tiny, listed, run_tool, tmp_path):
    out = tmp_path / "results.jsonl"
    words = ["-i", listed, "--model_file", tiny.folder, "--out", out]
    assert run_tool("predict", *words).code == 0
    shutil.copy(tiny.videos[0], tmp_path / "9.mp4")
    before = out.read_bytes()
    done = run_tool("predict", *words)
    assert out.read_bytes() == before and "18 of 18" in done.err and "(--retry_failed); 0 to go" in done.err
    assert run_tool("predict", *words, "--retry_failed").code == 0
    added = [json.loads(line) for line in out.read_bytes()[len(before) :].splitlines()]
    assert {(record["input"], "error" in record) for record in added} == {("5.mp4 0", True), ("9.mp4 4", False)}
    assert len(added) == 2


def test_where_all_videos_fail_the_command_does(tiny, run_tool, tmp_path):
    out = tmp_path / "results.jsonl"
    words = ["-i", "none.mp4", "--model_file", tiny.folder, "--out", out]
    for _ in range(2):  # the second one has nothing to do
        done = run_tool("predict", *words)
        assert done.code == 2 and f"none of 1 videos could be read; {out}" in done.err.splitlines()[-1]
    assert run_tool("predict", *words, "--rank", 0, "--num_ranks", 2).code == 0
    assert run_tool("predict", *words, "--on_error", "raise", "--retry_failed").code == 2
    assert len(lines_of(out)) == 1


def test_a_file_of_another_run_is_refused(tiny, listed, run_tool, tmp_path):
    out = tmp_path / "results.jsonl"
    words = ["-i", listed, "--model_file", tiny.folder, "--out", out]
    assert run_tool("predict", *words, "--top_k", 2).code == 0
    before = out.read_bytes()
    other = ["-c", tiny.config, "-o", "PIPELINE.test.transform.0.Scale.short_size=48", "--top_k", 2]
    (tmp_path / "note.jsonl").write_text("a note\n")
    for more, named in [
        ([], "top_k 2, this run has None"),
        (other, "begun with preprocessing"),
        (["--top_k", 2, "--threshold", 0.3], "threshold None"),
        (["--out", tmp_path / "note.jsonl"], "not a file of results"),
        (["--rank", 2, "--num_ranks", 2], "expected 0 to 1"),
        (["--rank", 0], "give both"),
    ]:
        done = run_tool("predict", *words, *more)
        assert done.code == 2 and named in done.err.splitlines()[-1] and "Traceback" not in done.err
    assert out.read_bytes() == before and (tmp_path / "note.jsonl").read_text() == "a note\n"
    assert run_tool("predict", "-i", listed, "--model_file", tiny.folder, "--retry_failed").code == 2


def test_ranks_share_the_videos_and_another_number_of_them_continues(tiny, listed, run_tool, tmp_path):
    words = ["-i", listed, "--model_file", tiny.folder, "--out"]
    assert run_tool("predict", *words, tmp_path / "one.jsonl").code == 0
    out = tmp_path / "two.jsonl"
    for rank in (0, 1):
        assert run_tool("predict", *words, out, "--rank", rank, "--num_ranks", 2).code == 0
    parts = sorted(tmp_path.glob("two.*"))
    assert [part.name for part in parts] == ["two.rank-0-of-2.jsonl", "two.rank-1-of-2.jsonl"]
    assert lines_of(*parts) == lines_of(tmp_path / "one.jsonl")
    for part, lines in zip(parts, (3, 6)):  # both were killed
        part.write_bytes(b"".join(part.read_bytes().splitlines(True)[:lines]) + b'{"path": "ha')
    for rank in range(3):
        done = run_tool("predict", *words, out, "--rank", rank, "--num_ranks", 3)
        assert done.code == 0 and f"of 6 are in the files of {out}" in done.err
    parts = sorted(tmp_path.glob("two.*"))
    assert len(parts) == 5 and lines_of(*parts) == lines_of(tmp_path / "one.jsonl")


@pytest.mark.slow
def test_killed_twice_and_continued_every_video_is_there_once(tiny, listed, tmp_path):
    out = tmp_path / "results.jsonl"
    command = [sys.executable, "-m", "paddlevideo", "predict", "-i", listed, "--model_file", tiny.folder, "--out", out]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def start():
        return subprocess.Popen(
            list(map(str, command)), env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
        )

    for lines in (4, 11):
        with start() as process:
            while not out.exists() or out.read_bytes().count(b"\n") < lines:
                time.sleep(0.01)
                assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGSTOP)
            if lines == 4:
                with start() as second:
                    assert "another run is writing it" in second.communicate()[1]
            process.send_signal(signal.SIGKILL)
    with start() as process:
        error = process.communicate()[1]
    assert process.returncode == 0 and "to go" in error, error
    assert sorted(text for text, _ in lines_of(out)) == sorted(listed.read_text().splitlines())
