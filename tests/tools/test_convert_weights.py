"""Weights of other projects through the tool: every key is named, the numbers stay, and no file runs code."""

import json
import os
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.safe_io import sha256, write_pickle
from paddlevideo.settings import Options
from tests.parity import golden
from tests.parity.runner import model_section
from tests.tiny import distilled, make_clips, save, tsm_config
from tests.torch_writer import Tensor, write_legacy, write_zip

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "mmaction2"
VIT = {"name": "VisionTransformer", "img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2,
       "num_seg": 4, "qkv_bias": True}  # fmt: skip


def case_of(name):
    return json.loads((GOLDEN / f"{name}.json").read_text())


def arrays_of(case):
    return golden.weights(case["seed"], case["state_dict"], case["layout"], case["gain"])


def write_config(folder, section):
    return save({"model_name": "TSM", "MODEL": section}, folder / "model.yaml")


def write_safetensors(path, arrays, types=None):
    """By hand, from the format's description: 8 bytes of header length, the header as JSON, the raw numbers."""
    header, parts, position = {"__metadata__": {"format": "pt"}}, [], 0
    for name, value in arrays.items():
        raw, kind = value.tobytes(), {"f": "F32", "i": "I64", "u": "BF16"}[value.dtype.kind]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [position, position + len(raw)]}
        parts.append(raw)
        position += len(raw)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))
    return path


def small(classes=3, **backbone):
    given = {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 4, "shift_direction": "mmaction2", **backbone}
    return {
        "framework": "Recognizer2D",
        "backbone": given,
        "head": {"name": "TSMHead", "num_classes": classes, "in_channels": 32},
    }


