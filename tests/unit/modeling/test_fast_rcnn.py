"""The detector as a whole: batches of any make-up, training, weights, and its static program."""

import numpy as np
import paddle
import pytest
from paddle import nn

from paddlevideo.config.checking import check
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.modeling.frameworks.build import build_deployed, build_framework
from tests.slow_cases import some_slow

K, T = 6, 8
NORMALIZATION = ([0.45] * 3, [0.225] * 3)


def section(shared=None, **changes):
    """A detector of few channels: one pathway, or two with ``fast``."""
    two = changes.pop("fast", False)
    channels = 36 if two else 32
    fast = {"resample_rate": 4, "speed_ratio": 4, "channel_ratio": 8, "name": "ResNet3dSlowFast", "width": 8}
    slow = {"name": "ResNet3dSlowOnly", "width": 4}
    head = {
        "name": "AVARoIHead",
        "bbox_roi_extractor": {"name": "SingleRoIExtractor3D", "output_size": 4, **changes.pop("extractor", {})},
        "bbox_head": {
            "name": "BBoxHeadAVA", "in_channels": changes.pop("in_channels", channels * (2 if two else 1)),
            "num_classes": K, "topk": [1, 3],
        },
        "shared_head": shared,
        "assigner": {"name": "MaxIoUAssignerAVA", "pos_iou_thr": 0.9, "neg_iou_thr": 0.9, "min_pos_iou": 0.9},
        "sampler": {"name": "RandomSampler", "num": 32, "pos_fraction": 1, "neg_pos_ub": -1},
        "pos_weight": 1.0,
        "action_thr": 0.0,
    }  # fmt: skip
    backbone = {**(fast if two else slow), "depth": 18, "num_seg": T, "spatial_strides": [1, 2, 2, 1]}
    return {"framework": "FastRCNN", "backbone": backbone, "head": {**head, **changes}}


def detector(*args, seed=0, **changes):
    paddle.seed(seed)
    network = build_framework(section(*args, **changes), NORMALIZATION)
    rng = np.random.default_rng(seed)
    for name, value in network.state_dict().items():  # residual branches and the classifier start at 0 or nearly
        if name.endswith("bn.weight"):
            value.set_value(rng.uniform(0.5, 1.0, value.shape).astype("float32"))
        elif "fc_cls.weight" in name:
            value.set_value(rng.normal(0.0, 0.05, value.shape).astype("float32"))
    network.eval()
    return network


def batch(counts=(2, 0, 3), sizes=((48, 64),) * 3, seed=0, gt=None):
    """uint8 clips, padded to the largest, and boxes inside of them."""
    rng = np.random.default_rng(seed)
    height, width = np.max(sizes, axis=0)
    imgs = np.zeros((len(counts), 1, T, height, width, 3), "uint8")
    for clip, (h, w) in zip(imgs, sizes):
        clip[:, :, :h, :w] = rng.integers(0, 256, (1, T, h, w, 3))

    def draw(numbers):
        found = [rng.uniform(0, 0.5, (n, 4)) * [w, h, w, h] for n, (h, w) in zip(numbers, sizes)]
        return np.concatenate([b + [0, 0, 8, 8] + [0, 0, *(b[:, :2].max(0, initial=0))] for b in found]).astype(
            "float32"
        )

    arrays = {"imgs": imgs, "boxes": draw(counts), "boxes_num": np.array(counts, "int32")}
    arrays |= {"sizes": np.array(sizes, "int64"), "index": np.arange(len(counts))}
    if gt is not None:
        labels = (rng.random((sum(gt), K)) < 0.5).astype("float32")
        labels[:, 0], labels[:, 1] = 0, 1
        arrays |= {"gt_boxes": draw(gt), "gt_boxes_num": np.array(gt, "int32"), "gt_labels": labels}
    return {key: paddle.to_tensor(value) for key, value in arrays.items()}


def predict(network, given):
    with paddle.no_grad():
        return network(given, mode="predict")["scores"].numpy()


def only(given, i):
    """The i-th sample alone, without padding."""
    starts = np.cumsum(given["boxes_num"].numpy()) - given["boxes_num"].numpy()
    height, width = given["sizes"].numpy()[i]
    rows = slice(starts[i], starts[i] + int(given["boxes_num"][i]))
    return {
        "imgs": given["imgs"][i : i + 1, :, :, :height, :width],
        "boxes": given["boxes"][rows],
        "boxes_num": given["boxes_num"][i : i + 1],
    }


