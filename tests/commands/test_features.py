"""``paddlevideo features``, ``probe`` and ``similar --in``: files, labels, a saved classifier, refusals."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddlevideo.build import network
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.feature_table import read_features
from paddlevideo.inference.predictor import load
from paddlevideo.modeling.heads.tsm_head import TSMHead
from paddlevideo.safe_io import read_pickle, write_pickle
from tests.clips import write_clip
from tests.tiny import save, tsm_config

COLOURS = {"blue": (20, 30, 200), "red": (210, 30, 20)}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Twelve clips of two colours in class folders, a network with arbitrary weights, and the features of the clips."""
    root = tmp_path_factory.mktemp("features")
    rng = np.random.default_rng(0)
    lines = []
    for name, colour in COLOURS.items():
        (root / "clips" / name).mkdir(parents=True)
        for i in range(6):
            clip = np.clip(rng.normal(colour, 25, (8, 40, 40, 3)), 0, 255).astype("uint8")
            write_clip(root / "clips" / name / f"{name} {i}.mp4", clip, fps=8)
            lines.append(f"{name}/{name} {i}.mp4 {name}{i // 2}")
    (root / "sources.txt").write_text("\n".join(lines))
    config = tsm_config(root / "clips", root / "out")
    config["MODEL"]["head"]["num_classes"] = "auto"
    save(config, root / "cfg.yaml")
    paddle.seed(0)
    framework = network(load_config(root / "cfg.yaml"))
    write_pickle(root / "start.pdparams", {k: v.numpy() for k, v in framework.backbone.state_dict().items()})
    config["MODEL"]["backbone"]["pretrained"] = str(root / "start.pdparams")
    save(config, root / "cfg.yaml")
    own = SimpleNamespace(root=root, config=root / "cfg.yaml", clips=root / "clips", sources=root / "sources.txt")
    own.file = root / "features.npz"
    assert main(["features", "-c", str(own.config), "-i", str(own.clips), "--out", str(own.file)]) == 0
    return own


def refused(capsys, *words):
    assert main([*map(str, words)]) == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_a_row_per_clip_with_its_label_and_class_names(place):
    table = read_features(place.file)
    assert table.features.shape == (12, 32) and list(table.names) == ["blue", "red"]
    assert table.labels.tolist() == [0] * 6 + [1] * 6
    assert table.videos[0].endswith("blue/blue 0.mp4") and np.isnan(table.spans_s).all()


def test_a_training_that_draws_by_class_gives_every_clip_once(place, tmp_path):
    drawn = ["-o", "DATASET.train.sample_by_class=True", "-o", "DATASET.train.on_error=skip"]
    out = tmp_path / "features.npz"
    assert main(["features", "-c", str(place.config), "--split", "train", *drawn, "--out", str(out)]) == 0
    table = read_features(out)
    assert sorted(table.videos) == sorted(read_features(place.file).videos) and len(table.videos) == 12


def test_parquet_holds_the_same(place, tmp_path):
    pytest.importorskip("pyarrow")  # of the test extra
    out = tmp_path / "features.parquet"
    assert main(["features", "-c", str(place.config), "-i", str(place.clips), "--out", str(out)]) == 0
    one, other = read_features(place.file), read_features(out)
    np.testing.assert_array_equal(one.features, other.features)
    assert one.videos == other.videos and one.names == other.names and (one.labels == other.labels).all()


def test_a_probe_classifies_by_source_and_writes_every_figure(place, tmp_path, capsys):
    out = tmp_path / "probe.json"
    words = ["probe", place.file, "--source", place.sources, "--folds", 3, "--shots", 1, 4, "--out", out]
    assert main([*map(str, words)]) == 0
    figures = json.loads(out.read_text())["figures"]
    assert len(figures) == 2 * 3 * 3 * 3  # shots, classifiers, folds, seeds
    assert np.mean([each["value"] for each in figures if each["head"] == "linear"]) > 0.9
    assert "12 clips, 2 classes, 6 sources, 3 folds: accuracy" in capsys.readouterr().out


