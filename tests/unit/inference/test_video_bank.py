"""A model with a feature bank on a video that has none: predict makes it and is test; and its export."""

import json
import os
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from paddlevideo.ava_files import read_proposals
from paddlevideo.loader.feature_bank import FeatureBank
from paddlevideo.safe_io import write_pickle
from tests.tiny_ava import CUSTOM, make, tiny_ava_config

C = 64
HEADS = {
    "non_local": ({"latent_channels": 16}, C + 16),
    "avg": ({"mask_empty": True}, 2 * C),
}


@pytest.fixture(scope="module")
def tiny_ava(tmp_path_factory):
    """The data, and the detector that makes the banks."""
    return make(tmp_path_factory.mktemp("tiny_ava"), exported=False)


def lfb_config(tiny_ava, fbo, bank):
    config, (arguments, channels) = tiny_ava_config(tiny_ava.data), HEADS[fbo]
    head = {"name": "FBOHead", "fbo": fbo, "st_feat_channels": C, "lt_feat_channels": C, **arguments}
    config["MODEL"]["head"] |= {"shared_head": head}
    config["MODEL"]["head"]["bbox_head"]["in_channels"] = channels
    config["DATASET"]["test"]["eval_keyframes"] = "proposals"
    window = {"banks": [str(bank)], "window_s": 4, "max_features": 2, "sampling": "random"}
    config["PIPELINE"]["test"]["long_term"] = {"name": "LongTermFeatures", **window}
    return config | {"model_name": f"lfb_{fbo}"}


def write_weights(config, detector, path):
    """The detector's backbone, and a head whose scores depend on person and window."""
    import paddle

    from paddlevideo.build import deployed_network
    from paddlevideo.safe_io import read_pickle

    paddle.seed(5)
    network, rng = deployed_network(config), np.random.default_rng(2)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    arrays |= {name: value for name, value in read_pickle(detector).items() if name.startswith("backbone.")}
    shape = arrays["roi_head.bbox_head.fc_cls.weight"].shape
    arrays["roi_head.bbox_head.fc_cls.weight"] = rng.normal(0, 0.3, shape).astype("float32")
    write_pickle(path, arrays)
    return path


def scores_of_test(config, weights):
    """What ``main.py --test`` gives its metric: {(video, second): (boxes, scores)}."""
    from paddlevideo.build import deployed_network, loader_for
    from paddlevideo.engine.evaluate import evaluate
    from paddlevideo.engine.precision import Precision
    from paddlevideo.modeling.weights import load_weights

    network, kept = deployed_network(config), {}
    load_weights(network, weights)
    loader = loader_for(config, "test", network.num_classes, 7)

    def update(index, outputs, batch):
        ends = np.cumsum(batch["boxes_num"])[:-1]
        for i, *found in zip(index, np.split(batch["boxes_norm"], ends), np.split(outputs["scores"], ends)):
            record = loader.dataset.records[i]
            kept[record["video_id"], record["timestamp"]] = found

    collector = SimpleNamespace(
        use_dataset=lambda dataset: None, use_framework=lambda framework: None,
        update=update, state=dict, merge=lambda states: None, compute=lambda: {"count": len(kept)}, primary="count",
    )  # fmt: skip
    evaluate(network, loader, collector, Precision(False, "O1", "float16"))
    return kept


@pytest.fixture(scope="module")
def lfb(tiny_ava, tmp_path_factory):
    """Per operator config (whose bank is not there), weights, folder (the export); and the data set's own bank."""
    from paddlevideo.config import load_config
    from paddlevideo.engine.bank import build_bank
    from paddlevideo.inference.export import export
    from paddlevideo.settings import Options

    root, models = tmp_path_factory.mktemp("lfb"), {}
    proposals = load_config(tiny_ava.config, ["DATASET.test.eval_keyframes=proposals", f"output_dir={root}/out"])
    bank = build_bank(proposals, Options(weights=str(tiny_ava.weights)), "test", root / "lfb_test.bank")
    for fbo in HEADS:
        path = root / f"{fbo}.yaml"
        path.write_text(yaml.safe_dump(lfb_config(tiny_ava, fbo, root / "nowhere.bank"), sort_keys=False))
        config = load_config(path)
        weights = write_weights(config, tiny_ava.weights, root / f"{fbo}.pdparams")
        report = export(config, weights, root / fbo, say=lambda line: None)
        models[fbo] = SimpleNamespace(config=path, weights=weights, folder=root / fbo, report=report)
    return SimpleNamespace(bank=bank, **models)