ACRN = {"name": "ACRNHead", "in_channels": 144, "out_channels": 16}
KINDS = {
    "slowonly": {},
    "slowfast": {"fast": True},
    "context": {"extractor": {"with_global": True}, "in_channels": 64},
    "acrn": {"shared": ACRN, "fast": True, "in_channels": 16},
}


@pytest.mark.parametrize("kind", KINDS)
def test_scores_do_not_depend_on_what_else_is_in_the_batch(kind):
    network = detector(**KINDS[kind])
    given = batch((2, 0, 3, 1), ((48, 64), (64, 48), (48, 48), (48, 64)))
    together = predict(network, given)
    assert together.shape == (6, K) and np.ptp(together, axis=0).max() > 1e-3
    alone = np.concatenate([predict(network, only(given, i)) for i in (0, 2, 3)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_no_boxes_at_all_give_no_scores():
    assert predict(detector(), batch((0, 0), ((48, 64),) * 2)).shape == (0, K)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_reaches_every_parameter_with_and_without_persons(kind):
    network = detector(**KINDS[kind])
    network.train()
    for gt in ((1, 2, 0), (0, 0, 0)):
        given = batch((2, 0, 3) if any(gt) else (0, 0, 0), gt=gt)
        out = network(given, mode="loss")
        out["loss"].backward()
        assert all(value.ndim == 0 and np.isfinite(float(value)) for value in out.values())
        assert (float(out["loss"]) > 0) == any(gt) and float(out["num_positive"]) == sum(gt)
        without = [name for name, p in network.named_parameters() if not p.stop_gradient and p.grad is None]
        assert without == []
        network.clear_gradients()
    expected = {f"{kind}@{which}" for kind in ("recall", "prec") for which in ("thr=0.5", "top1", "top3")}
    assert out.keys() == {"loss", "num_positive"} | expected


def test_training_crops_of_several_sizes_are_cut_back_too():
    network = detector()
    given = batch((0, 0), ((48, 64), (64, 48)), gt=(1, 2))
    parts = []
    for i in range(2):
        rows = slice(0, 1) if i == 0 else slice(1, 3)
        own = {**only(given, i), "gt_boxes": given["gt_boxes"][rows], "gt_labels": given["gt_labels"][rows]}
        own["gt_boxes_num"] = given["gt_boxes_num"][i : i + 1]
        parts.append(float(network(own, mode="loss")["loss"]))
    assert float(network(given, mode="loss")["loss"]) == pytest.approx((parts[0] + 2 * parts[1]) / 3, rel=1e-5)


def test_the_draw_follows_paddles_seed():
    network = detector(sampler={"name": "RandomSampler", "num": 2, "add_gt_as_proposals": True})
    given = batch((2, 2, 2), gt=(8, 8, 8))

    def loss(seed):
        paddle.seed(seed)
        return float(network(given, mode="loss")["loss"])

    assert loss(3) == loss(3) and len({loss(seed) for seed in range(4)}) > 1


def test_a_step_lowers_the_loss():
    network = detector()
    given = batch(gt=(1, 2, 1))
    optimizer = paddle.optimizer.SGD(0.1, parameters=network.parameters())
    losses = []
    for _ in range(4):
        loss = network(given, mode="loss")["loss"]
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    assert losses[-1] < losses[0]


class Scores(nn.Layer):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, imgs, boxes, boxes_num):
        return self.network.predict_scores(imgs, boxes, boxes_num)


@pytest.mark.parametrize("kind", some_slow(KINDS, lambda kind: kind != "context"))
def test_the_exported_program_takes_any_number_of_boxes_and_clips(kind, tmp_path):
    network = detector(**KINDS[kind])
    spec = network.input_spec(batch())
    program = paddle.jit.to_static(Scores(network), input_spec=spec, full_graph=True)
    program.eval()
    paddle.jit.save(program, str(tmp_path / "detector"))
    files = {path.suffix: str(path) for path in tmp_path.iterdir()}
    config = paddle.inference.Config(files.get(".json") or files[".pdmodel"], files[".pdiparams"])
    config.disable_gpu()
    config.disable_mkldnn()
    config.disable_glog_info()
    predictor = paddle.inference.create_predictor(config)
    for counts, size in (
        ((0,), (48, 64)),
        ((1,), (48, 64)),
        ((7, 0), (64, 48)),
        ((40,), (48, 80)),
        ((3, 0, 2), (48, 64)),
    ):
        given = batch(counts, (size,) * len(counts))
        names = [s.name for s in spec]
        assert set(predictor.get_input_names()) == set(names)
        for name in names:
            predictor.get_input_handle(name).copy_from_cpu(given[name].numpy())
        predictor.run()
        got = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
        assert got.shape == (sum(counts), K)
        np.testing.assert_allclose(got, predict(network, given), atol=1e-5)


def test_parameters_have_paddlevideos_names_and_mmaction2s_weights_come_in():
    network = detector(**KINDS["acrn"])
    names = set(network.state_dict())
    assert {"roi_head.bbox_head.fc_cls.weight", "roi_head.shared_head.conv1.conv.weight"} <= names
    assert {name.partition(".")[0] for name in names} == {"backbone", "roi_head"}
    theirs = {}
    for name, value in network.state_dict().items():
        array = value.numpy()
        name = name.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        theirs[name.replace("_lateral.", "_lateral.conv.")] = array.T if "fc_cls.weight" in name else array
    back = network.convert(theirs, "mmaction2")
    assert back.keys() == names
    assert all(np.array_equal(back[name], value.numpy()) for name, value in network.state_dict().items())


def test_what_is_deployed_starts_from_no_file(tmp_path):
    own = section()
    own["backbone"]["pretrained"] = str(tmp_path / "not there.pdparams")
    network = build_deployed(own)
    assert network.takes_boxes and network.num_classes == K and network.num_frames == T
    assert (network.weights_prefix, network.classifier_prefixes) == ("", ("roi_head.bbox_head.fc_cls.",))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"in_channels": 5}, "bbox_head.in_channels: the RoI extractor gives 32 channels, got 5"),
        ({"extractor": {"with_global": True}}, "bbox_head.in_channels: the RoI extractor gives 64 channels, got 32"),
        ({"shared": ACRN, "in_channels": 16}, r"shared_head.in_channels: .* gives 64 channels \(32 of a region, 32"),
        ({"pos_weight": 2.0}, "pos_weight"),
    ],
)
def test_parts_that_do_not_fit_are_named(changes, word):
    with pytest.raises(ConfigError, match=word):
        detector(**changes)


