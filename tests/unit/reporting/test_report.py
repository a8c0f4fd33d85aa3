"""report.html of a test: it is complete, true, stands alone, and no name in it can act."""

import base64
import csv
import re
from html.parser import HTMLParser
from urllib.parse import quote

import cv2
import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.testing import test as engine_test
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.metrics.base import Metric
from paddlevideo.reporting import report_clips
from paddlevideo.reporting.confusion_drawing import MATRIX_CLASSES
from paddlevideo.reporting.page import ReportPage, render
from paddlevideo.reporting.report import ReportFiles
from paddlevideo.reporting.report_clips import ClipViews, Ranking
from paddlevideo.reporting.results import Results, score
from paddlevideo.settings import Options
from tests.tiny import make_clips, run_test, tsm_config

VOID = {"meta", "link", "img", "br"}


class Page(HTMLParser):
    """Checks that tags nest, and collects tables, tips and tags."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.rows, self.titles = [], set(), [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "title":
            self.titles.append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "td" in self.open or "th" in self.open:
            self.rows[-1][-1] += data
        if self.open and self.open[-1] == "title":
            self.titles[-1] += data


def results(num_classes, count, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, count)
    scores = rng.random((count, num_classes))
    scores[np.arange(count), labels] += 0.6
    return Results([f"v/{i}.mp4" for i in range(count)], labels, scores / scores.sum(1, keepdims=True))


def page_of(found, names=None):
    return Page(render(ReportPage("a test", score(found), found, names)))


@pytest.mark.parametrize(("classes", "shown"), [(5, False), (6, True)])
def test_a_top_k_of_at_most_k_classes_is_left_out(classes, shown):
    found = results(classes, 20)
    text = render(ReportPage("a test", {"top1": 0.5, "top5": 1.0}, found))
    assert "</b>top1</li>" in text and ("</b>top5</li>" in text) == shown


def test_the_class_table_counts_what_is_there():
    labels = np.array([0, 0, 0, 1, 1, 2])
    scores = np.eye(4)[[0, 1, 1, 1, 0, 2]]
    scores[5] = np.nan  # the only clip of class 2 could not be read
    page = page_of(Results(list("abcdef"), labels, scores), ["run", "walk", "jump", "never"])
    rows = {row[0]: row[1:] for row in page.rows if len(row) == 7 and "precision" not in row}
    assert rows["0 run"] == ["3", "2", "1", "33.3 %", "50.0 %", "1 walk (2)"]
    assert rows["1 walk"] == ["2", "3", "1", "50.0 %", "33.3 %", "0 run (1)"]
    assert rows["2 jump"] == ["1", "0", "0", "0.0 %", "-", ""] and rows["3 never"] == ["0", "0", "0", "-", "-", ""]
    assert list(rows)[:4] == ["2 jump", "0 run", "1 walk", "3 never"]
    assert "0 run -> 1 walk: 2 of 3 (66.7 %)" in page.titles and "2 jump -> unreadable: 1 of 1 (100.0 %)" in page.titles


@pytest.mark.parametrize(("num_classes", "count"), [(2, 9), (8, 100), (MATRIX_CLASSES, 300), (400, 3000)])
def test_the_matrix_holds_every_clip_of_its_rows(num_classes, count):
    found = results(num_classes, count)
    page = page_of(found)
    tips = [re.fullmatch(r"(\d+) -> (.+): (\d+) of (\d+) \(.*\)", title) for title in page.titles]
    tips = [tip.groups() for tip in tips if tip]
    shown = {int(tip[0]) for tip in tips}
    totals = np.bincount(found.labels, minlength=num_classes)
    wrong = totals - np.bincount(found.labels[found.scores.argmax(1) == found.labels], minlength=num_classes)
    if num_classes <= MATRIX_CLASSES:
        assert shown == set(np.flatnonzero(totals))
    else:
        assert len(shown) == 30 and min(wrong[k] for k in shown) >= np.sort(wrong)[-30]
    for k in shown:
        assert sum(int(tip[2]) for tip in tips if int(tip[0]) == k) == totals[k]


def test_worst_clips_are_the_wrong_ones_that_the_network_is_surest_of():
    labels = np.array([0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.01, 0.99]])
    page = page_of(Results(["a", "b", "c", "d"], labels, scores))
    assert [row for row in page.rows if row[0] in "bc" and len(row) == 5] == [
        ["b", "0", "0.2000", "1", "0.8000"],
        ["c", "1", "0.4000", "0", "0.6000"],
    ]
    assert [row for row in page.rows if row[0] in "ad" and len(row) == 3] == [
        ["d", "1", "0.9900"],
        ["a", "0", "0.9000"],
    ]


@pytest.mark.parametrize("right", [True, False])
def test_all_right_and_all_wrong(right):
    scores = np.eye(60)[np.arange(60) if right else np.roll(np.arange(60), 1)]
    text = render(ReportPage("t", {}, Results([str(i) for i in range(60)], np.arange(60), scores)))
    Page(text)
    assert ("None is wrong." in text) == right and ("None is right." in text) == (not right)
    assert ("Every clip is right." in text) == right


def test_no_scores_at_all():
    Page(render(ReportPage("t", {"top1": 0.0}, Results(["a"], np.array([0]), np.full((1, 3), np.nan)))))
    Page(render(ReportPage("t", {"mAP": float("nan"), "num_samples": 0})))


def test_names_cannot_act():
    evil = '<script>alert("1")</script>'
    found = Results([evil, "line\nbreak\x1b[31m", "turned\u202efdp.mp4"], np.array([0, 1, 1]), np.eye(2)[[1, 0, 1]])
    found.scores[1] = np.nan
    report = ReportPage(evil, {evil: 0.5}, found, [evil, "' onload='x"], [("command", evil), (evil, "x")], evil)
    text = render(report)
    page = Page(text)
    assert "script" not in page.tags and "<script" not in text and "onload='" not in text
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b" in text
    assert not re.search(r"(src|href)=|url\(|@import", text)
    assert "default-src 'none'" in text


def test_several_labels_have_precisions_instead():
    hot = np.array([[1, 0, 1], [0, 0, 1]], "float32")
    found = Results(["a", "b"], hot, np.array([[0.9, 0.8, 0.7], [0.1, 0.2, 0.9]]))
    page = page_of(found)
    assert ["0", "1", "100.0 %", "0.5", "1", "100.0 %", "100.0 %", "100.0 %"] in page.rows and "svg" not in page.tags
    assert ["1", "0", "-", "0.5", "1", "0.0 %", "-", "0.0 %"] in page.rows
    at = Page(render(ReportPage("a test", {}, found, thresholds=[0.95, 0.5, 0.5])))
    assert ["0", "1", "100.0 %", "0.95", "0", "-", "0.0 %", "0.0 %"] in at.rows
    assert ["a", "0, 2", "0, 1", "0.8333"] in page.rows


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    config = tsm_config(make_clips(folder / "clips"), folder / "run") | {"epochs": 1}
    (folder / "names.txt").write_text("to the left\nto the right\n")
    train(Config(config), Options(max_iters=1))
    return folder, config, str(folder / "run" / "TSM_epoch_00001.pdparams")


def test_every_test_leaves_a_report_in_its_folder(trained, tmp_path):
    folder, config, weights = trained
    config = config | {"output_dir": str(tmp_path)}
    config["DATASET"] = config["DATASET"] | {"label_names": str(folder / "names.txt")}
    figures = run_test(Config(config), Options(weights=weights))
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    assert f"{100 * figures['top1']:.2f} %" in text and "1 to the right" in text
    facts = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert facts["clips"] == "8 of 8 in DATASET.test" and "sha256" in facts["weights"] and facts["paddle"]
    assert "framework: Recognizer2D" in text
    with (tmp_path / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8 and {row["label_name"] for row in rows} == {"to the left", "to the right"}
    assert np.mean([row["label"] == row["predicted"] for row in rows]) == pytest.approx(figures["top1"])


def test_the_report_goes_beside_out(trained, tmp_path):
    _, config, weights = trained
    run_test(Config(config), Options(weights=weights, max_iters=1), str(tmp_path / "sub" / "r.json"))
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {"r.json", "report.html", "predictions.csv"}
    assert "3 of 8 in DATASET.test" in (tmp_path / "sub" / "report.html").read_text()


def test_unreadable_videos_are_named_and_counted(trained, tmp_path):
    folder, config, weights = trained
    (tmp_path / "broken one.mp4").write_bytes(b"no video")
    listing = (folder / "clips" / "clips.list").read_text() + f"{tmp_path / 'broken one.mp4'} 1\n"
    (tmp_path / "test.list").write_text(listing)
    split = {"format": "VideoDataset", "file_path": str(tmp_path / "test.list"), "on_error": "count"}
    config = config | {"output_dir": str(tmp_path / "out"), "DATASET": config["DATASET"] | {"test": split}}
    figures = run_test(Config(config), Options(weights=weights))
    text = (tmp_path / "out" / "report.html").read_text()
    assert figures["num_unreadable"] == 1 and "1 clip without scores" in text
    assert "broken one.mp4</li>" in text
    assert "unreadable" in (tmp_path / "out" / "predictions.csv").read_text()


def test_missing_class_names_are_reported_before_the_evaluation(trained, tmp_path):
    folder, config, weights = trained
    for names, word in (("absent.txt", "no such label-name file"), ("one.txt", "1 class names, but the model has 2")):
        (tmp_path / "one.txt").write_text("alone")
        config = config | {"DATASET": config["DATASET"] | {"label_names": str(tmp_path / names)}}
        with pytest.raises(UserError, match=f"DATASET.label_names: .*{word}.*DATASET.label_names=null"):
            run_test(Config(config), Options(weights=weights))


def test_a_metric_without_results_is_refused_before_the_test():
    class Mean(Metric):
        update = state = merge = compute = None

    metric = Mean.__new__(Mean)
    with pytest.raises(UserError, match="^--out r.csv: Mean keeps no results per clip"):
        ReportFiles("w.pdparams", "r.csv").check(metric)
    ReportFiles("w.pdparams").check(metric)


def test_the_pictured_clips_are_mistakes_extremes_of_classes_and_right_ones_in_turn():
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3], [0.6, 0.4], [0.05, 0.95]])
    ranking = Ranking.of(Results(list("abcde"), labels, scores))
    assert ranking.worst == [1, 3] and ranking.best == [4, 0, 2]
    assert ranking.of_classes == [(1, 3, 4), (0, 1, 0)]  # class 1 has the lower accuracy
    assert ranking.first(4) == [1, 3, 4, 0] and ranking.first(0) == [] and len(ranking.first(99)) == 5


def test_the_report_shows_the_frames_and_links_the_files(trained, tmp_path):
    folder, config, weights = trained
    gone = tmp_path / "gone one.mp4"
    gone.write_bytes((folder / "clips" / "clip 0.mp4").read_bytes())
    (tmp_path / "test.list").write_text((folder / "clips" / "clips.list").read_text() + f"{gone} 1\n")
    split = {"format": "VideoDataset", "file_path": str(tmp_path / "test.list"), "on_error": "count"}
    config = config | {"output_dir": str(tmp_path / "out"), "DATASET": config["DATASET"] | {"test": split}}

    class Files(ReportFiles):
        def write_clips(self, *arguments):
            super().write_clips(*arguments)
            gone.unlink()

    engine_test(Config(config), Options(weights=weights), Files(weights))
    text = (tmp_path / "out" / "report.html").read_text()
    Page(text)
    found = dict(re.findall(r'alt="frames of ([^"]+)" src="data:image/jpeg;base64,([^"]+)"', text))
    pictures = [
        cv2.imdecode(np.frombuffer(base64.b64decode(data), "uint8"), cv2.IMREAD_COLOR) for data in found.values()
    ]
    assert len(found) == 8 and {picture.shape for picture in pictures} == {(72, 4 * 72, 3)}
    first = folder / "clips" / "clip 0.mp4"
    assert f'href="file://{quote(str(first))}"' in text
    assert "no such file" in text and f'href="file://{quote(str(gone))}"' not in text
    assert len(text) < 5_000_000 and "img-src data:" in text


def test_relative_names_are_links_from_the_page_and_addresses_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a: b#.mp4").write_bytes(b"")
    records = [{"filename": "a: b#.mp4", "start_s": 1.5, "end_s": 2.0}, {"filename": "https://x.org/v.mp4"}]
    views = ClipViews(tmp_path / "output" / "TSM", records)
    assert views.cell(0, "<b>") == '<a href="../../a%3A%20b%23.mp4#t=1.5,2">&lt;b&gt;</a>'
    assert views.cell(1, "v") == "v"
    assert ClipViews(tmp_path, records, linked=False).cell(0, "a") == "a"


def test_no_pictures_where_none_are_wished_and_a_remark_where_the_page_is_full(trained, tmp_path, monkeypatch):
    folder, config, weights = trained
    run_report = {"output_dir": str(tmp_path)}
    engine_test(Config(config | run_report), Options(weights=weights), ReportFiles(weights, num_clips=0))
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text and 'href="file://' in text
    monkeypatch.setattr(report_clips, "_MOST_BYTES", 1)
    engine_test(Config(config | run_report), Options(weights=weights), ReportFiles(weights))
    text = (tmp_path / "report.html").read_text()
    assert "1 of 8 clips have pictures: they fill" in text