@pytest.fixture
def predict(tiny_ava, run_tool, tmp_path):
    """Runs ava_predict on the video with known boxes: code, out, err, and key frames by second."""

    def run(*options, boxes=True):
        out = ["--out-filename", "", "--json", tmp_path / "a.json", "--action-score-thr", 0, "--device", "cpu"]
        source = ["--proposals", tiny_ava.proposals] if boxes else []
        done = run_tool("ava_predict", "--video_path", tiny_ava.video, *source, *out, *options)
        if done.code == 0:
            records = json.loads((tmp_path / "a.json").read_text())
            done.found = {round(record["time_s"]) + 900: record["persons"] for record in records}
        return done

    return run


def of_weights(model):
    return ["-c", model.config, "-w", model.weights]


def of_detector(tiny_ava):
    return ["--bank-config", tiny_ava.config, "--bank-weights", tiny_ava.weights]


def rows_of(persons):
    return np.array([[{a["id"]: a["score"] for a in p["actions"]}[i] for i in CUSTOM] for p in persons])


def test_scores_are_those_of_main_test_with_the_data_sets_bank(tiny_ava, lfb, predict, tmp_path):
    from paddlevideo.config import load_config

    model = lfb.non_local
    banks = [f"PIPELINE.test.long_term.banks=[{lfb.bank}]", "PIPELINE.test.long_term.sampling=first"]
    expected = scores_of_test(load_config(model.config, banks), model.weights)
    expected = {second: found for (video, second), found in expected.items() if video == tiny_ava.video_id}
    run = predict(*of_weights(model), *of_detector(tiny_ava), "--batch_size", 2)
    assert run.code == 0, run.err
    assert run.found.keys() == expected.keys() and len(expected) >= 4
    for second, (boxes, scores) in expected.items():
        np.testing.assert_allclose([p["box_norm"] for p in run.found[second]], boxes, atol=1e-6)
        np.testing.assert_allclose(rows_of(run.found[second]), scores[:, 1:], atol=1e-5)
    made, whole = FeatureBank(tmp_path / f"{tiny_ava.video_id}.bank"), FeatureBank(lfb.bank)
    assert made.names == [tiny_ava.video_id]
    (own, seconds), (rows, others) = (bank.rows(tiny_ava.video_id, 0, 9999) for bank in (made, whole))
    assert np.array_equal(seconds, others) and np.array_equal(made.scores[own], whole.scores[rows])
    np.testing.assert_allclose(made.features[own], whole.features[rows], atol=1e-5)
    # its stored past matters: half of the window gives other scores
    run = predict(*of_weights(model), *of_detector(tiny_ava), "-o", "PIPELINE.test.long_term.window_s=1")
    assert max(np.abs(rows_of(run.found[s]) - scores[:, 1:]).max() for s, (_, scores) in expected.items()) > 1e-3


def test_a_bank_is_used_again_if_it_is_the_right_one(tiny_ava, lfb, predict, tmp_path):
    bank = tmp_path / "own.bank"
    options = [*of_weights(lfb.avg), "--bank", bank]
    first = predict(*options, *of_detector(tiny_ava))
    assert first.code == 0 and f"feature bank: {bank}, 4 key frames, 11 people" in first.err, first.err
    content = bank.read_bytes()
    os.utime(bank, (1, 1))
    again = predict(*options, *of_detector(tiny_ava))
    assert f"{bank}, kept from before" in again.err and bank.stat().st_mtime == 1 and again.found == first.found
    moved = {key: boxes * np.float32(0.98) for key, boxes in read_proposals(tiny_ava.proposals).items()}
    write_pickle(tmp_path / "moved.pkl", moved)
    changes = {
        "boxes": [*of_detector(tiny_ava), "--proposals", tmp_path / "moved.pkl"],
        "video id, boxes": [*of_detector(tiny_ava), "--video-id", "test_00001"],
        "weights, network or preprocessing": [],  # the model's own backbone
    }
    for others, change in changes.items():
        bank.write_bytes(content)
        run = predict(*options, *change)
        assert run.code == 0 and f"{bank}: a feature bank that differs in {others}; making it anew" in run.err, run.err
        assert bank.read_bytes() != content


