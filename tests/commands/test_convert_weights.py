"""Weights of other projects through the tool: every key is named, the numbers stay, and no file runs code."""

import json
import os
import pickle
import re
from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from paddlevideo.classes import Classes, write_weights
from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.conversion import detect_origin
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.safe_io import sha256, write_pickle
from paddlevideo.settings import Options
from tests.commands.foreign_weights import (
    GOLDEN,
    VIT,
    arrays_of,
    case_of,
    divided,
    image_mobilenet,
    image_resnet18,
    image_vit,
    mmaction_checkpoint,
    original_timesformer,
    small,
    write_safetensors,
)
from tests.parity import golden
from tests.parity.runner import model_section
from tests.slow_cases import some_slow
from tests.tiny import distilled, make_clips, save, tsm_config
from tests.torch_writer import Tensor, write_legacy, write_zip


@pytest.fixture
def convert(run_tool, tmp_path):
    """Converts arrays or a file for a MODEL section or a configuration, and gives what was printed and written."""

    def run(source, section, *flags):
        if isinstance(source, dict):
            source = write_safetensors(tmp_path / "s.safetensors", source)
        if isinstance(section, dict):
            section = save({"model_name": "TSM", "MODEL": section}, tmp_path / "model.yaml")
        target = tmp_path / "w.pdparams"
        target.unlink(missing_ok=True)
        done = run_tool("convert_weights", source, target, "-c", section, *flags)
        assert target.exists() == (done.code == 0), done.err
        return SimpleNamespace(**vars(done), target=target, source=source)

    def converted(*arguments):
        done = run(*arguments)
        assert done.code == 0, done.err
        return done

    def refused(*arguments):
        done = run(*arguments)
        assert done.code == 2, done.out
        return done.err

    converted.refused, converted.run = refused, run
    return converted


@pytest.mark.parametrize(
    "backbone, advised",
    [
        ({"num_seg": 8}, {"shift_direction": "mmaction2"}),
        ({}, {"shift_direction": "mmaction2", "shift_div": "8"}),
        ({"shift_div": 16}, {"shift_direction": "mmaction2", "shift_div": "8"}),
        ({"shift_direction": "mmaction2"}, None),
        ({"shift_direction": "mmaction2", "shift_div": 4}, None),
        ({"shift": False}, None),
    ],
)
@pytest.mark.parametrize("part", ["whole", "backbone"])
def test_a_shift_the_other_way_is_refused_with_the_settings_that_fit(convert, backbone, advised, part):
    arrays = mmaction_checkpoint(small(), net="" if "shift" in backbone else ".net")
    flags = ["--backbone-only"] if part == "backbone" else []
    section = small(**{"shift_direction": "paddlevideo", **backbone})
    if advised is None:
        stated = "MODEL.backbone: shift_div 4, as the configuration states" in convert(arrays, section, *flags).out
        assert stated == (backbone.get("shift_div") == 4)
        return
    reported = convert.refused(arrays, section, *flags)
    settings = " ".join(f"-o MODEL.backbone.{key}={value}" for key, value in advised.items())
    assert settings in reported and ("shift_div" in reported) == ("shift_div" in advised)
    convert(arrays, section, *flags, *settings.split())


