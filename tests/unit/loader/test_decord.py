"""Configurations that name decord: decord where it is installed, else the exact reader and one line per run."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import open_video, reader
from paddlevideo.loader.decode.pyav import PyAVReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.loader.pipelines.ava_sampling import RawFrameDecode
from paddlevideo.loader.pipelines.decode import VideoDecoder, open_sample
from tests.clips import numbered_frames, write_clip
from tests.tiny import ROOT, save, tsm_config

LINE = "decord is not installed, so the exact reader (pyav) decodes the frames"
PIP = "pip install 'paddlevideo-suite[decord]'"
WITHOUT = "import sys; sys.modules['decord'] = None; from paddlevideo.cli.main import {0}; sys.exit({0}({1}))"


@pytest.fixture
def no_decord(monkeypatch):
    """``import decord`` fails."""
    monkeypatch.setitem(sys.modules, "decord", None)
    reader.has_decord.cache_clear()
    yield
    reader.has_decord.cache_clear()


def with_decord_named(config):
    for steps in config["PIPELINE"].values():
        steps["decode"] = {"name": "VideoDecoder", "backend": "decord"}
    return config


def run(entry, *words):
    """What a command writes in a process in which ``import decord`` fails."""
    script = WITHOUT.format(*entry)
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout


MAIN_PY = ("run_script", "'main.py'")
COMMAND = ("main", "")


def test_the_exact_reader_replaces_it_with_one_line(no_decord, tmp_path, caplog):
    path = write_clip(tmp_path / "a.mp4", numbered_frames(20))
    config = with_decord_named(tsm_config(path, tmp_path))
    with caplog.at_level(logging.WARNING, "paddlevideo"):
        pipelines = [Pipeline(steps, split) for split, steps in config["PIPELINE"].items()]
        opened = [VideoDecoder("decord")({"filename": str(path)}, None)["reader"]]
        opened.append(open_sample({"filename": str(path)}, RawFrameDecode("decord").backend))
        pipelines[-1]({"filename": str(path), "label": 0}, np.random.default_rng(0))
    assert all(isinstance(each, PyAVReader) for each in opened)
    assert [record.getMessage().count(LINE) for record in caplog.records] == [1] and PIP in caplog.text
    # what an export writes stays what the configuration names
    assert pipelines[0].describe()["decode"]["backend"] == "decord"


@pytest.mark.parametrize("error", [OSError("libavcodec.so: no such file"), RuntimeError("blocked")])
def test_one_that_cannot_be_imported_is_replaced_with_the_reason(no_decord, monkeypatch, caplog, error):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "decord":
                raise error

    monkeypatch.delitem(sys.modules, "decord")
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert reader.backend_of_config("decord") == reader.backend_of_config("decord") == "pyav"
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"cannot be imported ({type(error).__name__}: {error})" in line
    with pytest.raises(UserError, match="decord' cannot be imported .*pip install"):
        open_video(__file__, "decord")


def test_it_is_taken_where_it_is_installed(tmp_path, caplog):
    pytest.importorskip("decord", reason="decord is not installed: pip install 'paddlevideo-suite[decord]'")
    path = write_clip(tmp_path / "a.mp4", numbered_frames(20))
    opened = VideoDecoder("decord")({"filename": str(path)}, None)["reader"]
    with opened, open_video(path) as exact:
        assert type(opened).__name__ == "DecordReader" and not caplog.records
        assert np.abs(opened.get([3, 17, 4]).astype(int) - exact.get([3, 17, 4])).max() <= 2


@pytest.mark.parametrize("words", [["--check"], ["--max_iters", "2", "-o", "DATASET.num_workers=2", "--validate"]])
def test_a_run_prints_it_once(clips, tmp_path, words):
    config = save(with_decord_named(tsm_config(clips, tmp_path / "out")), tmp_path / "a.yaml")
    text = run(MAIN_PY, "-c", config, *words)
    assert text.count(LINE) == 1 and text.count(PIP) == 1, text
    assert "Traceback" not in text


@pytest.mark.slow
def test_an_export_that_names_it_predicts_the_same(tiny, tmp_path):
    folder = shutil.copytree(tiny.folder, tmp_path / "exported")
    file = folder / "inference.yml"
    described = yaml.safe_load(file.read_text())
    described["pipeline"]["decode"]["backend"] = "decord"
    file.write_text(yaml.safe_dump(described, sort_keys=False))
    video = tiny.videos[0].parent
    named, plain = (run(COMMAND, "predict", "--model_file", model, "-i", video) for model in (folder, tiny.folder))
    assert named.count(LINE) == 1 and plain.count(LINE) == 0
    assert [line for line in named.splitlines() if LINE not in line] == plain.splitlines()