@pytest.mark.slow
def test_the_models_own_backbone_makes_a_bank_of_every_second(tiny_ava, lfb, predict, tmp_path, monkeypatch):
    """With a detector, key frames of the prediction are others than those of the bank; each is read once."""
    import paddlevideo.inference.detector as module

    read_s = []

    class Middle(module.PersonDetector):
        name = "the middle"

        def detect(self, frames, timestamps_s):
            read_s.extend(timestamps_s)
            return [np.array([[40, 20, 80, 90, 0.9], [0, 20, 40, 90, 0.7]], np.float32) for _ in frames]

    monkeypatch.setattr(module, "open_detector", lambda *rest: Middle())
    run = predict(*of_weights(lfb.avg), "--predict-stepsize", 40, "--detect-every", 9, boxes=False)
    assert run.code == 0, run.err
    assert "the model's own backbone makes the feature bank" in run.err and "--bank-config CFG" in run.err
    assert "timestamps number: 4" in run.out and len(read_s) == len(set(read_s)) == 6 + 4 - 1  # second 2 is frame 60
    bank = FeatureBank(tmp_path / f"{tiny_ava.video_id}.bank")
    assert [(tiny_ava.video_id, s) in bank for s in range(7)] == [True] * 6 + [False] and len(bank) == 12


def test_no_person_in_the_video_is_a_result(tiny_ava, lfb, predict, tmp_path, monkeypatch):
    import paddlevideo.inference.detector as module

    no_person = np.zeros((0, 5), np.float32)
    blind = SimpleNamespace(name="blind", detect=lambda frames, times: [no_person for _ in frames], account=lambda: [])
    monkeypatch.setattr(module, "open_detector", lambda *rest: blind)
    run = predict(*of_weights(lfb.non_local), "--every", 1, boxes=False)
    assert run.code == 0 and not any(run.found.values()), run.err
    bank = FeatureBank(tmp_path / f"{tiny_ava.video_id}.bank")
    assert len(bank) == 0 and bank.channels == C and (tiny_ava.video_id, 3) in bank


