"""Parameters and multiply-adds: by hand for each kind of operator, and against published figures."""

import json

import paddle
import pytest
from paddle import nn

from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.config.config import Config
from paddlevideo.inference.summary import macs_of, part_of, summarise
from tests.tiny_export import tiny_config


def traced(layer, *shapes):
    """Multiply-adds of a layer in the program that export would make of it."""
    layer.eval()
    specs = [paddle.static.InputSpec(shape, "float32") for shape in shapes]
    network = paddle.jit.to_static(layer, input_spec=specs, full_graph=True)
    return sum(map(macs_of, network.forward.concrete_program.main_program.global_block().ops))


class Products(nn.Layer):
    def forward(self, x):  # [2, 3, 4, 5]
        return paddle.matmul(x, x, transpose_y=True) + paddle.matmul(x, paddle.matmul(x, x, transpose_x=True)).mean()


class Regions(nn.Layer):
    def __init__(self, ratio):
        super().__init__()
        self.ratio = ratio

    def forward(self, maps, boxes):
        counts = paddle.to_tensor([2], "int32")
        return paddle.vision.ops.roi_align(maps, boxes, counts, 4, 1.0, self.ratio)


@pytest.mark.parametrize(
    ("layer", "shapes", "expected"),
    [
        (nn.Conv2D(3, 8, 3, stride=2, padding=1), [[2, 3, 9, 9]], 2 * 8 * 5 * 5 * 3 * 9),
        (nn.Conv2D(8, 8, 3, padding=1, groups=8), [[2, 8, 7, 7]], 2 * 8 * 7 * 7 * 9),
        (nn.Conv2D(8, 4, 1, groups=2), [[1, 8, 7, 7]], 4 * 7 * 7 * 4),
        (nn.Conv3D(3, 4, (3, 1, 1), padding=(1, 0, 0)), [[1, 3, 5, 6, 6]], 4 * 5 * 6 * 6 * 3 * 3),
        (nn.Linear(6, 10), [[2, 7, 6]], 2 * 7 * 6 * 10),
        # x x^T: 4 x 4 values of 5; x^T x: 5 x 5 values of 4; x (x^T x): 4 x 5 values of 5
        (Products(), [[2, 3, 4, 5]], 2 * 3 * (4 * 4 * 5 + 5 * 5 * 4 + 4 * 5 * 5)),
        (Regions(2), [[1, 3, 8, 8], [2, 4]], 2 * 3 * 4 * 4 * 2 * 2 * 4),
        (Regions(-1), [[1, 3, 8, 10], [2, 4]], 2 * 3 * 4 * 4 * (2 * 3) * 4),
        (nn.Sequential(nn.BatchNorm2D(3), nn.ReLU(), nn.MaxPool2D(2)), [[1, 3, 8, 8]], 0),
    ],
    ids=["conv2d", "depthwise", "groups", "conv3d", "linear", "matmul", "roi", "roi adaptive", "nothing"],
)
def test_operators_by_hand(layer, shapes, expected):
    assert traced(layer, *shapes) == expected


def test_a_small_network_by_hand(tmp_path):
    """ResNet-18 of width 4 at 32 pixels: 4 frames, 5 classes."""
    summary = summarise(Config(tiny_config()))
    assert summary.clip == (1, 4, 32, 32) and summary.num_boxes == 0
    parts = {part.name: part for part in summary.parts}
    assert list(parts) == ["backbone.conv", *(f"backbone.res{n}" for n in (2, 3, 4, 5)), "head.fc"]
    assert parts["backbone.conv"].macs == 4 * (4 * 16 * 16) * (3 * 7 * 7)
    assert parts["backbone.res2"].macs == 4 * (4 * 8 * 8) * (4 * 9) * 4  # two blocks of two convolutions
    assert parts["head.fc"].macs == 4 * 32 * 5 and parts["head.fc"].num_parameters == 32 * 5 + 5
    assert parts["backbone.conv"].num_parameters == 4 * 3 * 49 + 2 * 4  # running statistics do not count