def image_resnet18(section, block_bn="bn"):
    """torchvision's names of a ResNet-18, with the shapes of ``section``'s network."""
    norm = [f"{{}}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
    names = ["conv1.weight", *(n.format("bn1") for n in norm), "bn1.num_batches_tracked"]
    for stage in range(1, 5):
        for block in range(2):
            at = f"layer{stage}.{block}"
            for i in (1, 2):
                names += [f"{at}.conv{i}.weight", *(n.format(f"{at}.{block_bn}{i}") for n in norm)]
            if stage > 1 and block == 0:
                names += [f"{at}.downsample.0.weight", *(n.format(f"{at}.downsample.1") for n in norm)]
    backbone = build_framework(section).backbone
    shapes, ours = {k: list(v.shape) for k, v in backbone.state_dict().items()}, backbone.names("torchvision")
    table = [(name, shapes[ours[name]]) for name in names if "tracked" not in name]
    arrays = golden.weights(7, [*table, ("fc.weight", [1000, 32]), ("fc.bias", [1000])], "torch")
    return arrays | {"bn1.num_batches_tracked": np.array(9, "int64")}


def image_mobilenet(section):
    """torchvision's names of a MobileNetV2."""

    def pair(convolution, norm):
        parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
        return [f"{convolution}.weight", *(f"{norm}.{part}" for part in parts)]

    names = pair("features.0.0", "features.0.1") + pair("features.18.0", "features.18.1")
    for i in range(1, 18):
        at, last = f"features.{i}.conv", 1 if i == 1 else 2
        for place in range(last):
            names += pair(f"{at}.{place}.0", f"{at}.{place}.1")
        names += pair(f"{at}.{last}", f"{at}.{last + 1}")
    backbone = build_framework(section).backbone
    shapes, ours = {k: list(v.shape) for k, v in backbone.state_dict().items()}, backbone.names("torchvision")
    table = [(name, shapes[ours[name]]) for name in names if "tracked" not in name]
    return golden.weights(7, [*table, ("classifier.1.weight", [1000, 1280]), ("classifier.1.bias", [1000])], "torch")


def mmaction_checkpoint(section, net=".net"):
    """A whole TSM checkpoint in MMAction2's names; ``net`` is what a shift adds to that of a convolution."""
    arrays = {}
    for name, value in image_resnet18(section).items():
        name = re.sub(r"(conv\d)\.weight", r"\1.conv.weight", re.sub(r"bn(\d)\.", r"conv\1.bn.", name))
        name = name.replace("downsample.0.", "downsample.conv.").replace("downsample.1.", "downsample.bn.")
        name = re.sub(r"(layer\d\.\d\.conv1\.conv)", rf"\1{net}", name)
        arrays |= {} if name.startswith("fc.") else {f"backbone.{name}": value}
    classes, width = section["head"]["num_classes"], section["head"]["in_channels"]
    head = golden.weights(7, [("fc_cls.weight", [classes, width]), ("fc_cls.bias", [classes])], "torch")
    return arrays | {f"cls_head.{k}": v for k, v in head.items()}


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
def test_a_shift_the_other_way_is_refused_with_the_settings_that_fit(run_tool, tmp_path, backbone, advised, part):
    arrays = mmaction_checkpoint(small(), net="" if "shift" in backbone else ".net")
    source = write_safetensors(tmp_path / "source.safetensors", arrays)
    flags = ["--backbone-only"] if part == "backbone" else []
    config = write_config(tmp_path, small(**{"shift_direction": "paddlevideo", **backbone}))
    command = ["convert_weights", source, tmp_path / "w.pdparams", "-c", config]
    done = run_tool(*command, *flags)
    if advised is None:
        assert done.code == 0, done.err
        stated = "MODEL.backbone: shift_div 4, as the configuration states" in done.out
        assert stated == (backbone.get("shift_div") == 4)
        return
    assert done.code == 2 and not (tmp_path / "w.pdparams").exists()
    settings = [f"-o MODEL.backbone.{key}={value}" for key, value in advised.items()]
    assert " ".join(settings) in done.err and ("shift_div" in done.err) == ("shift_div" in advised)
    again = run_tool(*command, *flags, *" ".join(settings).split())
    assert again.code == 0, again.err


@pytest.mark.parametrize("name", ["tsm_r50_small", "tsm_mobilenetv2_small", "timesformer_divided_small"])
def test_a_converted_recogniser_gives_the_references_logits(name, run_tool, tmp_path):
    case = case_of(name)
    arrays = {f"module.{key}": value for key, value in arrays_of(case).items()}
    source = write_safetensors(tmp_path / "source.safetensors", arrays)
    config = write_config(tmp_path, model_section(case))
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", config)
    assert done.code == 0, done.err
    assert f"mmaction2 -> recogniser: {len(arrays)} matched, 0 missing, 0 unexpected, 0 mismatched" in done.out
    assert "prefix 'module.' removed" in done.out
    network = build_framework(model_section(case))
    network.eval()
    assert load_weights(network, tmp_path / "w.pdparams").clean
    entry = next(entry for entry in case["inputs"] if entry["name"] == "input")
    axes = {"N,T,C,H,W": (0, 1, 3, 4, 2), "N,clips,C,T,H,W": (0, 1, 3, 4, 5, 2), "N,C,T,H,W": (0, 2, 3, 4, 1)}
    clips = golden.make_input(case["seed"], entry).transpose(axes[entry["axes"]])
    clips = clips if clips.ndim == 6 else clips[:, None]
    wanted = np.load((GOLDEN / name).with_suffix(".npz"))["logits"]
    with paddle.no_grad():
        got = network.view_logits(paddle.to_tensor(clips)).numpy().reshape(wanted.shape)
    assert np.abs(got - wanted).max() < 1e-4 * np.abs(wanted).max()


def test_the_source_is_noted_beside_the_target(run_tool, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", mmaction_checkpoint(small()))
    config = write_config(tmp_path, small())
    assert run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", config).code == 0
    note = json.loads((tmp_path / "w.pdparams.json").read_text())
    assert note["source_sha256"] == sha256(source) and note["sha256"] == sha256(tmp_path / "w.pdparams")
    assert note["origin"] == "mmaction2" and note["missing"] == []
    assert set(paddle.load(str(tmp_path / "w.pdparams"))) == set(build_framework(small()).state_dict())


def test_names_of_mmaction2_1_lose_their_preprocessor_with_a_line(run_tool, tmp_path):
    extra = {"data_preprocessor.mean": np.zeros((3, 1, 1), "float32"), "data_preprocessor.std": np.ones(3, "float32")}
    source = write_safetensors(tmp_path / "s.safetensors", extra | mmaction_checkpoint(small()))
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, small()))
    assert done.code == 0, done.err
    assert "left out: 2 keys (data_preprocessor.mean, ...): preprocessing of MMAction2 1.x" in done.out
    assert "1 keys (backbone.conv1.bn.num_batches_tracked): batch counters" in done.out


