"""Runs with ``--multigrid``: shapes, and the bits of a run that is resumed within a shape and between two."""

import sys

import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.reporting.training_report import TrainingReport
from paddlevideo.safe_io import read_pickle
from paddlevideo.settings import Options
from tests.tiny import make_clips, save

SAMPLE = {"name": "DecodeSampler", "num_frames": 4, "sampling_rate": 1, "target_fps": 12}


def multigrid_config(clips, output, **changes):
    """SlowOnly R18 with 4 channels: 2 epochs of 2 frames x 16 pixels, then 2 of 4 x 32."""
    colours = {"Normalization": {"mean": [0.45] * 3, "std": [0.225] * 3}}
    small = {"JitterScale": {"min_size": 40, "max_size": 40, "default_min_size": 40}}
    split = {"format": "SFVideoDataset", "file_path": str(clips)}
    steps = {"sample": SAMPLE, "transform": [small, {"MultiCrop": {"target_size": 32}}, colours]}
    rate = {
        "name": "CustomWarmupPiecewiseDecay", "iter_step": True, "warmup_epochs": 0, "warmup_start_lr": 0.01,
        "step_base_lr": 0.01, "lrs": [1, 0.1], "steps": [0, 3], "max_epoch": 5,
    }  # fmt: skip
    return {
        "model_name": "Grid",
        "MODEL": {
            "framework": "Recognizer3D",
            "backbone": {"name": "ResNet3dSlowOnly", "depth": 18, "width": 4},
            "head": {"name": "I3DHead", "num_classes": 2, "in_channels": 32},
        },
        "DATASET": {"batch_size": 1, "num_workers": 0, "train": split, "valid": split},
        "PIPELINE": {"train": steps, "valid": {**steps, "sample": {**SAMPLE, "test_mode": True}}},
        "OPTIMIZER": {"name": "Momentum", "momentum": 0.9, "learning_rate": rate},
        "MULTIGRID": {
            "LONG_CYCLE": True, "SHORT_CYCLE": True, "epoch_factor": 0.8,
            "long_cycle_factors": [[0.5, 0.5], [1, 1]], "bn_base_size": 2,
            "short_cycle_factors": [0.5, 0.7071],
        },
        "METRIC": {"name": "MultiCropMetric"}, "PRECISEBN": {"num_iters_preciseBN": 2}, "epochs": 5, "log_interval": 1,
        "checkpoint_steps": 1, "keep_checkpoints": 99, "output_dir": str(output),
    } | changes  # fmt: skip


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return make_clips(tmp_path_factory.mktemp("grid") / "clips", 22)


@pytest.fixture(scope="module")
def whole(clips, tmp_path_factory):
    """The run that is not interrupted."""
    output = tmp_path_factory.mktemp("whole")
    return train(Config(multigrid_config(clips, output)), Options(multigrid=True, validate=True), TrainingReport)


def test_a_run_goes_through_its_shapes(whole):
    grid = whole.grid

    def batches(epoch):
        shapes = [grid.shape(epoch, number) for number in range(3)]
        return [(shape.num_frames, shape.crop_size, grid.clips(epoch, n)) for n, shape in enumerate(shapes)]

    assert batches(1) == [(2, 16, 8), (2, 23, 8), (2, 16, 8)] and batches(3) == [(4, 16, 4), (4, 23, 2), (4, 32, 1)]
    assert [grid.num_splits(epoch) for epoch in range(4)] == [4, 4, 1, 1]
    assert whole.epochs == 4 and [whole.steps_in(epoch) for epoch in range(4)] == [2, 2, 9, 9]
    assert whole.progress.step == 22
    assert "<b>4 of 4</b>epoch" in (whole.folder.path / "training.html").read_text()


@pytest.mark.parametrize("step", [1, 4, 6], ids=["within the first shape", "between two shapes", "within the second"])
def test_a_resumed_run_has_the_same_bits(step, whole, clips, tmp_path):
    config = Config(multigrid_config(clips, tmp_path / "run"))
    point = whole.folder.stem(f"step_{step:08d}")
    resumed = train(config, Options(multigrid=True, validate=True, resume=str(point)))
    assert resumed.progress == whole.progress
    for suffix in (".pdparams", ".pdopt"):
        ours, theirs = (read_pickle(run.folder.path / f"Grid_epoch_00004{suffix}") for run in (resumed, whole))
        for key, value in theirs.items():
            assert np.array_equal(ours[key], value) if isinstance(value, np.ndarray) else ours[key] == value, key


@pytest.mark.slow
def test_workers_change_nothing(clips, tmp_path, whole):
    config = multigrid_config(clips, tmp_path / "run")
    config["DATASET"]["num_workers"] = 2
    run = train(Config(config), Options(multigrid=True, validate=True))
    assert run.first_loss == whole.first_loss and run.last["loss"] == whole.last["loss"]


def test_without_the_option_all_clips_have_the_pipeline_s_shape(clips, tmp_path):
    run = train(Config(multigrid_config(clips, tmp_path / "run", epochs=1)), Options(max_iters=2))
    assert run.grid is None and run.steps_per_epoch == 2 and run.last["batch_size"] == 1


def refused(config):
    with pytest.raises(UserError) as caught:
        train(Config(config), Options(multigrid=True))
    return str(caught.value)


def test_what_multigrid_training_refuses(clips, tmp_path):
    config = multigrid_config(clips, tmp_path)
    del config["MULTIGRID"]
    assert "MULTIGRID: is missing; --multigrid needs it" in refused(config)
    assert "epochs: is 2, OPTIMIZER.learning_rate.max_epoch is 5" in refused(
        multigrid_config(clips, tmp_path, epochs=2)
    )
    config = multigrid_config(clips, tmp_path)
    del config["PIPELINE"]["train"]
    assert "PIPELINE.train: is missing" in refused(config)
    config = multigrid_config(clips, tmp_path)
    del config["OPTIMIZER"]["learning_rate"]["steps"]
    assert "OPTIMIZER.learning_rate.steps: the long cycle" in refused(config)
    del config["OPTIMIZER"]["learning_rate"]
    assert "OPTIMIZER.learning_rate: --multigrid divides the steps" in refused(config)
    section = {"GRADIENT_ACCUMULATION": {"global_batch_size": 8}}
    assert "global_batch_size: the batches of --multigrid differ in size" in refused(
        multigrid_config(clips, tmp_path, **section)
    )
    assert "SWA is not possible with --multigrid" in refused(multigrid_config(clips, tmp_path, SWA={"last_epochs": 1}))
    config = multigrid_config(clips, tmp_path)
    config["PIPELINE"]["train"]["transform"].insert(2, {"RandomCrop": {"target_size": 32}})
    assert "one operator that gives squares" in refused(config)
    config["PIPELINE"]["train"]["transform"][2] = {"Scale": {"short_size": 32, "fixed_ratio": False}}
    assert "what follows the crop must keep its size" in refused(config)


def test_the_command_has_the_option(clips, tmp_path, monkeypatch, capsys):
    import main as command

    file = save(multigrid_config(clips, tmp_path / "run"), tmp_path / "grid.yaml")
    monkeypatch.setattr(sys, "argv", ["main.py", "-c", str(file), "--multigrid", "--max_iters", "1"])
    assert not command.main()
    line = "multigrid: clips of 2 frames up to epoch 2; side x clips of the batches: 16 x 8, 23 x 8; "
    assert line + "20 batch norms split a batch into 4" in capsys.readouterr().out
