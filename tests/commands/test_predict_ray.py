"""``paddlevideo predict --ray``, on one machine.  Ray is not among the packages of the tests: it is large."""

import importlib.util
import shutil
import sys

import pytest

from tests.commands.test_predict_many import lines_of

WITHOUT_RAY = importlib.util.find_spec("ray") is None


def test_without_ray_the_error_names_the_pip_line(tiny, run_tool, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    words = ["-i", tiny.videos[0], "--model_file", tiny.folder, "--ray"]
    done = run_tool("predict", *words, "--out", tmp_path / "r.jsonl")
    assert done.code == 2 and "pip install 'ray[data]>=2.9'" in done.err and not (tmp_path / "r.jsonl").exists()
    done = run_tool("predict", *words, "1")
    assert done.code == 2 and "--ray: is for many videos; add --out FILE.jsonl" in done.err


@pytest.mark.slow
@pytest.mark.skipif(WITHOUT_RAY, reason="Ray is not installed: pip install 'ray[data]>=2.9'")
def test_a_ray_job_gives_the_same_lines_and_continues_a_plain_run(tiny, run_tool, tmp_path):
    for i in range(12):
        shutil.copy(tiny.videos[i % 3], tmp_path / f"{i}.mp4")
    (tmp_path / "4.mp4").write_text("no video")
    (tmp_path / "list.txt").write_text("".join(f"{i}.mp4 {i % 5}\n" for i in range(13)))
    words = ["-i", tmp_path / "list.txt", "--model_file", tiny.folder, "--use_gpu", "False", "--out"]
    assert run_tool("predict", *words, tmp_path / "plain.jsonl").code == 0
    out = tmp_path / "ray.jsonl"
    out.write_bytes(b"".join((tmp_path / "plain.jsonl").read_bytes().splitlines(True)[:4]))
    done = run_tool("predict", *words, out, "--ray", 1)
    assert done.code == 0 and "3 of 13 are in" in done.err, done.err
    assert lines_of(out) == lines_of(tmp_path / "plain.jsonl")
    done = run_tool("predict", *words, tmp_path / "more.jsonl", "--ray", 1000)
    assert done.code == 2 and "1000 actors of 2 CPUs each" in done.err