def test_image_weights_of_torchvision_go_into_the_backbone(run_tool, tmp_path):
    arrays = image_resnet18(small())
    source = write_safetensors(tmp_path / "resnet18.safetensors", arrays)
    target = tmp_path / "resnet18.pdparams"
    done = run_tool("convert_weights", source, target, "-c", write_config(tmp_path, small()))
    assert done.code == 0, done.err
    assert "torchvision -> backbone" in done.out and "left out: fc.weight (the classifier of the file)" in done.out
    network = build_framework(small(pretrained=str(target)))
    weight = network.backbone.res3a.short._conv.weight.numpy()
    assert np.array_equal(weight, arrays["layer2.0.downsample.0.weight"])


def test_a_mobile_net_of_torchvision(run_tool, tmp_path):
    section = small() | {"backbone": {"name": "MobileNetV2TSM", "num_seg": 4, "scale": 0.25}}
    section["head"] |= {"in_channels": 1280}
    arrays = image_mobilenet(section)
    source = write_safetensors(tmp_path / "s.safetensors", arrays)
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, section))
    assert done.code == 0, done.err
    assert f"torchvision -> backbone: {len(arrays) - 2} matched, 0 missing, 0 unexpected" in done.out
    section["backbone"]["pretrained"] = str(tmp_path / "w.pdparams")
    stem = build_framework(section).backbone.conv1._conv.weight.numpy()
    assert np.array_equal(stem, arrays["features.0.0.weight"])


def image_vit(backbone, **more):
    """timm's names of the image ViT that ``backbone`` begins with, and ``more`` (names of (shape))."""
    own = build_framework(divided(3, **backbone)).backbone.state_dict()
    plain = {key: value for key, value in own.items() if "temporal" not in key and key != "time_embed"}
    shapes = {key: list(value.shape)[::-1] if value.ndim == 2 else list(value.shape) for key, value in plain.items()}
    return golden.weights(5, list({**shapes, **more}.items()), "torch")


def divided(classes=3, **backbone):
    return {
        "framework": "RecognizerTransformer",
        "backbone": VIT | backbone,
        "head": {"name": "TimeSformerHead", "num_classes": classes, "in_channels": 16},
    }


def original_timesformer(section):
    """The names that TimeSformer's authors gave: ``model.``, then timm's, and beside them those of the time."""
    framework = build_framework(section)
    table = []
    for key, value in framework.state_dict().items():
        name = key.removeprefix("backbone.").replace("head.fc.", "head.")
        table.append((f"model.{name}", list(value.shape)[::-1] if value.ndim == 2 else list(value.shape)))
    return golden.weights(11, table, "torch")