def test_a_saved_probe_predicts_and_starts_a_training(place, tmp_path):
    out, groups = tmp_path / "probe.pdparams", ["--source", str(place.sources), "--folds", "3"]
    assert main(["probe", str(place.file), *groups, "-c", str(place.config), "--save", str(out)]) == 0
    model = load(place.config, out)
    for name in COLOURS:
        (best,) = model.predict(place.clips / name / f"{name} 0.mp4")
        assert best.top(1)[0][2] == name
    run = ["-o", f"output_dir={tmp_path / 'run'}", "-o", "MODEL.backbone.pretrained=null", "--max_iters", "1"]
    assert main(["train", "-c", str(place.config), "-w", str(out), *run]) == 0


def test_an_export_gives_the_same_features(place, tmp_path):
    out = tmp_path / "probe.pdparams"
    assert main(["probe", str(place.file), "--folds", "3", "-c", str(place.config), "--save", str(out)]) == 0
    words = ["-c", str(place.config), "-w", str(out), "--out", str(tmp_path / "export"), "--timing", "none"]
    assert main(["export", *words]) == 0
    own = tmp_path / "own.npz"
    words = ["--model_file", str(tmp_path / "export"), "-i", str(place.clips / "red"), "--no_labels", "--out", str(own)]
    assert main(["features", *words]) == 0
    table = read_features(own)
    np.testing.assert_allclose(table.features, read_features(place.file).features[6:], atol=1e-4)
    assert not table.labelled
    windows = tmp_path / "windows.npz"
    words = [*words[:4], "--window_s", "0.5", "--hop_s", "0.25", "--out", str(windows)]
    assert main(["features", *words]) == 0
    assert np.diff(read_features(windows).spans_s, axis=1) == pytest.approx(0.5, abs=0.13)


def test_an_export_with_an_int8_form_beside_it_gives_features(place, tmp_path, capsys):
    out, folder = tmp_path / "probe.pdparams", tmp_path / "export"
    assert main(["probe", str(place.file), "--folds", "3", "-c", str(place.config), "--save", str(out)]) == 0
    assert main(["export", "-c", str(place.config), "-w", str(out), "--out", str(folder), "--timing", "none"]) == 0
    replace(read_description(folder), int8={"calibration": "x"}, labels=None).write(folder)
    own = tmp_path / "own.npz"
    words = ["--model_file", folder, "-i", place.clips / "red", "--no_labels", "--out", own]
    assert main(["features", *map(str, words)]) == 0 and len(read_features(own).features) == 6
    assert "an export has its own" in refused(capsys, "features", *words, "-o", "num_seg=2")


def test_a_saved_probe_of_a_list_without_names_numbers_its_classes(place, tmp_path, monkeypatch, capsys):
    (tmp_path / "all.list").write_text(
        "".join(f"{clip} {int(clip.parent.name == 'red')}\n" for clip in place.clips.glob("*/*"))
    )
    file, out = tmp_path / "features.npz", tmp_path / "probe.pdparams"
    assert main(["features", "-c", str(place.config), "-i", str(tmp_path / "all.list"), "--out", str(file)]) == 0
    assert main(["probe", str(file), "--folds", "3", "-c", str(place.config), "--save", str(out)]) == 0
    assert "the weights name their classes 0 to 1" in capsys.readouterr().err
    video, data = place.clips / "red" / "red 0.mp4", ["-o", "DATASET.train.file_path=data/own/train"]
    monkeypatch.chdir(tmp_path)  # without the training's class folders
    assert main(["predict", "-c", str(place.config), *data, "-w", str(out), "-i", str(video)]) == 0
    assert "top-1 class: 1" in capsys.readouterr().out


