"""The published recipes, as numbers: every row of MMAction2's TSM page and PaddleVideo's PP-TSM files.

The tables here are typed from the pages, not read from the YAML files, so that a slip in one of them is noticed.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.inference.export import export
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from paddlevideo.solver.check import Run, in_numbers
from paddlevideo.solver.lr import build_lr
from tests.test_configs import CONFIGS, lists, reduce  # noqa: F401 (lists is a fixture)
from tests.tiny import run_test

ROOT = Path(__file__).resolve().parents[1]
TSM, PPTSM = ROOT / "configs" / "recognition" / "tsm", ROOT / "configs" / "recognition" / "pptsm"
GPUS = 8
K400, STH, D48, JESTER, HMDB, UCF = 400, 174, 48, 27, 51, 101
CROP = "Resize MultiScaleCrop Resize"
# protocol -> views and pixels of the side
PROTOCOLS = {
    "efficient": (1, 224), "accurate": (6, 256), "ten_crop": (10, 224), "dense": (100, 224), "dense_three": (30, 256),
}  # fmt: skip


@dataclass
class Row:
    """A row of the page: frames, clips per GPU, rate, decay, epochs, milestones, epochs between validations.

    ``save``: epochs between checkpoints.  ``valid_batch``: None stands for the clips per GPU.
    """

    name: str
    frames: int
    batch: int
    lr: float
    decay: float
    epochs: int
    steps: tuple[int, int]
    interval: int
    classes: int
    train: str = f"{CROP} Flip"
    protocol: str = "efficient"
    network: str = "R50"
    video: bool = False
    dense: bool = False  # in training
    mix: str | None = None
    save: int = 1
    valid_batch: int | None = None
    temporal_pool: bool = False


def _rows():
    r50, e50, e100 = 1e-4, (20, 40), (40, 80)
    k, five = "kinetics400_rgb", {"save": 5}
    yield Row(f"tsm_r50_1x1x8_50e_{k}", 8, 8, 0.01, r50, 50, e50, 5, K400, **five)
    yield Row(f"tsm_r50_1x1x8_100e_{k}", 8, 8, 0.01, r50, 100, e100, 5, K400, **five)
    yield Row(f"tsm_r50_gpu_normalize_1x1x8_50e_{k}", 8, 8, 0.01, r50, 50, e50, 5, K400, **five)
    yield Row(f"tsm_temporal_pool_r50_1x1x8_50e_{k}", 8, 8, 0.01, r50, 50, e50, 5, K400, **five, temporal_pool=True)
    yield Row(f"tsm_r50_video_1x1x8_50e_{k}", 8, 8, 0.02, r50, 50, e50, 5, K400, video=True, **five)
    dense = {"protocol": "dense", "dense": True, "valid_batch": 1}
    yield Row(f"tsm_r50_dense_1x1x8_50e_{k}", 8, 8, 0.01, r50, 50, e50, 2, K400, **dense)
    yield Row(f"tsm_r50_dense_1x1x8_100e_{k}", 8, 8, 0.01, r50, 100, e100, 2, K400, **dense)
    yield Row(f"tsm_r50_1x1x16_50e_{k}", 16, 6, 0.0075, r50, 50, e50, 5, K400, protocol="ten_crop", **five)
    yield Row(f"tsm_r50_1x1x16_100e_{k}", 16, 6, 0.0075, r50, 100, e100, 5, K400, protocol="ten_crop", **five)
    for mode in ("embedded_gaussian", "gaussian", "dot_product"):
        yield Row(f"tsm_nl_{mode}_r50_1x1x8_50e_{k}", 8, 8, 0.01, r50, 50, e50, 5, K400, network=f"R50 {mode}")
    mobile = {"protocol": "dense_three", "network": "MobileNetV2"}
    yield Row(f"tsm_mobilenetv2_dense_1x1x8_100e_{k}", 8, 8, 0.01, 2e-5, 100, e100, 5, K400, **mobile)
    yield Row(f"tsm_mobilenetv2_video_dense_1x1x8_100e_{k}", 8, 8, 0.01, 2e-5, 100, e100, 5, K400, **mobile,
        video=True, dense=True, **five)  # fmt: skip
    yield Row("tsm_r50_video_1x1x8_50e_diving48_rgb", 8, 8, 0.01, r50, 50, e50, 1, D48, video=True)
    yield Row("tsm_r50_video_1x1x16_50e_diving48_rgb", 16, 4, 0.005, r50, 50, e50, 1, D48, video=True)
    sth, plain = {"protocol": "accurate"}, {"protocol": "accurate", "train": CROP}
    yield Row("tsm_r50_1x1x8_50e_sthv1_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, **plain)
    for name, operations in (
        ("flip", "Flip"), ("randaugment", "Imgaug"), ("flip_randaugment", "Flip Imgaug"),
        ("ptv_randaugment", "PytorchVideoRandAugment"), ("ptv_augmix", "PytorchVideoAugMix"),
    ):  # fmt: skip
        train = f"{CROP} {operations}"
        yield Row(f"tsm_r50_{name}_1x1x8_50e_sthv1_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, train=train, **sth)
    yield Row("tsm_r50_mixup_1x1x8_50e_sthv1_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, **plain, mix="Mixup")
    yield Row("tsm_r50_cutmix_1x1x8_50e_sthv1_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, **plain, mix="Cutmix")
    yield Row("tsm_r50_1x1x16_50e_sthv1_rgb", 16, 6, 0.0075, 5e-4, 50, e50, 2, STH, **plain)
    yield Row("tsm_r101_1x1x8_50e_sthv1_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, **plain, network="R101")
    yield Row("tsm_r50_1x1x8_50e_sthv2_rgb", 8, 6, 0.0075, 5e-4, 50, e50, 2, STH, **plain)
    yield Row("tsm_r50_1x1x16_50e_sthv2_rgb", 16, 6, 0.0075, 5e-4, 50, e50, 2, STH, **plain)
    yield Row("tsm_r101_1x1x8_50e_sthv2_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, STH, **plain, network="R101")
    yield Row("tsm_r50_1x1x8_50e_jester_rgb", 8, 8, 0.01, 5e-4, 50, e50, 2, JESTER,
        train="RandomResizedCrop Resize Flip", valid_batch=1, **sth)  # fmt: skip
    tune = {"train": CROP}
    for data, classes in (("hmdb51", HMDB), ("ucf101", UCF)):
        yield Row(f"tsm_k400_pretrained_r50_1x1x8_25e_{data}_rgb", 8, 12, 0.0015, r50, 25, (10, 20), 1, classes, **tune)
        yield Row(
            f"tsm_k400_pretrained_r50_1x1x16_25e_{data}_rgb", 16, 6, 0.00075, r50, 25, (10, 20), 1, classes, **tune
        )


ROWS = list(_rows())
by_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def configs():
    """Every leaf, loaded once with all checks: stem -> configuration."""
    return {file.stem: load_run_config(file) for file in CONFIGS}


def test_every_row_has_its_file_and_every_file_its_row(configs):
    """PaddleVideo's own files (data_kind names) have tests of their own."""
    mmaction2 = {file.stem for file in CONFIGS if file.parent == TSM and file.stem.endswith("_rgb")}
    assert mmaction2 == {row.name for row in ROWS} and len(ROWS) == 34


