"""One list of endings, and no file of a folder that vanishes without a word."""

import json
from pathlib import Path

import pytest

from paddlevideo.engine.data_summary import left_out_lines
from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.datasets.ava import VideoPaths
from paddlevideo.loader.decode import open_video
from paddlevideo.preparation.list_files import VideoIndex
from paddlevideo.preparation.video_folder import VideoFolder
from paddlevideo.safe_io import address_scheme, read_pickle
from paddlevideo.video_files import find_videos, is_video, left_out_files
from tests.clips import numbered_frames, write_clip

# what this FFmpeg writes: ending -> codec, muxer
WRITTEN = {
    ".mp4": ("libx264", None),
    ".MOV": ("libx264", "mov"),
    ".gif": ("gif", None),
    ".m2ts": ("libx264", "mpegts"),
    ".mts": ("libx264", "mpegts"),
    ".vob": ("mpeg2video", "vob"),
    ".mpg": ("mpeg1video", None),
    ".wmv": ("wmv2", None),
    ".flv": ("flv", None),
    ".3gp": ("mpeg4", None),
    ".webm": ("libvpx", None),
    ".h264": ("libx264", None),
    ".mjpg": ("mjpeg", "mjpeg"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders a and b, and a loose video, with files that are none between them."""
    root = tmp_path_factory.mktemp("classes")
    for number, (ending, (codec, muxer)) in enumerate(WRITTEN.items()):
        path = root / "ab"[number % 2] / f"clip{number}{ending}"
        options = {"options": {}} if codec == "gif" else {}
        if codec == "gif":
            _write_gif(path)
        else:
            write_clip(path, numbered_frames(6), codec=codec, muxer=muxer, bframes=0, **options)
    write_clip(root / "loose.mp4", numbered_frames(6))
    (root / "a" / "notes.txt").write_text("x")
    (root / "a" / ".hidden.mp4").write_text("x")
    (root / "a" / ".DS_Store").write_text("x")
    (root / "b" / "README").write_text("x")
    return root


def _write_gif(path):
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("gif", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
        for image in numbered_frames(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="rgb8")))
        container.mux(stream.encode(None))


LEFT_OUT = {
    ".txt": ["a/notes.txt"],
    "beside the class folders": ["loose.mp4"],
    "hidden": ["a/.hidden.mp4"],
    "without an ending": ["b/README"],
}


def test_training_takes_what_decodes_and_names_the_rest(folder):
    section = {"format": "VideoDataset", "file_path": str(folder)}
    steps = {"decode": {"name": "VideoDecoder"}, "sample": {"name": "Sampler", "num_seg": 2}}
    common = {"seed": 0, "num_classes": 2, "batch_size": 1, "num_workers": 0, "shuffle": False, "drop_last": False}
    loader = build_loader(section, steps, "train", **common)
    assert len(loader.dataset.records) == len(WRITTEN) == sum(1 for _ in loader.epoch(0)) and not loader.unreadable
    assert left_out_files(str(folder)) == loader.dataset.left_out() == LEFT_OUT
    assert "DATASET.train: left out, hidden: 1: a/.hidden.mp4" in left_out_lines(loader.dataset, "train")


def test_all_doors_take_the_same_files(folder):
    names = sorted(path.name for path in (folder / "a").iterdir() if is_video(path.name))
    assert [path.name for path in find_videos([folder / "a"])] == names
    assert len(VideoIndex(folder / "a")) == len(names)
    assert set(VideoFolder(folder / "a", None, None).endings.values()) == {Path(name).suffix for name in names}


def test_check_dataset_names_what_is_left_out(folder, tmp_path, run_tool_or_main):
    report = run_tool_or_main("--list", str(folder), "--report", str(tmp_path / "r.json"))
    assert "left_out (1)" in report and "4 files are left out" in report
    assert "left_out" in {f["kind"] for f in json.loads((tmp_path / "r.json").read_text())["findings"]}


@pytest.fixture
def run_tool_or_main(capsys):
    from paddlevideo.cli.main import main

    def run(*arguments):
        main(["check-data", *arguments])
        return capsys.readouterr().out

    return run


def test_two_files_of_one_name_are_reported(tmp_path):
    for ending in (".mp4", ".webm"):
        (tmp_path / f"a{ending}").write_bytes(b"x")
    with pytest.raises(UserError, match=r"may be a.mp4 and a.webm: set video_suffix"):
        VideoPaths(str(tmp_path), True, "").of("a")
    assert VideoPaths(str(tmp_path), True, ".webm").of("a").endswith("a.webm")
    assert VideoFolder(tmp_path, None, None).name_of("a") is None


@pytest.mark.parametrize("name", ["http://host/a.mp4", "rtsp://camera/1"])
def test_addresses_are_named_as_such(name):
    assert address_scheme(name) == name[:4]
    assert address_scheme("c:/a.mp4") is None and address_scheme("a:b.mp4") is None
    with pytest.raises(UserError, match="an address"):
        find_videos([name])
    with pytest.raises(UserError, match="an address"):
        open_video(name)
    with pytest.raises(UserError, match="an address"):
        read_pickle(name)
