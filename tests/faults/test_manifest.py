"""The manifest of a resume point: no changed bit of it is taken for good, and a damaged one hides no older point."""

import json
import random

import numpy as np
import pytest

from paddlevideo.engine import checkpoint
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.errors import UserError

STATE = {
    "progress": {"epoch": 1, "step_in_epoch": 2, "step": 6}, "seed": 7, "schedule": {"last_epoch": 6, "lr": 0.0125},
    "scaler": {}, "hooks": {"validate": {"best": 0.75, "best_epoch": 1}}, "non_finite": 0,
    "shape": {"batches_per_epoch": 4, "accumulate": 1, "world_size": 1, "dataset": "5e8f", "weights": {}},
    "config": {"model_name": "TSM", "note": "größer"}, "versions": {"numpy": "2"},
}  # fmt: skip


def point(folder, step=6, **state):
    folder = folder if isinstance(folder, RunFolder) else RunFolder(folder, "TSM", lock=False)
    folder.path.mkdir(exist_ok=True)
    progress = {**STATE["progress"], "step": step}
    arrays = {".pdparams": {"w": np.full(2, step, "float32")}}
    return folder.save(f"step_{step:08d}", arrays, {**STATE, "progress": progress, **state})


def manifest_of(stem):
    return stem.with_name(stem.name + ".pdstates")


@pytest.mark.scorecard(20, times=200)
def test_every_bit_flip_that_changes_the_content_is_detected(tmp_path):
    manifest = manifest_of(point(tmp_path))
    whole = manifest.read_bytes()
    flips = [(i, bit) for i in range(len(whole)) for bit in range(8)]
    silent = tried = 0
    for i, bit in random.Random(0).sample(flips, 400):
        changed = bytearray(whole)
        changed[i] ^= 1 << bit
        try:
            if json.loads(changed) == json.loads(whole):  # white space, or an escape that means the same
                continue
        except ValueError:
            pass
        manifest.write_bytes(changed)
        tried += 1
        try:
            checkpoint.load(manifest)
            silent += 1
        except UserError:
            pass
    assert tried > 200 and silent == 0, f"{silent} of {tried} flips load in silence"


def rewritten(stem, change):
    """The manifest with a changed content and a digest that fits it."""
    content = json.loads(manifest_of(stem).read_text())
    change(content)
    content.pop("digest", None)
    from paddlevideo import manifest

    manifest.write_manifest(manifest_of(stem), content)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda c: c["state"]["progress"].update(step=-1), r"state.progress.step: .*-1"),
        (lambda c: c["state"]["progress"].update(epoch="2"), r"state.progress.epoch: .*'2'"),
        (lambda c: c["state"].update(seed=True), r"state.seed: .*True"),
        (lambda c: c["state"].update(hooks=[]), r"state.hooks: .*\[\]"),
        (lambda c: c["state"]["shape"].update(accumulate=0), r"state.shape.accumulate: .*0"),
        (lambda c: c["state"].pop("schedule"), r"state.schedule: is missing"),
        (lambda c: c["files"].update({"../TSM_step_00000006.pdopt": "0" * 64}), "leaves the folder|no file of"),
        (lambda c: c["files"].update({"/etc/hostname": "0" * 64}), "leaves the folder|no file of"),
        (lambda c: c["files"].update({"TSM_step_00000006.pdopt": 5}), "files"),
        (lambda c: c.update(files=[]), "files"),
        (lambda c: c.update(format=99), "format 99"),
    ],
)
def test_what_a_manifest_may_hold_is_checked(tmp_path, change, words):
    stem = point(tmp_path)
    rewritten(stem, change)
    with pytest.raises(UserError, match=words):
        checkpoint.load(stem)


DAMAGE = {
    "empty": b"", "cut": b'{"format": 2, "files": {', "list": b"[]", "null": b"null", "deep": b"[" * 200_000,
    "deep mapping": b'{"a":' * 100_000, "not text": b"\xff\xfe", "number": b"1" * 10_000,
}  # fmt: skip


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_manifest_does_not_stop_the_search_for_an_older_point(tmp_path, content):
    folder = RunFolder(tmp_path, "TSM", lock=False)
    older, newer = point(folder, 6), point(folder, 8)
    manifest_of(newer).write_bytes(content)
    assert folder.newest().stem == older
    manifest_of(older).write_bytes(content)
    with pytest.raises(UserError, match="every resume point is damaged"):
        folder.newest()


def test_a_manifest_of_the_first_format_loads_and_reports_it(tmp_path, caplog, capsys):
    stem = point(tmp_path)
    content = json.loads(manifest_of(stem).read_text())
    old = {"format": 1, "files": content["files"], "state": content["state"]}
    manifest_of(stem).write_text(json.dumps(old, indent=1))
    with caplog.at_level("WARNING", logger="paddlevideo"):
        checkpoint.log.propagate = True
        assert checkpoint.load(stem).state["seed"] == 7
    assert "format 1" in caplog.text
    manifest_of(stem).write_text(json.dumps({**old, "digest": "0" * 64}))  # a flipped format is no way round it
    with pytest.raises(UserError, match="digest"):
        checkpoint.load(stem)
