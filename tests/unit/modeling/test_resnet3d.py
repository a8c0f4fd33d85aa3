"""SlowOnly and both SlowFasts: MMAction2's and PaddleVideo's numbers, sizes, frames, inflation."""

import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling.backbones.resnet3d import ResNet3dSlowOnly
from paddlevideo.modeling.backbones.resnet3d_slowfast import ResNet3dSlowFast
from paddlevideo.modeling.backbones.resnet_slowfast import ResNetSlowFast
from paddlevideo.modeling.backbones.resnet_tsm import ResNetTSM
from paddlevideo.modeling.weights import assign, compare, load_pretrained
from paddlevideo.registry import BACKBONES
from paddlevideo.safe_io import write_pickle
from tests.parity import golden
from tests.parity import runner as parity
from tests.parity.names import layer_name, translate

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
MMACTION2 = ["slowonly_r50", "slowonly_nl_r50", "slowfast_4x16_r50", "slowfast_tmax_focal_8x8_r50"]
CASES = [
    *(f"mmaction2/ava_{name}_small" for name in MMACTION2),
    "paddlevideo/ava_slowfast_r50_small",
    "paddlevideo/ava_slowfast_r50_fair_small",
]
FULL = ["mmaction2/ava_slowonly_r50_full", "mmaction2/ava_slowfast_4x16_r50_full", "paddlevideo/ava_slowfast_r50_full"]
SMALL = {
    ResNet3dSlowOnly: {"depth": 18, "width": 8},
    ResNet3dSlowFast: {"depth": 18, "width": 8, "resample_rate": 4, "speed_ratio": 4, "channel_ratio": 4},
    ResNetSlowFast: {"width_per_group": 8, "alpha": 4, "beta": 4},
}


def tiny(kind, **arguments):
    paddle.seed(3)
    network = kind(**{**SMALL[kind], **arguments})
    network.eval()
    return network


def layers_that_differ(name):
    """Of a case's backbone the layers that give other arrays here, and how many were compared."""
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as stored:
        expected = dict(stored)
    spec, theirs = dict(case["reference"]["backbone"]), case["layout"] == "torch"
    network = BACKBONES.build(translate(spec) if theirs else spec, "MODEL.backbone")
    network.eval()
    arrays = golden.weights(case["seed"], case["state_dict"], case["layout"], case.get("gain", 1.0))
    own = {key[len("backbone.") :]: value for key, value in arrays.items() if key.startswith("backbone.")}
    own = network.convert(own, "mmaction2") if theirs else own
    report = compare(network, own, name)
    assert report.clean, report
    assign(network, own, report)
    keys = [key[len("mid/") : -len("/stats")] for key in expected if key.endswith("/stats")]
    names = {key: key[len("backbone.") :] for key in keys if key.startswith("backbone.")}
    if theirs:
        names = {key: layer_name(network, value) for key, value in names.items()}
    clip = golden.make_input(case["seed"], case["inputs"][0])
    with paddle.no_grad(), parity.layer_outputs(network, set(names.values())) as layers:
        network(paddle.to_tensor(clip))
    wanted = {
        key: {part: expected[f"mid/{key}/{part}"] for part in ("shape", "stats", "first", "spread")} for key in names
    }
    problems = {key: parity.layer_problem(layers[names[key]], wanted[key]) for key in names}
    return {key: problem for key, problem in problems.items() if problem}, len(names)


@pytest.mark.parametrize("name", CASES)
def test_every_watched_layer_equals_the_reference(name):
    wrong, compared = layers_that_differ(name)
    assert wrong == {} and compared >= 5


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL)
def test_every_watched_layer_equals_the_reference_at_full_size(name):
    wrong, compared = layers_that_differ(name)
    assert wrong == {} and compared >= 5


@pytest.mark.parametrize("strides", [(1, 2, 2, 2), (1, 2, 2, 1)])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 71)])
def test_maps_of_any_picture_size(strides, height, width):
    shrink = 2 ** (2 + strides.count(2))
    h, w = (-(-size // shrink) for size in (height, width))
    x = paddle.randn([1, 3, 8, height, width])
    assert tiny(ResNet3dSlowOnly, spatial_strides=strides)(x).shape == [1, 64, 8, h, w]
    slow, fast = tiny(ResNet3dSlowFast, spatial_strides=strides)(x)
    assert (slow.shape, fast.shape) == ([1, 64, 2, h, w], [1, 16, 8, h, w])
    slow, fast = tiny(ResNetSlowFast, spatial_strides=[[s, s] for s in strides])(x)
    assert (slow.shape, fast.shape) == ([1, 256, 2, h, w], [1, 64, 8, h, w])


@pytest.mark.parametrize(("depth", "channels"), [(18, 64), (34, 64), (50, 256), (101, 256)])
def test_every_depth(depth, channels):
    network = tiny(ResNet3dSlowOnly, depth=depth)
    assert network(paddle.randn([2, 3, 1, 32, 32])).shape == [2, channels, 1, 1, 1] and network.out_channels == channels


def test_only_the_last_two_stages_of_slowonly_see_other_frames():
    network = tiny(ResNet3dSlowOnly, depth=50)
    clip = paddle.randn([1, 3, 4, 32, 32])
    other = clip.clone()
    other[:, :, 3] = paddle.randn([1, 3, 32, 32])
    with parity.layer_outputs(network, {"layer2", "layer4"}) as one:
        network(clip)
    with parity.layer_outputs(network, {"layer2", "layer4"}) as two:
        network(other)
    # seven inflated blocks at least: a change reaches every frame of so short a clip
    changed = {name: np.abs(one[name] - two[name]).max((0, 1, 3, 4)) > 0 for name in one}
    assert changed["layer2"].tolist() == [False, False, False, True]
    assert changed["layer4"].any()


def slow_frames(network, stem):
    """Which frames of a clip the slow pathway's stem gets, told by their brightness."""
    clip = paddle.arange(network.num_seg, dtype="float32").reshape([1, 1, -1, 1, 1]).expand([1, 3, -1, 32, 32])
    seen = []
    hook = stem.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0][0, 0, :, 0, 0].tolist()))
    network(clip)
    hook.remove()
    return seen[0]


