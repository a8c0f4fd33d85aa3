"""A class index keeps its meaning: names are fixed when training begins, travel with the weights, and are compared."""

import json
import logging
import shutil

import numpy as np
import pytest
import yaml

from paddlevideo.classes import Classes, agreed, classes_of_config, classes_of_weights, order_in
from paddlevideo.config import Config
from paddlevideo.engine.file_averages import average_files
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.inference.export import export
from paddlevideo.loader.datasets.lists import class_folders
from paddlevideo.loader.labels import read_labels
from paddlevideo.manifest import read_manifest, read_note, write_manifest
from paddlevideo.safe_io import read_pickle, write_pickle
from paddlevideo.settings import Options
from tests.clips import write_clip
from tests.faults.stopping import copy_of
from tests.tiny import moving_square, run_test, timesformer_config, tsm_config

NAMES = ["jump", "run", "walk"]


def make_folders(root, names=NAMES, count=3):
    rng = np.random.default_rng(0)
    for k, name in enumerate(names):
        for i in range(count):
            (root / name).mkdir(parents=True, exist_ok=True)
            write_clip(root / name / f"{name} {i}.mp4", moving_square(rng, bool(k % 2)), fps=12)
    return root


def config_for(data, output, **change):
    """Own videos in class folders, as ``tsm_own_videos.yaml`` has them."""
    config = tsm_config(data, output) | {"epochs": 1, "checkpoint_steps": 2} | change
    config["MODEL"]["head"]["num_classes"] = "auto"
    return config


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_folders(tmp_path_factory.mktemp("data") / "videos")


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("run")
    swa = {"start_epoch": 1, "interval_steps": 1, "bn_batches": 0}
    config = config_for(data, output, SWA=swa)
    train(Config(config), Options(validate=True))
    return output


@pytest.fixture
def moved(data, tmp_path):
    """A copy of the data whose folders may be renamed."""
    return shutil.copytree(data, tmp_path / "videos")


def listed(data, folder, names):
    """The same clips as a list file in the order of ``names``, and the label file."""
    lines = [f"{path} {k}" for k, name in enumerate(names) for path in sorted((data / name).iterdir())]
    (folder / "clips.list").write_text("\n".join(lines))
    (folder / "names.txt").write_text("\n".join(names))
    config = tsm_config(folder / "clips.list", folder / "out")
    config["DATASET"]["label_names"] = str(folder / "names.txt")
    config["MODEL"]["head"]["num_classes"] = len(names)
    return config


def scores_of(config, weights, out):
    run_test(Config(config), Options(weights=str(weights)), str(out))
    rows = json.loads(out.read_text())
    names = rows[0]["class_names"]
    return {row["path"]: (names[row["label"]], dict(zip(names, row["scores"]))) for row in rows}


def test_the_names_stand_in_the_folder_the_manifests_and_beside_every_weights_file(trained):
    assert read_labels(trained / "class_names.txt") == NAMES
    assert yaml.safe_load((trained / "config.yaml").read_text())["MODEL"]["head"]["num_classes"] == 3
    for manifest in trained.glob("*.pdstates"):
        assert read_manifest(manifest)["state"]["classes"]["names"] == NAMES
    files = sorted(file.name for file in trained.glob("*.pdparams"))
    assert {"TSM_best.pdparams", "TSM_swa.pdparams", "TSM_epoch_00001.pdparams"} <= set(files)
    for file in files:
        assert classes_of_weights(trained / file).names == tuple(NAMES), file


def test_weights_that_do_not_belong_to_the_note_are_refused_and_plain_ones_have_no_names(trained, tmp_path):
    weights, note = tmp_path / "a.pdparams", tmp_path / "a.pdparams.json"
    shutil.copy(trained / "TSM_best.pdparams", weights)
    assert classes_of_weights(weights) == Classes()
    shutil.copy(trained / "TSM_best.pdparams.json", note)
    assert classes_of_weights(weights).names == tuple(NAMES)
    write_pickle(weights, {k: v * 2 for k, v in read_pickle(weights).items()})
    with pytest.raises(UserError, match=r"a.pdparams: SHA-256 mismatch with a.pdparams.json"):
        classes_of_weights(weights)
    for text in ("{", "[]", '{"sha256": 1}', "[" * 100_000):
        note.write_text(text)
        with pytest.raises(UserError, match=r"a\.pdparams"):
            classes_of_weights(weights)


