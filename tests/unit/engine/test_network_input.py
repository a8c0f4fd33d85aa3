"""Weights are used with the clips that they were trained on: frames, or pictures of what moved."""

import json
import shutil

import numpy as np
import pytest

from paddlevideo.build import load_run_config
from paddlevideo.classes import Classes, write_weights
from paddlevideo.cli.main import main
from paddlevideo.config import Config
from paddlevideo.engine.file_averages import average_files
from paddlevideo.engine.training import train
from paddlevideo.errors import DamagedFileError, UserError
from paddlevideo.inference.export import export
from paddlevideo.inference.exported import read_description
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.network_input import BACKBONE, check_rates, input_of_weights, rates_of_weights, same_input
from paddlevideo.settings import Options
from tests.clips import write_clip
from tests.scenes import NONE, write_list
from tests.tiny import run_test, save, tsm_config

NORMAL = {"mean": [0.45, 0.45, 0.45], "std": [0.225, 0.225, 0.225]}


def config_of(clips, output, differences):
    config = tsm_config(clips, output) | {"epochs": 1}
    if differences:
        for pipeline in config["PIPELINE"].values():
            pipeline["sample"] |= {"seg_len": 3, "select_left": False}
            pipeline["transform"].insert(1, {"FrameDifference": {"run": 3}})
    return config


@pytest.fixture(scope="module", params=[False, True], ids=["of frames", "of differences"])
def trained(request, clips, tmp_path_factory):
    """Whether they are of differences, their configuration, their weights."""
    config = config_of(clips, tmp_path_factory.mktemp("trained"), request.param)
    config["epochs"] = 2
    train(Config(config), Options(seed=1, validate=True))
    return request.param, config, f"{config['output_dir']}/TSM_best.pdparams"


def test_what_they_were_trained_on_is_beside_every_form_of_weights(clips, trained, tmp_path):
    differences, config, best = trained
    export(Config(config), best, tmp_path / "exported", say=lambda line: None)
    point = best.replace("best", "epoch_00001")
    average_files([point, point.replace("00001", "00002")], tmp_path / "mean.pdparams")
    steps = {"FrameDifference": {"run": 3, "gain": 2.0}} if differences else {}
    rates = {"fps": [12.0, 12.0]} if differences else {}  # one frame per segment is as far from the next at any rate
    for file in (best, point, tmp_path / "exported", tmp_path / "mean.pdparams"):
        found = input_of_weights(file)
        backbone = found.pop(BACKBONE)
        assert found == {"steps": steps, **NORMAL, **rates}, file
        assert backbone["name"] == "ResNetTSM" and backbone["shift"] is True and "pretrained" not in backbone, file


def test_other_clips_are_refused_in_test_and_export_and_named_at_a_start(clips, trained, tmp_path, caplog):
    differences, config, best = trained
    other = Config(config_of(clips, tmp_path / "other", not differences))
    has = "was trained on clips of FrameDifference, and PIPELINE has no FrameDifference"
    line = has if differences else "was not trained on clips of FrameDifference, and PIPELINE has FrameDifference"
    for use in (
        lambda: run_test(other, Options(weights=best)),
        lambda: export(other, best, tmp_path / "exported", say=lambda line: None),
    ):
        with pytest.raises(UserError, match=f"{line}; the scores would mean nothing. Use the PIPELINE of the training"):
            use()
    train(other, Options(seed=1, weights=best))
    assert f"{line}; it is a start, no more" in (tmp_path / "other" / "log.txt").read_text()