def test_views_multiply_and_the_shift_is_free(tmp_path):
    usual = tiny_config()
    crops = tiny_config()
    crops["PIPELINE"]["test"]["transform"][:2] = [{"Scale": {"short_size": 32}}, {"UniformCrop": {"target_size": 32}}]
    plain = tiny_config()
    plain["MODEL"]["backbone"]["shift"] = False
    one, three, unshifted = (summarise(Config(config)) for config in (usual, crops, plain))
    assert one.macs == three.macs == unshifted.macs and three.clip[0] == 3
    assert three.describe()["macs_of_all_views"] == 3 * one.macs
    assert f"3 views of a video: {3 * one.macs / 1e9:.2f} G" in "\n".join(three.lines())


def test_names_of_parts():
    assert part_of("backbone.res4b12.conv0._conv.weight") == "backbone.res4"
    assert part_of("backbone.bb_1_3.conv0._conv.weight") == "backbone.bb_1"
    assert part_of("backbone.slow_path.layer2.0.conv1.weight") == "backbone.slow_path.layer2"
    assert part_of("backbone.blocks.11.attn.qkv.weight") == "backbone.blocks"
    assert part_of("backbone.cls_token") == "backbone" and part_of("head.fc.bias") == "head.fc"


@pytest.mark.parametrize("name", ["slowonly_synthetic_demo", "lfb_nl_synthetic_long_demo"])
def test_a_head_of_persons_costs_the_same_for_each(name):
    """The backbone runs once, whatever their number is; windows of a feature bank are inputs."""
    config = load_config(name, uses=("test",))
    one, two, three = (summarise(config, count) for count in (1, 2, 3))
    assert three.macs - two.macs == two.macs - one.macs > 0
    backbone = [part for part in one.parts if part.name.startswith("backbone")]
    assert backbone == [part for part in three.parts if part.name.startswith("backbone")]
    heads = {part.name: part for part in one.parts if part.name.startswith("roi_head")}
    assert heads["roi_head.bbox_roi_extractor"].macs > 0 and heads["roi_head.bbox_head"].num_parameters > 0
    assert ("roi_head.shared_head" in heads) == name.startswith("lfb")
    assert ", 2 boxes" in next(two.lines()) and ", 1 box" in next(one.lines())


PUBLISHED = {  # configuration -> G multiply-adds of one view, million parameters (MMAction2; SlowFast's paper, table 2)
    "tsm_r50_1x1x8_50e_kinetics400_rgb": (32.965, 24.327632),
    "tsm_r50_1x1x16_50e_kinetics400_rgb": (65.9, 24.327632),
    "tsm_nl_gaussian_r50_1x1x8_50e_kinetics400_rgb": (59.1, 28.007888),
    "tsm_nl_dot_product_r50_1x1x8_50e_kinetics400_rgb": (61.3, 31.682),
    "timesformer_divST_8x32x1_15e_kinetics400_rgb": (196, 121.566352),
    "timesformer_jointST_8x32x1_15e_kinetics400_rgb": (180, 86.1124),
    "timesformer_spaceOnly_8x32x1_15e_kinetics400_rgb": (141, 86.106256),
    "slowfast_r50_4x16x1_256e_kinetics400_rgb": (36.1, 34.479288),
    "slowfast_r50_8x8x1_256e_kinetics400_rgb": (65.7, 34.56556),
}


@pytest.mark.parametrize("name", [
    name if name == "tsm_r50_1x1x8_50e_kinetics400_rgb" else pytest.param(name, marks=pytest.mark.slow)
    for name in PUBLISHED
])  # fmt: skip
def test_published_figures(name):
    """Their counts have the normalisations and activations in them, less than one percent."""
    macs, parameters = PUBLISHED[name]
    summary = summarise(load_config(name, uses=("test",)))
    assert set(summary.clip[2:]) == {256 if name.startswith("slowfast") else 224}
    assert summary.macs / 1e9 == pytest.approx(macs, rel=0.01)
    assert summary.num_parameters / 1e6 == pytest.approx(parameters, abs=1e-5)


def test_the_command_prints_a_table_or_json(tmp_path, capsys):
    import yaml

    file = tmp_path / "tsm.yaml"
    file.write_text(yaml.safe_dump(tiny_config()))
    assert main(["summary", "-c", str(file)]) == 0
    table = capsys.readouterr().out
    assert "one view of 4 frames, 32 x 32 pixels" in table and "multiply-adds" in table and "backbone.res5" in table
    assert main(["summary", "-c", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["macs"] == sum(part["macs"] for part in found["parts"]) > 0
    assert f"{found['num_parameters']:,}" in table
