"""Building feature banks: resumed, by two ranks, from MMAction2's files; and models that learn and test with them."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import yaml

from paddlevideo import collectors
from paddlevideo.build import deployed_network, load_run_config, loader_for
from paddlevideo.config import load_config
from paddlevideo.engine.bank import build_bank
from paddlevideo.engine.evaluate import tensors
from paddlevideo.engine.training import train
from paddlevideo.errors import UserError
from paddlevideo.loader.feature_bank import FeatureBank, LongTermWindow, convert_mmaction2
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from tests.tiny import run_test
from tests.tiny_ava import tiny_ava_config
from tests.torch_writer import WRITERS, Tensor

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.xdist_group("tiny_ava_bank")


def save(config, path):
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return path


def with_head(tiny_ava, tmp_path, shared_head, in_channels, banks=None):
    """The tiny detector's configuration, with a shared head and, if it looks into them, feature banks."""
    config = tiny_ava_config(tiny_ava.data)
    config["MODEL"]["head"]["shared_head"] = shared_head
    config["MODEL"]["head"]["bbox_head"]["in_channels"] = in_channels
    config["output_dir"] = str(tmp_path / "out")
    if banks:
        window = {"name": "LongTermFeatures", "banks": [str(b) for b in banks], "window_s": 4, "max_features": 3}
        config["PIPELINE"]["test"]["long_term"] = window
    return config


def build(tiny_ava, out, **options):
    return build_bank(load_config(tiny_ava.config), Options(weights=str(tiny_ava.weights)), "test", out, **options)


@pytest.fixture(scope="module")
def whole(tiny_ava, tmp_path_factory):
    return build(tiny_ava, tmp_path_factory.mktemp("bank") / "whole.bank")


def test_it_holds_what_the_detector_sees_of_every_person(tiny_ava, whole):
    config = load_config(tiny_ava.config)
    network = deployed_network(config)
    load_weights(network, tiny_ava.weights)
    network.eval()
    loader, made = loader_for(config, "test", network.num_classes, 0), FeatureBank(whole)
    logits, expected = [], []
    with paddle.no_grad():
        for batch in loader.epoch(0):
            logits.append(network(tensors(batch), mode="predict")["scores"].numpy())
            regions = network(tensors(batch), mode="features")["features"]
            expected.append(network.roi_head.bbox_head.scores(network.roi_head.bbox_head.fc_cls(regions)).numpy())
    # the classifier on the kept feature gives the network's own scores: that is what the feature is
    np.testing.assert_allclose(np.concatenate(expected), np.concatenate(logits), atol=1e-5)
    assert len(made) == sum(map(len, logits)) and made.channels == 64
    assert all((r["video_id"], r["timestamp"]) in made for r in loader.dataset.records)
    for rows, _ in (made.rows(r["video_id"], r["timestamp"], r["timestamp"] + 1) for r in loader.dataset.records):
        assert (np.diff(made.scores[rows]) <= 0).all()


def test_a_training_split_has_every_sample_once(tiny_ava, whole, tmp_path):
    """Whatever its training draws or skips."""
    config = tiny_ava_config(tiny_ava.data)
    config["DATASET"]["train"] = config["DATASET"]["test"] | {"sample_by_class": True, "power": 0.5, "on_error": "skip"}
    found = build_bank(load_config(save(config, tmp_path / "c.yaml")), Options(weights=str(tiny_ava.weights)), "train",
                       tmp_path / "train.bank")  # fmt: skip
    assert len(FeatureBank(found)) == len(FeatureBank(whole))