def test_the_authors_timesformer_is_a_whole_recogniser(run_tool, tmp_path):
    arrays = original_timesformer(divided())
    source = write_safetensors(tmp_path / "s.safetensors", arrays)
    target, config = tmp_path / "w.pdparams", write_config(tmp_path, divided())
    done = run_tool("convert_weights", source, target, "-c", config)
    assert done.code == 0, done.err
    assert f"timesformer -> recogniser: {len(arrays)} matched, 0 missing, 0 unexpected, 0 mismatched" in done.out
    network = build_framework(divided())
    assert load_weights(network, target).clean
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    assert np.array_equal(state["head.fc.weight"], arrays["model.head.weight"].T)
    assert np.array_equal(state["backbone.time_embed"], arrays["model.time_embed"])
    for part in ("attn.qkv", "temporal_attn.qkv", "temporal_fc", "mlp.fc1"):
        theirs = arrays[f"model.blocks.1.{part}.weight"]
        assert np.array_equal(state[f"backbone.blocks.1.{part}.weight"], theirs.T), part
    assert np.array_equal(state["backbone.patch_embed.proj.weight"], arrays["model.patch_embed.proj.weight"])


def test_the_authors_timesformer_of_other_classes_or_length_gives_its_backbone(run_tool, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", original_timesformer(divided(5)))
    target, config = tmp_path / "w.pdparams", write_config(tmp_path, divided(num_seg=8))
    fewer = ("-o", "MODEL.backbone.num_seg=4")
    refused = run_tool("convert_weights", source, target, "-c", config, *fewer)
    assert refused.code == 2 and "-o MODEL.head.num_classes=5, or --backbone-only" in refused.err
    assert run_tool("convert_weights", source, target, "-c", config, *fewer, "-o", "MODEL.head.num_classes=5").code == 0
    done = run_tool("convert_weights", source, target, "-c", config, "--backbone-only")
    assert done.code == 0, done.err
    network = build_framework(divided(num_seg=8, pretrained=str(target)))
    kept, eight = read_weights(target)["time_embed"], network.backbone.time_embed.numpy()
    assert kept.shape == (1, 4, 16) and np.array_equal(eight[0, ::2], kept[0])


@pytest.mark.parametrize("attention", ["joint_space_time", "space_only"])
def test_the_authors_other_attentions(attention, run_tool, tmp_path):
    """A space-only file has nothing of time: only its owner knows that it is no image network's."""
    section = divided(attention_type=attention)
    arrays = original_timesformer(section)
    source = write_safetensors(tmp_path / "s.safetensors", arrays)
    origin = ("--from", "timesformer") if attention == "space_only" else ()
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, section), *origin)
    assert done.code == 0 and f"timesformer -> recogniser: {len(arrays)} matched, 0 missing" in done.out, done.err


def test_the_authors_checkpoint_as_it_lies_on_disk(run_tool, tmp_path):
    state = {key: Tensor(np.ascontiguousarray(value)) for key, value in original_timesformer(divided()).items()}
    whole = {"epoch": 14, "model_state": state, "optimizer_state": {"lr": 0.1}, "cfg": "TRAIN: {}"}
    write_zip(tmp_path / "TimeSformer_divST_8x32_224_K400.pyth", whole)
    done = run_tool("convert_weights", tmp_path / "TimeSformer_divST_8x32_224_K400.pyth", tmp_path / "w.pdparams", "-c",
        write_config(tmp_path, divided()))  # fmt: skip
    assert done.code == 0, done.err
    assert "taken from 'model_state'; left out: epoch, optimizer_state, cfg" in done.out
    assert "prefix 'model.' removed" in done.out and "timesformer -> recogniser" in done.out


