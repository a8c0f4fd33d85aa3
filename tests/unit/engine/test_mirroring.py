"""Classes that mirroring exchanges: found by their names, and what a training makes of them."""

import pytest
import yaml

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.mirroring import mirrored_classes, tokens_of
from paddlevideo.settings import Options
from tests.tiny import tsm_config
from tests.unit.engine.test_class_names import make_folders

SIDES = ("go", "turn left", "turn right")


@pytest.mark.parametrize(
    "one, other",
    [
        ("turn left", "turn right"), ("TurnLeft", "TurnRight"), ("LEFT_2", "RIGHT_2"), ("arm-l", "arm-r"),
        ("vorne links", "vorne rechts"), ("左转", "右转"), ("向左挥手", "向右挥手"),
        ("left to right", "right to left"), ("turn clockwise", "turn anticlockwise"), ("à gauche", "à droite"),
        ("counter-clockwise", "clockwise"), ("turn clockwise", "turn counter clockwise"),
        ("TurnClockwise", "TurnAntiClockwise"), ("anti-clockwise_turn", "clockwise_turn"),
    ],
)  # fmt: skip
def test_pairs_that_mirroring_exchanges(one, other):
    assert mirrored_classes([one, "stand", other]) == {0: 2, 2: 0}


@pytest.mark.parametrize(
    "names",
    [("bright", "blight"), ("leftover", "rightover"), ("turn left", "go right"), ("left", "stop"), ("l1", "l2")],
)
def test_names_that_only_look_like_it(names):
    assert mirrored_classes(names) == {}


def test_words_of_a_name():
    assert tokens_of("TurnLeft_2 (slow)") == ("turn", "left", "2", "slow")
    assert tokens_of("RSide") == ("r", "side")


@pytest.fixture
def run(tmp_path):
    """Trains one step on class folders; returns the transforms of the resolved file, and its whole content."""

    def start(names=SIDES, steps=("RandomFlip",), **keys):
        root = make_folders(tmp_path / "data", names, 2)
        config = tsm_config(root, tmp_path / "out") | keys | {"epochs": 1}
        config["MODEL"]["head"]["num_classes"] = "auto"
        config["PIPELINE"]["train"]["transform"] += list(steps)
        train(Config(config), Options(max_iters=1, device="cpu"))
        written = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
        return written["PIPELINE"]["train"]["transform"], written

    return start


def test_auto_turns_mirroring_off_in_one_line(run, capsys):
    transform, written = run(flip="auto")
    assert "RandomFlip" not in str(transform) and "flip" not in written
    lines = [line for line in capsys.readouterr().out.splitlines() if "flip:" in line]
    assert len(lines) == 1 and "turn left / turn right" in lines[0]


def test_auto_mirrors_where_no_sides_are_named(run):
    assert "RandomFlip" in str(run(("go", "stand"), flip="auto")[0])


def test_map_exchanges_the_labels(run):
    transform, _ = run(flip="map", steps=[{"RandomFlip": {"p": 0.3}}])
    assert transform[-1] == {"RandomFlip": {"p": 0.3, "flip_label_map": {"1": 2, "2": 1}}}


def test_two_spellings_of_a_class_mirror_neither_way(run, capsys):
    """One of them would be exchanged for the other class, and nothing for it."""
    names = ("Turn_Left", "turn left", "turn right")
    with pytest.raises(UserError, match="'Turn_Left' and 'turn left' are one class by their words"):
        run(names, flip="map")
    transform, _ = run(names, flip="auto")
    assert "RandomFlip" not in str(transform) and "Turn_Left / turn right" in capsys.readouterr().out


def test_none_and_keep(run):
    assert "RandomFlip" not in str(run(("go", "stand"), flip="none")[0])


def test_keep_mirrors_all_the_same(run, capsys):
    assert "RandomFlip" in str(run(flip="keep")[0])
    assert "mirrors clips" not in capsys.readouterr().out


def test_a_file_without_the_key_is_unchanged_and_warned(run, capsys):
    transform, _ = run()
    assert transform[-1] == "RandomFlip"
    assert capsys.readouterr().out.count("PIPELINE.train mirrors clips, and a mirrored clip of one class") == 1


def test_a_map_of_the_file_s_own_is_neither_changed_nor_warned(run, capsys):
    own = {"RandomFlip": {"flip_label_map": {0: 0}}}
    assert run(flip="auto", steps=[own])[0][-1] == own
    assert "mirror" not in capsys.readouterr().out


def test_map_needs_names(tmp_path):
    from tests.tiny import make_clips

    config = tsm_config(make_clips(tmp_path / "clips", 4), tmp_path / "out") | {"flip": "map"}
    with pytest.raises(UserError, match="flip: map needs class names"):
        train(Config(config), Options(max_iters=1, device="cpu"))


def test_a_resumed_run_exchanges_the_same_labels(run, tmp_path, capsys):
    _, written = run(flip="map")
    capsys.readouterr()
    train(Config(written | {"epochs": 2}), Options(max_iters=1, device="cpu", resume="auto"))
    assert "PIPELINE.train" not in capsys.readouterr().out


def test_map_without_mirroring_exchanges_nothing_in_one_line(run, capsys):
    _, written = run(steps=(), flip="map")
    assert "flip: map: PIPELINE.train mirrors nothing" in capsys.readouterr().out and "flip" not in written


@pytest.mark.parametrize("rule", ["auto", "map", None])
def test_actions_of_persons_are_named_by_their_label_file(tiny_ava, tmp_path, capsys, rule):
    config = yaml.safe_load(tiny_ava.config.read_text())
    ids = [k for k, name in read_ava_labels(tiny_ava.data / "labels.pbtxt").items() if name.startswith("walk_")]
    config["DATASET"]["train"] = config["DATASET"].pop("test") | {"custom_classes": ids}
    config["MODEL"]["head"]["bbox_head"] |= {"num_classes": 3, "topk": [1]}
    config["PIPELINE"]["train"] = config["PIPELINE"].pop("test")
    config["PIPELINE"]["train"]["transform"].insert(0, {"Flip": {"flip_ratio": 0.5}})
    config |= {"epochs": 1, "output_dir": str(tmp_path / "out"), "OPTIMIZER": {"name": "SGD", "learning_rate": 0.01}}
    train(Config(config | ({"flip": rule} if rule else {})), Options(max_iters=1, device="cpu"))
    written = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["PIPELINE"]["train"]["transform"]
    flip = next((step["Flip"] for step in written if "Flip" in step), None)
    mirrored = {"flip_label_map": {"1": 2, "2": 1}} if rule == "map" else {}
    assert flip == (None if rule == "auto" else {"flip_ratio": 0.5, **mirrored})
    assert "walk_left / walk_right" in capsys.readouterr().out