@pytest.mark.parametrize("changed", [["bump", "run", "walk"], ["run", "jump", "walk"]])
def test_a_note_with_changed_names_is_refused_by_test_and_export(data, trained, tmp_path, changed):
    weights = shutil.copy(trained / "TSM_best.pdparams", tmp_path / "a.pdparams")
    note = json.loads((trained / "TSM_best.pdparams.json").read_text())
    note["classes"]["names"] = changed
    (tmp_path / "a.pdparams.json").write_text(json.dumps(note))
    config = Config(config_for(data, tmp_path / "o"))
    refusal = r"a\.pdparams\.json: damaged.*digest.*without it a\.pdparams has no class names"
    with pytest.raises(UserError, match=refusal):
        run_test(config, Options(weights=str(weights)))
    with pytest.raises(UserError, match=refusal):
        export(config, weights, tmp_path / "e", say=lambda line: None)


def test_a_note_of_an_earlier_version_is_reported_to_have_no_digest(trained, tmp_path, caplog):
    weights = shutil.copy(trained / "TSM_best.pdparams", tmp_path / "a.pdparams")
    note = json.loads((trained / "TSM_best.pdparams.json").read_text())
    old = {key: value for key, value in note.items() if key not in ("format", "digest")}
    (tmp_path / "a.pdparams.json").write_text(json.dumps(old, indent=1))
    with caplog.at_level("WARNING", logger="paddlevideo"):
        logging.getLogger("paddlevideo").propagate = True
        assert classes_of_weights(weights).names == tuple(NAMES)
    assert "a.pdparams.json: of an earlier version" in caplog.text


def test_a_renamed_class_folder_is_refused_by_test_and_resume(data, trained, moved, tmp_path):
    (moved / "jump").rename(moved / "zz top")
    output = copy_of(trained, tmp_path / "run")
    config = config_for(moved, output)
    with pytest.raises(UserError, match="'zz top' is none of the 3 classes .*jump, run, walk"):
        run_test(Config(config), Options(weights=str(trained / "TSM_best.pdparams")))
    with pytest.raises(UserError, match="only in the training: jump; not there: zz top"):
        train(Config(config | {"epochs": 2}), Options(resume="auto"))


def test_another_order_of_the_same_names_is_mapped_by_name(data, trained, tmp_path):
    weights = trained / "TSM_best.pdparams"
    as_trained = scores_of(config_for(data, tmp_path / "a"), weights, tmp_path / "a.json")
    config = listed(data, tmp_path, ["walk", "jump", "run"])
    by_list = scores_of(config, weights, tmp_path / "b.json")
    assert as_trained == by_list
    assert "another order" in (tmp_path / "out" / "log.txt").read_text()
    config["DATASET"]["label_names"] = str(tmp_path / "other.txt")
    (tmp_path / "other.txt").write_text("jump\nrun\nswim")
    with pytest.raises(UserError, match="only in .*walk; not there: swim"):
        run_test(Config(config), Options(weights=str(weights)))


def test_a_resumed_run_keeps_the_meaning_of_its_labels(data, trained, tmp_path):
    output = copy_of(trained, tmp_path / "run")
    config = listed(data, tmp_path, ["walk", "jump", "run"]) | {"output_dir": str(output), "epochs": 2}
    run = train(Config(config), Options(resume="auto"))
    assert run.folder.classes.names == tuple(NAMES)
    named = {r["filename"]: NAMES[r["label"]] for r in run.loader.dataset.records}
    assert all(f"/{name}/" in path for path, name in named.items())
    assert "another order than the training; they are mapped by name" in (output / "log.txt").read_text()


def test_export_needs_no_data_and_keeps_the_trained_names(data, trained, moved, tmp_path):
    def labels(config, weights, name):
        lines = []
        export(Config(config), weights, tmp_path / name, say=lines.append)
        return yaml.safe_load((tmp_path / name / "inference.yml").read_text())["labels"], "\n".join(lines)

    best = trained / "TSM_best.pdparams"
    assert labels(config_for(tmp_path / "gone", tmp_path / "o"), best, "absent")[0] == NAMES
    (moved / "jump").rename(moved / "zz top")
    names, reported = labels(config_for(moved, tmp_path / "o"), best, "renamed")
    assert names == NAMES and "other classes than the training's by now" in reported
    plain = tmp_path / "plain.pdparams"
    shutil.copy(best, plain)
    config = config_for(tmp_path / "gone", tmp_path / "o")
    config["MODEL"]["head"]["num_classes"] = 3
    names, reported = labels(config, plain, "plain")
    assert names is None and reported.count("its class names are unknown") == 1
    (tmp_path / "four.txt").write_text("jump\nrun\nswim")
    config["DATASET"]["label_names"] = str(tmp_path / "four.txt")
    with pytest.raises(UserError, match="not there: swim"):
        labels(config, best, "refused")


