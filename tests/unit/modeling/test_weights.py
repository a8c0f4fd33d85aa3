"""Weights from files: every key is accounted for, and no file runs code."""

import os
import pickle

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from paddlevideo.modeling.layers import branches_of
from paddlevideo.modeling.weights import load_pretrained, load_weights, read_weights
from paddlevideo.safe_io import write_pickle


def model(classes=3, **backbone):
    return build_framework(
        {
            "framework": "Recognizer2D",
            "backbone": {"name": "ResNetTSM", "depth": 18, "width": 4, "num_seg": 2, **backbone},
            "head": {"name": "TSMHead", "num_classes": classes, "in_channels": 32},
        }
    )


def arrays_of(network):
    return {key: value.numpy() for key, value in network.state_dict().items()}


def same(first, second):
    return all(np.array_equal(value, arrays_of(second)[key]) for key, value in arrays_of(first).items())


def test_a_whole_checkpoint_loads_and_reports_it(tmp_path):
    one, other = model(), model()
    paddle.save(one.state_dict(), str(tmp_path / "w.pdparams"))
    report = load_weights(other, tmp_path / "w.pdparams")
    assert report.clean and same(one, other)
    assert f"{len(one.state_dict())} of {len(one.state_dict())} keys loaded" in str(report)


def test_paddle_load_reads_what_we_write_and_arrays_load_directly(tmp_path):
    one, other = model(), model()
    write_pickle(tmp_path / "w.pdparams", arrays_of(one))
    assert set(paddle.load(str(tmp_path / "w.pdparams"))) == set(one.state_dict())
    load_weights(other, arrays_of(one), source="memory")
    assert same(one, other)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda a: a.pop("backbone.res3a.short._conv.weight"), "missing     backbone.res3a.short._conv.weight"),
        (lambda a: a.update(extra=np.zeros(2)), "unexpected  extra"),
        (lambda a: a.update({"head.fc.bias": np.zeros(7, "float32")}), r"head.fc.bias: file \[7\], network \[3\]"),
    ],
    ids=["missing", "unexpected", "shape"],
)
def test_a_strict_load_refuses_any_difference_and_touches_nothing(change, word):
    network = model()
    before, arrays = arrays_of(network), arrays_of(model())
    change(arrays)
    with pytest.raises(UserError, match=word):
        load_weights(network, arrays)
    assert all(np.array_equal(value, arrays_of(network)[key]) for key, value in before.items())


def transformer(classes=3):
    vit = {"name": "VisionTransformer", "img_size": 32, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_seg": 2}
    head = {"name": "TimeSformerHead", "num_classes": classes, "in_channels": 16}
    return build_framework({"framework": "RecognizerTransformer", "backbone": vit, "head": head})


def classifying(name):
    backbone = {"name": name, "num_seg": 2, "scale": 0.125, "class_num": 3}
    return build_framework({"framework": "Recognizer2D", "backbone": backbone, "head": {"name": "MoViNetHead"}})


@pytest.mark.parametrize(
    ("weights", "network", "words"),
    [
        (model, transformer, "No key of the backbone matches: .* of a ResNetTSM of depth 18"),
        (transformer, model, "No key of the backbone matches: .* of a VisionTransformer of depth 2"),
        (model, lambda classes: model(classes, depth=34), "Choose the configuration that the file was trained with"),
        (lambda: model(7), model, "number of classes differs: set MODEL.head.num_classes to 7, the file's"),
        (
            lambda: classifying("PPTSM_v2"),
            lambda classes: classifying("PPTSM_MobileNetV3"),
            "Only . keys .* a PPTSM_v2",
        ),
        (lambda: classifying("PPTSM_MobileNetV3"), model, "No key of the backbone matches: .* a PPTSM_MobileNetV3"),
    ],
    ids=["TSM for a TimeSformer", "TimeSformer for a TSM", "depth", "classes", "few in common", "MobileNetV3"],
)
@pytest.mark.parametrize("classes", [3, 5])
@pytest.mark.parametrize("strict", [True, False])
def test_the_way_out_is_that_of_the_difference(weights, network, words, classes, strict):
    network = network(classes)
    if "classes differs" in words and not strict:
        return  # fine-tuning replaces the classifier
    with pytest.raises(UserError, match=words) as caught:
        load_weights(network, arrays_of(weights()), strict=strict, allow_head_mismatch=not strict)
    assert ("number of classes" in str(caught.value)) == ("number of classes" in words)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (lambda: arrays_of(transformer().backbone), "No key of the backbone matches: .* of a VisionTransformer"),
        (lambda: {k: v for k, v in arrays_of(model().backbone).items() if "res5b" not in k}, "Choose the conf"),
    ],
)
def test_the_way_out_of_pretrained_weights(arrays, words, tmp_path):
    write_pickle(tmp_path / "w.pdparams", arrays())
    with pytest.raises(UserError, match=words):
        load_pretrained(model().backbone, str(tmp_path / "w.pdparams"))


def test_fine_tuning_keeps_a_head_of_another_class_count():
    network, source = model(3), model(5)
    start = network.head.fc.weight.numpy()
    with pytest.raises(UserError, match="num_classes"):
        load_weights(network, arrays_of(source), strict=False)
    report = load_weights(network, arrays_of(source), strict=False, allow_head_mismatch=True)
    assert set(report.mismatched) == {"head.fc.weight", "head.fc.bias"}
    assert np.array_equal(start, network.head.fc.weight.numpy())
    assert np.array_equal(network.backbone.conv._conv.weight.numpy(), source.backbone.conv._conv.weight.numpy())


