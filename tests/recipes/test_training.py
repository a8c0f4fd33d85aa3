"""Shipped configurations at reduced size: a step, a validation, a test, an export; one for each distinct kind."""

import tarfile
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest

from paddlevideo.build import load_run_config, network
from paddlevideo.config import Config, load_config
from paddlevideo.engine.training import train
from paddlevideo.inference.export import export
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.registry import BACKBONES
from paddlevideo.safe_io import write_pickle
from paddlevideo.settings import Options
from tests.recipes.leaves import (
    DETECTION,
    RECOGNITION,
    REDUCED,
    REDUCED_DETECTORS,
    clip_of,
    distinct,
    name_of,
    networks,
    reduce,
    reduce_detector,
)
from tests.slow_cases import some_slow
from tests.tiny import make_clips, moving_square, run_test

NO_LISTS = {"VideoDataset": "videos", "SFVideoDataset": "videos", "FrameDataset": "frames", "SpanDataset": "spans",
            "ShardDataset": "shards"}  # fmt: skip
DETECTORS = [file for file in DETECTION if "_demo" not in file.stem]  # the demos are small already, and run
KINDS = distinct(RECOGNITION, lambda config: reduce(config, NO_LISTS, "out"))
KINDS += distinct(DETECTORS, lambda config: reduce_detector(config, DETECTION[0].parent, "out"))
by_leaf = pytest.mark.parametrize("file", RECOGNITION + DETECTORS, ids=name_of)
by_kind = pytest.mark.parametrize("file", KINDS, ids=name_of)


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """A list for each kind of data set; labels 0 and 1, which every class count has."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(4):
        frames = folder / f"frames {i}"
        frames.mkdir()
        for t, frame in enumerate(moving_square(rng, bool(i % 2)), 1):
            cv2.imwrite(str(frames / f"img_{t:05}.jpg"), frame)
        lines.append(f"{frames} 12 {i % 2}")
    (folder / "frames.list").write_text("\n".join(lines))
    clips = make_clips(folder / "clips", 4)
    spans = [f"{line.rsplit(' ', 1)[0]},0.1,0.9,{line.rsplit(' ', 1)[1]}" for line in clips.read_text().splitlines()]
    (folder / "spans.csv").write_text("\n".join(["video,start_s,end_s,label", *spans]) + "\n")
    (folder / "shards").mkdir()
    with tarfile.open(folder / "shards" / "a-000000.tar", "w") as shard:
        for i, line in enumerate(clips.read_text().splitlines()):
            name, label = line.rsplit(" ", 1)
            (folder / "label").write_text(label)
            shard.add(name, f"{i}{Path(name).suffix}")
            shard.add(folder / "label", f"{i}.cls")
    return {"VideoDataset": clips, "SFVideoDataset": clips, "FrameDataset": folder / "frames.list",
            "SpanDataset": folder / "spans.csv", "ShardDataset": folder / "shards"}  # fmt: skip


@pytest.fixture(scope="module")
def ava(tmp_path_factory):
    """Two folders of 62 small frames, an annotated second each, one known proposal, and the official file kinds."""
    folder = tmp_path_factory.mktemp("ava")
    rng = np.random.default_rng(0)
    for video in ("one", "two"):
        (folder / "frames" / video).mkdir(parents=True)
        for i in range(1, 63):
            picture = rng.integers(0, 255, (36, 48, 3), dtype="uint8")
            for name in (f"img_{i:05}.jpg", f"{i:05}.jpg"):
                cv2.imwrite(str(folder / "frames" / video / name), picture)
    rows = [f"{video},0901,0.1,0.1,0.5,0.9,{label},0" for video in ("one", "two") for label in (3, 6, 12)]
    (folder / "truth.csv").write_text("\n".join(rows) + "\n")
    (folder / "excluded.csv").write_text("one,0902\n")
    # as the official 60-class list: the highest id is 80
    names = "".join(f'item {{\n  name: "class {i}"\n  id: {i}\n}}\n' for i in range(1, 81))
    (folder / "labels.pbtxt").write_text(names)
    box = np.array([[0.1, 0.1, 0.5, 0.9, 0.99], [0.5, 0.2, 0.9, 0.9, 0.95]], "float32")
    write_pickle(folder / "proposals.pkl", {"one,0901": box, "two,0901": box[:1]})
    return folder


@pytest.fixture
def small(lists, ava, tmp_path):
    """Makes the reduced configuration of a leaf."""

    def reduced(file):
        config = load_config(file).to_dict()
        if file in DETECTION:
            return Config(reduce_detector(config, ava, tmp_path), str(file))
        return Config(reduce(config, lists, tmp_path), str(file))

    return reduced


@by_leaf
def test_every_leaf_is_sound_and_builds(file, small):
    """With all checks at full size; the network at reduced size."""
    load_run_config(file)
    config = small(file)
    classes = networks(config.to_dict())[-1]["head"]
    wanted = classes.get("num_classes") or classes.get("bbox_head", {}).get("num_classes")
    assert wanted is None or network(config, pretrained=False).num_classes == wanted


@by_kind
def test_every_kind_trains_and_validates(file, small, tmp_path):
    config = small(file)
    run = train(config, Options(validate=True, max_iters=1))
    assert run.progress.step == 1
    assert (tmp_path / f"{config['model_name']}_best.pdparams").is_file()


@pytest.mark.slow
@by_kind
def test_every_kind_tests_and_exports(file, small, tmp_path):
    """The export compares itself with the network and fails above its tolerance."""
    config = small(file)
    run = train(config, Options(max_iters=1))
    weights = tmp_path / f"{config['model_name']}_epoch_00001.pdparams"
    figures = run_test(config, Options(weights=str(weights), max_iters=1))
    assert 0.0 <= figures["mAP@0.5IOU"] <= 1.0 if file in DETECTION else figures["num_samples"] == 2
    report = export(config, weights, tmp_path / "inference", say=lambda line: None)
    assert report.program.is_file() and report.num_classes == run.framework.num_classes


class Recorded(ArrayReader):
    """100 grey pictures of 96 x 128 at 10 per second; ``indices`` has those that were read."""

    def __init__(self):
        super().__init__(np.broadcast_to(np.uint8(90), (100, 96, 128, 3)), fps=10.0)
        self.indices = set()

    def get(self, indices, each=None):
        self.indices |= set(map(int, indices))
        return super().get(indices, each)


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("file", RECOGNITION, ids=name_of)
def test_every_recipe_reads_frames_of_a_span_only(file, mode):
    """So each of them trains on labelled spans of long videos, with SpanDataset's samples."""
    pipeline = Pipeline(load_config(file).section("PIPELINE")[mode], f"PIPELINE.{mode}")
    reader = Recorded()
    sample = {"reader": reader, "label": 0, "index": 0, "start_s": 2.0, "end_s": 4.0}
    pipeline(sample, np.random.default_rng(0))
    assert reader.indices and reader.indices <= set(range(20, 40))