def test_the_slow_pathways_frames():
    """MMAction2 takes every r-th, PaddleVideo spreads as many evenly from the first to the last."""
    ours = tiny(ResNet3dSlowFast, num_seg=32, resample_rate=8, speed_ratio=4)
    assert slow_frames(ours, ours.slow_path.conv1) == [0, 8, 16, 24]
    assert slow_frames(ours, ours.fast_path.conv1) == list(range(0, 32, 2))
    theirs = tiny(ResNetSlowFast, num_seg=32)
    assert slow_frames(theirs, theirs.s1.pathway0_stem._conv) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert slow_frames(theirs, theirs.s1.pathway1_stem._conv) == list(range(32))


@pytest.mark.parametrize("kind", [ResNet3dSlowFast, ResNetSlowFast])
@pytest.mark.parametrize("frames", [3, 9])
def test_clips_that_cannot_be_divided_are_refused(kind, frames):
    with pytest.raises(UserError, match=rf"clips have {frames} frames, expected a multiple of .*\(4\)"):
        tiny(kind)(paddle.randn([1, 3, frames, 32, 32]))


@pytest.mark.parametrize(
    "kind", [kind if kind is ResNet3dSlowOnly else pytest.param(kind, marks=pytest.mark.slow) for kind in SMALL]
)
def test_a_static_program_takes_any_number_of_clips_of_any_size(kind, tmp_path):
    network = tiny(kind)
    spec = [paddle.static.InputSpec([None, 3, 8, None, None], "float32", name="imgs")]
    paddle.jit.save(network, str(tmp_path / "net"), input_spec=spec)
    program = paddle.jit.load(str(tmp_path / "net"))
    for shape in ([1, 3, 8, 32, 48], [3, 3, 8, 50, 33]):
        x = paddle.randn(shape)
        pairs = network(x), program(x)
        eager, static = pairs if kind is not ResNet3dSlowOnly else ([pairs[0]], [pairs[1]])
        assert [list(value.shape) for value in eager] == [list(value.shape) for value in static]
        for ours, theirs in zip(eager, static, strict=True):
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_residual_branches_are_silent_at_the_start(kind):
    """The scale of every branch's last normalisation starts at 0 (zero_init_residual), all others at 1."""
    last = {ResNet3dSlowOnly: "conv2.bn.weight", ResNet3dSlowFast: "conv2.bn.weight", ResNetSlowFast: "c_bn.weight"}
    for name, value in tiny(kind).state_dict().items():
        if name.endswith("bn.weight"):
            stem = name.endswith("conv2.bn.weight") and "layer" not in name
            assert float(value.max()) == float(value.min()) == (0.0 if name.endswith(last[kind]) and not stem else 1.0)


def test_what_weight_decay_applies_to():
    """MMAction2 decays normalisations too, PaddleVideo does not."""
    for kind, exempt in ((ResNet3dSlowOnly, False), (ResNet3dSlowFast, False), (ResNetSlowFast, True)):
        found = {getattr(p, "decay_mult", 1.0) == 0.0 for n, p in tiny(kind).named_parameters() if "bn.weight" in n}
        assert found == {exempt}
    own = [p for p in tiny(ResNet3dSlowOnly, bn_wd=False).parameters() if p.ndim == 1 and not p.stop_gradient]
    assert own and {getattr(p, "decay_mult", 1.0) for p in own} == {0.0}


def test_non_local_blocks_stand_where_named_and_start_as_identity():
    blocks = [[0, 0], [1, 0], [0, 1], [0, 0]]
    spec = {"mode": "embedded_gaussian", "use_scale": True, "blocks": blocks}
    plain, looking = tiny(ResNet3dSlowOnly), tiny(ResNet3dSlowOnly, non_local=spec)
    own = {key.partition(".non_local")[0] for key in looking.state_dict() if ".non_local." in key}
    assert own == {"layer2.0", "layer3.1"} and looking.layer2[0].non_local.scale == 8**-0.5
    plain.set_state_dict({key: value for key, value in looking.state_dict().items() if key in plain.state_dict()})
    x = paddle.randn([1, 3, 2, 32, 32])
    assert np.array_equal(plain(x).numpy(), looking(x).numpy())