def test_fine_tuning_still_refuses_another_backbone():
    with pytest.raises(UserError, match="shape"):
        load_weights(model(), arrays_of(build_wide()), strict=False, allow_head_mismatch=True)
    without_head = {key: value for key, value in arrays_of(model()).items() if not key.startswith("head.")}
    assert load_weights(model(), without_head, strict=False).explained


def build_wide():
    return build_framework(
        {
            "framework": "Recognizer2D",
            "backbone": {"name": "ResNetTSM", "depth": 18, "width": 8, "num_seg": 2},
            "head": {"name": "TSMHead", "num_classes": 3, "in_channels": 64},
        }
    )


def test_pretrained_takes_bare_names_and_whole_checkpoints(tmp_path):
    source = model(7)
    bare = {key.removeprefix("backbone."): value for key, value in arrays_of(source).items() if "backbone." in key}
    write_pickle(tmp_path / "imagenet.pdparams", {**bare, "fc.weight": np.zeros((32, 1000), "float32")})
    write_pickle(tmp_path / "k400.pdparams", arrays_of(source))
    for name in ("imagenet", "k400"):
        network = model(3, pretrained=str(tmp_path / f"{name}.pdparams"))
        assert np.array_equal(network.backbone.res5b.conv1._conv.weight.numpy(), bare["res5b.conv1._conv.weight"])


@pytest.mark.parametrize("prefix", ["", "Student."])
def test_paddlevideos_distillation_numbers_the_parts_of_a_model(prefix, tmp_path):
    """``0.X`` in the file of its best student, ``Student.0.X`` beside ``Teacher.0.X`` in the whole."""
    source = model()
    numbers = {"backbone.": "0.", "head.": "1."}
    arrays = {
        prefix + numbers[key[: key.index(".") + 1]] + key[key.index(".") + 1 :]: value
        for key, value in arrays_of(source).items()
    }
    if prefix:
        teacher = {key.replace(prefix, "Teacher."): value + 1 for key, value in arrays.items()}
        arrays = {**teacher, **arrays}
    write_pickle(tmp_path / "w.pdparams", arrays)
    network = model()
    assert load_weights(network, tmp_path / "w.pdparams").clean and same(source, network)
    begun = model(pretrained=str(tmp_path / "w.pdparams"))
    assert same(source.backbone, begun.backbone) and not same(source, begun)


def test_of_a_checkpoint_of_both_a_single_network_takes_the_student(tmp_path):
    source, teacher = model(), model()
    arrays = {f"Student.{key}": value for key, value in arrays_of(source).items()}
    arrays |= {f"Teacher.{key}": value for key, value in arrays_of(teacher).items()}
    network = model()
    assert load_weights(network, arrays).clean and same(source, network)


def test_pretrained_refuses_gaps_and_reports_where(tmp_path):
    bare = {key.removeprefix("backbone."): value for key, value in arrays_of(model()).items() if "backbone." in key}
    bare.pop("res2a.conv0._conv.weight")
    write_pickle(tmp_path / "gap.pdparams", bare)
    with pytest.raises(UserError, match=r"MODEL.backbone.pretrained: .*1 missing[\s\S]*res2a.conv0._conv.weight"):
        load_pretrained(model().backbone, str(tmp_path / "gap.pdparams"))


def test_a_missing_pretrained_file_names_the_key_and_the_way_out():
    with pytest.raises(UserError, match=r"MODEL.backbone.pretrained: no/such.pdparams.*MODEL.backbone.pretrained=null"):
        model(pretrained="no/such.pdparams")


def test_a_crafted_file_is_refused_and_does_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/owned",)

    (tmp_path / "bad.pdparams").write_bytes(pickle.dumps({"backbone.conv._conv.weight": Payload()}))
    for load in (lambda p: load_weights(model(), p), lambda p: model(pretrained=str(p)), read_weights):
        with pytest.raises(UserError, match="refused"):
            load(tmp_path / "bad.pdparams")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "content", [["a list"], {}, {"LR_Scheduler": {"last_lr": 0.1}}], ids=["list", "empty", "optimizer"]
)
def test_other_content_is_named(content, tmp_path):
    write_pickle(tmp_path / "w.pdparams", content)
    with pytest.raises(UserError, match="expected a table of arrays"):
        read_weights(tmp_path / "w.pdparams")


def test_bfloat16_weights_keep_their_values(tmp_path):
    one, other = model(), model()
    paddle.save({k: v.astype("bfloat16") for k, v in one.state_dict().items()}, str(tmp_path / "w.pdparams"))
    load_weights(other, tmp_path / "w.pdparams")
    weight = other.backbone.conv._conv.weight.numpy()
    assert np.allclose(weight, one.backbone.conv._conv.weight.numpy(), rtol=1e-2, atol=1e-6) and weight.any()


def test_an_export_with_fused_branches_is_no_start_for_a_training():
    backbone = {"name": "PPTSM_v2", "scale": 0.125, "num_seg": 2, "class_num": 3}
    network = build_framework({"framework": "Recognizer2D", "backbone": backbone, "head": {"name": "MoViNetHead"}})
    prefixes = tuple(branches_of(network))
    fused = {key: value for key, value in arrays_of(network).items() if not key.startswith(prefixes)}
    assert prefixes and load_weights(network, fused).clean  # a test takes them
    with pytest.raises(UserError, match=r"branches of training fused .*starts from the \.pdparams"):
        load_weights(network, fused, strict=False)
