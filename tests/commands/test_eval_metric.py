"""Results files scored again: the figures of --test, late fusion by path, and errors that name the clips."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.metrics.topk import TopKMetric, softmax
from paddlevideo.reporting.result_files import read_results
from paddlevideo.reporting.results import Results, write_results
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from tests.tiny import make_clips, run_test, save, tsm_config

RNG = np.random.default_rng(4)
SCORES = softmax(RNG.standard_normal((12, 7)))
LABELS = RNG.integers(0, 7, 12)
PATHS = [f"folder {i}/clip {i}, a.mp4" for i in range(12)]


def figures_of(out):
    pairs = [line.split(": ") for line in out.splitlines() if line.count(": ") == 1]
    return {key: float(value) for key, value in pairs if value.replace(".", "").replace("e-", "").isdigit()}


@pytest.fixture
def result(tmp_path):
    write_results(tmp_path / "a.json", Results(PATHS, LABELS, SCORES))
    return tmp_path / "a.json"


def test_the_figures_are_those_that_test_printed(run_tool, tmp_path):
    config = tsm_config(make_clips(tmp_path / "clips"), tmp_path / "run") | {"epochs": 1}
    train(Config(config), Options(max_iters=1))
    weights = str(tmp_path / "run" / "TSM_epoch_00001.pdparams")
    for suffix in ("json", "csv", "pkl"):
        out = tmp_path / f"r.{suffix}"
        figures = run_test(Config(config), Options(weights=weights), str(out))
        again = figures_of(run_tool("eval_metric", out).out)
        assert again["top1_acc"] == figures["top1"] and "top5_acc" not in again  # of two classes
        assert again["mean_class_accuracy"] == pytest.approx(figures["mean_class_accuracy"], rel=1e-5)
        assert again["clips"] == figures["num_samples"]


@pytest.mark.parametrize("suffix", ["json", "csv", "pkl"])
@pytest.mark.parametrize("several", [False, True])
def test_what_is_written_is_read_back(suffix, several, tmp_path):
    labels, scores = LABELS, SCORES.copy()
    if several:
        labels = (RNG.random((12, 7)) < 0.3).astype("float32")
        labels[0] = 0
    scores[3] = np.nan
    write_results(tmp_path / f"r.{suffix}", Results(PATHS, labels, scores))
    back = read_results(tmp_path / f"r.{suffix}")
    assert back.paths == PATHS and back.labels.dtype == labels.dtype
    np.testing.assert_array_equal(back.labels, labels)
    np.testing.assert_array_equal(back.scores, scores)


def test_precisions_of_several_labels_are_the_metrics(run_tool, tmp_path):
    labels = (RNG.random((12, 7)) < 0.4).astype("float32")
    metric = TopKMetric()
    metric.update(np.arange(12), {"scores": SCORES}, {"label": labels})
    write_results(tmp_path / "r.json", Results(PATHS, labels, SCORES))
    got = figures_of(run_tool("eval_metric", tmp_path / "r.json").out)
    wanted = metric.compute()
    assert got["mean_average_precision"] == pytest.approx(wanted["mAP"], rel=1e-5)
    assert got["mmit_mean_average_precision"] == pytest.approx(wanted["mmit_mAP"], rel=1e-5)
    refused = run_tool("eval_metric", tmp_path / "r.json", "--metrics", "top_k_accuracy")
    assert refused.code == 2 and "several labels per clip" in refused.err


def test_late_fusion_joins_by_path_and_weighs(result, run_tool, tmp_path):
    other, order = RNG.standard_normal((12, 7)), RNG.permutation(12)
    shuffled = Results([PATHS[i] for i in order], LABELS[order], other[order])
    write_results(tmp_path / "b.csv", shuffled)
    done = run_tool("eval_metric", result, tmp_path / "b.csv", "--weights", 1, 0.5, "--out", tmp_path / "f.pkl")
    assert done.code == 0, done.err
    fused = read_results(tmp_path / "f.pkl")
    assert fused.paths == PATHS
    np.testing.assert_allclose(fused.scores, (SCORES + 0.5 * other) / 1.5)
    wanted = float(((SCORES + 0.5 * other).argmax(1) == LABELS).mean())
    assert figures_of(done.out)["top1_acc"] == pytest.approx(wanted, rel=1e-5)
    write_results(tmp_path / "c.csv", Results(PATHS, LABELS, 2 * SCORES - 1))
    run_tool("eval_metric", tmp_path / "c.csv", tmp_path / "b.csv", "--softmax", "--out", tmp_path / "s.json")
    wanted = (softmax(2 * SCORES - 1) + softmax(other)) / 2
    np.testing.assert_allclose(read_results(tmp_path / "s.json").scores, wanted)
    done = run_tool("eval_metric", tmp_path / "s.json", "--softmax")
    assert done.code == 2 and "s.json: its scores are probabilities already" in done.err
    for wrong in ((1, -1), (0, 0), (1, "inf")):
        done = run_tool("eval_metric", result, tmp_path / "b.csv", "--weights", *wrong)
        assert done.code == 2 and "expected numbers from 0" in done.err


def test_a_clip_that_one_network_could_not_read_is_wrong_in_the_fusion(result, run_tool, tmp_path):
    scores = SCORES.copy()
    scores[5] = np.nan
    write_results(tmp_path / "b.json", Results(PATHS, SCORES.argmax(1), scores))
    write_results(result, Results(PATHS, SCORES.argmax(1), SCORES))
    done = run_tool("eval_metric", result, tmp_path / "b.json", "--topk", 1, 2)
    assert figures_of(done.out)["top1_acc"] == pytest.approx(11 / 12, rel=1e-5)
    assert "without scores (wrong): 1" in done.out


@pytest.mark.parametrize(
    ("paths", "labels", "scores", "word"),
    [
        ([*PATHS[:-1], "stranger.mp4"], LABELS, SCORES, "1 clips of .*a.json are not in .*b.json: folder 11/clip 11"),
        (PATHS[:-1], LABELS[:-1], SCORES[:-1], "1 clips of .*a.json are not in .*b.json: folder 11"),
        (PATHS, (LABELS + 1) % 7, SCORES, "12 labels differ from .*first folder 0/clip 0"),
        (PATHS, np.minimum(LABELS, 4), SCORES[:, :5], "5 classes, .*a.json has 7"),
    ],
    ids=["path", "shorter", "labels", "classes"],
)
def test_files_of_other_clips_are_refused_by_name(paths, labels, scores, word, result, run_tool, tmp_path):
    import re

    write_results(tmp_path / "b.json", Results(paths, labels, scores))
    done = run_tool("eval_metric", result, tmp_path / "b.json")
    assert done.code == 2 and re.search(word, done.err), done.err


def test_results_of_predict_are_named(run_tool, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"run": {"format": "paddlevideo.predictions", "version": 1}}\n')
    done = run_tool("eval_metric", tmp_path / "a.jsonl")
    assert done.code == 2 and "results of paddlevideo predict; expected those of paddlevideo test" in done.err


def test_one_weight_per_file(result, run_tool):
    done = run_tool("eval_metric", result, "--weights", 1, 2)
    assert done.code == 2 and "--weights: expected 1, one per results file, got 2" in done.err


def test_a_path_that_is_listed_twice_stays_two_clips(run_tool, tmp_path):
    for name in ("a.json", "b.json"):
        write_results(tmp_path / name, Results(["same.mp4"] * 12, LABELS, SCORES))
    assert figures_of(run_tool("eval_metric", tmp_path / "a.json", tmp_path / "b.json").out)["clips"] == 12


NAMES = ["größer", "<b>", "b", "c", "d 1", "e", "f"]


@pytest.mark.parametrize("suffix", ["json", "csv", "pkl"])
def test_names_travel_with_the_results_unescaped_and_join_files_by_name(run_tool, suffix, tmp_path):
    a, b, other = (tmp_path / f"{name}.{suffix}" for name in "abo")
    write_results(a, Results(PATHS, LABELS, SCORES, names=NAMES))
    assert read_results(a).names == NAMES
    if suffix != "pkl":
        assert "größer" in a.read_text(encoding="utf-8") and "<b>" in a.read_text(encoding="utf-8")
    turned = np.roll(np.arange(7), 2)  # column j of b is class turned[j]
    places = np.argsort(turned)
    write_results(b, Results(PATHS, places[LABELS], SCORES[:, turned], names=[NAMES[k] for k in turned]))
    alone, both = run_tool("eval_metric", a), run_tool("eval_metric", a, b)
    assert both.code == 0 and figures_of(both.out) == figures_of(alone.out)
    (tmp_path / "names.txt").write_text("\n".join(NAMES[k] for k in turned), encoding="utf-8")
    named = run_tool("eval_metric", a, "--labels", tmp_path / "names.txt")
    assert figures_of(named.out) == figures_of(alone.out)
    write_results(other, Results(PATHS, LABELS, SCORES, names=[*NAMES[:-1], "z"]))
    for arguments in ((a, other), (other, "--labels", tmp_path / "names.txt")):
        refused = run_tool("eval_metric", *arguments)
        assert refused.code == 2 and "only in" in refused.err and "z" in refused.err


def test_score_vectors_of_mmaction2_need_the_list(run_tool, tmp_path):
    (tmp_path / "s.json").write_text(json.dumps(SCORES.tolist()))
    write_pickle(tmp_path / "s.pkl", [row.astype("float32") for row in SCORES])
    (tmp_path / "val.list").write_text("".join(f"{path} {label}\n" for path, label in zip(PATHS, LABELS)))
    for name in ("s.json", "s.pkl"):
        done = run_tool("eval_metric", tmp_path / name)
        assert done.code == 2 and "--annotations LIST" in done.err
        done = run_tool("eval_metric", tmp_path / name, "--annotations", tmp_path / "val.list", "--topk", 3)
        wanted = np.mean([label in np.argsort(-row)[:3] for row, label in zip(SCORES, LABELS)])
        assert figures_of(done.out)["top3_acc"] == pytest.approx(wanted, rel=1e-5)
    (tmp_path / "val.list").write_text("one.mp4 0\n")
    done = run_tool("eval_metric", tmp_path / "s.json", "--annotations", tmp_path / "val.list")
    assert done.code == 2 and "1 clips, " in done.err


def test_the_confusion_matrix_and_the_report_name_the_classes(result, run_tool, tmp_path):
    names = [f"class number {k}" for k in "abcdefg"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    flags = ("--metrics", "confusion_matrix", "--labels", tmp_path / "names.txt", "--report", tmp_path / "r.html")
    done = run_tool("eval_metric", result, *flags)
    assert done.code == 0 and "class number a" in done.out and "row: label, column: prediction" in done.out
    matrix = [line.split("|")[1].split() for line in done.out.splitlines() if "|" in line]
    assert np.array(matrix, int).sum() == 12 and np.array(matrix, int).shape == (7, 7)
    assert "class number g" in (tmp_path / "r.html").read_text()
    (tmp_path / "names.txt").write_text("only one")
    assert "1 class names, but the model has 7" in run_tool("eval_metric", result, *flags).err


def test_as_many_answers_as_classes_are_a_figure_and_more_are_none(result, run_tool):
    assert "top7_acc: 1" in run_tool("eval_metric", result, "--topk", 1, 7).out
    done = run_tool("eval_metric", result, "--topk", 1, 8)
    assert done.code == 2 and "--topk 8: the scores are of 7 classes" in done.err


@pytest.mark.parametrize(
    "text", ["{}", "[]", '[{"path": "a"}]', "[[1, 2], [3]]", "no json", '[{"path": 1, "scores": 2}]']
)
def test_other_files_are_refused(text, run_tool, tmp_path):
    (tmp_path / "x.json").write_text(text)
    done = run_tool("eval_metric", tmp_path / "x.json")
    assert done.code == 2 and "not a results file of --out" in done.err
    assert run_tool("eval_metric", tmp_path / "x.txt").code == 2
    assert "no such file" in run_tool("eval_metric", tmp_path / "y.json").err


@pytest.mark.parametrize(
    ("name", "text", "reported"),
    [
        ("x.json", '[{"path": "a", "label": 1, "scores": [0.1, "b"]}]', "clip 0: scores: expected a list of numbers"),
        ("x.json", '[{"path": "a", "label": 1, "scores": "01"}]', "expected a list of numbers, got '01'"),
        ("x.json", '[{"path": "a", "label": 1.5, "scores": [0, 1]}]', "clip 0: label: expected a whole number"),
        ("x.json", '[[0.1, 0.9], [0.1, null]]', "clip 1: scores: expected a list of numbers"),
        ("x.json", '[{"path": "a", "label": 0, "scores": [0, 1]}, 3]', "clip 1: expected path, label and scores"),
        ("x.csv", "path,label,predicted,score_0,score_1\na,1;-1;,0,1,0\n", "clip 0: label 1;-1;: the scores are of 2"),
        ("x.csv", "path,label,predicted,score_0,score_1\na,cat,0,1,0\n", "expected a whole number, got 'cat'"),
        ("x.csv", "path,label,predicted,score_0,score_1\na,0,0,1,0\nb,,0,1,0\n", "clip 1: label: expected a whole"),
        ("x.csv", "path,label,predicted,score_0,score_1,s\na,0,0,1,0,3\n", "the column 's' is no score"),
        ("x.csv", "path,label,predicted,score_0,score_2\na,0,0,1,0\n", "expected score_0 to score_1"),
        ("x.csv", "path,label,predicted,score_0,score_1\n", "a header without clips"),
        ("x.csv", "path,label,predicted,score_0,score_1\na,0,0,1\n", "clip 0: 4 fields, the header has 5"),
        ("x.csv", "", "the header must begin with path,label,predicted"),
        ("x.json", '[{"scores": [0, 1]}]', "clip 0: expected path, label and scores"),
        ("x.json", '[{"path": "a", "label": [0, NaN], "scores": [0, 1]}]', "clip 0 has labels that are not 0 or 1"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(name, text, reported, run_tool, tmp_path):
    (tmp_path / name).write_text(text)
    done = run_tool("eval_metric", tmp_path / name)
    assert done.code == 2 and reported in done.err


def written(file, paths=("a.mp4", "b.mp4"), labels=None, scores=((0.9, 0.1), (0.2, 0.8)), names=None):
    """A results file; its path."""
    labels = None if labels is None else np.array(labels)
    write_results(file, Results(list(paths), labels, np.array(scores), names=names))
    return file


def test_the_columns_of_a_csv_are_taken_by_their_numbers(run_tool, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("\ufeffpath,label,predicted,score_1 y,score_0 x\na,0,0,0.1,0.9\n\nb,1,1,0.8,0.2\n\n", "utf-8")
    assert figures_of(run_tool("eval_metric", file).out)["top1_acc"] == 1
    assert read_results(file).names == ["x", "y"]


def test_labels_of_no_class_are_refused_before_names_are_mapped(run_tool, tmp_path):
    (tmp_path / "names.txt").write_text("y\nx\n")
    for label in (-1, 2):
        file = written(tmp_path / "a.json", labels=[label, 1], names=["x", "y"])
        done = run_tool("eval_metric", file, "--labels", tmp_path / "names.txt")
        assert done.code == 2 and f"clip 0 has label {label}, scores are of 2 classes" in done.err


def test_classes_are_mapped_by_the_first_file_of_a_fusion_that_has_names(run_tool, tmp_path):
    flat = written(tmp_path / "f0.json", labels=[0, 1], scores=[[0.5, 0.5], [0.5, 0.5]])
    one = written(tmp_path / "f1.json", labels=[0, 1], names=["x", "y"])
    other = written(tmp_path / "f2.json", labels=[1, 0], scores=[[0.1, 0.9], [0.8, 0.2]], names=["y", "x"])
    done = run_tool("eval_metric", flat, one, other, "--out", tmp_path / "all.json")
    assert figures_of(done.out)["top1_acc"] == 1 and read_results(tmp_path / "all.json").names == ["x", "y"]


def test_a_file_of_weight_0_makes_no_clip_unreadable(run_tool, tmp_path):
    one = written(tmp_path / "a.json", labels=[0, 1])
    other = written(tmp_path / "b.json", labels=[0, 1], scores=[[np.nan, np.nan], [0.8, 0.2]])
    done = run_tool("eval_metric", one, other, "--weights", 1, 0)
    assert figures_of(done.out)["top1_acc"] == 1 and "without scores" not in done.out


@pytest.mark.parametrize(
    ("paths", "text", "figure"),
    [
        ((), "v/a.mp4 0 1\nv/b.mp4 1\n", "mean_average_precision"),  # several labels
        (("a.mp4", "b.mp4"), "a.mp4 0\nb.mp4 0 1\n", "mean_average_precision"),
        (("dir/a", "dir/b"), "dir/b 30 1\ndir/a 20 0\n", "top1_acc"),  # frames
        ((), "a 1 0\nb 0 1\n", "top1_acc"),
        (("a.mp4", "b.mp4"), "b.mp4 tennis serve\na.mp4 run\n", "top1_acc"),
    ],
)
def test_labels_of_a_list_in_all_its_forms(paths, text, figure, run_tool, tmp_path):
    file, rows = tmp_path / "a.json", [[0.9, 0.1], [0.2, 0.8]]
    file.write_text(json.dumps([{"path": p, "scores": row} for p, row in zip(paths, rows)] if paths else rows))
    (tmp_path / "val.list").write_text(text)
    (tmp_path / "names.txt").write_text("run\ntennis serve\n")
    flags = ["--labels", tmp_path / "names.txt"] if "serve" in text else []
    done = run_tool("eval_metric", file, "--annotations", tmp_path / "val.list", *flags)
    assert done.code == 0 and figures_of(done.out)[figure] == 1


@pytest.mark.parametrize("suffix", ["json", "csv", "pkl"])
@pytest.mark.parametrize("names", [["run", "walk", "jump"], None])
def test_a_test_in_which_no_clip_could_be_read_has_nothing_right(suffix, names, run_tool, tmp_path):
    file = written(tmp_path / f"a.{suffix}", "ab", [0, 2], np.full((2, 3), np.nan), names)
    done = run_tool("eval_metric", file)
    assert figures_of(done.out)["top1_acc"] == 0 and "without scores (wrong): 2" in done.out


def test_a_clip_without_scores_is_one_of_its_class_in_the_printed_table(run_tool, tmp_path):
    scores = [[0.9, 0.1], [np.nan, np.nan], [0.2, 0.8]]
    file = written(tmp_path / "a.json", "abc", [0, 0, 1], scores)
    done = run_tool("eval_metric", file, "--metrics", "confusion_matrix")
    assert re.search(r"0 +0 +2 +1 +0\.5000", done.out)


@pytest.mark.parametrize("flags", [["test", "--out", "val.list"], ["prepare", "class-weights", "--out", "c.yaml"]])
def test_no_output_is_an_input(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tsm_config(make_clips(tmp_path / "clips"), tmp_path / "run")
    listed = Path("val.csv") if flags[0] == "test" else Path("val.list")
    listed.write_text(Path(config["DATASET"]["test"]["file_path"]).read_text())
    config["DATASET"]["test"]["file_path"] = str(listed)
    save(config, tmp_path / "c.yaml")
    flags = [str(listed) if word == "val.list" else word for word in flags]
    before = {file: file.read_bytes() for file in (listed, Path("c.yaml"))}
    assert main([*flags, "-c", "c.yaml"]) == 2
    assert "is an input" in capsys.readouterr().err and before == {file: file.read_bytes() for file in before}


def test_options_of_other_results_are_refused(result, run_tool, tmp_path):
    done = run_tool("eval_metric", result, "--iou", 0.3)
    assert done.code == 2 and "--iou: is not for results of clips, whose options are --metrics, --topk" in done.err
    flags = ["--metrics", "mAP", "--annotations", "a.csv", "--out", tmp_path / "o.csv"]
    assert "--out: is not for --metrics mAP" in run_tool("eval_metric", "d.csv", *flags).err


def test_a_label_that_is_no_class_is_named(run_tool, tmp_path):
    write_results(tmp_path / "a.json", Results(PATHS, np.where(np.arange(12) == 4, 9, LABELS), SCORES))
    done = run_tool("eval_metric", tmp_path / "a.json")
    assert done.code == 2 and "clip 4 has label 9" in done.err


GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "cases"


def test_detections_are_scored_by_their_csv_alone(run_tool, tmp_path):
    case = json.loads((GOLDEN / "ava_map_synthetic.json").read_text())
    files = {kind: GOLDEN / f"ava_map_synthetic_{kind}" for kind in ("pred.csv", "gt.csv", "action_list.txt")}
    flags = ("--eval", "mAP", "--annotations", files["gt.csv"], "--labels", files["action_list.txt"])
    for more, variant in (
        ((), "all"),
        (("--exclude", GOLDEN / "ava_map_synthetic_excluded.csv"), "with_exclusions"),
        (("--custom-classes", 1, 3, 4, 7), "custom_classes"),
    ):
        done = run_tool("eval_metric", files["pred.csv"], *flags, *more, "--report", tmp_path / "r.html")
        assert done.code == 0, done.err
        wanted = case[variant]["result"]["mAP@0.5IOU"]
        assert float(re.search(r"mAP@0.5IOU: (.*)", done.out)[1]) == pytest.approx(wanted, abs=1e-6)
        assert "3 action3 " in done.out and "why" not in done.out
    assert f"{100 * wanted:.2f} %" in (tmp_path / "r.html").read_text()
    (tmp_path / "late.csv").write_text("va,2,0.1,0.1,0.5,0.5,1,0.9\n")
    done = run_tool("eval_metric", tmp_path / "late.csv", *flags)
    assert "mAP@0.5IOU: 0\n" in done.out and "why: no second of the detections" in done.out
    assert run_tool("eval_metric", files["gt.csv"], files["gt.csv"], *flags).code == 2
    assert run_tool("eval_metric", files["pred.csv"], "--eval", "mAP").code == 2


def test_proposals_are_scored_by_the_people_they_miss(run_tool, tmp_path):
    (tmp_path / "gt.csv").write_text(
        "v,0902,0.1,0.1,0.5,0.9,1,0\nv,0902,0.1,0.1,0.5,0.9,2,0\nv,0903,0.1,0.1,0.5,0.9,1,0\nv,0904,0,0,1,1,1,0\n"
    )
    (tmp_path / "p.json").write_text('{"v,902": [[0.1, 0.1, 0.5, 0.8]], "v,903": [[0.1, 0.1, 0.3, 0.4, 0.9]]}')
    (tmp_path / "x.csv").write_text("v,0904\n")
    flags = ("--metrics", "proposal_recall", "--annotations", tmp_path / "gt.csv", "--exclude", tmp_path / "x.csv")
    done = run_tool("eval_metric", tmp_path / "p.json", *flags)
    assert done.code == 0 and "proposal_recall@0.5IOU: 0.5\n" in done.out, done.err
    assert (
        "persons: 2, of which without a proposal: 1" in done.out and "gt.csv:3: v,0903, best overlap 0.19" in done.out
    )
