"""ResNetTweaksTSM and ppTSMHead: PaddleVideo's names, PaddleClas' weights, the pooling shortcut, the head's average."""

from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.backbones.resnet_tweaks_tsm import ResNetTweaksTSM
from paddlevideo.modeling.heads.tsm_head import TSMHead, ppTSMHead
from paddlevideo.modeling.weights import load_pretrained
from paddlevideo.safe_io import write_pickle

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


def test_odd_pictures_keep_their_border_in_the_shortcut():
    """An odd side is pooled with the ceiling, as the 3x3 with stride 2 gives it."""
    network = ResNetTweaksTSM(50, num_seg=2, width=8)
    network.eval()
    assert network(paddle.randn([2, 3, 72, 104])).shape == [2, 256, 3, 4]


def paddleclas_key(key, network):
    """Our key as PaddleClas spells it since its release 2.2."""
    name, _, rest = key.partition(".")
    place = f"stem.{int(name[-1]) - 1}" if name.startswith("conv1_") else f"blocks.{network.blocks.index(name)}"
    return f"{place}.{rest}".replace("_conv", "conv").replace("_batch_norm", "bn")


@pytest.mark.parametrize("spelling", [lambda key, network: key, paddleclas_key], ids=["old", "new"])
def test_paddleclas_weights_load_by_name(spelling, tmp_path):
    source, network = (ResNetTweaksTSM(50, num_seg=2, width=4) for _ in range(2))
    arrays = {spelling(key, source): value.numpy() for key, value in source.state_dict().items()}
    classifier = "out.weight" if "conv1_1._conv.weight" in arrays else "fc.weight"
    write_pickle(tmp_path / "vd.pdparams", {**arrays, classifier: np.zeros((128, 1000), "float32")})
    report = load_pretrained(network, str(tmp_path / "vd.pdparams"))
    assert report.clean
    for key, value in source.state_dict().items():
        assert np.array_equal(value.numpy(), network.state_dict()[key].numpy()), key


def test_small_depths_take_no_weights_of_pooling_shortcuts(tmp_path):
    source, network = (ResNetTweaksTSM(18, num_seg=2, width=4) for _ in range(2))
    arrays = {paddleclas_key(key, source): value.numpy() for key, value in source.state_dict().items()}
    write_pickle(tmp_path / "vd.pdparams", arrays)
    with pytest.raises(UserError, match="missing"):
        load_pretrained(network, str(tmp_path / "vd.pdparams"))


def test_the_head_averages_before_the_classifier_and_has_the_frames():
    heads = [kind(5, 6, std=0.5) for kind in (TSMHead, ppTSMHead)]
    heads[1].set_state_dict(heads[0].state_dict())
    features = paddle.randn([8, 6, 2, 2])
    logits = []
    for head in heads:
        head.eval()
        logits.append(head(features, 4).numpy())
    assert logits[0].shape == (2, 5) and np.allclose(*logits, atol=1e-5)  # a mean and a linear layer change places
    assert heads[1].fc.weight.optimize_attr["learning_rate"] == 5.0 and heads[1].fc.bias.decay_mult == 0.0


def test_the_heads_own_number_of_frames_must_agree():
    section = {
        "framework": "Recognizer2D",
        "backbone": {"name": "ResNetTweaksTSM", "depth": 18, "width": 4, "num_seg": 4},
        "head": {"name": "ppTSMHead", "num_classes": 3, "in_channels": 32, "num_seg": 4},
    }
    build_framework(section)
    section["head"]["num_seg"] = 8
    with pytest.raises(ConfigError, match=r"MODEL.head.num_seg: expected MODEL.backbone.num_seg \(4\), got 8"):
        build_framework(section)


def test_there_is_nothing_of_mmaction2_to_convert():
    network = build_framework(
        {
            "framework": "Recognizer2D",
            "backbone": {"name": "ResNetTweaksTSM", "depth": 18, "width": 4},
            "head": {"name": "ppTSMHead", "num_classes": 3, "in_channels": 32},
        }
    )
    with pytest.raises(UserError, match="no such network in mmaction2"):
        network.convert({}, "mmaction2")