def test_miil_s_transformer_without_qkv_bias_begins_pp_timesformer(run_tool, tmp_path):
    """timm's vit_base_patch16_224_miil_in21k, small: no bias of queries, keys and values, 11221 classes."""
    plain = {"name": "VisionTransformer_tweaks", "qkv_bias": False}
    arrays = image_vit(plain, **{"head.weight": [11221, 16], "head.bias": [11221]})
    assert "blocks.0.attn.qkv.weight" in arrays and "blocks.0.attn.qkv.bias" not in arrays
    source = write_safetensors(tmp_path / "miil.safetensors", arrays)
    target, config = tmp_path / "miil.pdparams", write_config(tmp_path, divided(**plain))
    done = run_tool("convert_weights", source, target, "-c", config)
    assert done.code == 0 and "timm -> backbone" in done.out and "0 missing" in done.out, done.err
    assert "left out: head.weight (the classifier of the file)" in done.out
    state = build_framework(divided(**plain, pretrained=str(target))).backbone.state_dict()
    for part in ("attn", "temporal_attn"):
        qkv = state[f"blocks.0.{part}.qkv.weight"].numpy()
        assert np.array_equal(qkv, arrays["blocks.0.attn.qkv.weight"].T)
    refused = run_tool("convert_weights", source, target, "-c", config, "-o", "MODEL.backbone.qkv_bias=True")
    assert refused.code == 2 and "missing     blocks.0.attn.qkv.bias" in refused.err