# MMAction2's figures beside its accuracies: configuration -> what each of its lines on the page says, from the end
FIGURES = {
    "tsm_r50_1x1x8_50e_kinetics400_rgb": [("74.0 (340 x 256)", "7079")],
    "tsm_r50_video_1x1x8_50e_kinetics400_rgb": [("74.0", "7077")],
    "tsm_r50_1x1x16_50e_kinetics400_rgb": [("47.0 (340 x 256)", "10404; 10398")],
    "tsm_r50_1x1x8_50e_sthv1_rgb": [("74.34 / 76.60", "7077")],
    "tsm_r50_1x1x16_50e_sthv1_rgb": [("76.40 / 77.96", "10390")],
    "tsm_r101_1x1x8_50e_sthv1_rgb": [("75.40 / 77.31", "9800")],
    "tsm_r50_mixup_1x1x8_50e_sthv1_rgb": [("+0.77 / +0.79", "+0.05 / +0.70 (5)")],
    "tsm_r50_cutmix_1x1x8_50e_sthv1_rgb": [("+0.34 / -0.24", "+0.21 / +0.59")],
    "tsm_r50_1x1x8_50e_sthv2_rgb": [("84.57 / 86.28", "7069"), ("", "7069")],
    "tsm_r50_1x1x16_50e_sthv2_rgb": [("85.29 / 86.60", "10400"), ("", "10400")],
    "tsm_r101_1x1x8_50e_sthv2_rgb": [("85.14 / 87.00", "9784"), ("", "9727")],
}


@pytest.mark.parametrize("page", ["README.md", "README_zh-CN.md"])
def test_the_page_has_a_line_for_every_row_and_mmaction2_s_figures(page):
    lines = {}
    for line in (TSM / page).read_text().splitlines():
        if line.startswith("| ["):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            lines.setdefault(cells[0].rpartition("(")[2].removesuffix(".yaml)"), []).append(tuple(cells[-2:]))
    assert {row.name for row in ROWS} <= lines.keys()
    assert {name: lines[name] for name in FIGURES} == FIGURES