def test_features_of_relative_paths_are_found_from_another_folder(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place.root)
    file = tmp_path / "own.npz"
    words = ["-i", "clips", "-o", "MODEL.backbone.pretrained=start.pdparams", "--out", str(file)]
    assert main(["features", "-c", "cfg.yaml", *words]) == 0
    err = capsys.readouterr().err
    assert any(line.startswith("pretrained start.pdparams") for line in err.splitlines()) and "INFO" not in err
    monkeypatch.chdir(tmp_path)
    shutil.copy(place.clips / "red" / "red 2.mp4", "new.mp4")
    for clip in (place.clips / "red" / "red 2.mp4", "new.mp4"):
        assert main(["similar", str(clip), "--in", str(file), "--top", "1"]) == 0
        assert str(place.clips / "red") in capsys.readouterr().out


def test_similar_clips_of_a_file(place, tmp_path, capsys):
    assert main(["similar", str(place.clips / "red" / "red 2.mp4"), "--in", str(place.file), "--top", "4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.endswith("(red)") for line in lines)
    shutil.copy(place.clips / "red" / "red 2.mp4", tmp_path / "new.mp4")
    out = tmp_path / "found.json"
    words = ["similar", tmp_path / "new.mp4", "--in", place.file, "--top", 1, "--out", out]
    assert main([*map(str, words)]) == 0  # not in the file: it goes through the network
    (found,) = json.loads(out.read_text())["found"]
    assert found["video"].endswith("red 2.mp4") and found["similarity"] == pytest.approx(1, abs=1e-4)


def test_unreadable_clips_have_no_row_and_are_named(place, tmp_path, capsys):
    shutil.copy(place.clips / "red" / "red 2.mp4", tmp_path / "good.mp4")
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    words = ["-i", str(tmp_path), "--no_labels", "--out", str(tmp_path / "out.npz")]
    assert main(["features", "-c", str(place.config), *words]) == 0
    assert "left out" in (err := capsys.readouterr().err) and "bad.mp4" in err
    assert [video.rpartition("/")[2] for video in read_features(tmp_path / "out.npz").videos] == ["good.mp4"]


def test_lists_with_names_and_folders_are_read_as_by_new(place, tmp_path, capsys):
    clips = sorted(place.clips.glob("*/*.mp4"))
    (tmp_path / "named.list").write_text("".join(f'"{clip}" {clip.parent.name}\n' for clip in clips))
    words, out = ["features", "-c", str(place.config), "-i"], ["--out", str(tmp_path / "x.npz")]
    assert main([*words, str(tmp_path / "named.list"), *out]) == 0
    table = read_features(tmp_path / "x.npz")
    assert list(table.names) == ["blue", "red"] and table.labels.tolist() == [0] * 6 + [1] * 6
    shutil.copytree(place.clips, tmp_path / "by_list")
    lines = [f"{clip.relative_to(place.clips)},{clip.parent.name}\n" for clip in clips]
    (tmp_path / "by_list" / "all.csv").write_text("".join(["path,label\n", *lines]))
    assert main([*words, str(tmp_path / "by_list" / "all.csv"), *out]) == 0
    assert read_features(tmp_path / "x.npz").labels.tolist() == [0] * 6 + [1] * 6
    root = tmp_path / "data"
    shutil.copytree(place.clips, root / "Train")
    (root / "Train" / "later").mkdir()
    assert main([*words, str(root / "Train"), *out]) == 0
    assert "left out, without a video: 1 class folder: later" in capsys.readouterr().err
    assert list(read_features(tmp_path / "x.npz").names) == ["blue", "red"]
    shutil.copytree(place.clips, root / "val")
    line = refused(capsys, *words, root, *out)
    assert f"Train, val are splits; give {root / 'Train'}" in line


def test_a_test_on_the_clips_of_a_probe_warns(place, tmp_path, capsys):
    out = tmp_path / "probe.pdparams"
    assert main(["probe", str(place.file), "--folds", "3", "-c", str(place.config), "--save", str(out)]) == 0
    run = ["-c", str(place.config), "-w", str(out), "-o", f"output_dir={tmp_path / 'run'}"]
    assert main(["test", *run]) == 0
    assert f"DATASET.test: the classifier of {out} was fitted to 12 of its 12 videos" in capsys.readouterr().out
    more = ["-o", "MODEL.backbone.pretrained=null", "--max_iters", "1", "--validate"]
    assert main(["train", *run, *more]) == 0
    assert f"DATASET.valid: the classifier of {out} was fitted to 12 of its 12 videos" in capsys.readouterr().out


def test_a_head_that_is_more_than_linear_is_not_saved(place, tmp_path, capsys, monkeypatch):
    def of_the_loudest_frame(self, features, num_frames):
        logits = self.fc(features.mean([2, 3]))
        return logits.reshape([-1, num_frames, self.num_classes]).max(1)

    monkeypatch.setattr(TSMHead, "forward", of_the_loudest_frame)
    words = ["--folds", "3", "-c", place.config, "--save", tmp_path / "x.pdparams"]
    assert "more than a linear layer on the mean" in refused(capsys, "probe", place.file, *words)
    assert not (tmp_path / "x.pdparams").exists()


def test_mistakes_have_one_line(place, tmp_path, capsys):
    network, out = ["-c", place.config], ["--out", tmp_path / "x.npz"]
    assert "ends in .npz or .parquet" in refused(capsys, "features", *network, "--out", tmp_path / "x.txt")
    assert "name one network" in refused(capsys, "features", *out)
    assert "-i" in refused(capsys, "features", *network, "--no_labels", *out)
    assert "--split: of DATASET" in refused(capsys, "features", *network, "-i", place.clips, "--split", "valid", *out)
    start = ["-o", "MODEL.backbone.pretrained=null"]
    assert "by chance" in refused(capsys, "features", *network, *start, "-i", place.clips, *out)
    assert "--model_file" in refused(capsys, "features", *network, "-i", place.clips, "--window_s", "1", *out)
    groups = ["--source", place.sources]
    assert "7 folds of 6 sources" in refused(capsys, "probe", place.file, *groups, "--folds", "7")
    save = ["--folds", "3", "--save", tmp_path / "x.pdparams"]
    assert "needs the network" in refused(capsys, "probe", place.file, *save)
    other = ["-o", f"MODEL.backbone.pretrained={place.root / 'other.pdparams'}"]
    start = read_pickle(place.root / "start.pdparams")
    write_pickle(place.root / "other.pdparams", {key: value + 1 for key, value in start.items()})
    assert "were computed with the weights" in refused(capsys, "probe", place.file, *save, *network, *other)
    for other, named in (
        ("MODEL.backbone.shift_div=4", "MODEL.backbone.shift_div"), ("num_seg=2", "MODEL.backbone.num_seg: 4"),
        ("PIPELINE.test.sample.select_left=False", "PIPELINE.test.sample.select_left: True"),
    ):  # fmt: skip
        line = refused(capsys, "probe", place.file, *save, *network, "-o", other)
        assert "the features were computed with" in line and named in line
    assert "name the network that --save writes" in refused(capsys, "probe", place.file, *network)
    of_clips = ["--model_file", "x", "-i", place.clips, "--window_s", "1", "--no_labels", "--split", "valid"]
    assert "--split, --no_labels: of clips" in refused(capsys, "features", *of_clips, *out)
    windows = ["--model_file", "x", "-i", place.clips, "--hop_s", "1"]
    assert "--config: of clips" in refused(capsys, "features", *network, *windows, *out)
    (tmp_path / "file").touch()
    blocked = ["--out", tmp_path / "file" / "x.npz"]
    assert "x.npz: cannot be written" in refused(capsys, "features", "-c", "gone.yaml", *blocked)
    (tmp_path / "no.npz").write_bytes(b"PK no")
    assert "no.npz" in refused(capsys, "probe", tmp_path / "no.npz")
    assert "--in" in refused(capsys, "similar", place.clips / "red" / "red 2.mp4")
    assert "no such video" in refused(capsys, "similar", tmp_path / "gone.mp4", "--in", place.file)