def test_of_a_distillation_the_student_s_weights_are_converted_without_the_teacher_s_file(run_tool, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", mmaction_checkpoint(small()))
    target = tmp_path / "w.pdparams"
    config = save(distilled({"model_name": "TSM", "MODEL": small()}), tmp_path / "both.yaml")
    done = run_tool("convert_weights", source, target, "-c", config)
    assert done.code == 0 and "under the names of Student's own configuration" in done.out, done.err
    assert set(read_weights(target)) == set(build_framework(small()).state_dict())
    config = save(distilled({"model_name": "TSM", "MODEL": small(7)}), tmp_path / "both.yaml")
    refused = run_tool("convert_weights", source, target, "-c", config)
    assert refused.code == 2 and "Student.head.num_classes: 3 in MODEL.models, or --backbone-only" in refused.err


def test_an_image_transformer_of_timm_is_adapted_when_it_is_loaded(run_tool, tmp_path):
    """Its grid is 4 x 4 and the network's 2 x 2: the file keeps 4 x 4, so that it serves every size."""
    section = {
        "framework": "RecognizerTransformer",
        "backbone": VIT,
        "head": {"name": "TimeSformerHead", "num_classes": 3, "in_channels": 16},
    }
    own = build_framework(section).backbone.state_dict()
    plain = {k: v for k, v in own.items() if "temporal" not in k and k != "time_embed"}
    shapes = [(k, list(v.shape)[::-1] if v.ndim == 2 else list(v.shape)) for k, v in plain.items() if k != "pos_embed"]
    arrays = golden.weights(5, [*shapes, ("pos_embed", [1, 17, 16]), ("head.weight", [1000, 16])], "torch")
    source = write_safetensors(tmp_path / "vit.safetensors", arrays)
    target = tmp_path / "vit.pdparams"
    done = run_tool("convert_weights", source, target, "-c", write_config(tmp_path, section))
    assert done.code == 0, done.err
    assert "timm -> backbone" in done.out and "0 missing" in done.out
    assert read_weights(target)["pos_embed"].shape == (1, 17, 16)
    network = build_framework(section | {"backbone": VIT | {"pretrained": str(target)}})
    qkv = network.backbone.state_dict()["blocks.1.temporal_attn.qkv.weight"].numpy()
    assert np.array_equal(qkv, arrays["blocks.1.attn.qkv.weight"].T)


def test_the_backbone_of_a_whole_checkpoint(run_tool, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", mmaction_checkpoint(small(400)))
    arguments = (source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, small(3)))
    refused = run_tool("convert_weights", *arguments)
    assert refused.code == 2 and "-o MODEL.head.num_classes=400, or --backbone-only" in refused.err
    assert not (tmp_path / "w.pdparams").exists()
    assert run_tool("convert_weights", *arguments, "-o", "MODEL.head.num_classes=400").code == 0
    done = run_tool("convert_weights", *arguments, "--backbone-only")
    assert done.code == 0 and "left out: cls_head.fc_cls.weight (not of the backbone)" in done.out
    assert not [key for key in read_weights(tmp_path / "w.pdparams") if key.startswith(("head", "backbone"))]


def test_gaps_are_refused_unless_they_are_allowed_by_name(run_tool, tmp_path):
    arrays = mmaction_checkpoint(small())
    del arrays["cls_head.fc_cls.bias"]
    arrays["backbone.layer9.strange"] = np.zeros(2, "float32")
    source = write_safetensors(tmp_path / "s.safetensors", arrays)
    arguments = ("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, small()))
    refused = run_tool(*arguments)
    assert refused.code == 2 and "missing     head.fc.bias" in refused.err
    assert "unexpected  backbone.layer9.strange" in refused.err and not (tmp_path / "w.pdparams").exists()
    assert run_tool(*arguments, "--allow-missing", "head.fc.bias").code == 2
    done = run_tool(*arguments, "--allow-missing", "head.fc.b*", "--allow-unexpected", "backbone.layer9.*")
    assert done.code == 0 and "1 keys (head.fc.bias): allowed to be missing" in done.out
    assert "backbone.layer9.strange" not in read_weights(tmp_path / "w.pdparams")


def test_another_network_is_refused_and_the_origin_can_be_named(run_tool, tmp_path):
    config = write_config(tmp_path, small())
    other = write_safetensors(tmp_path / "a.safetensors", {"encoder.weight": np.zeros(2, "float32")})
    done = run_tool("convert_weights", other, tmp_path / "w.pdparams", "-c", config)
    assert done.code == 2 and "unknown origin; its keys begin with encoder.weight" in done.err
    done = run_tool("convert_weights", other, tmp_path / "w.pdparams", "-c", config, "--from", "mmaction2")
    assert done.code == 2 and "No key matches" in done.err
    assert run_tool("convert_weights", other, tmp_path / "w.pth", "-c", config).code == 2


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


@pytest.mark.parametrize("backbone_only", [False, True], ids=["whole", "backbone"])
@pytest.mark.parametrize(
    "kind",
    ["not shifted", "shifted", "shifted twice", "whole blocks shifted", "pooled", "non-local", "without non-local",
     "quantised", "another depth", "MobileNet, not shifted", "TSM for a TimeSformer", "another attention"],
)  # fmt: skip
def test_a_file_of_another_network_is_refused_by_its_names(kind, backbone_only, run_tool, tmp_path):
    arrays, section, words = of_another_network(kind)
    source, config = write_safetensors(tmp_path / "s.safetensors", arrays), write_config(tmp_path, section)
    option = ["--backbone-only"] if backbone_only else []
    refused = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", config, *option)
    assert refused.code == 2 and not (tmp_path / "w.pdparams").exists()
    last = refused.err.strip().splitlines()[-1]
    assert last.startswith("Nothing was written.") and re.search(words.replace("(", r"\(").replace(")", r"\)"), last)
    assert "class count" not in refused.err
    setting = re.findall(r"-o (MODEL\S+=\w+)", last)
    if kind in ("not shifted", "shifted", "whole blocks shifted", "pooled", "another attention"):  # the advice is right
        done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", config, *option, "-o", setting[0])
        assert done.code == 0, done.err


def test_image_weights_for_slowfast_are_kept_and_inflated_when_they_are_loaded(run_tool, tmp_path):
    backbone = {"name": "ResNet3dSlowFast", "depth": 50, "width": 8, "num_seg": 8}
    head = {"name": "SlowFastHead", "num_classes": 3, "in_channels": 288}
    section = {"framework": "Recognizer3D", "backbone": backbone, "head": head}
    image = build_framework(small(depth=50, width=8) | {"head": small()["head"] | {"in_channels": 256}}).backbone
    ours = image.state_dict()
    arrays = {theirs: ours[own].numpy() for theirs, own in image.names("torchvision").items()}
    source = write_safetensors(tmp_path / "resnet50.safetensors", arrays | {"fc.bias": np.zeros(9, "float32")})
    target = tmp_path / "w.pdparams"
    done = run_tool("convert_weights", source, target, "-c", write_config(tmp_path, section))
    assert done.code == 0 and "left out: fc.bias (the classifier of the file)" in done.out, done.err
    assert done.out.count("left out") == 1 and len(read_weights(target)) == len(arrays)
    found = build_framework(section | {"backbone": backbone | {"pretrained": str(target)}}).backbone.state_dict()
    stem = found["slow_path.conv1.conv.weight"].numpy()[:, :, 0]
    assert np.array_equal(stem, arrays["conv1.weight"])


def test_whole_numbers_are_no_weights(run_tool, tmp_path):
    arrays = mmaction_checkpoint(small())
    arrays["backbone.conv1.conv.weight"] = arrays["backbone.conv1.conv.weight"].astype("int64")
    source, target = write_safetensors(tmp_path / "s.safetensors", arrays), tmp_path / "w.pdparams"
    done = run_tool("convert_weights", source, target, "-c", write_config(tmp_path, small()))
    assert done.code == 2 and "conv1.conv.weight holds int64: of a quantised network" in done.err


def test_a_mobile_net_in_the_flat_layout_is_named_and_converted(run_tool, tmp_path):
    """tonylins' implementation: what torchvision pairs is numbered through there."""
    section = small() | {"backbone": {"name": "MobileNetV2TSM", "num_seg": 4, "scale": 0.25}}
    section["head"] |= {"in_channels": 1280}
    backbone = build_framework(section).backbone
    pairs, flat = (backbone.names(origin) for origin in ("torchvision", "tonylins"))
    inverse = {ours: theirs for theirs, ours in flat.items()}
    arrays = {inverse[pairs[key]]: value for key, value in image_mobilenet(section).items() if key in pairs}
    assert {"features.2.conv.0.weight", "features.2.conv.3.weight", "features.1.conv.3.weight"} <= arrays.keys()
    write_zip(tmp_path / "mobilenet_v2.pth.tar", {key: Tensor(value) for key, value in arrays.items()})
    target, config = tmp_path / "w.pdparams", write_config(tmp_path, section)
    done = run_tool("convert_weights", tmp_path / "mobilenet_v2.pth.tar", target, "-c", config)
    assert done.code == 0, done.err
    assert f"tonylins -> backbone: {len(arrays)} matched, 0 missing, 0 unexpected" in done.out
    found = read_weights(target)
    assert all(np.array_equal(found[flat[key]], value) for key, value in arrays.items())


def test_bfloat16_becomes_the_float32_of_the_same_value(run_tool, tmp_path):
    arrays = image_resnet18(small())
    arrays["conv1.weight"] = (arrays["conv1.weight"].view(np.uint32) >> 16).astype("uint16")
    source = write_safetensors(tmp_path / "s.safetensors", arrays)
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, small()))
    assert done.code == 0, done.err
    wanted = (arrays["conv1.weight"].astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(read_weights(tmp_path / "w.pdparams")["conv._conv.weight"], wanted)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:5], lambda b: b"\xff" * 8 + b[8:]])