def test_an_average_keeps_the_names_its_sources_share(trained, tmp_path):
    best, epoch = trained / "TSM_best.pdparams", trained / "TSM_epoch_00001.pdparams"
    average_files([best, epoch], tmp_path / "mean.pdparams")
    assert classes_of_weights(tmp_path / "mean.pdparams").names == tuple(NAMES)
    for name, names in (("turned", ["walk", "run", "jump"]), ("other", ["a", "b", "c"])):
        file = tmp_path / f"{name}.pdparams"
        shutil.copy(best, file)
        note = json.loads(best.with_name(best.name + ".json").read_text())
        del note["digest"]
        note["classes"]["names"] = names
        write_manifest(file.with_name(file.name + ".json"), note)
        with pytest.raises(UserError, match="another order|not the 3"):
            average_files([best, file], tmp_path / "no.pdparams")
    assert not (tmp_path / "no.pdparams").exists()


def test_folders_that_are_numbers_sort_as_numbers(tmp_path):
    for name in ("0", "1", "2", "9", "10", "11"):
        (tmp_path / "n" / name).mkdir(parents=True)
        (tmp_path / "m" / name).mkdir(parents=True)
    (tmp_path / "m" / "x").mkdir()
    assert class_folders(str(tmp_path / "n")) == ["0", "1", "2", "9", "10", "11"]
    assert class_folders(str(tmp_path / "m")) == ["0", "1", "10", "11", "2", "9", "x"]


@pytest.mark.parametrize("number", [2, 7])
@pytest.mark.parametrize("named_by", ["folders", "label file"])
def test_a_number_that_is_not_the_datas_is_an_error_with_count_and_key(data, tmp_path, number, named_by):
    config = config_for(data, tmp_path / "o") if named_by == "folders" else listed(data, tmp_path, NAMES)
    config["MODEL"]["head"]["num_classes"] = number
    wanted = rf"MODEL.head.num_classes: .*3 class names, but the model has {number} classes.*num_classes=3"
    with pytest.raises(UserError, match=wanted):
        train(Config(config), Options())


@pytest.mark.parametrize("class_num", [None, 7])
def test_the_key_is_the_networks_own(data, tmp_path, class_num):
    config = config_for(data, tmp_path / "o")
    own = {} if class_num is None else {"class_num": class_num}
    config["MODEL"]["backbone"] = {"name": "PPTSM_MobileNetV2", "num_seg": 4, **own}
    config["MODEL"]["head"] = {"name": "MoViNetHead"}
    with pytest.raises(UserError, match=rf"MODEL.backbone.class_num: .*the model has {class_num or 400} classes"):
        train(Config(config), Options())
    (tmp_path / "a.list").write_text(f"{next((data / 'run').iterdir())} 500\n")
    config["DATASET"]["train"] = {"format": "VideoDataset", "file_path": str(tmp_path / "a.list")}
    with pytest.raises(UserError, match=rf"label 500 .* since MODEL.backbone.class_num is {class_num or 400}"):
        train(Config(config | {"output_dir": str(tmp_path / "p")}), Options())


@pytest.mark.parametrize("number", [2, "auto"])
def test_weights_of_another_network_are_called_that_before_classes_are_counted(data, trained, tmp_path, number):
    config = timesformer_config(tmp_path / "no.list", tmp_path / "o")
    config["MODEL"]["head"]["num_classes"] = number
    for use in (
        lambda c, w: export(c, w, tmp_path / "e", say=lambda line: None),
        lambda c, w: run_test(c, Options(weights=str(w))),
    ):
        with pytest.raises(UserError, match="No key of the backbone matches: the file is of a ResNetTSM") as caught:
            use(Config(config), trained / "TSM_best.pdparams")
        assert "num_classes" not in str(caught.value)


def test_a_count_that_differs_from_the_weights_names_is_laid_at_the_weights_door(data, trained, tmp_path):
    weights = shutil.copy(trained / "TSM_best.pdparams", tmp_path / "a.pdparams")
    note = read_note(trained / "TSM_best.pdparams.json")
    note["classes"]["names"] = ["jump", "run"]
    write_manifest(tmp_path / "a.pdparams.json", note)
    config = config_for(tmp_path / "gone", tmp_path / "o")
    config["MODEL"]["head"]["num_classes"] = 3
    for use in (
        lambda c, w: export(c, w, tmp_path / "e", say=lambda line: None),
        lambda c, w: run_test(c, Options(weights=str(w))),
    ):
        with pytest.raises(UserError, match=r"a\.pdparams\.json: 2 class names, but the model has 3 classes, which"):
            use(Config(config), weights)


