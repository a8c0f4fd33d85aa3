"""Golden parity: the networks equal PaddleVideo's and MMAction2's, and the comparison notices when they do not."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import paddle
import pytest

from paddlevideo.errors import UserError
from paddlevideo.modeling import build_framework
from tests.parity import cases as parity_cases
from tests.parity import golden
from tests.parity import runner as parity

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
SMALL = sorted(
    str(path.relative_to(GOLDEN))
    for part in ("paddlevideo", "mmaction2")
    for path in GOLDEN.glob(f"{part}/*_small.json")
)


@pytest.fixture
def formulas():
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "golden_weights.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", SMALL)
def test_small_networks_equal_the_reference(name):
    row = parity.check_case(GOLDEN / name)
    assert (row.status, row.notes) == (parity.OK, [])
    assert row.error < 1e-5


@pytest.mark.parametrize(
    "name",
    [
        "paddlevideo/tsm_r50_full",
        "paddlevideo/pptsm_r50_full",
        pytest.param("paddlevideo/timesformer_divided_full", marks=pytest.mark.slow),
        "mmaction2/tsm_mobilenetv2_full",
    ],
)
def test_full_networks_equal_the_reference(name):
    row = parity.check_case(GOLDEN / f"{name}.json")
    assert (row.status, row.notes) == (parity.OK, [])


@pytest.mark.parametrize("name", ["pptsm_v2_full", "pptsm_mv3_full"])
def test_full_networks_that_are_stored_beside_the_checkout_equal_the_reference(name):
    file = GOLDEN.parents[2] / "shared" / "golden" / "paddlevideo" / f"{name}.json"
    if not file.is_file():
        pytest.skip("shared/golden is not beside the checkout")
    row = parity.check_case(file)
    assert (row.status, row.notes) == (parity.OK, [])


@pytest.mark.parametrize(
    ("change", "layer"),
    [
        ({"shift_div": 8}, "backbone.stages.2.0"),
        ({"shift_direction": "mmaction2"}, "backbone.stages.2.0"),
        ({"shift": False}, "backbone.stages.2.0"),
        ({"dropout_prob": 0.0}, "logits"),
    ],
)
def test_a_wrong_variant_of_pptsm_v2_is_found_where_it_begins(change, layer, tmp_path):
    """Sixteen frames: the share that a file does not name is 1 / 16."""
    name = "paddlevideo/pptsm_v2_16seg_small"
    row = altered(tmp_path, name, lambda case, arrays: case["reference"]["backbone"].update(change))
    assert (row.status, row.layer) == (parity.DIFFERS, layer)


def test_a_fused_network_that_differs_is_noticed(tmp_path):
    row = altered(tmp_path, "paddlevideo/pptsm_v2_small", lambda case, arrays: arrays.update(
        {"rep/logits": arrays["rep/logits"] + 0.01}))  # fmt: skip
    assert row.status == parity.DIFFERS and "rep/logits" in "\n".join(row.notes)


def test_losses_rates_indices_and_accuracies_equal_the_reference():
    rows = {row.name: row for row in parity.check([str(GOLDEN / "cases")])}
    wanted = {f"cases/{file.stem}" for file in (GOLDEN / "cases").glob("*.json")}
    assert {"cases/ava_map_synthetic", "cases/lr_schedules", "cases/sample_ava_frames_test_mode"} <= wanted
    assert wanted <= rows.keys()
    assert {name: rows[name].notes for name in wanted} == {name: [] for name in wanted}
    assert {rows[name].status for name in wanted} == {parity.OK}
    assert all(rows[f"cases/{name}"].error < 1e-12 for name in ("lr_schedules", "accuracy"))


def test_frame_map_of_the_references_own_sample():
    folder = GOLDEN.parents[2] / "shared" / "media" / "ava_eval"
    if not folder.is_dir():
        pytest.skip("shared/media is not beside the checkout")
    (row,) = parity.check([str(folder / "ava_map_fixture.json")])
    assert (row.status, row.notes) == (parity.OK, []) and row.error < 1e-6


def test_the_formula_is_the_published_one(formulas):
    shapes = [
        ("backbone.conv._conv.weight", [8, 3, 7, 7]),
        ("backbone.conv._batch_norm.weight", [8]),
        ("backbone.conv._batch_norm.bias", [8]),
        ("backbone.conv._batch_norm._mean", [8]),
        ("bn.running_var", [8]),
        ("bn.num_batches_tracked", []),
        ("backbone.cls_token", [1, 1, 6]),
        ("nl.theta.conv.weight", [4, 3, 1, 1, 1]),
        ("head.fc.weight", [6, 5]),
    ]
    for layout in ("paddle", "torch"):
        ours, theirs = golden.weights(7, shapes, layout, 1.4), formulas.state(7, shapes, layout, 1.4)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) and ours[key].dtype == np.float32 for key in ours)
        assert golden.checksum(ours) == formulas.checksum(theirs)
    for shape, cell in (((2, 3, 40, 70), 32), ((4, 8, 8), 4)):
        assert np.array_equal(golden.dense_input(3, "x", shape, cell), formulas.dense_input(3, "x", shape, cell))
    assert np.array_equal(golden.integers(3, "y", 0, 9, [4, 1]), formulas.integers(3, "y", 0, 9, [4, 1]))


def altered(tmp_path, name, change):
    """A copy of a case with something changed in its description or arrays."""
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    with np.load(GOLDEN / f"{name}.npz") as stored:
        arrays = dict(stored)
    change(case, arrays)
    (tmp_path / "case.json").write_text(json.dumps(case))
    np.savez(tmp_path / "case.npz", **arrays)
    return parity.check_case(tmp_path / "case.json")


def test_a_shift_in_the_wrong_direction_is_found_in_its_first_stage(tmp_path):
    def turn(case, arrays):
        case["reference"]["backbone"]["shift_direction"] = "mmaction2"

    row = altered(tmp_path, "paddlevideo/tsm_r50_small", turn)
    assert (row.status, row.layer) == (parity.DIFFERS, "backbone.res2a") and row.error > 1e-3


@pytest.mark.parametrize(
    ("name", "change", "layer"),
    [
        ("tsm_nl_gaussian_r50_small", {"shift_div": 16}, "backbone.layer1"),
        # names tell these: what is shifted, and where
        ("tsm_shift_block_r50_small", {"shift_place": "blockres"}, "weights"),
        ("tsm_temporal_pool_r50_small", {"is_shift": False}, "weights"),
        ("tsm_temporal_pool_r50_small", {"temporal_pool": False}, "weights"),
        ("tsm_mobilenetv2_small", {"is_shift": False}, "weights"),
        ("tsm_r101_small", {"shift_place": "block"}, "weights"),
        ("tsm_mobilenetv2_small", {"shift_div": 16}, "backbone.layer2"),
        (
            "tsm_nl_embedded_gaussian_r50_small",
            {"non_local_cfg": {"mode": "dot_product", "norm_cfg": {"type": "BN3d"}}},
            "backbone.layer2.0.non_local_block",
        ),
        (
            "tsm_nl_embedded_gaussian_r50_small",
            {"non_local_cfg": {"use_scale": True, "sub_sample": True, "norm_cfg": {"type": "BN3d"}}},
            "backbone.layer2.0.non_local_block",
        ),
    ],
)
def test_a_wrong_variant_is_found_where_it_begins(name, change, layer, tmp_path):
    row = altered(tmp_path, f"mmaction2/{name}", lambda case, arrays: case["reference"]["backbone"].update(change))
    assert (row.status, row.layer) == (parity.DIFFERS, layer)


def test_non_local_blocks_without_normalisation_are_not_here(tmp_path):
    def change(case, arrays):
        case["reference"]["backbone"]["non_local_cfg"].pop("norm_cfg")

    row = altered(tmp_path, "mmaction2/tsm_nl_gaussian_r50_small", change)
    assert (row.status, row.notes) == (parity.MISSING, ["non-local blocks with no normalisation"])


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda case, arrays: arrays.update({"loss/plain": arrays["loss/plain"] + 0.01}), "loss/plain"),
        (lambda case, arrays: arrays.update({"views/prob": arrays["views/prob"] * 1.01}), "views/prob"),
        (lambda case, arrays: arrays.update({"logits": arrays["logits"] + 0.01}), "logits"),
        (lambda case, arrays: case.update(weights_checksum=[1, 2.0, 3.0]), "weights: checksum"),
        (lambda case, arrays: case.update(seed=2), "weights: checksum"),
        (lambda case, arrays: case["state_dict"].pop(), "missing     head.fc.bias"),
        (lambda case, arrays: case["inputs"][0].update(shape=[2, 3, 4, 64, 64]), "4 frames"),
    ],
    ids=["loss", "views", "logits", "checksum", "seed", "key", "frames"],
)
def test_every_kind_of_difference_is_noticed(change, word, tmp_path):
    row = altered(tmp_path, "paddlevideo/timesformer_divided_small", change)
    assert row.status == parity.DIFFERS and word in "\n".join(row.notes)


def test_a_class_or_argument_that_is_not_here_is_a_row_not_a_failure(tmp_path):
    def rename(case, arrays):
        case["reference"]["backbone"]["type"] = "NoSuchNet"

    row = altered(tmp_path, "mmaction2/timesformer_space_small", rename)
    assert (row.status, row.notes) == (parity.MISSING, ["NoSuchNet"])


def write_case(path, name, section, seed, frames, size):
    """A case of our own making: another seed, number of frames and size, in PaddleVideo's layout."""
    from paddlevideo.modeling import build_framework

    case = {"name": name, "seed": seed, "layout": "paddle", "reference": {"project": "PaddleVideo", **section}}
    network = build_framework(parity.model_section(case))
    network.eval()
    case["state_dict"] = [[key, list(value.shape)] for key, value in network.state_dict().items()]
    case["inputs"] = [
        {"name": "input", "kind": "dense_input", "shape": [1, frames, 3, size, size], "axes": "N,T,C,H,W"}
    ]
    weights = golden.weights(seed, case["state_dict"])
    case["weights_checksum"] = golden.checksum(weights)
    network.set_state_dict({key: paddle.to_tensor(value) for key, value in weights.items()})
    clip = golden.make_input(seed, case["inputs"][0]).transpose(0, 1, 3, 4, 2)[:, None]
    with paddle.no_grad():
        logits = network.view_logits(paddle.to_tensor(np.ascontiguousarray(clip)))[:, 0].numpy()
    (path / f"{name}.json").write_text(json.dumps(case))
    np.savez(path / f"{name}.npz", logits=logits)