def test_a_damaged_safetensors_file_is_named(damage, run_tool, tmp_path):
    source = write_safetensors(tmp_path / "s.safetensors", {"conv1.weight": np.ones(4, "float32")})
    source.write_bytes(damage(source.read_bytes()))
    done = run_tool("convert_weights", source, tmp_path / "w.pdparams", "-c", write_config(tmp_path, small()))
    assert done.code == 2 and "s.safetensors: damaged, or no safetensors file" in done.err


class Payload:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.system, (f"touch {self.folder}/owned",)


@pytest.mark.parametrize("suffix", [".pth", ".pdparams"])
def test_a_crafted_file_is_refused(suffix, run_tool, tmp_path):
    (tmp_path / f"bad{suffix}").write_bytes(pickle.dumps({"state_dict": {"conv1.weight": Payload(tmp_path)}}))
    config = write_config(tmp_path, small())
    done = run_tool("convert_weights", tmp_path / f"bad{suffix}", tmp_path / "w.pdparams", "-c", config)
    assert done.code == 2 and not (tmp_path / "owned").exists() and not (tmp_path / "w.pdparams").exists()
    assert "refused" in done.err


def test_a_pth_of_either_form_equals_the_same_safetensors(run_tool, tmp_path):
    arrays = mmaction_checkpoint(small())
    state = {key: Tensor(value) for key, value in arrays.items()}
    halves = {k: Tensor((v.view("u4") >> 16).astype("u2")) if v.ndim > 1 else Tensor(v) for k, v in arrays.items()}
    whole = {"meta": {"epoch": 50}, "state_dict": state, "optimizer": {"lr": 0.1}}
    write_zip(tmp_path / "s.pth", whole)
    write_legacy(tmp_path / "old.pth", whole)
    write_zip(tmp_path / "half.pt", halves)
    write_safetensors(tmp_path / "s.safetensors", arrays)
    config = write_config(tmp_path, small())
    for name in ("s.pth", "old.pth", "s.safetensors", "half.pt"):
        done = run_tool("convert_weights", tmp_path / name, tmp_path / f"{name}.pdparams", "-c", config)
        assert done.code == 0, done.err
        if name.endswith(".pth"):
            assert "taken from 'state_dict'; left out: meta, optimizer" in done.out
    names = ("s.pth", "old.pth", "s.safetensors", "half.pt")
    ours, old, other, half = (read_weights(tmp_path / f"{name}.pdparams") for name in names)
    for key, value in ours.items():
        assert np.array_equal(value, other[key]) and np.array_equal(value, old[key])
        assert half[key].dtype == np.float32 and np.allclose(value, half[key], rtol=1e-2)