def names(steps):
    return [name for item in steps for name in ([item] if isinstance(item, str) else item)]


@by_row
def test_batch_schedule_and_parameter_groups(configs, row):
    config = configs[row.name]
    optimizer, data = config.section("OPTIMIZER"), config.section("DATASET")
    assert (data["batch_size"], optimizer["base_batch_size"]) == (row.batch, row.batch * GPUS)
    assert (data["num_workers"], data["test_batch_size"], data["drop_last"]) == (2, 1, False)
    assert (optimizer["name"], optimizer["momentum"], optimizer.get("use_nesterov", False)) == ("Momentum", 0.9, False)
    assert optimizer["weight_decay"] == {"name": "L2", "value": row.decay}
    assert optimizer["grad_clip"] == {"name": "ClipGradByGlobalNorm", "value": 20.0}
    assert (optimizer["param_groups"], optimizer["fc_lr5"]) == ("tsm", True)
    assert (config["epochs"], config["val_interval"]) == (row.epochs, row.interval)
    assert (config["save_interval"], data.get("valid_batch_size")) == (row.save, row.valid_batch)
    assert str(config.output_dir) == f"output/{row.name}"
    schedule = build_lr(optimizer["learning_rate"], 2, row.epochs)
    rates = [schedule.rate(epoch, step) for epoch in range(row.epochs) for step in (0, 1)][::2]
    wanted = [row.lr * 0.1 ** sum(epoch >= step for step in row.steps) for epoch in range(row.epochs)]
    np.testing.assert_allclose(rates, wanted)


@by_row
def test_network_and_data(configs, row):
    config = configs[row.name]
    model, data = config.section("MODEL"), config.section("DATASET")
    backbone, head = model["backbone"], model["head"]
    assert (backbone["num_seg"], backbone["shift_div"], backbone["shift_direction"]) == (row.frames, 8, "mmaction2")
    if row.network == "MobileNetV2":
        assert (backbone["name"], head["in_channels"]) == ("MobileNetV2TSM", 1280)
    else:
        kind, _, mode = row.network.partition(" ")
        assert (backbone["name"], head["in_channels"]) == ("ResNetTSM", 2048)
        assert (backbone["depth"], backbone.get("shift_every", 1)) == ((50, 1) if kind == "R50" else (101, 2))
        wanted = {"mode": mode, "sub_sample": True, "use_scale": False} if mode else None
        assert (backbone.get("non_local"), backbone.get("temporal_pool", False)) == (wanted, row.temporal_pool)
    assert (head["name"], head["num_classes"], head["drop_ratio"], head["std"]) == ("TSMHead", row.classes, 0.5, 0.001)
    assert model["runtime_cfg"]["test"]["avg_type"] == "prob"
    files = {data[split]["format"] for split in ("train", "valid", "test")}
    assert files == {"VideoDataset" if row.video else "FrameDataset"}
    if not row.video:
        bare = "sthv1" in row.name or "jester" in row.name
        assert data["train"]["suffix"] == ("{:05}.jpg" if bare else "img_{:05}.jpg")
    labels = ROOT / data["label_names"]
    assert len(labels.read_text().splitlines()) == row.classes
    assert ("k400_pretrained" in row.name) == ("kinetics400" in backbone["pretrained"])


@by_row
def test_pipelines(configs, row):
    config = configs[row.name]
    pipelines = config.section("PIPELINE")
    assert names(pipelines["train"]["transform"]) == [*row.train.split(), "Normalization"]
    decoders = {steps["decode"]["name"] for steps in pipelines.values()}
    assert decoders == {"VideoDecoder" if row.video else "FrameDecoder"}
    dense = "dense" in row.protocol
    samplers = [pipelines[split]["sample"]["name"] for split in ("train", "valid", "test")]
    name = {True: "DenseSampleFrames", False: "SampleFrames"}
    assert samplers == [name[row.dense], name[dense], name[dense]]
    for split in ("train", "valid", "test"):
        assert Pipeline(pipelines[split], split).normalization is not None
    assert config.get("MIX") == ({"name": row.mix, "alpha": 0.2} if row.mix else None)
    views = {split: clip_of(pipelines[split]).shape for split in pipelines}
    count, side = PROTOCOLS[row.protocol]
    assert views["train"] == (1, row.frames, 224, 224, 3)
    side_valid = 256 if "jester" in row.name else 224
    assert views["valid"] == (10 if dense else 1, row.frames, side_valid, side_valid, 3)
    assert views["test"] == (count, row.frames, side, side, 3)