@pytest.mark.parametrize("name", ["tsm_r50_small", "tsm_mobilenetv2_small", "timesformer_divided_small"])
def test_a_converted_recogniser_gives_the_references_logits(name, convert):
    case = case_of(name)
    arrays = {f"module.{key}": value for key, value in arrays_of(case).items()}
    done = convert(arrays, model_section(case))
    assert f"mmaction2 -> recogniser: {len(arrays)} matched, 0 missing, 0 unexpected, 0 mismatched" in done.out
    assert "prefix 'module.' removed" in done.out
    network = build_framework(model_section(case))
    network.eval()
    assert load_weights(network, done.target).clean
    entry = next(entry for entry in case["inputs"] if entry["name"] == "input")
    axes = {"N,T,C,H,W": (0, 1, 3, 4, 2), "N,clips,C,T,H,W": (0, 1, 3, 4, 5, 2), "N,C,T,H,W": (0, 2, 3, 4, 1)}
    clips = golden.make_input(case["seed"], entry).transpose(axes[entry["axes"]])
    clips = clips if clips.ndim == 6 else clips[:, None]
    wanted = np.load((GOLDEN / name).with_suffix(".npz"))["logits"]
    with paddle.no_grad():
        got = network.view_logits(paddle.to_tensor(clips)).numpy().reshape(wanted.shape)
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_source_is_noted_beside_the_target(convert):
    done = convert(mmaction_checkpoint(small()), small())
    note = json.loads(done.target.with_name("w.pdparams.json").read_text())
    assert note["source_sha256"] == sha256(done.source) and note["sha256"] == sha256(done.target)
    assert note["origin"] == "mmaction2" and note["missing"] == []
    assert set(paddle.load(str(done.target))) == set(build_framework(small()).state_dict())


def test_names_of_mmaction2_1_lose_their_preprocessor_with_a_line(convert):
    extra = {"data_preprocessor.mean": np.zeros((3, 1, 1), "float32"), "data_preprocessor.std": np.ones(3, "float32")}
    out = convert(extra | mmaction_checkpoint(small()), small()).out
    assert "left out: 2 keys (data_preprocessor.mean, ...): preprocessing of MMAction2 1.x" in out
    assert "1 keys (backbone.conv1.bn.num_batches_tracked): batch counters" in out


def test_image_weights_of_torchvision_go_into_the_backbone(convert):
    arrays = image_resnet18(small())
    done = convert(arrays, small())
    assert "torchvision -> backbone" in done.out and "left out: fc.weight (the classifier of the file)" in done.out
    network = build_framework(small(pretrained=str(done.target)))
    weight = network.backbone.res3a.short._conv.weight.numpy()
    assert np.array_equal(weight, arrays["layer2.0.downsample.0.weight"])


MOBILENET = small() | {
    "backbone": {"name": "MobileNetV2TSM", "num_seg": 4, "scale": 0.25},
    "head": small()["head"] | {"in_channels": 1280},
}


def test_a_mobile_net_of_torchvision(convert):
    arrays = image_mobilenet(MOBILENET)
    done = convert(arrays, MOBILENET)
    assert f"torchvision -> backbone: {len(arrays) - 2} matched, 0 missing, 0 unexpected" in done.out
    started = MOBILENET | {"backbone": MOBILENET["backbone"] | {"pretrained": str(done.target)}}
    stem = build_framework(started).backbone.conv1._conv.weight.numpy()
    assert np.array_equal(stem, arrays["features.0.0.weight"])


def test_the_authors_timesformer_is_a_whole_recogniser(convert):
    arrays = original_timesformer(divided())
    done = convert(arrays, divided())
    assert f"timesformer -> recogniser: {len(arrays)} matched, 0 missing, 0 unexpected, 0 mismatched" in done.out
    network = build_framework(divided())
    assert load_weights(network, done.target).clean
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    assert np.array_equal(state["head.fc.weight"], arrays["model.head.weight"].T)
    assert np.array_equal(state["backbone.time_embed"], arrays["model.time_embed"])
    for part in ("attn.qkv", "temporal_attn.qkv", "temporal_fc", "mlp.fc1"):
        theirs = arrays[f"model.blocks.1.{part}.weight"]
        assert np.array_equal(state[f"backbone.blocks.1.{part}.weight"], theirs.T), part
    assert np.array_equal(state["backbone.patch_embed.proj.weight"], arrays["model.patch_embed.proj.weight"])