def test_averaged_weights_are_taken_on_request(run_tool, tmp_path):
    raw = {k: v for k, v in mmaction_checkpoint(small()).items() if not k.endswith("tracked")}
    averaged = {k: Tensor(v + 1) for k, v in raw.items()}
    write_zip(tmp_path / "s.pth", {"state_dict": {k: Tensor(v) for k, v in raw.items()}, "state_dict_ema": averaged})
    arguments = ("convert_weights", tmp_path / "s.pth", tmp_path / "w.pdparams", "-c", write_config(tmp_path, small()))
    assert "averaged weights too: --ema takes them" in run_tool(*arguments).out
    first = read_weights(tmp_path / "w.pdparams")["head.fc.bias"]
    assert run_tool(*arguments, "--ema").code == 0
    np.testing.assert_allclose(read_weights(tmp_path / "w.pdparams")["head.fc.bias"], first + 1)


def test_fine_tuning_from_a_converted_checkpoint_replaces_the_classifier_and_says_so(run_tool, tmp_path):
    """As HMDB51 and UCF101 do from Kinetics-400: 5 classes in the file, 2 in the data."""
    config = tsm_config(make_clips(tmp_path / "clips", 4), tmp_path / "output") | {"epochs": 1}
    wide = small(5)
    source = write_safetensors(tmp_path / "k400.safetensors", mmaction_checkpoint(wide))
    target = tmp_path / "k400.pdparams"
    assert run_tool("convert_weights", source, target, "-c", write_config(tmp_path, wide)).code == 0
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


def test_our_own_file_passes_through(run_tool, tmp_path):
    state = {key: value.numpy() for key, value in build_framework(small()).state_dict().items()}
    write_pickle(tmp_path / "own.pdparams", state)
    done = run_tool(
        "convert_weights", tmp_path / "own.pdparams", tmp_path / "w.pdparams", "-c", write_config(tmp_path, small())
    )
    assert done.code == 0 and "paddle -> recogniser" in done.out
