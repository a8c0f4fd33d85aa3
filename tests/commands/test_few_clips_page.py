"""The commands of docs/few_clips.md, run one after the other as they are printed, with a small network of one epoch."""

import re
import shlex
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.build import network
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.safe_io import write_pickle
from tests.clips import write_clip

PAGES = [Path(__file__).resolve().parents[2] / "docs" / name for name in ("few_clips.md", "few_clips_zh-CN.md")]
SMALL = ["-o", "MODEL.backbone.scale=0.1", "-o", "MODEL.backbone.pretrained=start.pdparams"]
RUN = ["-o", "epochs=1", "-o", "DATASET.num_workers=0", "-o", "DATASET.batch_size=6"]
PLACES = {"CFG": "few_clips", "best.pdparams": "output/few_clips/few_clips_best.pdparams"}


def blocks(page):
    """The commands of every code block, as words after paddlevideo."""
    found = [re.findall(r"^paddlevideo (.*)$", block, re.MULTILINE)
             for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)]  # fmt: skip
    return [[shlex.split(line, comments=True) for line in lines] for lines in found if lines]


def test_both_languages_print_the_same_commands():
    assert blocks(PAGES[0]) == blocks(PAGES[1])


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Clips of two classes in data/own and elsewhere, their sources, and arbitrary start weights."""
    monkeypatch.chdir(tmp_path)
    rng, lines = np.random.default_rng(0), []
    for part, count in (("train", 5), ("val", 1)):
        for k, name in enumerate(("go", "stop")):
            Path("data/own", part, name).mkdir(parents=True)
            for i in range(count):
                frames = np.clip(rng.normal(60 + 120 * k, 20, (8, 40, 40, 3)), 0, 255).astype("uint8")
                write_clip(Path("data/own", part, name, f"{part} {i}.mp4"), frames, fps=8)
                lines.append(f"{name}/{part} {i}.mp4 recording{i}\n")
    Path("sources.txt").write_text("".join(lines))
    Path("my/videos").mkdir(parents=True)
    for copy in ("clip.mp4", "my/videos/a.mp4"):
        Path(copy).write_bytes(Path("data/own/val/go/val 0.mp4").read_bytes())
    write_clip(Path("long.mp4"), rng.integers(0, 255, (40, 40, 40, 3), dtype=np.uint8), fps=10)
    paddle.seed(0)
    config = load_config("few_clips", ["MODEL.backbone.scale=0.1", "MODEL.backbone.pretrained=null",
                                       "MODEL.head.num_classes=2"])  # fmt: skip
    write_pickle(Path("start.pdparams"), {k: v.numpy() for k, v in network(config).backbone.state_dict().items()})
    return tmp_path


def run(words):
    words = [PLACES.get(word, word) for word in words]
    more = SMALL if "-c" in words else []
    assert main([*words, *more, *(RUN if words[0] == "train" else [])]) == 0, words


@pytest.mark.slow
def test_the_printed_commands_run(here, capsys):
    pytest.importorskip("pyarrow")  # of the test extra
    measure, of_weights, saved, _ = blocks(PAGES[0])
    for words in (*measure, *saved):
        run(words)
    run(["export", "-c", "few_clips", "-w", "output/probe.pdparams", "--out", "inference/TSM"])
    for words in of_weights:
        run(words)
    assert all(Path(name).is_file() for name in ("features.parquet", "features.npz", "windows.npz"))
    assert "top-1 class" in capsys.readouterr().out
