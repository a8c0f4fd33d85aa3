"""tools/test.py CONFIG CHECKPOINT --eval mAP --out results.csv, as AVA's pages print it."""

import re

import pytest
import yaml

from tests.unit.engine.test_testing_detection import detection  # noqa: F401  (a fixture)


@pytest.fixture
def page(detection, monkeypatch):  # noqa: F811
    monkeypatch.chdir(detection.folder)
    (detection.folder / "page.yaml").write_text(yaml.safe_dump(detection.config.to_dict()))
    return detection.folder


def test_the_page_s_line_prints_the_figure_and_writes_the_csv(page, run_tool):
    done = run_tool("test", "page.yaml", "w.pdparams", "--eval", "mAP", "--out", "results.csv")
    assert done.code == 0, done.err
    printed = done.out.splitlines()[-1]
    assert re.fullmatch(r"mAP@0.5IOU: 0\.\d{4}", printed)
    again = run_tool("eval_metric", "results.csv", "--eval", "mAP", "--annotations", "gt.csv", "--labels", "labels.txt")
    figure = float(re.search(r"mAP@0.5IOU: (.*)", again.out)[1])
    assert f"mAP@0.5IOU: {figure:.4f}" == printed


def test_without_out_the_csv_is_in_the_output_folder(page, run_tool):
    assert run_tool("test", "page.yaml", "w.pdparams", "--eval", "mAP").code == 0
    assert (page / "run" / "pred.csv").is_file()


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--eval", "top_k_accuracy"), "--eval top_k_accuracy: AVAMetric measures mAP"),
        (("--out", "r.pkl"), "--out r.pkl: expected a name ending in .csv for the results of AVAMetric"),
    ],
)
def test_what_detection_does_not_have_is_reported(flags, word, page, run_tool):
    done = run_tool("test", "page.yaml", "w.pdparams", *flags)
    assert done.code == 2 and word in done.err