def test_the_authors_timesformer_of_other_classes_or_length_gives_its_backbone(convert):
    arrays, section, fewer = original_timesformer(divided(5)), divided(num_seg=8), ("-o", "MODEL.backbone.num_seg=4")
    assert "-o MODEL.head.num_classes=5, or --backbone-only" in convert.refused(arrays, section, *fewer)
    convert(arrays, section, *fewer, "-o", "MODEL.head.num_classes=5")
    target = convert(arrays, section, "--backbone-only").target
    network = build_framework(divided(num_seg=8, pretrained=str(target)))
    kept, eight = read_weights(target)["time_embed"], network.backbone.time_embed.numpy()
    assert kept.shape == (1, 4, 16) and np.array_equal(eight[0, ::2], kept[0])


@pytest.mark.parametrize("attention", ["joint_space_time", "space_only"])
def test_the_authors_other_attentions(attention, convert):
    """A space-only file has nothing of time: only its owner knows that it is no image network's."""
    section = divided(attention_type=attention)
    arrays = original_timesformer(section)
    done = convert(arrays, section, *(("--from", "timesformer") if attention == "space_only" else ()))
    assert f"timesformer -> recogniser: {len(arrays)} matched, 0 missing" in done.out


def test_the_authors_checkpoint_as_it_lies_on_disk(convert, tmp_path):
    state = {key: Tensor(np.ascontiguousarray(value)) for key, value in original_timesformer(divided()).items()}
    whole = {"epoch": 14, "model_state": state, "optimizer_state": {"lr": 0.1}, "cfg": "TRAIN: {}"}
    write_zip(tmp_path / "TimeSformer_divST_8x32_224_K400.pyth", whole)
    out = convert(tmp_path / "TimeSformer_divST_8x32_224_K400.pyth", divided()).out
    assert "taken from 'model_state'; left out: epoch, optimizer_state, cfg" in out
    assert "prefix 'model.' removed" in out and "timesformer -> recogniser" in out


def test_miil_s_transformer_without_qkv_bias_begins_pp_timesformer(convert):
    """timm's vit_base_patch16_224_miil_in21k, small: no bias of queries, keys and values, 11221 classes."""
    plain = {"name": "VisionTransformer_tweaks", "qkv_bias": False}
    arrays = image_vit(plain, **{"head.weight": [11221, 16], "head.bias": [11221]})
    assert "blocks.0.attn.qkv.weight" in arrays and "blocks.0.attn.qkv.bias" not in arrays
    done = convert(arrays, divided(**plain))
    assert "timm -> backbone" in done.out and "0 missing" in done.out
    assert "left out: head.weight (the classifier of the file)" in done.out
    state = build_framework(divided(**plain, pretrained=str(done.target))).backbone.state_dict()
    for part in ("attn", "temporal_attn"):
        qkv = state[f"blocks.0.{part}.qkv.weight"].numpy()
        assert np.array_equal(qkv, arrays["blocks.0.attn.qkv.weight"].T)
    reported = convert.refused(arrays, divided(**plain), "-o", "MODEL.backbone.qkv_bias=True")
    assert "missing     blocks.0.attn.qkv.bias" in reported


def test_of_a_distillation_the_student_s_weights_are_converted_without_the_teacher_s_file(convert, tmp_path):
    arrays = mmaction_checkpoint(small())
    config = save(distilled({"model_name": "TSM", "MODEL": small()}), tmp_path / "both.yaml")
    done = convert(arrays, config)
    assert "under the names of Student's own configuration" in done.out
    assert set(read_weights(done.target)) == set(build_framework(small()).state_dict())
    save(distilled({"model_name": "TSM", "MODEL": small(7)}), config)
    assert "Student.head.num_classes: 3 in MODEL.models, or --backbone-only" in convert.refused(arrays, config)


