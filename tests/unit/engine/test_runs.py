"""Finished work is kept: a run has an identity, and no other run in its folder overwrites or continues it."""

import json

import pytest

from paddlevideo.config import Config
from paddlevideo.engine import checkpoint
from paddlevideo.engine.checkpoint import RunFolder
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.settings import Options
from tests.faults.stopping import copy_of
from tests.faults.test_manifest import point
from tests.tiny import run_test, tsm_config


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    output = tmp_path_factory.mktemp("finished")
    train(config_for(clips, output), Options(validate=True, seed=1, max_iters=2))
    return output


def config_for(clips, output, **change) -> Config:
    return Config(tsm_config(clips, output) | {"epochs": 2, "keep_checkpoints": 1, "checkpoint_steps": 1} | change)


def run_of(folder):
    return json.loads((folder / "run.json").read_text())["run"]


def contents(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix.startswith(".pd")}


def test_a_fresh_start_beside_another_run_is_refused_with_the_ways_on(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    before = contents(output)
    with pytest.raises(UserError, match=r"work of another run \(.*--resume.*-o output_dir=PATH.*--overwrite"):
        train(config_for(clips, output), Options(seed=2, max_iters=1))
    assert contents(output) == before


def test_overwrite_moves_the_earlier_run_aside_whole(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    (output / "notes.md").write_text("mine")
    before, old = contents(output), run_of(output)
    for number in (1, 2):
        train(config_for(clips, output, epochs=1), Options(seed=2, overwrite=True, max_iters=1))
        assert (output / f"previous_{number}" / "log.txt").is_file()
    assert contents(output / "previous_1") == before and run_of(output / "previous_1") == old
    assert run_of(output) not in (old, run_of(output / "previous_2"))
    assert (output / "notes.md").is_file() and "was moved to" in (output / "log.txt").read_text()
    resumed = train(config_for(clips, output), Options(resume="auto", max_iters=1))
    assert (resumed.seed, resumed.progress.epoch) == (2, 2)


def test_overwrite_moves_nothing_before_the_run_is_ready(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    before = contents(output)
    broken = config_for(clips, output).to_dict()
    broken["DATASET"]["train"] = broken["DATASET"]["train"] | {"file_path": "no such list"}
    with pytest.raises(UserError, match="no such list"):
        train(Config(broken), Options(overwrite=True))
    assert contents(output) == before and not (output / "previous_1").exists()
    # what the command itself begins from may lie in the folder
    train(config_for(clips, output), Options(weights=str(output / "TSM_best.pdparams"), overwrite=True, max_iters=1))
    assert contents(output / "previous_1") == before
    log = (output / "log.txt").read_text()
    assert "device cpu" in log and "Finetune from checkpoint" in log and "was moved to" in log


def test_overwrite_beside_a_resume_point_moves_what_was_written_after_it(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    point = output / "TSM_epoch_00001"
    best = json.loads((output / "TSM_best.pdparams.json").read_text())["epoch"]
    train(config_for(clips, output), Options(resume=str(point), overwrite=True, validate=True, max_iters=1))
    moved = {file.name for file in (output / "previous_1").iterdir()}
    assert "TSM_epoch_00002.pdstates" in moved and "TSM_epoch_00001.pdstates" not in moved
    assert ("TSM_best.pdparams" in moved) == (best == 2) and "log.txt" not in moved
    assert (output / "TSM_best.pdparams").is_file() and (output / "TSM_epoch_00002.pdparams").is_file()


def test_a_resumed_run_in_another_folder_writes_a_best_model_there(clips, finished, tmp_path):
    config = config_for(clips, tmp_path, epochs=3)
    train(config, Options(resume=str(finished / "TSM_epoch_00002"), validate=True, max_iters=2))
    assert (tmp_path / "TSM_best.pdparams").is_file()
    assert "TSM_best.pdparams is not here" in (tmp_path / "log.txt").read_text()


def test_a_resume_that_fails_changes_nothing_in_the_folder(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    names = ("config.yaml", "run.json", "TSM_best.pdparams")
    before = [(output / name).read_bytes() for name in names]
    other = config_for(clips, output, epochs=3).to_dict()
    other["MODEL"]["backbone"]["width"] = 8
    other["MODEL"]["head"]["in_channels"] = 64
    with pytest.raises(UserError):
        train(Config(other), Options(resume="auto"))
    assert [(output / name).read_bytes() for name in names] == before


def test_a_longer_model_name_is_another_model(clips, tmp_path):
    train(config_for(clips, tmp_path, epochs=1, model_name="TSM_large"), Options(max_iters=1))
    assert RunFolder(tmp_path, "TSM", lock=False).newest() is None
    assert RunFolder(tmp_path, "TSM_large", lock=False).newest() is not None


def test_the_refusal_names_the_earlier_run_s_model_name(clips, finished, tmp_path):
    output = copy_of(finished, tmp_path / "run")
    with pytest.raises(UserError, match=r"--resume -o model_name=TSM -o output_dir=\S*run, or"):
        train(config_for(clips, output, model_name="renamed"), Options(resume="auto"))
    assert RunFolder(output, "TSM", lock=False).newest() is not None


def test_a_run_that_broke_before_its_first_checkpoint_blocks_nothing(clips, tmp_path):
    for text in ('{"run": "x"}', "{"):
        (tmp_path / "run.json").write_text(text)
        (tmp_path / "log.txt").write_text("began")
        folder = RunFolder(tmp_path, "TSM", lock=False)
        assert folder.in_the_way(None) == [] and folder.newest() is None


def test_points_of_another_run_are_neither_continued_nor_deleted(tmp_path):
    mine, other = RunFolder(tmp_path, "TSM", lock=False), RunFolder(tmp_path, "TSM", lock=False)
    old = point(other, 40)
    (tmp_path / "run.json").write_text(json.dumps({"run": mine.run}))
    with pytest.raises(UserError, match="other run.*TSM_step_00000040.*--resume PATH"):
        mine.newest()
    new = [point(mine, step) for step in (1, 2, 3)]
    mine.keep_newest("step_", 2, step=3)
    assert mine.newest().stem == new[2]
    assert {entry.stem for entry in mine.entries()[0]} == {old, new[1], new[2]}


def test_a_point_just_written_outlives_a_damaged_one_of_a_later_step(tmp_path):
    folder = RunFolder(tmp_path, "TSM", lock=False)
    later, now = point(folder, 9), point(folder, 8)
    later.with_name(later.name + ".pdparams").write_bytes(b"x")
    folder.keep_newest("step_", 1, step=8)
    assert folder.newest().stem == now


def test_a_point_may_be_continued_in_another_folder_but_not_over_another_run(clips, finished, tmp_path):
    start = finished / "TSM_epoch_00001.pdstates"
    train(config_for(clips, tmp_path / "new"), Options(resume=str(start), max_iters=2))
    assert run_of(tmp_path / "new") == run_of(finished) == checkpoint.load(start).run
    other = tmp_path / "other"
    train(config_for(clips, other, epochs=1), Options(max_iters=1))
    before = contents(other)
    with pytest.raises(UserError, match="not in the past of TSM_epoch_00001"):
        train(config_for(clips, other), Options(resume=str(start), max_iters=2))
    assert contents(other) == before


def test_a_test_of_other_weights_keeps_the_earlier_report(clips, finished, tmp_path):
    config = config_for(clips, tmp_path)
    first, second = (finished / f"TSM_epoch_0000{i}.pdparams" for i in (1, 2))
    reports = []
    for weights in (first, second, second, first):
        run_test(config, Options(weights=str(weights), max_iters=1))
        reports.append({f.name: weights.stem in f.read_text() for f in tmp_path.glob("report*.html")})
    assert list(reports[0]) == ["report.html"] and reports[0]["report.html"]
    (name,) = set(reports[1]) - {"report.html"}
    assert name.startswith("report_TSM_epoch_00002_") and reports[1][name] and not reports[1]["report.html"]
    assert set(reports[1]) == set(reports[2]) == set(reports[3])
    assert len(list(tmp_path.glob("predictions*.csv"))) == 2