def test_cases_of_other_sizes_seeds_and_lengths_are_read(tmp_path):
    """PaddleVideo's 16-frame files shift a sixteenth: the reference's num_seg decides."""
    section = {
        "framework": "Recognizer2D",
        "backbone": {"name": "ResNetTSM", "depth": 18, "num_seg": 16, "width": 16},
        "head": {"name": "TSMHead", "num_classes": 5, "in_channels": 128},
    }
    write_case(tmp_path, "r18_16f", section, seed=5, frames=16, size=48)
    (row,) = parity.check([str(tmp_path / "r18_16f.npz")])
    assert row.status == parity.OK
    case = json.loads((tmp_path / "r18_16f.json").read_text())
    assert build_framework(parity.model_section(case)).backbone.shift_div == 16


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("ours", "theirs", "equal"),
    [(NAN, NAN, True), (1.0, NAN, False), (NAN, 1.0, False), (INF, INF, True), (INF, -INF, False), (1.0, 1.0, True)],
)
def test_a_value_that_is_no_number_equals_the_same_expected_one_only(ours, theirs, equal):
    error, notes = parity_cases._figures([("mAP", ours, theirs), ("other", 0.5, 0.5)], 1e-6)
    assert (notes == []) == equal and (error == 0) == equal
    notes = []
    error = parity._compare("logits", np.array([ours, 2.0]), np.array([theirs, 2.0]), 2.0, notes)
    assert (notes == []) == equal and (error == 0) == equal
    stored = {"shape": [2], "stats": [theirs] * 4, "first": [ours, 2.0], "spread": [2.0] * 64}
    stored = {key: np.array(value) for key, value in stored.items()}
    assert parity.layer_problem(np.array([2.0, 2.0]), stored) is not None


def test_wrong_paths_are_named(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    for path, word in (
        (tmp_path / "no", "no such file"),
        (tmp_path / "x.json", "no golden case"),
        (tmp_path, "no golden case"),
    ):
        with pytest.raises(UserError, match=word):
            list(parity.check([str(path)]))
