"""``docs/api.md``: its blocks run as they are printed, in an empty folder with a few clips."""

import re
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.ava_files import read_proposals, write_proposals
from tests.clips import numbered_frames, write_clip

ROOT = Path(__file__).resolve().parents[2]


def blocks(name):
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / name).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture
def place(tmp_path, tiny_ava, monkeypatch):
    """The files that the page says are there."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 3), ("val", 1)):
        for label, name in enumerate(("jump", "run")):
            for i in range(count):
                file = tmp_path / "data/own" / split / name / f"{i}.mp4"
                file.parent.mkdir(parents=True, exist_ok=True)
                write_clip(file, numbered_frames(8, seed=10 * label + i))
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference/SlowOnly_AVA").symlink_to(tiny_ava.folder)
    (tmp_path / "people.mp4").symlink_to(tiny_ava.video)
    boxes = read_proposals(tiny_ava.proposals)
    write_proposals("people.pkl", {key.replace(tiny_ava.video_id, "people"): value for key, value in boxes.items()})


@pytest.mark.slow
def test_the_blocks_run(place, capsys, monkeypatch):
    from paddlevideo.inference import export as export_module

    monkeypatch.setattr(export_module, "time_runtimes", lambda *_: {})  # has tests of its own, and takes seconds
    names = {}
    for block in blocks("api.md"):
        exec(compile(block, "docs/api.md", "exec"), names)  # noqa: S102
    run, result = names["run"], names["result"]
    assert run.best.is_file() and run.last.is_file() and run.folder == Path("output/TSM_own")
    assert Path("results.json").is_file() and Path("inference/TSM_own/inference.yml").is_file()
    assert 0 <= names["figures"]["top1"] <= 1 and names["report"].max_difference < 1e-4
    assert names["scores"].shape == (2,) and names["scores"].sum() == pytest.approx(1)
    of_weights = names["model"].predict("data/own/val/run/0.mp4")[0]
    import paddlevideo

    of_export = paddlevideo.load(names["config"], run.best).predict("data/own/val/run/0.mp4")[0]
    np.testing.assert_allclose(of_weights.scores, of_export.scores, atol=1e-5)
    assert sum(len(key_frame.persons) for key_frame in result.key_frames) > 3
    assert "did you mean 'tsm_own_videos'?" in capsys.readouterr().out


def test_both_languages_print_the_same_code():
    def code(name):
        return [re.sub(r"  # .*", "", block) for block in blocks(name)]

    assert code("api.md") == code("api_zh-CN.md") and len(blocks("api.md")) >= 8


def test_a_config_that_was_read_takes_no_overrides():
    import paddlevideo
    from paddlevideo.config import load_config
    from paddlevideo.errors import UserError

    config = load_config("tsm_own_videos")
    with pytest.raises(UserError, match="is a Config already"):
        paddlevideo.train(config, ["epochs=1"])
    with pytest.raises(UserError, match="is a Config already"):
        paddlevideo.export(config, "w.pdparams", "out", ["epochs=1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validat": True}, "^validat: unknown option; did you mean 'validate'"),
        ({"max_iters": 0}, "^max_iters: expected at least 1, got 0$"),
        ({"overrides": "epoch=1"}, "epoch: .*did you mean 'epochs'"),
        ({"imports": "no_such.py"}, r"imports\[0\]: there is no module or .py file 'no_such.py'"),
    ],
)
def test_a_mistake_in_the_arguments_of_training(arguments, message):
    import paddlevideo
    from paddlevideo.errors import UserError

    with pytest.raises(UserError, match=message):
        paddlevideo.train("tsm_own_videos", **arguments)
