"""Weights of other projects load where their network is, by path and by address, as the converter would write them."""

import logging

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.conversion import convert_weights
from paddlevideo.modeling.weights import load_pretrained, load_weights
from tests.commands.foreign_weights import (
    image_mobilenet,
    image_resnet18,
    mmaction_checkpoint,
    small,
    write_safetensors,
)
from tests.servers import http_server, resumable
from tests.tiny import distilled
from tests.torch_writer import Tensor, write_legacy, write_zip


@pytest.fixture
def checkpoint(tmp_path):
    """A whole checkpoint of MMAction2 in torch's form, its network, and what the converter makes of it."""
    arrays = {name: Tensor(value) for name, value in mmaction_checkpoint(small()).items()}
    file = write_zip(tmp_path / "tsm.pth", {"state_dict": arrays, "meta": {"epoch": 1}})
    return file, convert_weights(build_framework(small()), file).arrays


def holds(network, arrays, prefix=""):
    own = {key: value.numpy() for key, value in network.state_dict().items()}
    return all(np.array_equal(own[key.removeprefix(prefix)], value) for key, value in arrays.items())


def test_a_checkpoint_of_mmaction2_is_converted_on_the_way(checkpoint):
    file, arrays = checkpoint
    network = build_framework(small())
    report = load_weights(network, file)
    assert report.clean and holds(network, arrays)
    assert "converted: mmaction2" in str(report) and "origin detected from the keys: mmaction2" in str(report)


def test_its_address_does_the_same(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PADDLEVIDEO_HOME", str(tmp_path / "home"))
    file, arrays = checkpoint
    with http_server(resumable(file.read_bytes())) as port:
        address = f"http://127.0.0.1:{port}/tsm.pth"
        network = build_framework(small(pretrained=address))
        assert holds(network.backbone, {k: v for k, v in arrays.items() if k.startswith("backbone.")}, "backbone.")
        load_weights(network, address)
    assert holds(network, arrays)


@pytest.mark.parametrize("write", [write_zip, write_legacy, write_safetensors])
def test_image_weights_begin_a_backbone(write, tmp_path, caplog):
    caplog.set_level(logging.INFO, "paddlevideo")
    values = image_resnet18(small())
    given = values if write is write_safetensors else {name: Tensor(value) for name, value in values.items()}
    file = write(tmp_path / ("r.safetensors" if write is write_safetensors else "r.pth"), given)
    network = build_framework(small(pretrained=str(file)))
    wanted = convert_weights(build_framework(small()), file).arrays
    assert holds(network.backbone, wanted)
    assert "converted: torchvision" in caplog.text and "left out: fc.weight (the classifier of the file)" in caplog.text


def test_fine_tuning_replaces_the_classifier_of_other_classes(checkpoint):
    network = build_framework(small(classes=7))
    report = load_weights(network, checkpoint[0], strict=False, allow_head_mismatch=True)
    assert set(report.mismatched) == {"head.fc.weight", "head.fc.bias"}
    with pytest.raises(UserError, match="The number of classes differs: set MODEL.head.num_classes to 3"):
        load_weights(network, checkpoint[0])


def test_a_shift_the_other_way_is_refused(checkpoint):
    section = small(shift_direction="paddlevideo", shift_div=8)
    for load in (
        lambda: load_weights(build_framework(section), checkpoint[0]),
        lambda: load_pretrained(build_framework(section).backbone, str(checkpoint[0])),
    ):
        with pytest.raises(UserError, match="takes the other direction than MODEL.backbone"):
            load()


def test_another_network_is_named(tmp_path):
    section = {**small(), "backbone": {"name": "MobileNetV2TSM", "num_seg": 4}}
    section["head"] = {"name": "TSMHead", "num_classes": 3, "in_channels": 1280}
    file = write_safetensors(tmp_path / "m.safetensors", image_mobilenet(section))
    network = build_framework(small())
    before = {key: value.numpy() for key, value in network.state_dict().items()}
    with pytest.raises(UserError, match="MODEL.backbone.pretrained: (?s:.*)Nothing was loaded."):
        load_pretrained(network.backbone, str(file))
    assert holds(network, before)


def test_a_framework_of_several_networks_takes_no_foreign_file(checkpoint, tmp_path):
    section = distilled({"MODEL": small()}, str(checkpoint[0]))["MODEL"]
    network = build_framework(section)  # the teacher's weights are converted
    assert holds(network.model("Teacher"), checkpoint[1])
    with pytest.raises(UserError, match="MODEL has several; convert it for one"):
        load_weights(network, checkpoint[0], strict=False)


def test_a_file_that_is_missing_is_named_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UserError, match="pretrained: data/TSM_k400.pdparams: no such file; get it with 'paddlevideo .*=null"
    ):
        build_framework(small(pretrained="data/TSM_k400.pdparams"))
    with pytest.raises(UserError, match=r"pretrained: TSM_k40: .*did you mean 'TSM_k400'"):
        build_framework(small(pretrained="TSM_k40"))