def test_an_image_transformer_of_timm_is_adapted_when_it_is_loaded(convert):
    """Its grid is 4 x 4 and the network's 2 x 2: the file keeps 4 x 4, so that it serves every size."""
    arrays = image_vit(VIT, pos_embed=[1, 17, 16], **{"head.weight": [1000, 16]})
    done = convert(arrays, divided())
    assert "timm -> backbone" in done.out and "0 missing" in done.out
    assert read_weights(done.target)["pos_embed"].shape == (1, 17, 16)
    network = build_framework(divided(pretrained=str(done.target)))
    qkv = network.backbone.state_dict()["blocks.1.temporal_attn.qkv.weight"].numpy()
    assert np.array_equal(qkv, arrays["blocks.1.attn.qkv.weight"].T)


def test_the_backbone_of_a_whole_checkpoint(convert):
    arrays = mmaction_checkpoint(small(400))
    assert "-o MODEL.head.num_classes=400, or --backbone-only" in convert.refused(arrays, small(3))
    convert(arrays, small(3), "-o", "MODEL.head.num_classes=400")
    done = convert(arrays, small(3), "--backbone-only")
    assert "left out: cls_head.fc_cls.weight (not of the backbone)" in done.out
    assert not [key for key in read_weights(done.target) if key.startswith(("head", "backbone"))]


def test_gaps_are_refused_unless_they_are_allowed_by_name(convert):
    arrays = mmaction_checkpoint(small())
    del arrays["cls_head.fc_cls.bias"]
    arrays["backbone.layer9.strange"] = np.zeros(2, "float32")
    reported = convert.refused(arrays, small())
    assert "missing     head.fc.bias" in reported and "unexpected  backbone.layer9.strange" in reported
    convert.refused(arrays, small(), "--allow-missing", "head.fc.bias")
    done = convert(arrays, small(), "--allow-missing", "head.fc.b*", "--allow-unexpected", "backbone.layer9.*")
    assert "1 keys (head.fc.bias): allowed to be missing" in done.out
    assert "backbone.layer9.strange" not in read_weights(done.target)


def test_another_network_is_refused_and_the_origin_can_be_named(convert, run_tool, tmp_path):
    other = {"encoder.weight": np.zeros(2, "float32")}
    assert "unknown origin; its keys begin with encoder.weight" in convert.refused(other, small())
    assert "No key matches" in convert.refused(other, small(), "--from", "mmaction2")
    done = run_tool("convert_weights", tmp_path / "s.safetensors", tmp_path / "w.pth", "-c", tmp_path / "model.yaml")
    assert done.code == 2


def of_another_network(kind):
    """(a checkpoint in MMAction2's names, a MODEL section that its names do not belong to, what is said)."""
    if kind == "not shifted":
        return mmaction_checkpoint(small(), ""), small(), "shift False (here True).*-o MODEL.backbone.shift=False"
    if kind == "shifted":
        return mmaction_checkpoint(small()), small(shift=False), "shift True (here False).*-o MODEL.backbone.shift=True"
    if kind == "shifted twice":
        words = "of no network that is known here: layer1.0.conv1.conv.net.net.weight, where this one has "
        return mmaction_checkpoint(small(), ".net.net"), small(), words + "layer1.0.conv1.conv.net.weight.*twice"
    if kind == "quantised":
        extra = {"backbone.layer1.0.conv1.conv.net.weight_fake_quant.scale": np.ones(1, "float32")}
        return mmaction_checkpoint(small()) | extra, small(), "of a quantised network"
    section = model_section(case_of("tsm_r50_small"))
    if kind == "whole blocks shifted":
        words = "shift_place block (here blockres).*-o MODEL.backbone.shift_place=block"
        return arrays_of(case_of("tsm_shift_block_r50_small")), section, words
    if kind == "pooled":
        words = "temporal_pool True (here False).*-o MODEL.backbone.temporal_pool=True"
        return arrays_of(case_of("tsm_temporal_pool_r50_small")), section, words
    if kind == "non-local":
        words = "non_local {'mode': 'gaussian', 'sub_sample': True} (here None)"
        return arrays_of(case_of("tsm_nl_gaussian_r50_small")), section, words
    if kind == "without non-local":
        section["backbone"]["non_local"] = {"mode": "gaussian"}
        return arrays_of(case_of("tsm_r50_small")), section, "non_local None (here {'mode': 'gaussian'"
    if kind == "another depth":
        return arrays_of(case_of("tsm_r50_small")), small(), "depth 50 (here 18)"
    if kind == "MobileNet, not shifted":
        section = model_section(case_of("tsm_mobilenetv2_small"))
        arrays = {
            key.replace(".net.", "."): value for key, value in arrays_of(case_of("tsm_mobilenetv2_small")).items()
        }
        return arrays, section, "shift False (here True)"
    if kind == "TSM for a TimeSformer":
        words = "MODEL.backbone {name: ResNetTSM, depth: 50, shift: True"
        return arrays_of(case_of("tsm_r50_small")), divided(), words
    assert kind == "another attention"
    words = "attention_type joint_space_time (here divided_space_time)"
    return arrays_of(case_of("timesformer_joint_small")), model_section(case_of("timesformer_divided_small")), words