def test_mistakes_inside_of_the_head_are_found_by_key_path():
    own = section()
    own["head"]["bbox_head"]["focal_gama"] = 1.0
    own["head"]["assigner"]["name"] = "MaxIoUAssigner"
    own["head"]["sampler"]["num"] = "many"
    own["head"]["bbox_roi_extractor"].pop("name")
    problems = "\n".join(check({"model_name": "x", "MODEL": own}))
    assert "MODEL.head.bbox_head.focal_gama: BBoxHeadAVA takes no 'focal_gama'; did you mean 'focal_gamma'?" in problems
    assert "MODEL.head.assigner.name: there is no head 'MaxIoUAssigner'; did you mean 'MaxIoUAssignerAVA'?" in problems
    assert "MODEL.head.sampler.num: expected int, got 'many'" in problems
    assert "MODEL.head.bbox_roi_extractor.name: is missing" in problems
    assert check({"model_name": "x", "MODEL": section(shared=ACRN)}) == []


def test_batches_that_cannot_be_learnt_from_are_refused():
    network = detector()
    with pytest.raises(UserError, match="no gt_boxes"):
        network(batch(), mode="loss")
    given = batch(gt=(1, 1, 1))
    with pytest.raises(UserError, match="labels are for 3 classes"):
        network({**given, "gt_labels": given["gt_labels"][:, :3]}, mode="loss")
    with pytest.raises(UserError, match="num_seg is 8"):
        network({**given, "imgs": given["imgs"][:, :, :4]}, mode="predict")
    with pytest.raises(UserError, match="one view per clip"):
        network.box_logits(given["imgs"].expand([3, 2, T, 48, 64, 3]), given["boxes"], given["boxes_num"])


def test_a_frozen_backbone_keeps_its_features_while_the_head_learns():
    network = build_framework({**section(), "freeze": ["backbone"]}, NORMALIZATION)
    given = batch(gt=(2, 1, 2))
    network.eval()
    features = network(given, mode="features")["features"].numpy()
    scores = predict(network, given)
    trained = [p for p in network.parameters() if not p.stop_gradient]
    optimizer = paddle.optimizer.Momentum(0.1, parameters=trained)
    network.train()
    network(given, mode="loss")["loss"].backward()
    optimizer.step()
    network.eval()
    np.testing.assert_array_equal(network(given, mode="features")["features"].numpy(), features)
    assert np.abs(predict(network, given) - scores).max() > 1e-4