class Grey:
    """A reader of 100 grey pictures of 96 x 128, which the pipelines have to enlarge."""

    fps = 25.0

    def __len__(self):
        return 100

    def get(self, indices):
        return np.full((len(indices), 96, 128, 3), 90, "uint8")

    def close(self):
        pass


def clip_of(section):
    return Pipeline(section, "PIPELINE")({"reader": Grey(), "label": 0, "index": 0}, np.random.default_rng(0))["imgs"]


FLIPS = {
    "tsm_r50_flip_1x1x8_50e_sthv1_rgb": {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52},
    "tsm_r50_flip_randaugment_1x1x8_50e_sthv1_rgb": {2: 4, 4: 2, 30: 41, 41: 30, 52: 66, 66: 52},
    "tsm_r50_1x1x8_50e_jester_rgb": {0: 1, 1: 0, 6: 7, 7: 6},
}


@by_row
def test_mirrored_clips_change_their_label_where_sides_matter(configs, row):
    steps = configs[row.name].section("PIPELINE")["train"]["transform"]
    flips = [item["Flip"] for item in steps if "Flip" in item]
    for flip in flips:
        assert flip["flip_ratio"] == 0.5
        assert {int(a): int(b) for a, b in flip.get("flip_label_map", {}).items()} == FLIPS.get(row.name, {})


@by_row
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_row_can_be_tested_with_every_protocol(row, protocol):
    config = load_run_config(TSM / f"{row.name}.yaml", [f"protocol={protocol}"])
    section = config.section("PIPELINE")["test"]
    if row.name == ROWS[0].name or (protocol == "accurate" and row.frames == 16):
        count, side = PROTOCOLS[protocol]
        assert clip_of(section).shape == (count, row.frames, side, side, 3)
    assert "PROTOCOLS" not in config and "protocol" not in config


PP = {  # (depth, dense, base rate, epochs, published top-1)
    "pptsm_k400_frames_uniform": (50, False, 0.01, 80, "74.54"),
    "pptsm_k400_videos_uniform": (50, False, 0.01, 80, "74.54"),
    "pptsm_k400_frames_dense": (50, True, 0.02, 80, "75.69"),
    "pptsm_k400_frames_dense_r101": (101, True, 0.02, 100, "77.15"),
    "pptsm_mv2_k400_videos_uniform": (None, False, 0.01, 80, "68.09"),
}


@pytest.mark.parametrize("name", PP)
def test_pptsm(configs, name):
    depth, dense, lr, epochs, published = PP[name]
    config = configs[name]
    model, optimizer, data = (config.section(key) for key in ("MODEL", "OPTIMIZER", "DATASET"))
    assert model["backbone"].get("depth") == depth and config["epochs"] == epochs
    if depth:
        assert model["head"]["name"] == "ppTSMHead" and model["backbone"]["name"] == "ResNetTweaksTSM"
        assert (model["head"]["ls_eps"], model["head"]["drop_ratio"], model["head"]["std"]) == (0.1, 0.5, 0.01)
    else:
        assert (model["backbone"]["name"], model["head"]) == ("PPTSM_MobileNetV2", {"name": "MoViNetHead"})
    assert (data["batch_size"], data["num_workers"], optimizer["base_batch_size"]) == (16, 4, 128)
    assert (optimizer["name"], optimizer["momentum"], optimizer["use_nesterov"]) == ("Momentum", 0.9, True)
    assert optimizer["weight_decay"] == {"name": "L2", "value": 1e-4} and "grad_clip" not in optimizer
    assert in_numbers(optimizer["learning_rate"], Run(epochs), False) == {
        "name": "CustomWarmupCosineDecay", "iter_step": True, "warmup_start_lr": lr / 2, "warmup_epochs": 10,
        "cosine_base_lr": lr, "max_epoch": epochs,
    }  # fmt: skip
    assert config["MIX"] == {"name": "Mixup", "alpha": 0.2}
    assert config["PRECISEBN"] == {"preciseBN_interval": 5, "num_iters_preciseBN": 200}
    pipelines = config.section("PIPELINE")
    train = ["Scale", "MultiScaleCrop", "RandomCrop", "RandomFlip", "Image2Array", "Normalization"]
    assert names(pipelines["train"]["transform"]) == train
    assert pipelines["train"]["transform"][1]["MultiScaleCrop"]["target_size"] == 256
    assert pipelines["train"]["sample"].get("dense_sample", False) == dense
    shapes = [clip_of(pipelines[split]).shape for split in ("train", "valid", "test")]
    assert shapes == [(1, 8, 224, 224, 3), (1, 8, 224, 224, 3), (30 if dense else 1, 8, 224, 224, 3)]
    assert published in (PPTSM / f"{name}.yaml").read_text()