CLASSIFYING = {"PPTSM_v2": "pptsm_v2_small", "PPTSM_MobileNetV3": "pptsm_mv3_small"}


@pytest.mark.parametrize("name", CLASSIFYING)
def test_paddleclas_weights_begin_a_network_that_classifies_by_itself(name, convert, tmp_path):
    """The names are those here; ImageNet's classifier is left out, and a file of another network is named."""
    given = {
        key.removeprefix("backbone."): value
        for key, value in arrays_of(case_of(CLASSIFYING[name], "paddlevideo")).items()
    }
    (other,) = CLASSIFYING.keys() - {name}
    write_pickle(tmp_path / "imagenet.pdparams", given)
    section = {"framework": "Recognizer2D", "head": {"name": "MoViNetHead"}}
    done = convert(tmp_path / "imagenet.pdparams", section | {"backbone": {"name": name, "class_num": 7}})
    assert "paddle -> backbone" in done.out and "0 missing" in done.out
    kept = read_weights(done.target)
    assert kept.keys() == given.keys() - {"fc.weight", "fc.bias"}
    refused = convert.refused(tmp_path / "imagenet.pdparams", section | {"backbone": {"name": other, "class_num": 7}})
    assert f"The keys are those of MODEL.backbone {{name: {name}" in refused


@pytest.mark.parametrize("backbone_only", some_slow([False, True], bool), ids=["whole", "backbone"])
@pytest.mark.parametrize(
    "kind",
    ["not shifted", "shifted", "shifted twice", "whole blocks shifted", "pooled", "non-local", "without non-local",
     "quantised", "another depth", "MobileNet, not shifted", "TSM for a TimeSformer", "another attention"],
)  # fmt: skip
def test_a_file_of_another_network_is_refused_by_its_names(kind, backbone_only, convert):
    arrays, section, words = of_another_network(kind)
    option = ["--backbone-only"] if backbone_only else []
    reported = convert.refused(arrays, section, *option)
    last = reported.strip().splitlines()[-1]
    assert last.startswith("Nothing was written.") and re.search(words.replace("(", r"\(").replace(")", r"\)"), last)
    assert "class count" not in reported
    setting = re.findall(r"-o (MODEL\S+=\w+)", last)
    if kind in ("not shifted", "shifted", "whole blocks shifted", "pooled", "another attention"):  # the advice is right
        convert(arrays, section, *option, "-o", setting[0])


