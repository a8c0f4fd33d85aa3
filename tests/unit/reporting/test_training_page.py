"""training.html: its curves are those of metrics.jsonl, also of runs that were resumed, diverged, or are long."""

import json
import re

import numpy as np
import pytest

from paddlevideo.cli.main import COMMANDS, execute
from paddlevideo.errors import UserError
from paddlevideo.reporting.charts import Series, chart
from paddlevideo.reporting.history import Epochs, History, best_epoch
from paddlevideo.reporting.training_page import RunView, render
from tests.unit.reporting.test_report import Page


def record(mode, step, epoch=1, **figures):
    return json.dumps({"mode": mode, "step": step, "time": 1.7e9 + step, **figures, "epoch": epoch})


def history_of(folder, lines):
    (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    history = History(folder / "metrics.jsonl")
    history.read()
    return history


def test_steps_that_a_resumed_run_repeats_count_once_and_abandoned_ones_not_at_all(tmp_path):
    first = [record("train", step, loss=1.0) for step in (1, 3, 5, 7)]
    first.insert(2, record("val", 4, top1=0.1))
    again = [record("train", 3, loss=2.0), record("epoch", 4, loss=2.5), record("val", 4, top1=0.2)]
    history = history_of(tmp_path, [*first, *again, record("train", 6, loss=2.0)])
    assert history.steps("train").tolist() == [1, 3, 6] and history.column("train", "loss").tolist() == [1.0, 2.0, 2.0]
    assert history.steps("val").tolist() == [4] and history.column("val", "top1").tolist() == [0.2]
    assert history.resumes == [3] and history.num_dropped == 4


def test_a_validation_that_is_done_again_replaces_the_first_and_leaves_its_epoch(tmp_path):
    lines = [record("train", 4, loss=1.0), record("epoch", 4, loss=1.5), record("val", 4, top1=0.1)]
    lines += [record("swa", 4, top1=0.3), record("val", 4, top1=0.2)]
    history = history_of(tmp_path, lines)
    assert history.column("val", "top1").tolist() == [0.2] and history.column("epoch", "loss").tolist() == [1.5]
    assert history.column("train", "loss").tolist() == [1.0] and history.resumes == []


def test_the_file_is_read_as_it_grows_and_lines_that_are_no_records_are_counted(tmp_path):
    history = history_of(tmp_path, [record("train", 1, loss=1.0), "{cut off", '{"mode": "train", "step": "two"}', "[]"])
    with history.path.open("a") as stream:
        stream.write(record("train", 2, loss=3.0)[:10])
        stream.flush()
        history.read()
        assert history.steps("train").tolist() == [1] and history.num_unread == 3 and history.is_unfinished
        stream.write(record("train", 2, loss=3.0)[10:] + "\n")
        stream.flush()
        history.read()
    assert history.column("train", "loss").tolist() == [1.0, 3.0] and not history.is_unfinished


def test_the_best_epoch_by_a_loss_is_the_lowest(tmp_path):
    history = history_of(tmp_path, [record("val", n, n, loss=loss) for n, loss in enumerate([3.0, 1.0, 2.0], 1)])
    assert RunView("run", history).best == (2, 1.0)


def test_means_of_epochs_are_their_records_else_those_of_logged_steps(tmp_path):
    lines = [record("train", 1, 1, loss=9.0, lr=0.1), record("epoch", 2, 1, loss=1.0, batch_cost=2.0, reader_cost=0.5)]
    lines += [record("train", s, 2, loss=float(s), batch_cost=1.0, reader_cost=0.25) for s in (3, 5)]
    lines += [record("train", 6, 2, loss=None, batch_cost=1.0, reader_cost=0.25)]
    epochs = Epochs(history_of(tmp_path, lines))
    assert epochs.numbers.tolist() == [1, 2] and epochs.exact.tolist() == [True, False]
    assert epochs.mean("loss").tolist() == [1.0, 4.0] and epochs.mean("lr")[0] == 0.1
    assert epochs.reader_share().tolist() == [0.25, 0.25] and epochs.ends.tolist() == [2, 6]


def test_the_best_epoch_is_the_earliest_of_equal_ones_and_never_one_that_is_not_finite(tmp_path):
    lines = [record("val", 10 * e, e, top1=v) for e, v in ((1, 0.5), (2, 0.7), (3, None), (4, 0.7))]
    assert best_epoch(history_of(tmp_path, lines), "top1") == (2, 0.7)


def paths_of(svg):
    return re.findall(r'<path class="line [^"]*" d="(M\d[^"]*)"', svg.split("</ul>")[1])


def test_values_that_are_not_finite_are_gaps_with_marks():
    svg = chart("Loss", "step", [Series("train", np.arange(5), np.array([1.0, 2.0, np.inf, 3.0, np.nan]))])
    (path,) = paths_of(svg)
    assert path.count("M") == 2 and path.count("L") == 1  # two points, and a lone one
    assert svg.count('class="lost"') == 1 and "not finite 1 times" in svg
    assert "Loss by step" in chart("Loss", "step", [Series("a", np.arange(3), np.full(3, np.inf))])
    assert chart("Loss", "step", [Series("a", np.arange(3), np.full(3, np.nan))]) == ""


@pytest.mark.parametrize("count", [1, 2, 61, 5000])
def test_charts_of_few_and_of_many_points(count):
    svg = chart("x", "epoch", [Series("a", np.arange(count), np.linspace(1, 1000, count))], positive=True)
    Page(svg)
    assert "nan" not in svg and ("(logarithmic)" in svg) == (count > 1)
    assert svg.count("<circle") == (count if count <= 60 else 0)


def test_a_long_run_keeps_its_extremes_and_stays_small(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.uniform(1.0, 2.0, 200_000)
    values[77_777], values[123_456] = 9.0, 0.5
    svg = chart("Loss", "step", [Series("train", np.arange(len(values)), values)])
    (path,) = paths_of(svg)
    rows = [float(row) for row in re.findall(r" ([\d.]+)", path)]
    alone = chart("Loss", "step", [Series("train", np.arange(2), np.array([0.5, 9.0]))])
    low, high = [float(row) for row in re.findall(r" ([\d.]+)", paths_of(alone)[0])]
    assert (max(rows), min(rows)) == (low, high) and len(path) < 40_000


def test_the_page_has_the_figures_and_no_name_can_act(tmp_path):
    evil = '<script>alert("1")</script>'
    lines = [record("train", 1, loss=2.0, lr=0.1, top1=0.5, batch_cost=1.0, reader_cost=0.1)]
    lines += [record("epoch", 2, loss=1.25, top1=0.25, batch_cost=1.0, reader_cost=0.5)]
    lines += [record("val", 2, top1=0.75, mAP=0.5, **{evil: 0.1})]
    facts = {"primary": "top1", "best": 0.75, "best_epoch": 1, "class_names": [evil, "b"], "shown": {evil: evil}}
    confusions = {" of epoch 1": (np.array([[3, 1], [0, 2]]), np.array([4, 2]))}
    run = RunView(evil, history_of(tmp_path, lines), facts, {"epochs": 5}, evil, confusions)
    text = render([run], evil)
    page = Page(text)
    assert "script" not in page.tags and "<script" not in text and not re.search(r"(src|href)=|url\(|@import", text)
    assert "1 of 5" in text and "best top1, epoch 1" in text and "50.0 %" in text
    assert f"{evil} -> 1 b: 1 of 4 (25.0 %)".replace(evil, f"0 {evil}") in page.titles
    assert "best: epoch 1, 0.75" in page.titles
    (row,) = [row for row in page.rows if row[0] == "1 (best)"]
    assert row[1:4] == ["1.25", "0.25", "0.75"]


@pytest.mark.parametrize(("classes", "shown"), [(5, False), (6, True)])
def test_a_top_k_of_at_most_k_classes_is_left_out(tmp_path, classes, shown):
    lines = [record("train", 1, loss=2.0, top1=0.5, top5=1.0), record("epoch", 2, loss=1.25, top1=0.25, top5=1.0)]
    history = history_of(tmp_path, [*lines, record("val", 2, top1=0.75, top5=1.0)])
    config = {"MODEL": {"head": {"name": "TSMHead", "num_classes": classes}}}
    text = render([RunView("run", history, {"primary": "top5"}, config)], "run")
    assert ("top5" in text, "best top5, epoch 1" in text) == (shown, shown) and "<figcaption>top1" in text
    both = render([RunView("other", history), RunView("run", history, {}, config)], "both")
    (figure,) = re.findall(r"<figcaption>top5.*?</figure>", both)
    assert "other, val" in figure and ("run, val" in figure) == shown


def epoch_ticks(epochs):
    svg = chart("top1", "epoch", [Series("val", np.array(epochs), np.full(len(epochs), 0.5))])
    return [int(label) for label in re.findall(r'text-anchor="middle">([^<]*)<', svg)]


def test_the_axis_of_epochs_has_whole_numbers_from_1():
    assert epoch_ticks([1]) == [1] and epoch_ticks([1, 2]) == [1, 2]
    assert epoch_ticks([3, 6, 9]) == [1, 2, 4, 6, 8] and epoch_ticks([50, 100]) == [1, 20, 40, 60, 80, 100]


def folder_of(place, name, rate, loss):
    folder = place / name
    folder.mkdir(parents=True)
    history_of(folder, [record("train", 1, loss=loss), record("train", 2, loss=None), record("val", 2, top1=0.5)])
    (folder / "config.yaml").write_text(f"model_name: TSM\nepochs: 3\nOPTIMIZER:\n  learning_rate: {rate}\n")
    return folder


def curves(*words):
    return execute(COMMANDS.commands["curves"], "paddlevideo curves", [str(word) for word in words])


def test_the_command_overlays_runs_and_names_what_differs(tmp_path, capsys, monkeypatch):
    a, b = folder_of(tmp_path, "a", 0.1, 1.0), folder_of(tmp_path, "b", 0.2, 2.0)
    monkeypatch.chdir(tmp_path)
    assert curves(a) == 0 and (a / "training.html").is_file()
    text = (a / "training.html").read_text()
    assert "TSM: training" in text and "not finite in 1 of the logged steps" in text and "learning_rate: 0.1" in text
    assert curves(a, b) == 0 and capsys.readouterr().out.splitlines()[-1] == "curves.html"
    page = Page((tmp_path / "curves.html").read_text())
    assert ["OPTIMIZER.learning_rate", "0.1", "0.2"] in page.rows and ["epochs", "3", "3"] not in page.rows
    assert {"a", "b"} <= {row[0] for row in page.rows}


def test_the_command_refuses_what_is_no_run(tmp_path):
    a = folder_of(tmp_path, "a", 0.1, 1.0)
    with pytest.raises(UserError, match="has no metrics.jsonl; expected the output folder of a training"):
        curves(tmp_path)
    with pytest.raises(UserError, match="is named 2 times"):
        curves(a, f"{a}/.")
    with pytest.raises(UserError, match="--out x.png: expected a name ending in .html"):
        curves(a, "--out", "x.png")
    (a / "training.json").write_text('{"confusion": {"last": {"epoch": 1, "cells": [[5, 0, 1]], "totals": [1]}}}')
    with pytest.raises(UserError, match="training.json: damaged"):
        curves(a)
