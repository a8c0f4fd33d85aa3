"""``paddlevideo teach`` and ``paddlevideo similar``: new classes, held-out figures, the features' files, refusals."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from paddlevideo.inference import window_features
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.window_features import FeatureFolder, TaughtFrom
from paddlevideo.safe_io import read_json, read_npz, sha256
from paddlevideo.spans import Span, SpanTable, read_spans, write_spans
from tests.scenes import NONE, WINDOWS, write_list

WORDS = [word for name, value in WINDOWS.items() for word in (f"--{name}", str(value))]
RULE = ["--on", "0.5", "--off", "0.3"]


@pytest.fixture(scope="module")
def place(tiny, tmp_path_factory):
    """Videos, lists and two models, the second one taught from the first one, which was taught from ``tiny``."""
    root = tmp_path_factory.mktemp("teach")
    videos = root / "videos"
    videos.mkdir()
    first = {"a": ["walk", NONE, "run"], "b": ["run", "walk", NONE]}
    write_list(root / "train1.json", videos, first)
    write_list(root / "val1.json", videos, {"v": ["walk", "run", NONE, "walk"]}, 10)
    write_list(root / "train2.json", videos, {"c": [NONE, "jump", NONE], "d": ["jump", NONE, "jump"]}, 20)
    write_list(root / "val2.json", videos, {"w": ["jump", NONE, "walk", "run", "jump"]}, 30)
    figures = [
        teach(root, model, f"train{k}.json", f"val{k}.json", f"model{k}", f"figures{k}.json")
        for k, model in ((1, tiny.folder), (2, root / "model1"))
    ]
    return SimpleNamespace(root=root, videos=videos, figures=figures)


def teach(root, model, train, val, out, figures="figures.json", *more):
    words = ["--model_file", model, "--train", root / train, "--val", root / val, "--videos", root / "videos"]
    words += ["--out", root / out, "--figures", root / figures, "--features", root / "features", *WORDS, *RULE, *more]
    assert main(["teach", *map(str, words)]) == 0
    return read_json(root / figures)


def refused(root, model, capsys, train="train1.json", val="val1.json", *more):
    words = ["--model_file", model, "--train", root / train, "--val", root / val, "--videos", root / "videos"]
    assert main(["teach", *map(str, [*words, "--out", root / "refused", *WORDS, *more])]) == 2
    assert not (root / "refused").exists()
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_new_classes_are_found_and_old_ones_stay(place, tiny):
    first, second = place.figures
    assert first["classes"] == [*read_description(tiny.folder).labels, "run", "walk", "background"]
    assert second["classes"] == [*first["classes"], "jump"] and second["new_classes"] == ["jump"]
    for figures in place.figures:
        assert figures["held_out"]["name"] == figures["previous"]["name"] == "F1@50"
        assert figures["held_out"]["value"] > max(0.7, figures["previous"]["value"] + 0.2)
        assert figures["figures"]["held_out"]["window_accuracy"] > 0.8
    # walk and run are not in the second training list
    assert second["taught"] == ["background", "jump"]
    assert second["per_class"]["held_out"]["walk"]["AP@0.5"] == second["per_class"]["held_out"]["run"]["AP@0.5"] == 1


def test_spans_of_the_new_export_have_the_held_out_figures(place):
    out = place.root / "spans.json"
    words = ["-i", str(place.videos / "w.mp4"), "--out", str(out), *WORDS, *RULE]
    assert main(["timeline", "--model_file", str(place.root / "model2"), *words]) == 0
    assert read_spans(out).settings["background"] == "background"
    labels = {span.label for span in read_spans(out).spans}
    assert "jump" in labels and "background" not in labels
    assert main(["eval", str(out), str(place.root / "val2.json"), "--out", str(place.root / "eval.json")]) == 0
    assert read_json(place.root / "eval.json")["figures"]["f1@50"] == pytest.approx(
        place.figures[1]["held_out"]["value"], abs=1e-4
    )


def test_held_out_videos_do_not_change_the_head(place, tiny):
    """Other annotation of them gives another figure, and the same weights."""
    table = read_spans(place.root / "val1.json")
    other = [Span(s.start_s, s.end_s, "run", video=s.video) for s in table.spans]
    write_spans(place.root / "other.json", SpanTable(other, table.videos, ["run"]))
    figures = teach(place.root, tiny.folder, "train1.json", "other.json", "model_other")
    assert figures["held_out"] != place.figures[0]["held_out"]
    digests = [read_description(place.root / name).files["TSM.pdiparams"] for name in ("model1", "model_other")]
    assert digests[0] == digests[1]


def test_a_model_of_renamed_classes_has_the_same_figures(place, capsys):
    swap = {"run": "walk", "walk": "run"}
    for name in ("train1", "val1"):
        table = read_spans(place.root / f"{name}.json")
        spans = [Span(s.start_s, s.end_s, swap[s.label], video=s.video) for s in table.spans]
        write_spans(place.root / f"{name}_swapped.json", SpanTable(spans, table.videos, table.classes))
    names = read_description(place.root / "model1").labels
    file = place.root / "names.txt"
    file.write_text("".join(f"{swap.get(name, name)}\n" for name in names))
    model, lists = place.root / "model1", ("train1_swapped.json", "val1_swapped.json")
    figures = teach(place.root, model, *lists, "model_swapped", "figures.json", "--label_file", file)
    assert figures["classes"] == [swap.get(name, name) for name in names]
    assert figures["previous"] == place.figures[0]["held_out"]
    assert teach(place.root, model, *lists, "model_old")["previous"]["value"] < figures["previous"]["value"]
    file.write_text("".join(f"{name}\n" for name in [*names[:-1], names[0]]))
    capsys.readouterr()
    assert "the name of two classes" in refused(place.root, model, capsys, *lists, "--label_file", file)


def test_a_held_out_video_that_is_ignored_whole_is_measured_by_its_annotated_time(place, tiny):
    (video,) = read_spans(place.root / "val1.json").videos
    write_spans(place.root / "ignore.json", SpanTable([Span(0.0, 12.0, "run", video=video)]))
    words = ("--ignore", place.root / "ignore.json")
    figures = teach(place.root, tiny.folder, "train1.json", "val1.json", "model_ignored", "figures.json", *words)
    assert figures["held_out"]["value"] >= place.figures[0]["held_out"]["value"] > 0.7


def test_features_are_computed_once_also_for_the_next_model(place, capsys):
    folder = place.root / "features"
    model = TaughtFrom.find(place.root / "model1", print)
    damaged = FeatureFolder(folder, model, *WINDOWS.values(), print).file_of(place.videos / "d.mp4")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    files = {file: file.stat().st_mtime_ns for file in folder.glob("*.npz")}
    assert damaged in files and len(files) == 6  # of two models, which have one backbone
    capsys.readouterr()
    again = teach(place.root, place.root / "model1", "train2.json", "val2.json", "again")
    captured = capsys.readouterr()
    assert again["held_out"] == place.figures[1]["held_out"]
    assert f"{damaged}: damaged" in captured.err and "it is computed again" in captured.err
    assert "(2 from " in captured.out
    assert [file for file in folder.glob("*.npz") if file.stat().st_mtime_ns != files.get(file)] == [damaged]
    assert set(read_npz(damaged)) == {"windows_s", "features", "end_s"}


@pytest.mark.parametrize("name", ["a.mp4", "/elsewhere/videos/a.mp4"])
def test_ignored_time_is_not_trained_on(name, place, tiny, capsys):
    spans = [Span(3.0, 4.2, "run", 0.5, video=name)]  # of a scene without an action
    write_spans(place.root / "ignore.json", SpanTable(spans))
    more = ("--ignore", place.root / "ignore.json")
    more += ("--background", "background")
    figures = teach(place.root, tiny.folder, "train1.json", "val1.json", "ignoring", "f.json", *more)
    before = place.figures[0]["windows"]
    assert figures["windows"]["background"] == before["background"] - 3 == 7
    assert all(figures["windows"][name] == before[name] for name in ("walk", "run"))
    assert ("1 videos have another path" in capsys.readouterr().out) == (name != "a.mp4")


def test_found_spans_in_ignored_time_do_not_count_and_annotated_ones_do(place, tiny):
    table = read_spans(place.root / "val1.json")
    part = SpanTable([s for s in table.spans if s.label == "walk"], table.videos)  # its run is not annotated
    write_spans(place.root / "part.json", part)
    write_spans(place.root / "whole.json", SpanTable([Span(0.0, 12.0, "run", 0.5, video="v.mp4")]))
    words = ("train1.json", "part.json", "part", "f.json")
    counted = teach(place.root, tiny.folder, *words)
    ignored = teach(place.root, tiny.folder, *words, "--ignore", place.root / "whole.json")
    noted = [
        {
            name
            for note in found["notes"]
            if "previous" not in note
            for name in note.partition("annotated: ")[2].split(", ")
        }
        for found in (counted, ignored)
    ]  # of the model's own classes, too
    assert "run" in noted[0] and "run" not in noted[1]
    assert ignored["per_class"]["held_out"]["walk"]["predicted"] == 2
    assert ignored["held_out"]["value"] == 1 > counted["held_out"]["value"]


def test_unmarked_time_has_the_given_name_or_is_not_used(place, tiny):
    named = teach(place.root, tiny.folder, "train1.json", "val1.json", "n1", "f.json", "--background", "idle")
    assert named["classes"][-1] == named["background"] == "idle" and named["windows"]["idle"] > 0
    none = teach(place.root, tiny.folder, "train1.json", "val1.json", "n2", "f.json", "--no_background")
    assert none["classes"][-1] == "walk" and none["background"] is None


def test_refusals_are_one_line(place, tiny, tmp_path, capsys, request):
    root = place.root
    assert "a.mp4: is a video of --train, too" in refused(root, tiny.folder, capsys, val="train1.json")
    shutil.copy(place.videos / "a.mp4", place.videos / "copy.mp4")
    request.addfinalizer((place.videos / "copy.mp4").unlink)
    write_spans(root / "copy.json", SpanTable([Span(0, 3, "walk", video="copy.mp4")]))
    assert "copy.mp4: is a video of --train, too" in refused(root, tiny.folder, capsys, val="copy.json")
    write_spans(root / "one.json", SpanTable([Span(0, 9, "walk", video="a.mp4")]))
    assert "all windows are only of 'walk'" in refused(root, tiny.folder, capsys, "one.json")
    write_spans(root / "both.json", SpanTable([Span(0, 9, name, video="a.mp4") for name in ("walk", "run")]))
    assert "no window of its videos is in a span" in refused(
        root, tiny.folder, capsys, "both.json", "val1.json", "--no_background"
    )
    write_spans(root / "late.json", SpanTable([Span(0, 3, "run", video="a.mp4"), Span(20, 21, "walk", video="a.mp4")]))
    assert "1 span behind the end of the video; the first begins at 20.000 s of a.mp4, which ends at" in refused(
        root, tiny.folder, capsys, "late.json"
    )
    (root / "ignore.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nwalk\n")
    words = ("train1.json", "val1.json", "--ignore", root / "ignore.srt")
    assert "ignore.srt: a span without the name of its video" in refused(root, tiny.folder, capsys, *words)
    write_spans(root / "gone.json", SpanTable([Span(0, 3, "walk", video="gone.mp4")]))
    assert "gone.mp4: no such file" in refused(root, tiny.folder, capsys, "gone.json")
    for key, value, text in (("detection", {"x": 1}, "a detection model"), ("int8", {"x": 1}, "quantised")):
        copy = tmp_path / key
        shutil.copytree(tiny.folder, copy)
        description = read_description(copy)
        vars(description)[key] = value
        description.write(copy)
        line = refused(root, copy, capsys)
        assert text in line and "paddlevideo train" in line
    earlier = tmp_path / "earlier"
    shutil.copytree(tiny.folder, earlier)
    (earlier / "TSM_names.json").unlink()
    assert "export it again with this version" in refused(root, earlier, capsys)
    assert "is the folder of --model_file" in refused(root, tiny.folder, capsys, "train1.json", "val1.json",
                                                      "--out", tiny.folder)  # fmt: skip


def test_a_video_is_read_for_its_digest_once_until_it_changes(place, tmp_path, monkeypatch):
    video, read = tmp_path / "a.mp4", []
    shutil.copy(place.videos / "a.mp4", video)
    model = TaughtFrom.find(place.root / "model1", print)
    monkeypatch.setattr(window_features, "sha256", lambda file: read.append(file) or sha256(file))
    for _ in range(2):
        folder = FeatureFolder(place.root / "features", model, *WINDOWS.values(), print)
        assert len([*folder.all_of([video], lambda: None)]) == 1  # the features of the same content are there
    assert read == [video]
    video.write_bytes(video.read_bytes() + b"x")
    assert not folder.file_of(video).is_file() and len(read) == 2
    (place.root / "features" / "videos.json").write_text("{")
    assert (
        FeatureFolder(place.root / "features", model, *WINDOWS.values(), print)
        .file_of(place.videos / "a.mp4")
        .is_file()
    )


def similar(place, *more):
    words = ["--model_file", place.root / "model1", "--videos", place.videos, "--video", place.videos / "d.mp4"]
    words += ["--start_s", 0, "--end_s", 3, "--features", place.root / "features", *WORDS, *more]
    return ["similar", *map(str, words)]


def test_similar_finds_the_same_scene_and_not_itself(place, capsys):
    out = place.root / "similar.json"
    assert main(similar(place, "--out", out, "--top", 7)) == 0
    content = json.loads(out.read_text())
    assert content["query"] == {"video": str(place.videos / "d.mp4"), "start_s": 0.0, "end_s": 3.0}
    found = content["found"]
    assert len(found) == len(capsys.readouterr().out.splitlines()) == 7
    jumps = {("d.mp4", 6.0), ("c.mp4", 3.0), ("w.mp4", 0.0), ("w.mp4", 12.0)}
    first = {(f["video"].rpartition("/")[2], f["start_s"]) for f in found[:4]}
    assert {(name, round(start_s / 3) * 3) for name, start_s in first} == jumps
    assert all(abs(start_s - round(start_s / 3) * 3) <= 1.0 for _, start_s in first)
    values = [f["similarity"] for f in found]
    assert values == sorted(values, reverse=True) and values[3] > 0.4 > values[4]
    spans = [(f["video"], f["start_s"], f["end_s"]) for f in found] + [(str(place.videos / "d.mp4"), 0.0, 3.0)]
    for k, (name, start_s, end_s) in enumerate(spans):
        assert end_s - start_s == pytest.approx(3)
        assert all(other != name or b <= start_s + 2e-3 or end_s <= a + 2e-3 for other, a, b in spans[k + 1 :])


def test_similar_needs_no_paddle_where_all_features_are_there(place):
    main(similar(place))
    code = (
        "import sys; sys.modules['paddle'] = None; from paddlevideo.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *similar(place)], capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 5, done.stderr


def test_similar_refuses_a_span_that_is_none(place, capsys):
    for start_s, end_s, text in ((3, 3, "before the end"), (50, 60, "--start_s 50"), (3, 60, "--end_s 60")):
        words = similar(place)
        words[words.index("--start_s") + 1], words[words.index("--end_s") + 1] = str(start_s), str(end_s)
        error = capsys.readouterr().err if main(words) == 2 else ""
        assert text in error and ("before" in text or "ends at 9 s" in error)


def test_a_form_that_cannot_be_written_is_named_and_no_other_is_written(place, tiny, tmp_path, capsys, monkeypatch):
    old = shutil.copytree(tiny.folder, tmp_path / "old")
    (old / f"{next(old.glob('*.pdiparams')).stem}.onnx").touch()  # OpenVINO would run it, and has no files of its own
    monkeypatch.setattr("paddlevideo.inference.teaching.lacking", lambda form: ["paddle2onnx"])
    teach(place.root, old, "train1.json", "val1.json", tmp_path / "new", "figures3.json")
    assert [line for line in capsys.readouterr().out.splitlines() if "without the form" in line] == [
        f"{tmp_path / 'new'}: without the form onnx of the old export, which needs paddle2onnx: pip install paddle2onnx"
    ]


def test_exported_weights_are_a_checkpoint(tiny, tmp_path):
    from paddlevideo.modeling.weights import read_weights
    from paddlevideo.safe_io import read_pickle

    wanted = read_pickle(tiny.weights)
    for path in (tiny.folder, tiny.folder / "TSM.pdiparams"):
        arrays = read_weights(path)
        assert arrays.keys() == wanted.keys() and all(np.array_equal(arrays[key], wanted[key]) for key in wanted)
    copy = tmp_path / "copy"
    shutil.copytree(tiny.folder, copy)
    (copy / "TSM.pdiparams").write_bytes((copy / "TSM.pdiparams").read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match="SHA-256 mismatch"):
        read_weights(copy)
    (copy / "TSM_names.json").unlink()
    with pytest.raises(UserError, match="export it again with this version"):
        read_weights(copy)


@pytest.fixture(scope="module")
def several(tiny, tmp_path_factory):
    """An export of a network with several labels per clip, with the weights of ``tiny``."""
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export
    from tests.tiny_export import tiny_config, write_config

    root = tmp_path_factory.mktemp("several")
    config = tiny_config(label_names=str(tiny.label_file))
    config["MODEL"]["head"]["loss_cfg"] = {"name": "BCELoss"}
    export(load_config(write_config(root, config)), tiny.weights, root / "model", say=lambda line: None)
    return root / "model"


def test_several_labels_per_window_are_taught_each_by_itself(place, several):
    for name in ("train1", "val1"):
        table = read_spans(place.root / f"{name}.json")
        both = [Span(s.start_s, s.end_s, "move", video=s.video) for s in table.spans if s.label == "run"]
        write_spans(place.root / f"{name}_2.json", SpanTable([*table.spans, *both], table.videos))
    figures = teach(place.root, several, "train1_2.json", "val1_2.json", "several")
    assert figures["background"] is None and figures["held_out"]["name"] == "mAP"
    assert figures["held_out"]["value"] > max(0.6, figures["previous"]["value"])
    assert figures["per_class"]["held_out"]["move"]["AP@0.5"] == 1
    assert read_description(place.root / "several").score_type == "sigmoid"
    assert read_description(place.root / "several").thresholds == []


def test_thresholds_follow_what_is_taught_and_others_stay(place, several, tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(several, model)
    description = read_description(model)
    old = [0.11 + 0.01 * k for k in range(len(description.labels))]
    replace(description, thresholds=old).write(model)
    teach(place.root, model, "train1.json", "val1.json", tmp_path / "out")
    assert "held-out windows; the others keep theirs" in capsys.readouterr().out
    found = read_description(tmp_path / "out")
    changed = {name for name, a, b in zip(found.labels, [*old, *[0.5] * 9], found.thresholds) if a != b}
    assert len(found.thresholds) == len(found.labels) and changed == {"walk", "run"}


def test_a_head_without_a_last_layer_is_refused(place, tiny, capsys, monkeypatch):
    from paddlevideo.inference import feature_network

    monkeypatch.setattr(feature_network.LinearHead, "scores", lambda self, x, several: np.zeros((len(x), 5)))
    line = refused(place.root, tiny.folder, capsys, "train1.json", "val1.json", "--features", place.root / "new")
    assert "more than the linear layer" in line and "paddlevideo train" in line
