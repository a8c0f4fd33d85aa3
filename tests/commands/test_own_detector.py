"""Own annotations, in each form, all the way: data set, training, and a video with boxes where the people are."""

import json
import subprocess
import sys

import numpy as np
import pytest

from paddlevideo.boxes import iou
from paddlevideo.drawing import enlargement
from tests.commands.annotation_forms import ROOT, SMALL, convert
from tests.commands.test_ava_predict import box_of_colour, read_video

WIDTH_PX, HEIGHT_PX = SMALL.size_px


@pytest.mark.parametrize(
    "form", ["csv", *(pytest.param(f, marks=pytest.mark.slow) for f in ("jsonl", "coco", "via", "cvat"))]
)
def test_own_annotations_become_an_output_video(rendered, tmp_path, form, run_tool):
    assert convert(rendered, tmp_path, form, "--val", "0.25") == 0
    config, output, drawn, notes = (tmp_path / name for name in ("data/detector.yaml", "run", "out.mp4", "out.json"))
    out, truth = rendered
    small = ["-o", "MODEL.backbone.width=4", "-o", "MODEL.head.bbox_head.in_channels=32", "-o", f"output_dir={output}"]
    quick = ["-o", "epochs=1", "-o", "DATASET.num_workers=0", "--device", "cpu"]
    command = [sys.executable, "main.py", "-c", str(config), "--validate", *small, *quick]
    trained = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert trained.returncode == 0, trained.stderr
    (weights,) = output.glob("*_best.pdparams")

    video = (tmp_path / "data/val.csv").read_text().partition(",")[0]
    options = ["--video_path", out / f"videos/{video}.mp4", "--proposals", tmp_path / "data/val_proposals.pkl"]
    options += ["--output-stepsize", 1, "--output-fps", 10, "--out-filename", drawn, "--json", notes]
    shown = run_tool("ava_predict", "-c", config, "-w", weights, *small, *options, "--action-score-thr", 1)
    assert shown.code == 0, shown.err
    frames, rate = read_video(drawn)
    factor, compared = enlargement(HEIGHT_PX, WIDTH_PX), 0
    assert rate == 10 and frames.shape[1:] == (HEIGHT_PX * factor, WIDTH_PX * factor, 3)
    for key in json.loads(notes.read_text()):
        second = key["frame_index"] / 10
        people = np.array([box for v, t, box, *_ in truth if v == video and t == second]) * np.tile(SMALL.size_px, 2)
        assert len(key["persons"]) == len(people)
        for person in key["persons"]:
            drawn = box_of_colour(frames[key["frame_index"]], person["id"]) / factor
            assert iou(drawn[None], people).max() > 0.7
            compared += 1
    assert compared >= 6