def test_another_gain_or_normalization_is_stated(clips, trained, tmp_path, capsys):
    differences, config, best = trained
    config = json.loads(json.dumps(config)) | {"output_dir": str(tmp_path)}
    for pipeline in config["PIPELINE"].values():
        pipeline["transform"][-1] = {"Normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.225, 0.225, 0.225]}}
        if differences:
            pipeline["transform"][1]["FrameDifference"]["gain"] = 3.0
    run_test(Config(config), Options(weights=best))
    text = capsys.readouterr().out
    assert (
        "trained on clips normalised with mean [0.45, 0.45, 0.45] std [0.225, 0.225, 0.225]; PIPELINE has mean [0.5"
        in text
    )
    assert ("trained with FrameDifference of gain 2.0, run 3; PIPELINE has gain 3.0, run 3" in text) == differences


@pytest.mark.parametrize(("key", "there", "here"), [("shift", True, False), ("shift_div", None, 4)])
def test_a_backbone_of_equal_arrays_and_other_arguments_is_named(clips, trained, tmp_path, capsys, key, there, here):
    _, config, best = trained
    config = json.loads(json.dumps(config)) | {"output_dir": str(tmp_path)}
    run_test(Config(config), Options(weights=best))
    assert "another network" not in capsys.readouterr().out
    config["MODEL"]["backbone"][key] = here
    line = f"trained with MODEL.backbone.{key} {there} (here {here}): the same arrays, and another network"
    run_test(Config(config), Options(weights=best))
    assert line in capsys.readouterr().out
    lines = []
    export(Config(config), best, tmp_path / "exported", say=lines.append)
    assert any(line in text for text in lines)


def test_weights_of_other_clips_are_not_averaged(clips, trained, tmp_path):
    differences, config, best = trained
    train(Config(config_of(clips, tmp_path, not differences)), Options(seed=1))
    with pytest.raises(UserError, match="was trained on other clips than .*they cannot be averaged"):
        average_files([best, str(tmp_path / "TSM_epoch_00001.pdparams")], tmp_path / "mean.pdparams")


def test_pretrained_weights_of_other_clips_are_named_and_their_features_refused(clips, trained, tmp_path, capsys):
    differences, _, best = trained
    config = config_of(clips, tmp_path / "other", not differences)
    config["MODEL"]["backbone"]["pretrained"] = best
    train(Config(config), Options(seed=1))
    assert f"MODEL.backbone.pretrained: {best}: was" in (tmp_path / "other" / "log.txt").read_text()
    file = save(config, tmp_path / "config.yaml")
    words = ["features", "-c", str(file), "-i", str(clips.parent), "--no_labels", "--out", str(tmp_path / "f.npz")]
    assert main(words) == 2 and "the scores would mean nothing" in capsys.readouterr().err


def test_a_run_of_one_kind_is_not_resumed_with_another(clips, trained, tmp_path):
    differences, config, _ = trained
    shutil.copytree(config["output_dir"], tmp_path / "run")
    other = config_of(clips, tmp_path / "run", not differences) | {"epochs": 3}
    kinds = ("FrameDifference", "frames") if differences else ("frames", "FrameDifference")
    with pytest.raises(UserError, match="this run learned from clips of {}, PIPELINE has {};".format(*kinds)):
        train(Config(other), Options(resume="auto"))


def test_pipelines_of_two_kinds_are_refused_before_the_run(clips, tmp_path):
    config = config_of(clips, tmp_path, True)
    del config["PIPELINE"]["test"]["transform"][1]
    with pytest.raises(UserError, match=r"decide what a picture shows differ \(train: FrameDifference; .*test: none\)"):
        load_run_config(save(config, tmp_path / "c.yaml"))


def test_statistics_are_equal_in_both_spellings_and_an_odd_note_is_damaged(tmp_path):
    mean, std = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
    ops = [{"Normalize": {"mean": mean, "std": std}}]
    ops += [{"Normalization": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}]
    one, other = (Pipeline({"transform": [op]}, "p").input for op in ops)
    assert one != other and same_input(one, other)
    file = tmp_path / "w.pdparams"
    write_weights(file, {}, Classes(), {"input": {"steps": []}})
    with pytest.raises(UserError, match="w.pdparams.json: damaged: input: expected steps, mean and std"):
        input_of_weights(file)


def test_a_video_of_another_frame_rate_is_named_wherever_the_time_between_frames_follows_from_it(
    trained, tmp_path, capsys
):
    differences, config, best = trained
    fast = tmp_path / "fast.mp4"
    write_clip(fast, np.zeros((48, 40, 40, 3), np.uint8), fps=48)
    (tmp_path / "fast.list").write_text(f"{fast} 0\n")
    remark = "its frame rate is above that of the training (12 frames per second): the frames of a clip are closer"
    export(Config(config), best, tmp_path / "exported", say=lambda line: None)
    file, names = save(config, tmp_path / "config.yaml"), tmp_path / "names.txt"
    names.write_text("left\nright\n")
    model = ["--model_file", str(tmp_path / "exported")]
    timeline = ["timeline", *model, "--input", str(fast), "--window_s", "0.5", "--label_file", str(names)]
    for words in (
        ["predict", "-c", str(file), "-w", best, "-i", str(fast)], ["predict", *model, "-i", str(fast)], timeline,
    ):  # fmt: skip
        assert main(words) == 0
        text = capsys.readouterr().err
        assert text.count(remark) == differences, words
    if differences:
        assert main([*timeline, "--max_fps", "13"]) == 0  # what is held is at the rate of the training
        assert "its frame rate" not in capsys.readouterr().err
        assert main([*timeline, "--max_fps", "6"]) == 0
        assert capsys.readouterr().err.count("its frame rate is below that of the training (12 frames per second)") == 1
    config = json.loads(json.dumps(config))
    config["DATASET"]["test"]["file_path"] = str(tmp_path / "fast.list")
    run_test(Config(config), Options(weights=best))
    assert (f"1 of 1 samples (100.0 %): {remark}" in capsys.readouterr().out) == differences


@pytest.mark.parametrize(
    ("sampler", "counts"),
    [
        ({"name": "Sampler", "num_seg": 8, "seg_len": 1}, False),
        ({"name": "Sampler", "num_seg": 8, "seg_len": 3}, True),
        ({"name": "Sampler", "num_seg": 8, "seg_len": 3, "select_left": True}, False),
        ({"name": "Sampler", "num_seg": 8, "linspace_sample": True}, False),
        ({"name": "Sampler", "num_seg": 8, "dense_sample": True}, True),
        ({"name": "Sampler", "num_seg": 1, "seg_len": 32, "frame_interval": 2}, True),
        ({"name": "SampleFrames", "clip_len": 1, "num_clips": 8}, False),
        ({"name": "SampleFrames", "clip_len": 32, "frame_interval": 2}, True),
        ({"name": "DenseSampleFrames", "clip_len": 1, "num_clips": 8}, True),
        ({"name": "DecodeSampler", "num_frames": 8, "sampling_rate": 8}, False),
    ],
)
def test_samplers_that_count_frames(sampler, counts):
    steps = (
        {"sample": sampler}
        if sampler["name"] == "DecodeSampler"
        else {"decode": {"name": "VideoDecoder"}, "sample": sampler}
    )
    assert Pipeline(steps, "PIPELINE.test").counts_frames == counts


@pytest.mark.parametrize("value", [[30.0], [30.0, 25.0], [0.0, 25.0], ["25", "30"], 25, [1.0, float("inf")]])
def test_odd_frame_rates_in_a_note_are_damage(value, tmp_path):
    with pytest.raises(DamagedFileError, match=r"x: fps: expected \[lowest, highest\] frames per second, got"):
        check_rates(value, "x")


def test_the_windows_of_a_stream_of_changing_rates_have_two_remarks_at_most():
    pipeline = Pipeline({"sample": {"name": "SampleFrames", "clip_len": 2, "frame_interval": 2}}, "PIPELINE.test")
    pipeline.learned_fps = (24.0, 30.0)
    remarks = {pipeline._rate_remark(fps) for fps in np.linspace(1, 200, 500)}
    assert len(remarks) == 3 and None in remarks
    assert {pipeline._rate_remark(fps) for fps in (0.0, 16.0, 24.0, 30.0, 45.0)} == {None}
    above, below = pipeline._rate_remark(45.1), pipeline._rate_remark(15.9)
    assert "above that of the training (24 to 30 frames per second)" in above and "ffmpeg -r 30" in above
    assert "below that of the training" in below and "ffmpeg" not in below


def test_rates_are_those_of_videos_and_a_start_of_others_is_named(clips, tmp_path):
    lines = []
    for number, fps in enumerate((12, 12, 12, 50)):
        file = tmp_path / f"{number}.mp4"
        write_clip(file, np.zeros((24, 40, 40, 3), np.uint8), fps=fps)
        lines.append(f"{file} {number % 2}")
    (tmp_path / "mixed.list").write_text("\n".join(lines) + "\n")
    for name, file in (("mixed", tmp_path / "mixed.list"), ("own", clips)):
        config = config_of(clips, tmp_path / name, True)
        config["DATASET"]["train"]["file_path"] = str(file)
        start = {"weights": str(tmp_path / "mixed" / "TSM_epoch_00001.pdparams")} if name == "own" else {}
        train(Config(config), Options(seed=1, **start))
    assert input_of_weights(start["weights"])["fps"] == [12.0, 50.0]
    line = "trained on videos of 12 to 50 frames per second; DATASET.train has 12 frames per second: other times"
    assert line in (tmp_path / "own" / "log.txt").read_text()
    mean = tmp_path / "mean.pdparams"
    average_files([start["weights"], tmp_path / "own" / "TSM_epoch_00001.pdparams"], mean)
    assert input_of_weights(mean)["fps"] == [12.0, 50.0]


def test_a_new_head_and_a_probe_keep_the_rates(trained, clips, tmp_path):
    differences, config, best = trained
    config = json.loads(json.dumps(config))
    (tmp_path / "names.txt").write_text("left\nright\n")
    config["DATASET"]["label_names"] = str(tmp_path / "names.txt")
    export(Config(config), best, tmp_path / "model", say=lambda line: None)
    (tmp_path / "videos").mkdir()
    for name, scenes in {"train": {"a": ["walk", NONE, "run"]}, "val": {"b": ["run", NONE, "walk"]}}.items():
        write_list(tmp_path / f"{name}.json", tmp_path / "videos", scenes)
    words = ["--model_file", tmp_path / "model", "--train", tmp_path / "train.json", "--val", tmp_path / "val.json"]
    words += ["--videos", tmp_path / "videos", "--out", tmp_path / "taught", "--window_s", 1, "--hop_s", 0.5]
    assert main(["teach", *map(str, words)]) == 0
    file, table = save(config, tmp_path / "config.yaml"), tmp_path / "features.npz"
    of = ["-c", str(file), "-w", best]
    assert main(["features", *of, "-i", str(clips), "--data_prefix", str(clips.parent), "--out", str(table)]) == 0
    assert main(["probe", str(table), "--folds", "2", *of, "--save", str(tmp_path / "probe.pdparams")]) == 0
    rates = (12.0, 12.0) if differences else None
    for weights in (tmp_path / "taught", tmp_path / "probe.pdparams"):
        assert rates_of_weights(weights) == rates, weights
    assert tuple(read_description(tmp_path / "taught").fps) == (rates or ())
