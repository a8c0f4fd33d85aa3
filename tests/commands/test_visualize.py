"""``tools/visualize.py``: one command for both kinds of network, and its pictures."""

import cv2
import numpy as np
import paddle
import pytest

from paddlevideo.build import network
from paddlevideo.config import load_config
from paddlevideo.safe_io import write_pickle
from tests.tiny import distilled, make_clips, save, timesformer_config, tsm_config

CONFIGS = {"tsm": tsm_config, "timesformer": timesformer_config}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two clips, their names, and per network a configuration and weights."""
    folder = tmp_path_factory.mktemp("visualize")
    clips = make_clips(folder / "clips", 2)
    (folder / "names.txt").write_text("leftwards\nrightwards\n")
    for name, config in CONFIGS.items():
        settings = config(clips, folder / "output")
        settings["DATASET"]["label_names"] = str(folder / "names.txt")
        path = save(settings, folder / f"{name}.yaml")
        save(distilled(settings), folder / f"{name}_distilled.yaml")
        paddle.seed(1)
        state = network(load_config(path)).state_dict()
        write_pickle(folder / f"{name}.pdparams", {key: value.numpy() for key, value in state.items()})
    return folder


def command(folder, name, *more):
    files = ["-c", folder / f"{name}.yaml", "-w", folder / f"{name}.pdparams", "-i", folder / "clips" / "clip 0.mp4"]
    return ["visualize", *files, "--out", folder / "look" / name, *more]


@pytest.mark.parametrize("name", CONFIGS)
def test_one_strip_per_clip(run_tool, folder, name):
    run = run_tool(*command(folder, name, "--height", 64))
    assert run.code == 0, run.err
    path = folder / "look" / name / "clip 0.png"
    assert run.out.split("\n")[:-1] == [str(path)]
    picture = cv2.imread(str(path))
    height, width, _ = picture.shape
    assert height > 2 * 64 and width >= 4 * 64  # a row of frames, a row of maps, four columns
    frames, maps = (picture[y : y + 60, : 4 * 64].astype(int) for y in (height - 2 * 64 - 26, height - 66))
    assert np.ptp(frames, axis=-1).mean() < 20 < np.ptp(maps, axis=-1).mean()  # grey above, coloured below


@pytest.mark.parametrize("name", CONFIGS)
def test_a_distilled_student_is_drawn_without_its_teacher_s_file(run_tool, folder, name):
    pictures = []
    for kind in (name, f"{name}_distilled"):
        arguments = command(folder, name, "--height", 64)
        arguments[2], arguments[8] = folder / f"{kind}.yaml", folder / "look" / kind
        run = run_tool(*arguments)
        assert run.code == 0, run.err
        pictures.append((folder / "look" / kind / "clip 0.png").read_bytes())
    assert pictures[0] == pictures[1]


def test_gif_of_a_chosen_class_and_layer(run_tool, folder):
    run = run_tool(*command(folder, "tsm", "--format", "gif", "--class", 1, "--layer", "backbone.res3a"))
    assert run.code == 0, run.err
    assert (folder / "look" / "tsm" / "clip 0.gif").read_bytes().startswith(b"GIF8")


def test_a_transformer_reports_that_rollout_ignores_classes(run_tool, folder):
    run = run_tool(*command(folder, "timesformer", "--class", 1))
    assert run.code == 0 and "rollout is the same for all classes" in run.err


def test_bad_videos_are_named_and_the_others_drawn(run_tool, folder):
    bad = folder / "bad.mp4"
    bad.write_bytes(b"no video")
    arguments = command(folder, "tsm")
    arguments[6:6] = [bad]
    run = run_tool(*arguments)
    assert run.code == 1 and "skipped:" in run.err and "bad.mp4" in run.err and "clip 0.png" in run.out


@pytest.mark.parametrize(
    "more, words",
    [
        (("--class", 7), "the network has 2 classes"),
        (("--layer", "backbone.res9"), "no such layer"),
        (("--layer", "head.fc"), "no map of places"),
    ],
)
def test_mistakes_end_in_one_line(run_tool, folder, more, words):
    run = run_tool(*command(folder, "tsm", *more))
    assert run.code == 2 and words in run.err.splitlines()[-1]


def test_pictures_of_one_name_do_not_replace_each_other(run_tool, folder):
    twin = folder / "twin" / "clip 0.mp4"
    twin.parent.mkdir()
    twin.write_bytes((folder / "clips" / "clip 1.mp4").read_bytes())
    arguments = command(folder, "tsm")
    arguments[arguments.index("--out") : arguments.index("--out")] = [twin]
    run = run_tool(*arguments)
    assert [line.rpartition("/")[2] for line in run.out.splitlines()] == ["clip 0.png", "clip 0_2.png"]