def test_every_backbone_has_a_reduced_size():
    for files, table in ((RECOGNITION, REDUCED), (DETECTORS, REDUCED_DETECTORS)):
        used = {model["backbone"]["name"] for file in files for model in networks(load_config(file).to_dict())}
        assert used <= table.keys() and all(name in BACKBONES for name in used)


# --- through the test protocol and the export, with activations near 1 -----------------------------------------------


def family():
    """A TSM or PP-TSM leaf for each network and test pipeline: (file, sampling, backbone)."""
    found = {}
    for file in RECOGNITION:
        if file.parent.name not in ("tsm", "pptsm") or file.stem == "tsm_motion_demo":
            continue
        config = load_config(file)
        backbone, steps = config.section("MODEL")["backbone"], config.section("PIPELINE")["test"]
        backbone.pop("pretrained", None)
        found.setdefault(str((backbone, steps)), (file, steps["sample"], str(backbone)))
    return list(found.values())


FAMILY = family()
NETWORKS = list({backbone: file for file, _, backbone in reversed(FAMILY)}.values())


def reduced_with_weights(config, folder):
    """A file of weights that keep activations near 1."""
    paddle.seed(0)
    framework = network(config, pretrained=False)
    for layer in framework.sublayers():
        if hasattr(layer, "_momentum"):
            layer._momentum = 0.0  # one pass sets the statistics
    clip = clip_of(config.section("PIPELINE")["test"])[:1]
    noise = np.random.default_rng(0).integers(0, 255, (2, *clip.shape), dtype="uint8")
    with paddle.no_grad():
        framework.train()
        framework.view_logits(paddle.to_tensor(noise))
    weights = folder / "weights.pdparams"
    write_pickle(weights, {key: value.numpy() for key, value in framework.state_dict().items()})
    return weights


def dense(sample):
    return "Dense" in sample["name"] or sample.get("dense_sample", False)


SAMPLES = {file: sample for file, sample, _ in FAMILY}


@pytest.mark.parametrize("file", some_slow(SAMPLES, lambda file: dense(SAMPLES[file])), ids=lambda file: file.stem)
def test_every_network_is_tested_through_its_protocol(file, small, tmp_path):
    config = small(file)
    weights = reduced_with_weights(config, tmp_path)
    data = config.to_dict()
    data["DATASET"]["test_batch_size"] = 1
    figures = run_test(Config(data), Options(weights=str(weights), max_iters=1), str(tmp_path / "out.json"))
    assert figures["num_samples"] == 1


@pytest.mark.slow  # every network's program is compared in tests/models, too
@pytest.mark.parametrize("file", NETWORKS, ids=lambda file: file.stem)
def test_every_network_exports_what_it_is(file, small, tmp_path):
    """The export itself compares program and network, and refuses a difference."""
    config = small(file)
    weights, data = reduced_with_weights(config, tmp_path), config.to_dict()
    steps = data["PIPELINE"]["train"]  # one small view is enough to tell
    view = [{"Resize": {"scale": [64, 64], "keep_ratio": False}}, steps["transform"][-1]]
    data["PIPELINE"]["test"] = {**steps, "transform": view}
    report = export(Config(data), weights, tmp_path / "exported", say=lambda line: None)
    assert report.max_difference < 1e-4 and report.input_shape[0] == -1