@pytest.mark.parametrize("missing", ["train", "clips.list"])
def test_auto_without_its_data_names_what_is_not_there(tmp_path, missing):
    config = config_for(tmp_path / missing, tmp_path / "o")
    with pytest.raises(UserError) as caught:
        train(Config(config), Options())
    kind = "file" if missing.endswith("list") else "folder"
    assert f"DATASET.train.file_path: {tmp_path / missing}: no such {kind}" in str(caught.value)
    assert "label file" not in str(caught.value)


def test_auto_does_not_guess_from_a_list(data, tmp_path):
    config = listed(data, tmp_path, NAMES)
    config["MODEL"]["head"]["num_classes"] = "auto"
    assert classes_of_config(Config(config)).count == 3
    del config["DATASET"]["label_names"]
    with pytest.raises(UserError, match="MODEL.head.num_classes: auto takes .* name a label file, or set the number"):
        train(Config(config), Options())


def test_the_log_names_what_is_trained_on(moved, tmp_path):
    (moved / "notes.txt").write_text("x")
    (moved / "walk" / "more.txt").write_text("x")
    (moved / "run" / "cover.jpg").write_bytes(b"x")
    shutil.copy(next((moved / "run").glob("*.mp4")), moved / "stray.mp4")
    logs = []
    for number in (1, 2):
        target = moved if number == 1 else shutil.copytree(moved, tmp_path / "elsewhere")
        if number == 2:
            next((target / "walk").iterdir()).rename(target / "run" / "one more.mp4")
        config = config_for(target, tmp_path / f"run {number}")
        train(Config(config), Options(max_iters=1, validate=number == 1))
        logs.append((tmp_path / f"run {number}" / "log.txt").read_text())
    first = logs[0]
    assert "DATASET.train: 9 videos, 3 classes; fingerprint of the split " in first
    assert "samples per class: 0 (jump) 3, 1 (run) 3, 2 (walk) 3" in first
    assert "left out, .txt: 2: notes.txt, walk/more.txt" in first and "left out, .jpg: 1: run/cover.jpg" in first
    assert "left out, beside the class folders: 1: stray.mp4" in first
    assert "drop_last: 1 of 9 samples" in first and "DATASET.valid: 9 videos" in first
    assert "drop_last: 1 of 9" not in first[first.index("DATASET.valid") :]
    prints = [log.partition("fingerprint of the split ")[2][:16] for log in logs]
    assert prints[0] != prints[1]
    again = shutil.copytree(moved, tmp_path / "copied")
    train(Config(config_for(again, tmp_path / "run 3")), Options(max_iters=1))
    assert prints[0] in (tmp_path / "run 3" / "log.txt").read_text()


@pytest.mark.parametrize(
    "mine, theirs, wanted",
    [
        (Classes(("a", "b")), Classes(("a", "b")), None),
        (Classes(("a", "b", "c")), Classes(("c", "a", "b")), [2, 0, 1]),
        (Classes(), Classes(("a",)), None),
        (Classes(None, (0, 3, 5)), Classes(("-", "x", "y"), (0, 5, 3)), [0, 2, 1]),
        (Classes(("-", "x", "y"), (0, 3, 5)), Classes(("-", "x", "y"), (0, 7, 8)), None),
        (Classes(("a", "b")), Classes(("a", "b", "c")), UserError),
        (Classes(("a", "a", "b")), Classes(("a", "b", "a")), UserError),
        (Classes(None, (0, 1)), Classes(None, (0, 2)), UserError),
    ],
)
def test_order_in(mine, theirs, wanted):
    if wanted is UserError:
        with pytest.raises(UserError, match="a class index would mean"):
            order_in(mine, theirs, "the weights", "the data")
    else:
        assert order_in(mine, theirs, "the weights", "the data") == wanted


def test_agreed_reports_once_that_plain_weights_have_no_names(data, tmp_path):
    weights, reported = tmp_path / "w.pdparams", []
    write_pickle(weights, {"w": np.zeros(1, "float32")})
    assert agreed(Config(config_for(data, tmp_path)), weights, "test", reported.append).names == tuple(NAMES)
    assert len(reported) == 1 and "class names are unknown" in reported[0]