PARAMETERS = {
    "tsm_r50_1x1x8_50e_kinetics400_rgb": 24_327_632,
    "tsm_r50_1x1x16_50e_kinetics400_rgb": 24_327_632,
    "tsm_temporal_pool_r50_1x1x8_50e_kinetics400_rgb": 24_327_632,
    "tsm_r50_1x1x8_50e_sthv1_rgb": 23_864_558,
    "tsm_k400_pretrained_r50_1x1x8_25e_ucf101_rgb": 23_714_981,
    "tsm_k400_pretrained_r50_1x1x8_25e_hmdb51_rgb": 23_612_531,
    "tsm_r50_video_1x1x8_50e_diving48_rgb": 23_606_384,
    "tsm_nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb": 31_682_000,
    "tsm_nl_dot_product_r50_1x1x8_50e_kinetics400_rgb": 31_682_000,
    "tsm_nl_gaussian_r50_1x1x8_50e_kinetics400_rgb": 28_007_888,
    "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb": 2_736_272,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_full_size_networks_have_the_published_number_of_parameters(configs, name):
    framework = network(configs[name], pretrained=False)
    # Paddle counts running statistics as parameters
    own = [p for key, p in framework.named_parameters() if not key.endswith(("._mean", "._variance"))]
    assert sum(int(p.size) for p in own) == PARAMETERS[name]


def family():
    """A leaf for each network and test pipeline, TimeSformer's aside."""
    found = {}
    for file in CONFIGS:
        if file.parent not in (TSM, PPTSM) or file.stem == "tsm_motion_demo":
            continue
        config = load_config(file)
        backbone, sample = config.section("MODEL")["backbone"], config.section("PIPELINE")["test"]["sample"]
        backbone.pop("pretrained", None)
        found.setdefault(str((backbone, config.section("PIPELINE")["test"])), (file, sample, str(backbone)))
    return list(found.values())


FAMILY = family()
NETWORKS = list({backbone: file for file, _, backbone in reversed(FAMILY)}.values())


def reduced(file, lists, tmp_path):  # noqa: F811
    """The leaf at reduced size, and a file of weights for it that keep activations near 1."""
    config = Config(reduce(load_config(file).to_dict(), lists, tmp_path), str(file))
    paddle.seed(0)
    framework = network(config, pretrained=False)
    for layer in framework.sublayers():
        if hasattr(layer, "_momentum"):
            layer._momentum = 0.0  # one pass sets the statistics
    clip = clip_of(config.section("PIPELINE")["test"])[:1]
    noise = np.random.default_rng(0).integers(0, 255, (2, *clip.shape), dtype="uint8")
    with paddle.no_grad():
        framework.train()
        framework.view_logits(paddle.to_tensor(noise))
    weights = tmp_path / "weights.pdparams"
    write_pickle(weights, {key: value.numpy() for key, value in framework.state_dict().items()})
    return config, weights


def dense(file, sample):
    return "Dense" in sample["name"] or sample.get("dense_sample", False)


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[pytest.mark.slow] if dense(file, sample) else []) for file, sample, _ in FAMILY],
    ids=lambda file: file.stem,
)
def test_every_network_is_tested_through_its_protocol(file, lists, tmp_path):  # noqa: F811
    config, weights = reduced(file, lists, tmp_path)
    data = config.to_dict()
    data["DATASET"]["test_batch_size"] = 1
    figures = run_test(Config(data), Options(weights=str(weights), max_iters=1), str(tmp_path / "out.json"))
    assert figures["num_samples"] == 1


ALIKE = ("1x1x16", "embedded", "dot_product", "r101")  # close relatives of another network here


@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=[pytest.mark.slow] if any(part in f.stem for part in ALIKE) else []) for f in NETWORKS],
    ids=lambda file: file.stem,
)
def test_every_network_exports_what_it_is(file, lists, tmp_path):  # noqa: F811
    """The export itself compares program and network, and refuses a difference."""
    data, weights = reduced(file, lists, tmp_path)
    data = data.to_dict()
    train = data["PIPELINE"]["train"]  # one small view is enough to tell
    small = [{"Resize": {"scale": [64, 64], "keep_ratio": False}}, train["transform"][-1]]
    data["PIPELINE"]["test"] = {**train, "transform": small}
    report = export(Config(data), weights, tmp_path / "exported", say=lambda line: None)
    assert report.max_difference < 1e-4 and report.input_shape[0] == -1
