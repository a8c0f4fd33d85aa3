"""``tools/browse_dataset.py``: what is drawn is what a run would see."""

import cv2
import numpy as np
import pytest
import yaml

from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.reporting.browse import Browser, prefixes
from paddlevideo.reporting.contact_sheet import PictureRow, contact_sheet, displayable, moving_sheet, spread
from tests.tiny import make_clips

NORMALIZATION = {"Normalization": {"mean": [0.5] * 3, "std": [0.25] * 3}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four clips of 40 x 40 pixels, two classes, and their names."""
    folder = tmp_path_factory.mktemp("clips")
    make_clips(folder, 4)
    (folder / "names.txt").write_text("leftwards\nrightwards\n")
    return folder


def settings(folder, transform, mix=None):
    """A configuration of one training pipeline."""
    return {
        "model_name": "Tiny",
        "MODEL": {
            "framework": "Recognizer2D",
            "backbone": {"name": "ResNetTSM", "depth": 18, "num_seg": 4},
            "head": {"name": "TSMHead", "num_classes": 2, "in_channels": 512},
        },
        "DATASET": {
            "label_names": str(folder / "names.txt"),
            "train": {"format": "VideoDataset", "file_path": str(folder / "clips.list")},
        },
        "PIPELINE": {
            "train": {
                "decode": {"name": "VideoDecoder"},
                "sample": {"name": "Sampler", "num_seg": 4, "seg_len": 1, "select_left": True},
                "transform": transform,
            }
        },
        **({"MIX": mix} if mix else {}),
    }


def browser(folder, transform, mix=None, **more):
    return Browser(Config(settings(folder, transform, mix)), "train", **more)


def write(path, config):
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def test_after_is_what_the_loader_gives_and_before_is_what_it_had(folder):
    transform = [{"RandomCrop": {"target_size": 24}}, {"RandAugment": {"prob": 1.0}}, NORMALIZATION]
    config = settings(folder, transform)
    loader = build_loader(
        config["DATASET"]["train"], config["PIPELINE"]["train"], "train",
        seed=3, num_classes=2, batch_size=4, num_workers=0, shuffle=False, drop_last=False,
    )  # fmt: skip
    (batch,) = loader.epoch(5)
    untouched = browser(folder, ["Image2Array"], seed=3, epoch=5)
    for index in range(4):
        clip = browser(folder, transform, seed=3, epoch=5).clip(index)
        before, after = clip.rows
        np.testing.assert_array_equal(after.frames, batch["imgs"][index, 0])
        np.testing.assert_array_equal(before.frames, untouched.clip(index).rows[0].frames)
        assert before.title == "before  40 x 40" and after.title == "after  24 x 24"
        assert clip.heading[0].startswith(("leftwards (0)", "rightwards (1)")[index % 2])
        assert clip.heading[1].endswith(f"clip {index}.mp4")


def test_a_changed_label_is_reported(folder):
    flip = {"Flip": {"flip_ratio": 1.0, "flip_label_map": {0: 1}}}
    rows = browser(folder, [flip]).clip(0).rows
    assert rows[1].title == "after: now rightwards (1)  40 x 40"
    np.testing.assert_array_equal(rows[1].frames, rows[0].frames[:, :, ::-1])


def test_a_row_per_operator_and_none_where_nothing_changed(folder):
    transform = [
        "Image2Array",
        {"CenterCrop": {"target_size": 30}},
        {"RandomFlip": {"p": 0.0}},
        "Imgaug",
        NORMALIZATION,
    ]
    rows = browser(folder, transform, every_step=True).clip(1).rows
    assert [row.title for row in rows] == [
        "before  40 x 40", "Image2Array: nothing changed", "CenterCrop  30 x 30", "RandomFlip: nothing changed",
        "Imgaug  30 x 30", "Normalization: nothing changed",
    ]  # fmt: skip
    assert [row.frames is None for row in rows] == [False, True, False, True, False, True]


def test_a_row_per_view(folder):
    transform = [{"TenCrop": {"crop_size": 30}}]
    rows = browser(folder, transform).clip(0).rows
    assert len(rows) == 11 and rows[-1].title == "after, view 10 of 10  30 x 30"
    rows = browser(folder, transform, max_views=3).clip(0).rows
    assert [row.title.split()[2] for row in rows[1:]] == ["1", "5", "10"]


def test_the_blended_row_has_the_shares_of_its_label(folder):
    mixed = browser(folder, [NORMALIZATION], {"name": "Mixup", "alpha": 0.8}, seed=1)
    clips = [mixed.clip(index) for index in range(4)]
    mixed.blend(clips)
    plain = [clip.rows[1].frames.astype(float) for clip in clips]
    blended = 0
    for clip in clips:
        title, frames = clip.rows[2].title, clip.rows[2].frames
        assert title.startswith("Mixup: ") and frames.shape == plain[0].shape
        if " + " in title:  # clip n with a clip of the other class
            share = float(title.split()[1])
            first = ("leftwards", "rightwards").index(title.split()[2])
            pairs = [
                share * plain[i] + (1 - share) * plain[j] for i in (first, first + 2) for j in (1 - first, 3 - first)
            ]
            assert min(abs(pair - frames).max() for pair in pairs) < 2
            blended += 1
    assert blended
    with pytest.raises(UserError, match="at least two"):
        mixed.blend(clips[:1])
    with pytest.raises(UserError, match="no MIX to show"):
        browser(folder, [NORMALIZATION]).blend(clips)


def test_soft_labels_and_missing_names(folder):
    config = settings(folder, [NORMALIZATION])
    config["DATASET"].pop("label_names")
    nameless = Browser(Config(config), "train")
    assert nameless.label_text(1) == "class 1"
    soft = np.array([0.25, 0.75, 0.001], np.float32)
    assert browser(folder, [NORMALIZATION]).label_text(soft[:2]) == "0.75 rightwards (1) + 0.25 leftwards (0)"
    assert nameless.label_text(soft) == "0.75 class 1 + 0.25 class 0"
    assert nameless.label_text(np.full(8, 0.125)).endswith("0.12 class 3 + ...")


def test_clips_normalised_in_the_worker_can_be_seen(folder):
    done_here = {"Normalization": {**NORMALIZATION["Normalization"], "device": False}}
    before, after = browser(folder, [done_here]).clip(0).rows
    assert after.frames.dtype == np.uint8 and "normalised" in after.title
    assert np.corrcoef(before.frames.ravel(), after.frames.ravel())[0, 1] > 0.99
    assert displayable(np.array([-1.0, 0.0, 1.0])).tolist() == [0, 127, 255]


def test_prefixes_keep_the_key_paths_of_the_section():
    section = {"decode": {"name": "D"}, "transform": ["A", {"B": {"x": 1}}], "end": {"name": "E"}}
    assert list(prefixes(section)) == [
        ("D", {"decode": {"name": "D"}}),
        ("A", {"decode": {"name": "D"}, "transform": ["A"]}),
        ("B", {"decode": {"name": "D"}, "transform": ["A", {"B": {"x": 1}}]}),
        ("E", section),
    ]


def test_sheets_hold_the_pixels_they_are_given():
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 40, 3), dtype=np.uint8)
    sheet = contact_sheet(["heading"], [PictureRow("a row", frames), PictureRow("only text", None)], 32, 3)
    found = sum((sheet[y : y + 32, x : x + 40] == frames[2]).all() for y in range(30, 60) for x in range(40, 50))
    assert found == 1 and spread(5, 3) == [0, 2, 4] and spread(2, 9) == [0, 1] and spread(1, 4) == [0]
    enlarged = contact_sheet([], [PictureRow("", frames[:1])], 64, 3)
    assert any((enlarged[y : y + 64 : 2, :80:2] == frames[0]).all() for y in range(10, 40))
    pictures = moving_sheet(["heading"], [PictureRow("long", frames), PictureRow("short", frames[:2])], 32)
    assert len(pictures) == 5 and len({picture.shape for picture in pictures}) == 1
    assert (pictures[1] == pictures[3]).mean() > 0.5  # the short one plays again


def test_the_command_writes_a_strip_per_clip(run_tool, folder, tmp_path):
    config = write(tmp_path / "c.yaml", settings(folder, [{"RandomCrop": {"target_size": 24}}, NORMALIZATION]))
    done = run_tool("browse_dataset", "-c", config, "--num", 3, "--out", tmp_path / "look")
    paths = sorted((tmp_path / "look").iterdir())
    assert done.code == 0 and done.out.split() == [str(path) for path in paths]
    assert [path.name for path in paths] == ["train_000000.png", "train_000002.png", "train_000003.png"]
    assert cv2.imread(str(paths[0])).shape[0] > 2 * 128
    change = "PIPELINE.train.transform.0.RandomCrop.target_size=12"
    done = run_tool("browse_dataset", "-c", config, "--index", 1, "-o", change, "--out", tmp_path / "small")
    assert done.code == 0 and (tmp_path / "small" / "train_000001.png").is_file()


def test_it_draws_what_a_run_sees_by_default(run_tool):
    from paddlevideo.settings import DEFAULT_SEED

    assert f"({DEFAULT_SEED}, as for main.py)" in run_tool("browse_dataset", "--help").out.replace("\n", " ")


def test_the_command_writes_gifs_and_reports_when_there_is_nothing_to_blend(run_tool, folder, tmp_path):
    image = pytest.importorskip("PIL.Image", reason="GIFs are written by Pillow, which is not installed")
    config = write(tmp_path / "c.yaml", settings(folder, [NORMALIZATION], {"name": "Cutmix"}))
    done = run_tool("browse_dataset", "-c", config, "--index", 1, "--format", "gif", "--out", tmp_path)
    assert done.code == 0 and "no row for MIX" in done.err
    assert image.open(tmp_path / "train_000001.gif").n_frames == 4


def test_an_unreadable_clip_is_named_and_the_others_are_drawn(run_tool, folder, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    lines = (folder / "clips.list").read_text().splitlines()[:2]
    (tmp_path / "some.list").write_text("\n".join([f"{tmp_path}/bad.mp4 0", *lines]))
    config = settings(folder, [NORMALIZATION], {"name": "Mixup"})
    config["DATASET"]["train"]["file_path"] = str(tmp_path / "some.list")
    config = write(tmp_path / "c.yaml", config)
    done = run_tool("browse_dataset", "-c", config, "--out", tmp_path / "look")
    assert done.code == 1 and "skipped:" in done.err and "bad.mp4" in done.err
    assert len(list((tmp_path / "look").iterdir())) == 2
    done = run_tool("browse_dataset", "-c", config, "--index", 0, "--out", tmp_path / "none")
    assert done.code == 2 and "none of 1 clips" in done.err and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--index", 9], "there is no sample 9; train holds 4, 0 to 3"),
        (["--split", "test"], "DATASET.test is missing; there are: "),
        (["--num", 0], "expected at least 1"),
        (["--seed", -1], "expected at least 0"),
        (["-o", "PIPELINE.train.transform.0.Normalisation.mean=1"], "Normalisation"),
    ],
)
def test_a_mistake_is_one_line(run_tool, folder, tmp_path, arguments, message):
    config = write(tmp_path / "c.yaml", settings(folder, [NORMALIZATION]))
    done = run_tool("browse_dataset", "-c", config, *arguments, "--out", tmp_path / "look")
    assert done.code == 2 and message in done.err and "Traceback" not in done.err
