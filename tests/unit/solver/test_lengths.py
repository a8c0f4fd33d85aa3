"""Lengths of schedules: what they mean beyond their end, left out, as shares, and against the run's epochs."""

from pathlib import Path

import pytest

from paddlevideo.build import length_remarks, load_run_config
from paddlevideo.config.merging import read_with_bases
from paddlevideo.errors import ConfigError
from paddlevideo.solver.lr import build_lr

ROOT = Path(__file__).resolve().parents[3]
LEAVES = [p for p in sorted((ROOT / "configs").rglob("*.yaml")) if "_base_" not in p.parts]
PER_EPOCH = 20

# everything with an end, without it; the end's name, and whether it counts iterations
ENDING = {
    "CustomWarmupCosineDecay": ({"warmup_start_lr": 0.01, "warmup_epochs": 1, "cosine_base_lr": 0.1}, "max_epoch", 1),
    "CustomWarmupCosineStepDecay": ({"warmup_iters": 1, "base_lr": 0.1}, "max_epoch", 1),
    "WarmupCosineDecay": ({"base_lr": 0.1, "min_lr": 0.01}, "max_epoch", 1),
    "CosineAnnealingDecay": ({"learning_rate": 0.1, "eta_min": 0.01}, "T_max", PER_EPOCH),
    "OneCycleLR": ({"max_learning_rate": 0.1}, "total_steps", PER_EPOCH),
    "LinearLR": ({"learning_rate": 0.1, "start_factor": 1.0, "end_factor": 0.1}, "total_steps", PER_EPOCH),
    "PolynomialDecay": ({"learning_rate": 0.1, "end_lr": 0.01}, "decay_steps", PER_EPOCH),
}


def rates(section, epochs, steps=None):
    schedule = build_lr(section, PER_EPOCH, epochs)
    return [schedule.rate(*divmod(step, PER_EPOCH)) for step in range(epochs * PER_EPOCH if steps is None else steps)]


@pytest.mark.parametrize("name", ENDING)
def test_the_end_holds_and_is_the_runs_where_it_is_left_out(name):
    arguments, end, unit = ENDING[name]
    section = {"name": name, "iter_step": True, **arguments}
    stated = {**section, end: 2 * unit}
    beyond = rates(stated, 6)[2 * PER_EPOCH :]
    # a schedule that moves once an epoch reaches its end one epoch later than its last rate is used
    assert max(beyond) - min(beyond) < 1e-12 and max(beyond) <= min(rates(stated, 2)) + 1e-12
    assert rates(section, 2) == rates(stated, 2)
    assert rates({**section, end: "1/3"}, 6) == rates(stated, 6)


def test_a_cosine_inside_a_warm_up_ends_with_the_run():
    inner = {"name": "CosineAnnealingDecay", "learning_rate": 0.1}
    section = {"name": "LinearWarmup", "learning_rate": inner, "warmup_steps": "2/10", "start_lr": 0.0, "end_lr": 0.1}
    by_epoch = rates(section, 10)[::PER_EPOCH]
    assert by_epoch == rates({**section, "warmup_steps": 2, "learning_rate": {**inner, "T_max": 8}}, 10)[::PER_EPOCH]
    assert by_epoch[2] == 0.1 and 0 < by_epoch[-1] < 0.01


def test_drops_of_a_short_run_keep_their_order():
    section = {"name": "MultiStepDecay", "learning_rate": 1.0, "milestones": ["11/15", "14/15"]}
    assert rates(section, 15)[::PER_EPOCH] == pytest.approx([1] * 11 + [0.1] * 3 + [0.01])
    assert rates(section, 1) == [1.0] * PER_EPOCH
    assert rates(section, 3)[::PER_EPOCH] == [1.0] * 3


def write(folder, rate, epochs, more=""):
    file = folder / "c.yaml"
    file.write_text(f"""
MODEL:
    framework: Recognizer2D
    backbone: {{name: ResNetTSM}}
    head: {{name: TSMHead, num_classes: 10, in_channels: 2048}}
OPTIMIZER:
    name: Momentum
    learning_rate: {rate}
model_name: TSM
epochs: {epochs}
{more}
""")
    return file


COSINE = (
    "{{name: CustomWarmupCosineDecay, iter_step: True, warmup_start_lr: 0.01, warmup_epochs: {warmup}, "
    "cosine_base_lr: 0.1, max_epoch: {end}}}"
)
PIECES = "{name: PiecewiseDecay, boundaries: [20, 40], values: [0.02, 0.002, 0.0002]}"
T_MAX = "{{name: CosineAnnealingDecay, learning_rate: 0.1, T_max: {}}}"
WARM = "{name: LinearWarmup, learning_rate: {name: CosineAnnealingDecay, learning_rate: 0.1, T_max: 10}, warmup_steps: 2, start_lr: 0, end_lr: 0.1}"  # noqa: E501