def narrow_detector(tiny_ava, folder):
    from paddlevideo.build import deployed_network
    from paddlevideo.config import load_config

    config = tiny_ava_config(tiny_ava.data)
    config["MODEL"]["backbone"]["width"], config["MODEL"]["head"]["bbox_head"]["in_channels"] = 4, 32
    (folder / "narrow.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    arrays = deployed_network(load_config(folder / "narrow.yaml")).state_dict()
    write_pickle(folder / "narrow.pdparams", {name: value.numpy() for name, value in arrays.items()})
    return ["--bank-config", folder / "narrow.yaml", "--bank-weights", folder / "narrow.pdparams"]


def test_mistakes_are_one_line(tiny_ava, lfb, predict, tmp_path):
    content = lfb.bank.read_bytes()
    (tmp_path / "cut.bank").write_bytes(content[:-5])
    plain = ["-c", tiny_ava.config, "-w", tiny_ava.weights]
    narrow = narrow_detector(tiny_ava, tmp_path)
    for options, message in (
        ([*of_weights(lfb.avg), "--bank", lfb.bank], "a feature bank of a data set, which is not overwritten"),
        (
            [*of_weights(lfb.avg), "--bank", tmp_path / "cut.bank"],
            "cut.bank: damaged, or not a feature bank (ValueError: it has",
        ),
        (
            [*of_weights(lfb.avg), "--bank-config", tiny_ava.config],
            "--bank-config and --bank-weights: give both or none",
        ),
        ([*plain, "--bank", "a.bank"], "--bank: the model reads no feature bank"),
        (
            [*of_weights(lfb.avg), *narrow],
            "narrow.yaml: features of 32 channels, but the model takes a feature bank of",
        ),
        (["--model_file", lfb.avg.folder], "an exported model reads a feature bank and cannot make it; name the"),
    ):
        run = predict(*options)
        assert run.code == 2 and message in run.err.splitlines()[-1], (message, run.err)
    assert lfb.bank.read_bytes() == content


def test_an_exported_model_gives_the_same(tiny_ava, lfb, predict, tmp_path):
    bank = ["--bank", tmp_path / "own.bank"]
    expected = predict(*of_weights(lfb.non_local), *bank, *of_detector(tiny_ava)).found
    exported = ["--model_file", lfb.non_local.folder, *bank]
    content = (tmp_path / "own.bank").read_bytes()
    (tmp_path / "own.bank").unlink()
    for options in (of_detector(tiny_ava), []):  # makes it; takes the one that is there
        run = predict(*exported, *options)
        assert run.code == 0 and (tmp_path / "own.bank").read_bytes() == content, run.err
        for second, persons in expected.items():
            np.testing.assert_allclose(rows_of(run.found[second]), rows_of(persons), atol=1e-5)
    assert f"kept from before, made by {tiny_ava.config}; no --bank-weights" in run.err


@pytest.mark.parametrize("fbo", HEADS)
def test_the_program_equals_the_network_with_any_number_of_people(lfb, fbo):
    from paddlevideo.config import load_config
    from paddlevideo.inference.network import TrainedNetwork
    from paddlevideo.inference.runtimes.base import Runtime
    from paddlevideo.inference.runtimes.paddle import PaddleModel, program_inputs

    model = getattr(lfb, fbo)
    scorer = TrainedNetwork(load_config(model.config), model.weights, "cpu", of_persons=True, say=print).run
    program = PaddleModel(model.report.program, model.report.params, Runtime(), say=print)
    shapes = {spec.name: spec.shape for spec in program_inputs(model.report.program)}
    assert list(shapes) == ["imgs", "boxes", "boxes_num", "long_term", "long_term_filled"]
    assert shapes["long_term"] == (-1, -1, C) and shapes["long_term_filled"] == (-1, -1)
    rng = np.random.default_rng(0)
    for counts in ([0], [1], [7], [40], [3, 0, 4]):
        corners = np.sort(rng.uniform(0, 1, (sum(counts), 2, 2)), axis=1) * [83, 63]
        slots = 14 if counts == [7] else 8  # another window than the exported one is fine
        filled = rng.random((len(counts), slots)) < 0.6
        filled[-1, :] &= len(counts) == 1  # a window without anybody
        batch = {
            "imgs": rng.integers(0, 256, (len(counts), 1, 4, 64, 84, 3), dtype=np.uint8),
            "boxes": corners.reshape(-1, 4).astype(np.float32),
            "boxes_num": np.array(counts, np.int32),
            "long_term": (rng.gamma(1, 1, (len(counts), slots, C)) * filled[..., None]).astype(np.float32),
            "long_term_filled": filled,
        }
        expected, got = scorer(batch), program.run(batch)
        assert got.shape == expected.shape == (sum(counts), len(CUSTOM) + 1)
        np.testing.assert_allclose(got, expected, atol=1e-5)
        if len(got):
            empty = {**batch, "long_term": 0 * batch["long_term"], "long_term_filled": filled & False}
            assert np.abs(program.run(empty) - got).max() > 1e-3  # it depends on the window


def test_inference_yml_names_the_window(lfb):
    noted = yaml.safe_load((lfb.avg.folder / "inference.yml").read_text())
    assert noted["detection"]["long_term"] == {"window_s": 4, "max_features": 2, "channels": C}
    inputs = {entry["name"]: entry for entry in noted["detection"]["inputs"]}
    assert (inputs["long_term"]["shape"], inputs["long_term"]["axes"]) == ([-1, -1, C], "NSC")
    assert inputs["long_term_filled"] == {
        "name": "long_term_filled", "dtype": "bool", "shape": [-1, -1], "axes": "NS"
    }  # fmt: skip


def test_what_builds_banks_is_exported_as_a_plain_detector(tiny_ava, tmp_path):
    from paddlevideo.config import load_config
    from paddlevideo.inference.export import export
    from paddlevideo.inference.runtimes.paddle import program_inputs

    config = tiny_ava_config(tiny_ava.data)
    config["MODEL"]["head"]["shared_head"] = {"name": "LFBInferHead", "lfb_prefix_path": str(tmp_path / "banks")}
    (tmp_path / "infer.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    report = export(load_config(tmp_path / "infer.yaml"), tiny_ava.weights, tmp_path / "out", say=lambda line: None)
    assert [spec.name for spec in program_inputs(report.program)] == ["imgs", "boxes", "boxes_num"]
    assert report.program.read_bytes() and report.max_difference < 1e-5 and not (tmp_path / "banks").exists()