def test_a_run_that_was_stopped_goes_on_and_gives_the_same_file(tiny_ava, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(collectors, "_GROUP", 1)
    written, flush = [], collectors.BankCollector.flush

    def stopping(collector):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(collector.number)
        flush(collector)

    monkeypatch.setattr(collectors.BankCollector, "flush", stopping)
    out = tmp_path / "b.bank"
    with pytest.raises(KeyboardInterrupt):
        build(tiny_ava, out)
    assert not out.exists() and len(list((tmp_path / "b.bank.parts").glob("*.npy"))) == 1
    seen = []
    noted = collectors.BankCollector
    monkeypatch.setattr(noted, "flush", lambda c: (seen.append(c.number) if c._rows else None, flush(c)))
    build(tiny_ava, out)
    assert 0 not in seen and seen
    assert out.read_bytes() == whole.read_bytes() and not (tmp_path / "b.bank.parts").exists()


def test_parts_of_another_run_are_not_mixed_in(tiny_ava, tmp_path, monkeypatch):
    monkeypatch.setattr(collectors, "write_bank", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(tiny_ava, tmp_path / "b.bank")
    with pytest.raises(UserError, match=r"b\.bank\.parts: was begun with other half"):
        build(tiny_ava, tmp_path / "b.bank", half=True)
    config = tiny_ava_config(tiny_ava.data)
    config["DATASET"]["test"]["timestamp_end"] = 1700
    config["MODEL"]["head"]["bbox_head"]["temporal_pool_type"] = "max"
    with pytest.raises(UserError, match="was begun with other data, model"):
        build_bank(load_config(save(config, tmp_path / "c.yaml")), Options(weights=str(tiny_ava.weights)), "test",
                   tmp_path / "b.bank")  # fmt: skip


def launch_two_ranks(command, folder):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PADDLE")}
    launcher = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(folder / "log")]
    done = subprocess.run(
        [sys.executable, *launcher, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


@pytest.mark.slow
def test_two_ranks_give_the_bank_of_one(tiny_ava, whole, tmp_path):
    out = tmp_path / "two.bank"
    command = ["tools/build_feature_bank.py", "-c", str(tiny_ava.config), "-w", str(tiny_ava.weights), "--split"]
    launch_two_ranks([*command, "test", "-o", f"output_dir={tmp_path}/out", "--out", str(out)], tmp_path)
    one, two = FeatureBank(whole), FeatureBank(out)
    assert np.array_equal(one.features, two.features) and np.array_equal(one.scores, two.scores)
    assert out.read_bytes() == whole.read_bytes()


def with_infer_head(tiny_ava, tmp_path):
    """The file of the tiny detector, whose test run writes ``tmp_path/lfb_test.bank``."""
    head = {
        "name": "LFBInferHead",
        "lfb_prefix_path": str(tmp_path),
        "dataset_mode": "test",
        "use_half_precision": False,
    }
    return save(with_head(tiny_ava, tmp_path, head, 64), tmp_path / "infer.yaml")


@pytest.mark.slow
def test_a_test_run_of_two_ranks_writes_the_bank_of_one(tiny_ava, whole, tmp_path):
    file = with_infer_head(tiny_ava, tmp_path)
    launch_two_ranks(["main.py", "-c", str(file), "--test", "-w", str(tiny_ava.weights)], tmp_path)
    made, expected = FeatureBank(tmp_path / "lfb_test.bank"), FeatureBank(whole)
    assert len(made) == len(expected) and np.allclose(made.features, expected.features, atol=1e-5)
    assert not (tmp_path / "lfb_test.bank.test_parts").exists()


def test_the_pages_own_way_writes_the_bank_at_the_end_of_a_test(tiny_ava, whole, tmp_path):
    config = load_config(with_infer_head(tiny_ava, tmp_path))
    figures = run_test(config, Options(weights=str(tiny_ava.weights)))
    plain = load_config(tiny_ava.config, [f"output_dir={tmp_path}/plain"])
    assert figures == run_test(plain, Options(weights=str(tiny_ava.weights)))
    made, expected = FeatureBank(tmp_path / "lfb_test.bank"), FeatureBank(whole)
    assert made.names == expected.names and np.allclose(made.features, expected.features, atol=1e-5)


@pytest.mark.parametrize(("fbo", "channels"), [("non_local", 64 + 16), ("avg", 128), ("max", 128)])
def test_models_train_and_test_with_banks(tiny_ava, whole, tmp_path, fbo, channels):
    head = {"name": "FBOHead", "fbo": fbo, "st_feat_channels": 64, "lt_feat_channels": 64, "latent_channels": 16}
    config = with_head(tiny_ava, tmp_path, head, channels, [whole])
    config["DATASET"]["train"], config["PIPELINE"]["train"] = config["DATASET"]["test"], config["PIPELINE"]["test"]
    rate = {"name": "WarmupStepDecay", "base_lr": 0.01, "milestones": [9]}
    config |= {"epochs": 1, "OPTIMIZER": {"name": "Momentum", "learning_rate": rate}}
    config = load_run_config(save(config, tmp_path / "lfb.yaml"))
    train(config, Options())
    weights = tmp_path / "out" / "tiny_ava_epoch_00001.pdparams"
    figures = run_test(config, Options(weights=str(weights)))
    assert 0 <= figures["mAP@0.5IOU"] <= 1


def test_a_model_that_reads_banks_names_what_is_missing(tiny_ava, tmp_path):
    head = {"name": "FBOHead", "fbo": "avg", "st_feat_channels": 64, "lt_feat_channels": 64}
    file = save(with_head(tiny_ava, tmp_path, head, 128), tmp_path / "lfb.yaml")
    weights = {name: value.numpy() for name, value in deployed_network(load_config(file)).state_dict().items()}
    write_pickle(tmp_path / "w.pdparams", weights)
    options = Options(weights=str(tmp_path / "w.pdparams"))
    with pytest.raises(UserError, match="FBOHead needs a feature bank.*LongTermFeatures"):
        run_test(load_config(file), options)
    file = save(with_head(tiny_ava, tmp_path, head, 128, [tmp_path / "none.bank"]), tmp_path / "lfb.yaml")
    with pytest.raises(UserError, match=r"none\.bank: no such feature bank"):
        run_test(load_config(file), options)


def write_plain(path, content):
    path.write_bytes(pickle.dumps(content))


@pytest.mark.parametrize("form", ["plain", *WRITERS])
def test_mmaction2s_nested_dict_becomes_a_bank(form, tmp_path):
    """The tensors of torch.save before 1.6 and since, and plain arrays; torch is not needed."""
    rng = np.random.default_rng(0)
    seconds = {901: 2, 903: 7, 904: 1}
    content = {"v": {s: [rng.standard_normal(4).astype("float16") for _ in range(k)] for s, k in seconds.items()}}
    tensors_of = {"v": {s: [Tensor(person) for person in persons] for s, persons in content["v"].items()}}
    if form == "plain":
        write_plain(tmp_path / "lfb_train.pkl", content)
    else:
        WRITERS[form](tmp_path / "lfb_train.pkl", tensors_of)
    assert convert_mmaction2(tmp_path / "lfb_train.pkl", tmp_path / "a.bank", half=True) == (3, 10)
    features, filled = LongTermWindow([tmp_path / "a.bank"], 4, 5)("v", 903, None)  # seconds 901 .. 904
    expected = np.zeros((20, 4), "float32")
    for i, second in enumerate((901, 902, 903, 904)):
        for j, person in enumerate(content["v"].get(second, [])[:5]):
            expected[5 * i + j] = person
    assert np.array_equal(features, expected) and filled.sum() == 2 + 5 + 1


def test_files_that_are_no_bank_of_mmaction2(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"v": [1, 2]}))
    with pytest.raises(UserError, match=r"a\.pkl: v: expected \{second: \[features\]\}, got list"):
        convert_mmaction2(tmp_path / "a.pkl", tmp_path / "a.bank", half=False)
    (tmp_path / "b.pkl").write_bytes(pickle.dumps({"v": {901: [np.zeros((2, 2))]}}))
    with pytest.raises(UserError, match="expected a vector per person"):
        convert_mmaction2(tmp_path / "b.pkl", tmp_path / "a.bank", half=False)
    with pytest.raises(UserError, match="no such file"):
        convert_mmaction2(tmp_path / "c.pkl", tmp_path / "a.bank", half=False)