# --- inflation -------------------------------------------------------------------------------------------------------


def pictures(spelling):
    """A 2-D ResNet-50's arrays of 8 channels under one of the three spellings, and PaddleVideo's keys for them."""
    paddle.seed(5)
    network = ResNetTSM(50, width=8)
    arrays = {key: value.numpy() for key, value in network.state_dict().items()}
    if spelling == "PaddleVideo":
        return arrays
    renamed = {}
    for key, value in arrays.items():
        place, rest = key.split(".", 1)
        if spelling == "PaddleClas":
            lead = "stem.0" if place == "conv" else f"blocks.{network.blocks.index(place)}"
            rest = rest.replace("_conv", "conv").replace("_batch_norm", "bn")
            renamed[f"{lead}.{rest}"] = value
            continue
        last = {"_mean": "running_mean", "_variance": "running_var"}.get(key.rsplit(".", 1)[1], key.rsplit(".", 1)[1])
        if place == "conv":
            renamed[f"{'conv1' if '_conv' in key else 'bn1'}.{last}"] = value
            continue
        part = rest.split(".")[0]
        lead = f"layer{int(place[3]) - 1}.{ord(place[4]) - ord('a')}"
        if part == "short":
            inside = f"downsample.{0 if '_conv' in key else 1}"
        else:
            inside = f"{'conv' if '_conv' in key else 'bn'}{int(part[-1]) + 1}"
        renamed[f"{lead}.{inside}.{last}"] = value
    return {**renamed, "fc.weight": np.zeros((64, 10), "float32"), "bn1.num_batches_tracked": np.zeros(1)}


@pytest.mark.parametrize("spelling", ["PaddleVideo", "PaddleClas", "torchvision"])
def test_a_still_clip_gives_what_the_picture_gives(spelling, tmp_path):
    """Of every spelling all arrays arrive; 3-frame filters see zeros beyond the clip's ends, so the middle counts."""
    write_pickle(tmp_path / "pictures.pdparams", pictures(spelling))
    flat = ResNetTSM(50, num_seg=1, width=8, shift=False)
    flat.set_state_dict({key: paddle.to_tensor(value) for key, value in pictures("PaddleVideo").items()})
    deep = tiny(ResNet3dSlowOnly, depth=50)
    report = load_pretrained(deep, str(tmp_path / "pictures.pdparams"))
    assert not report.missing and not report.explained and len(report.matched) == len(deep.state_dict())
    flat.eval(), deep.eval()
    picture = paddle.randn([1, 3, 48, 48])
    still = picture.unsqueeze(2).expand([1, 3, 25, 48, 48])  # nine inflated blocks: 9 frames to either side
    middle, wanted = deep(still)[:, :, 12].numpy(), flat(picture).numpy()
    np.testing.assert_allclose(middle, wanted, atol=1e-5 * np.abs(wanted).max())


def test_filters_are_repeated_divided_and_padded():
    arrays = pictures("PaddleVideo")
    network = tiny(ResNet3dSlowFast, depth=50)
    found, explained = network.adapt_pretrained(arrays)
    filters = arrays["res4a.conv0._conv.weight"]
    expected = np.zeros((32, 64 + 32, 3, 1, 1), "float32")  # 64 from stage 2, 2 x 16 from the fast pathway
    expected[:, :64] = np.stack([filters / 3] * 3, axis=2)
    assert np.array_equal(found["slow_path.layer3.0.conv1.conv.weight"], expected)
    assert set(network.state_dict()) == found.keys() | explained.keys()
    assert all(key.startswith("fast_path.") or "_lateral." in key for key in explained)


@pytest.mark.parametrize("kind", [ResNet3dSlowFast, ResNetSlowFast])
def test_pictures_go_into_the_slow_pathway(kind, tmp_path):
    write_pickle(tmp_path / "pictures.pdparams", pictures("torchvision"))
    network = tiny(kind, depth=50)
    report = load_pretrained(network, str(tmp_path / "pictures.pdparams"))
    assert not report.unexpected and len(report.matched) == 267 - 2  # of ResNet-50's arrays all but the classifier's
    assert all("slow_path" in key or "pathway0" in key for key in report.matched)


@pytest.mark.parametrize("kind", [ResNetTSM, ResNet3dSlowOnly])
def test_files_without_non_local_blocks_start_networks_with_them(kind, tmp_path):
    write_pickle(tmp_path / "pictures.pdparams", pictures("PaddleVideo"))
    network = kind(depth=50, width=8, non_local={"mode": "gaussian"})
    report = load_pretrained(network, str(tmp_path / "pictures.pdparams"))
    assert report.explained and all(".non_local." in key for key in report.explained)
