"""Names from files and folders cannot write to a terminal, leave a folder, or be taken for what they only resemble."""

import io
import sys

import pytest

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.cli.command import run_command
from paddlevideo.config.checking import check
from paddlevideo.errors import UserError
from paddlevideo.loader.datasets.lists import class_folders
from paddlevideo.loader.labels import read_labels
from paddlevideo.registry import BACKBONES, FRAMEWORKS, HEADS
from paddlevideo.video_files import find_videos


@pytest.mark.scorecard(12)
def test_whatever_a_command_prints_is_escaped(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", io.StringIO())

    def main():
        print("a\0b\x1b[31mc\x9bd\re\tf é\udcff")
        sys.stdout.write("\r 50 %")
        print("g\x1b[A", file=sys.stderr)
        raise UserError("h\x07.mp4: missing\n  second line")

    assert run_command(main) == 2
    out.flush()
    assert out.buffer.getvalue() == b"a\\x00b\\x1b[31mc\\x9bd\\re\tf \\xe9\\udcff\n\r 50 %"
    assert sys.stderr.getvalue() == "g\\x1b[A\nerror: h\\x07.mp4: missing\n  second line\n"


@pytest.mark.parametrize(
    ("file", "text", "read"),
    [
        ("a.txt", "walk\n\x1b[31mrun\n", read_labels),
        ("a.pbtxt", 'item { name: "\x1b[31mwalk" id: 1 }', read_ava_labels),
        ("a.txt", "1: \x9bwalk", read_ava_labels),
        ("a.list", "no\0thing\x1b.mp4\n", lambda path: find_videos([path])),
    ],
)
def test_class_names_with_control_characters_are_refused(file, text, read, tmp_path):
    (tmp_path / file).write_text(text)
    with pytest.raises(UserError) as caught:
        read(tmp_path / file)
    assert all(line.isprintable() for line in str(caught.value).split("\n"))


def test_class_folders_too(tmp_path):
    (tmp_path / "\x1b[31mwalk").mkdir()
    with pytest.raises(UserError, match=r"the class name '\\x1b\[31mwalk' holds a control character"):
        class_folders(str(tmp_path))


@pytest.mark.parametrize("name", ["../../x", "/abs", "a\\b", "..", "", "x\x1b[31m"])
def test_a_model_name_is_a_name(name):
    lines = [line for line in check({"model_name": name, "MODEL": {}}) if line.startswith("model_name")]
    assert len(lines) == 1 and "expected a name" in lines[0] and lines[0].isprintable()
    assert not [line for line in check({"model_name": "ppTSM 2", "MODEL": {}}) if line.startswith("model_name")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("BMN", "localisation"), ("ResNetTSN", "shift: False"), ("SwinTransformer3D", "VisionTransformer"),
        ("YOWO", "FastRCNN"), ("CTRGCN", "skeletons"), ("AGCN2sHead", "skeletons"), ("BMNLocalizer", "localisation"),
        ("TokenShiftVisionTransformer", "space_only"), ("MoViNet", "PPTSM_MobileNetV2"), ("TSN_Head", "shift: False"),
    ],
)  # fmt: skip
def test_models_out_of_scope_are_called_that(name, words):
    line = BACKBONES.unknown(name)
    assert words in line and "not part of this suite" in line and "did you mean" not in line
    assert "'ResNetTSM'?" in BACKBONES.unknown("ResNetTMS")


def test_a_name_that_only_holds_one_of_them_keeps_the_nearest_names():
    from paddlevideo.out_of_scope import out_of_scope

    own = ("EfficientNetSn", "MySwinBlock", "AddsNoise", "DatasetSN", "MyTSN", "MoViNetHed", "SkeletonToRGB", "Swing")
    assert [name for name in own if out_of_scope(name)] == []
    assert "did you mean 'MoViNetHead'" in HEADS.unknown("MoViNetHed")


def test_no_class_of_this_suite_counts_as_out_of_scope():
    from paddlevideo.out_of_scope import out_of_scope
    from paddlevideo.registry import DATASETS, LOSSES, METRICS, TRANSFORMS

    registries = (BACKBONES, FRAMEWORKS, HEADS, LOSSES, DATASETS, METRICS, TRANSFORMS)
    names = [
        name
        for registry in registries
        for name in registry.names()
        if registry.entry(name).module.startswith("paddlevideo.")
    ]  # others' tests register classes of their own
    assert [name for name in names if out_of_scope(name)] == []