@pytest.mark.parametrize(
    "rate, epochs, words",
    [
        (COSINE.format(warmup=1, end=2), 6, ["max_epoch: the schedule ends after 2 epochs and the run has 6"]),
        (COSINE.format(warmup=1, end=80), 10, ["max_epoch: the schedule takes 80 epochs and the run has 10"]),
        (COSINE.format(warmup=6, end=6), 6, ["warmup_epochs: the warm-up takes 6 epochs and the run has 6"]),
        (COSINE.format(warmup="1/6", end="6/6"), 6, []),
        (PIECES, 30, ["boundaries: 40 of epochs is never reached, the run has 30"]),
        (PIECES, 50, []),
        (T_MAX.format(6), 6, []),
        (T_MAX.format(4), 6, ["T_max: the schedule ends after 4 epochs"]),
        (WARM, 10, ["learning_rate.T_max: the schedule takes 10 epochs and the run has 8"]),
        (WARM, 12, []),
    ],
)
def test_a_files_own_disagreement_is_reported(tmp_path, rate, epochs, words):
    found = length_remarks(load_run_config(write(tmp_path, rate, epochs)))
    assert len(found) == len(words), found
    assert all(word in line for word, line in zip(words, found)), found


def test_iterations_are_compared_where_the_data_are_known(tmp_path):
    config = load_run_config(write(tmp_path, T_MAX.format("300, iter_step: True"), 10))
    assert length_remarks(config) == []
    assert "T_max: the schedule takes 300 steps and the run has 200 steps" in length_remarks(config, PER_EPOCH)[0]
    assert length_remarks(config, 31) == []  # 310 steps: no epoch's difference


@pytest.mark.parametrize(
    "rate, overrides, words",
    [
        (
            COSINE.format(warmup=1, end=10),
            ["epochs=6"],
            ["max_epoch: is 10 for the file's 10 epochs", "=10/10 to keep"],
        ),
        (PIECES, ["epochs=100"], ["boundaries: is [20,40] for the file's 10 epochs"]),
        (COSINE.format(warmup=2, end="1/1"), ["epochs=2"], ["warmup_epochs: is 2 for the file's", "=2/10 to keep"]),
        (T_MAX.format("300, iter_step: True"), ["epochs=6"], ["T_max", "a share of the run"]),
        (COSINE.format(warmup=2, end="1/1"), ["epochs=6"], None),
        (COSINE.format(warmup=1, end=10), ["epochs=6", "OPTIMIZER.learning_rate.max_epoch=6"], None),
        (COSINE.format(warmup=1, end=10), ["epochs=6", "OPTIMIZER.learning_rate.max_epoch=10/10"], None),
        (COSINE.format(warmup=1, end=10), ["epochs=10"], None),
        (COSINE.format(warmup=1, end=20), ["epochs=20"], None),  # puts a file right
    ],
)
def test_other_epochs_are_refused_while_lengths_of_the_file_stand(tmp_path, rate, overrides, words):
    file = write(tmp_path, rate, 10)
    if words is None:
        load_run_config(file, overrides)
        return
    with pytest.raises(ConfigError) as caught:
        load_run_config(file, overrides)
    assert len(caught.value.problems) == 1 and all(word in str(caught.value) for word in words), caught.value
    load_run_config(file, overrides, uses=("test",))  # which trains nothing


@pytest.mark.parametrize("text", ["5/0", "a/b", "-1/2", "1/2/3"])
def test_what_is_no_share_is_refused(tmp_path, text):
    with pytest.raises(ConfigError, match="max_epoch: expected float, got .*; a share .* is written like 20/50"):
        load_run_config(write(tmp_path, COSINE.format(warmup=1, end=text), 10))


@pytest.mark.parametrize("file", LEAVES, ids=[p.stem for p in LEAVES])
def test_a_shipped_file_keeps_its_shape_with_other_epochs(file):
    config = load_run_config(file)
    reported = length_remarks(config)
    if file.stem == "ava":  # PaddleVideo's own numbers, which do not fit its epochs
        assert [line.split(":")[0].rpartition(".")[2] for line in reported] == ["steps", "max_epoch"]
        with pytest.raises(ConfigError, match="max_epoch.*\n?.*"):
            load_run_config(file, ["epochs=4"])
        return
    assert reported == []
    epochs = config["epochs"]
    if file.stem == "slowfast_multigrid":  # the shapes of --multigrid divide its own number of epochs
        with pytest.raises(ConfigError, match="max_epoch"):
            load_run_config(file, ["epochs=4"])
        return
    swa = ["SWA.last_epochs=1"] if "SWA" in config else []
    for other in (1, 2 * epochs):
        assert length_remarks(load_run_config(file, [f"epochs={other}", *swa])) == []
    section = config.section("OPTIMIZER")["learning_rate"]
    # in the middle of epochs, where rounding decides nothing; a warm-up in iterations is no share of the run
    if "warmup_iters" in section:
        section["warmup_iters"] = 0
    own = rates(section, epochs)[PER_EPOCH // 2 :: PER_EPOCH]
    long = rates(section, 2 * epochs)[PER_EPOCH :: 2 * PER_EPOCH]
    assert long == pytest.approx(own, rel=1e-9)


def test_base_schedules_state_shares_only():
    for file in sorted((ROOT / "configs" / "_base_" / "schedules").glob("*.yaml")):
        data, _ = read_with_bases(file)
        rate = data["OPTIMIZER"]["learning_rate"]
        stated = {key: value for key, value in rate.items() if key in ("milestones", "boundaries", "warmup_epochs")}
        assert "max_epoch" not in rate and all("/" in str(value) for value in stated.values()), file