def test_image_weights_for_slowfast_are_kept_and_inflated_when_they_are_loaded(convert):
    backbone = {"name": "ResNet3dSlowFast", "depth": 50, "width": 8, "num_seg": 8}
    head = {"name": "SlowFastHead", "num_classes": 3, "in_channels": 288}
    section = {"framework": "Recognizer3D", "backbone": backbone, "head": head}
    image = build_framework(small(depth=50, width=8) | {"head": small()["head"] | {"in_channels": 256}}).backbone
    ours = image.state_dict()
    arrays = {theirs: ours[own].numpy() for theirs, own in image.names("torchvision").items()}
    done = convert(arrays | {"fc.bias": np.zeros(9, "float32")}, section)
    assert "left out: fc.bias (the classifier of the file)" in done.out and done.out.count("left out") == 1
    assert len(read_weights(done.target)) == len(arrays)
    found = build_framework(section | {"backbone": backbone | {"pretrained": str(done.target)}}).backbone.state_dict()
    stem = found["slow_path.conv1.conv.weight"].numpy()[:, :, 0]
    assert np.array_equal(stem, arrays["conv1.weight"])


def test_whole_numbers_are_no_weights(convert):
    arrays = mmaction_checkpoint(small())
    arrays["backbone.conv1.conv.weight"] = arrays["backbone.conv1.conv.weight"].astype("int64")
    assert "conv1.conv.weight holds int64: of a quantised network" in convert.refused(arrays, small())


def test_a_mobile_net_in_the_flat_layout_is_named_and_converted(convert, tmp_path):
    """tonylins' implementation: what torchvision pairs is numbered through there."""
    backbone = build_framework(MOBILENET).backbone
    pairs, flat = (backbone.names(origin) for origin in ("torchvision", "tonylins"))
    inverse = {ours: theirs for theirs, ours in flat.items()}
    arrays = {inverse[pairs[key]]: value for key, value in image_mobilenet(MOBILENET).items() if key in pairs}
    assert {"features.2.conv.0.weight", "features.2.conv.3.weight", "features.1.conv.3.weight"} <= arrays.keys()
    write_zip(tmp_path / "mobilenet_v2.pth.tar", {key: Tensor(value) for key, value in arrays.items()})
    done = convert(tmp_path / "mobilenet_v2.pth.tar", MOBILENET)
    assert f"tonylins -> backbone: {len(arrays)} matched, 0 missing, 0 unexpected" in done.out
    found = read_weights(done.target)
    assert all(np.array_equal(found[flat[key]], value) for key, value in arrays.items())


def test_bfloat16_becomes_the_float32_of_the_same_value(convert):
    arrays = image_resnet18(small())
    arrays["conv1.weight"] = (arrays["conv1.weight"].view(np.uint32) >> 16).astype("uint16")
    wanted = (arrays["conv1.weight"].astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(read_weights(convert(arrays, small()).target)["conv._conv.weight"], wanted)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:5], lambda b: b"\xff" * 8 + b[8:]])
def test_a_damaged_safetensors_file_is_named(damage, convert, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", {"conv1.weight": np.ones(4, "float32")})
    source.write_bytes(damage(source.read_bytes()))
    assert "s.safetensors: damaged, or no safetensors file" in convert.refused(source, small())


class Payload:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/owned",)


@pytest.mark.parametrize("suffix", [".pth", ".pdparams"])
def test_a_crafted_file_is_refused(suffix, convert, tmp_path):
    (tmp_path / f"bad{suffix}").write_bytes(pickle.dumps({"state_dict": {"conv1.weight": Payload(tmp_path)}}))
    assert "refused" in convert.refused(tmp_path / f"bad{suffix}", small())
    assert not (tmp_path / "owned").exists()


def test_a_pth_of_either_form_equals_the_same_safetensors(convert, tmp_path):
    arrays = mmaction_checkpoint(small())
    state = {key: Tensor(value) for key, value in arrays.items()}
    halves = {k: Tensor((v.view("u4") >> 16).astype("u2")) if v.ndim > 1 else Tensor(v) for k, v in arrays.items()}
    whole = {"meta": {"epoch": 50}, "state_dict": state, "optimizer": {"lr": 0.1}}
    write_zip(tmp_path / "s.pth", whole)
    write_legacy(tmp_path / "old.pth", whole)
    write_zip(tmp_path / "half.pt", halves)
    found = {}
    for source in (tmp_path / "s.pth", tmp_path / "old.pth", arrays, tmp_path / "half.pt"):
        done = convert(source, small())
        found[done.source.name] = read_weights(done.target)
        assert (done.source.suffix == ".pth") == ("taken from 'state_dict'; left out: meta, optimizer" in done.out)
    for key, value in found["s.pth"].items():
        assert np.array_equal(value, found["s.safetensors"][key]) and np.array_equal(value, found["old.pth"][key])
        half = found["half.pt"][key]
        assert half.dtype == np.float32 and np.allclose(value, half, rtol=1e-2)


def test_averaged_weights_are_taken_on_request(convert, tmp_path):
    raw = {k: v for k, v in mmaction_checkpoint(small()).items() if not k.endswith("tracked")}
    averaged = {k: Tensor(v + 1) for k, v in raw.items()}
    write_zip(tmp_path / "s.pth", {"state_dict": {k: Tensor(v) for k, v in raw.items()}, "state_dict_ema": averaged})
    done = convert(tmp_path / "s.pth", small())
    assert "averaged weights too: --ema takes them" in done.out
    first = read_weights(done.target)["head.fc.bias"]
    second = read_weights(convert(tmp_path / "s.pth", small(), "--ema").target)["head.fc.bias"]
    np.testing.assert_allclose(second, first + 1)


def test_fine_tuning_from_a_converted_checkpoint_replaces_the_classifier_and_reports_it(convert, tmp_path):
    """As HMDB51 and UCF101 do from Kinetics-400: 5 classes in the file, 2 in the data."""
    config = tsm_config(make_clips(tmp_path / "clips", 4), tmp_path / "output") | {"epochs": 1}
    target = convert(mmaction_checkpoint(small(5)), small(5)).target
    stored = read_weights(target)
    config["OPTIMIZER"] = {"name": "Momentum", "learning_rate": 0.0}
    for way in ("weights", "pretrained"):
        config["output_dir"] = str(tmp_path / way)
        if way == "pretrained":
            config["MODEL"]["backbone"]["pretrained"] = str(target)
        run = train(Config(config), Options(max_iters=1, weights=str(target) if way == "weights" else None))
        state = run.framework.state_dict()
        assert state["head.fc.weight"].shape == [32, 2]
        convolutions = [key for key in stored if key.endswith("_conv.weight")]
        assert convolutions and all(np.array_equal(stored[key], state[key].numpy()) for key in convolutions)
    log = (tmp_path / "weights" / "log.txt").read_text()
    assert "Finetune from checkpoint" in log and "head.fc.weight: file [32, 5], network [32, 2]" in log


def test_our_own_file_passes_through(convert, tmp_path):
    state = {key: value.numpy() for key, value in build_framework(small()).state_dict().items()}
    write_pickle(tmp_path / "own.pdparams", state)
    assert "paddle -> recogniser" in convert(tmp_path / "own.pdparams", small()).out
    facts = {"thresholds": [0.4] * 32, "fitted_to": ["a.mp4"]}
    write_weights(tmp_path / "own.pdparams", state, Classes(), facts)
    note = json.loads((convert(tmp_path / "own.pdparams", small()).target.parent / "w.pdparams.json").read_text())
    assert {key: note[key] for key in facts} == facts  # they hold for every copy of the classifier


def test_a_network_of_ours_with_mmaction2s_layer_names_is_ours(tmp_path):
    keys = ["backbone.layer1.0.conv1.conv.weight", "backbone.layer1.0.conv1.bn._mean", "head.fc.weight"]
    assert detect_origin(keys, tmp_path / "own.pdparams") == "paddle"
    assert detect_origin([keys[0], "backbone.layer1.0.conv1.bn.running_mean"], tmp_path / "a.pdparams") == "mmaction2"
