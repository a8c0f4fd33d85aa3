"""The exported detector: any number of people, clips and any size of picture, and what predict must know beside it."""

import numpy as np
import pytest
import yaml

from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.inference.network import TrainedNetwork
from paddlevideo.inference.person_actions import DetectionSettings
from paddlevideo.inference.runtimes.base import Runtime
from paddlevideo.inference.runtimes.paddle import PaddleModel, program_inputs
from tests.tiny_ava import CUSTOM, tiny_ava_config


@pytest.fixture(scope="module")
def both(tiny_ava):
    """The network and the exported program, as functions of a batch."""
    network = TrainedNetwork(load_config(tiny_ava.config), tiny_ava.weights, "cpu", of_persons=True, say=print)
    model = PaddleModel(tiny_ava.report.program, tiny_ava.report.params, Runtime(), say=print)
    return network.run, model.run


def batch_of(counts, height=64, width=84, seed=0):
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (sum(counts), 2, 2)), axis=1) * [width - 1, height - 1]
    return {
        "imgs": rng.integers(0, 256, (len(counts), 1, 4, height, width, 3), dtype=np.uint8),
        "sizes": np.array([[height, width]] * len(counts)),
        "boxes": corners.reshape(-1, 4).astype(np.float32),
        "boxes_num": np.array(counts, np.int32),
    }


@pytest.mark.parametrize("counts", [[0], [1], [7], [40], [0, 0], [3, 0, 4], [0, 1], [15, 25]])
def test_equals_the_network_with_any_number_of_people(both, counts):
    network, exported = both
    batch = batch_of(counts)
    expected, got = network(batch), exported(batch)
    assert got.shape == expected.shape == (sum(counts), len(CUSTOM) + 1)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    if len(got) > 1:
        assert np.ptp(got[:, 1:], axis=0).max() > 0.05  # people do not look alike to it


@pytest.mark.parametrize("size", [(48, 48), (64, 114), (96, 64)])
def test_takes_pictures_of_any_size(both, size):
    network, exported = both
    batch = batch_of([2, 3], *size)
    np.testing.assert_allclose(exported(batch), network(batch), atol=1e-5)


def test_notes_what_predict_needs(tiny_ava):
    noted = yaml.safe_load((tiny_ava.folder / "inference.yml").read_text())
    assert noted["input"] == {"name": "imgs", "dtype": "uint8", "shape": [-1, 1, 4, -1, -1, 3], "axes": "NVTHWC"}
    pipeline = tiny_ava_config(tiny_ava.data)["PIPELINE"]["test"]
    pipeline["transform"][0]["Resize"]["interpolation"] = "linear"  # said, whatever the default becomes
    assert noted["pipeline"] == pipeline
    assert (noted["num_classes"], noted["score_type"]) == (len(CUSTOM) + 1, "probability")
    settings = DetectionSettings.of_description(noted["detection"], "here")
    assert list(settings.class_ids) == [0, *CUSTOM]
    assert list(settings.names) == noted["labels"]
    from paddlevideo.ava_files import read_ava_labels

    names = read_ava_labels(tiny_ava.data / "labels.pbtxt")
    assert noted["labels"][1:] == [names[i] for i in CUSTOM]
    assert (settings.clip_fps, settings.timestamp_start, settings.timestamp_end) == (30, 900, 905)
    assert (settings.action_thr, settings.person_det_score_thr) == (0.05, 0.9)
    shapes = {spec.name: spec.shape for spec in program_inputs(tiny_ava.report.program)}
    assert shapes == {"imgs": (-1, 1, 4, -1, -1, 3), "boxes": (-1, 4), "boxes_num": (-1,)}


def test_reports_the_difference(tiny_ava):
    assert "exported model against the network" in tiny_ava.lines[3] and tiny_ava.report.max_difference < 1e-5


def test_a_program_that_differs_does_not_get_out(tiny_ava, tmp_path, monkeypatch):
    """What is compared depends on the boxes: a program that moves them is noticed."""
    from paddle import nn

    from paddlevideo.inference.export import export
    from paddlevideo.inference.export import save_program as real

    class HalfBlind(nn.Layer):
        def __init__(self, network):
            super().__init__()
            self.network, self.roi_head = network, network.roi_head

        takes_boxes = True

        def predict_scores(self, imgs, boxes, boxes_num):
            return self.network.predict_scores(imgs, boxes * 0.5, boxes_num)

    monkeypatch.setattr(
        "paddlevideo.inference.export.save_program", lambda f, specs, stem: real(HalfBlind(f), specs, stem)
    )
    with pytest.raises(UserError, match="differs from the network"):
        export(load_config(tiny_ava.config), tiny_ava.weights, tmp_path / "out", say=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_custom_classes_must_make_the_networks_classes(tiny_ava, tmp_path):
    from paddlevideo.inference.export import export

    config = load_config(tiny_ava.config, ["DATASET.test.custom_classes=[2, 4]"])
    with pytest.raises(UserError, match="3, but the network has 7"):
        export(config, tiny_ava.weights, tmp_path / "out", say=lambda line: None)


def test_a_label_file_that_is_not_here_is_named_with_its_key_and_the_way_out(tiny_ava, tmp_path):
    from types import SimpleNamespace

    network = SimpleNamespace(num_classes=len(CUSTOM) + 1, action_thr=0.1, one_action=False)
    config = load_config(tiny_ava.config, ["DATASET.test.label_file=none.txt"])
    message = "DATASET.test.label_file: none.txt: no such label file; override DATASET.test.label_file=null"
    with pytest.raises(UserError, match=message):
        DetectionSettings.of_config(config, network)
    settings = DetectionSettings.of_config(load_config(tiny_ava.config, ["DATASET.test.label_file=null"]), network)
    assert settings.names == ["(reserved)", *(f"class {i}" for i in CUSTOM)] and settings.action_thr == 0.1


def test_predicting_whole_videos_with_it_names_the_right_tool(tiny_ava):
    from paddlevideo.inference.predictor import Predictor

    with pytest.raises(UserError, match=r"paddlevideo detect --model_file .*tiny_ava.json"):
        Predictor.from_export(tiny_ava.folder)


@pytest.fixture
def named(tiny_ava, tmp_path):
    """The weights with the note that a training writes, and the detector's figures with its own class list."""
    from paddlevideo.classes import classes_of_config, write_weights
    from paddlevideo.safe_io import read_pickle

    weights = tmp_path / "named.pdparams"
    write_weights(weights, read_pickle(tiny_ava.weights), classes_of_config(load_config(tiny_ava.config), "test"), {})
    return weights


def figures_with(tiny_ava, weights, out, *overrides):
    from paddlevideo.settings import Options
    from tests.tiny import run_test as test

    config = load_config(tiny_ava.config, [f"output_dir={out}", *overrides])
    figures = test(config, Options(weights=str(weights)), str(out / "r.csv"))
    return figures["mAP@0.5IOU"], sorted((out / "r.csv").read_text().splitlines())


def test_custom_classes_in_another_order_are_mapped_and_others_refused(tiny_ava, named, tmp_path):
    from paddlevideo.inference.export import export

    turned = f"DATASET.test.custom_classes={[*CUSTOM[2:], *CUSTOM[:2]]}"
    own = figures_with(tiny_ava, named, tmp_path / "own")
    assert own[0] > 0 and figures_with(tiny_ava, named, tmp_path / "turned", turned) == own
    nameless = figures_with(tiny_ava, named, tmp_path / "nameless", turned, "DATASET.test.label_file=null")
    assert nameless[1] == own[1]
    export(load_config(tiny_ava.config, [turned]), named, tmp_path / "export", say=lambda line: None)
    noted = yaml.safe_load((tmp_path / "export" / "inference.yml").read_text())
    assert noted["detection"]["class_ids"] == [0, *CUSTOM]
    other = f"DATASET.test.custom_classes={[*CUSTOM[:-1], 12]}"
    for change in ([other], [other, "DATASET.test.label_file=null"]):
        with pytest.raises(UserError, match="a class index would mean"):
            figures_with(tiny_ava, named, tmp_path / "other", *change)
        with pytest.raises(UserError, match="a class index would mean"):
            export(load_config(tiny_ava.config, change), named, tmp_path / "no", say=lambda line: None)


def test_a_detectors_export_needs_no_label_file_where_the_weights_name_the_actions(tiny_ava, named, tmp_path):
    from paddlevideo.inference.export import export

    config = load_config(tiny_ava.config, ["DATASET.test.label_file=gone.pbtxt"])
    export(config, named, tmp_path / "export", say=lambda line: None)
    assert (tmp_path / "export" / "inference.yml").read_text().count("(reserved)") >= 1
    noted = yaml.safe_load((tmp_path / "export" / "inference.yml").read_text())
    assert noted["labels"] == yaml.safe_load((tiny_ava.folder / "inference.yml").read_text())["labels"]


def test_a_label_file_that_calls_an_action_as_another_is_refused(tiny_ava, tmp_path):
    noted = yaml.safe_load((tiny_ava.folder / "inference.yml").read_text())
    settings = DetectionSettings.of_description(noted["detection"], "")
    names = dict(zip(settings.class_ids[1:], settings.names[1:]))
    file = tmp_path / "names.txt"
    file.write_text("\n".join(f"{i}: {name}" for i, name in zip(names, [*names.values()][::-1])))
    with pytest.raises(UserError, match=f"calls action {CUSTOM[0]} .* which is action {CUSTOM[-1]} of the model"):
        settings.with_labels(file)
    file.write_text("\n".join(f"{i}: another {name}" for i, name in names.items()))
    assert settings.with_labels(file).names[1] == f"another {settings.names[1]}"


@pytest.mark.parametrize("source", ["custom_classes", "label_file", "weights"])
def test_auto_counts_a_detectors_classes(tiny_ava, named, tmp_path, source):
    from paddlevideo.ava_files import read_ava_labels
    from paddlevideo.classes import agreed, classes_of_config, settled

    changes = ["MODEL.head.bbox_head.num_classes=auto"]
    if source != "custom_classes":
        changes.append("DATASET.test.custom_classes=null")
    if source == "weights":
        changes.append("DATASET.test.label_file=null")
    config = load_config(tiny_ava.config, changes)
    classes = agreed(config, named, "test", print) if source == "weights" else classes_of_config(config, "test")
    named_ids = read_ava_labels(tiny_ava.data / "labels.pbtxt")
    wanted = max(named_ids) + 1 if source == "label_file" else len(CUSTOM) + 1
    assert settled(config, classes)["MODEL"]["head"]["bbox_head"]["num_classes"] == wanted
    nothing = load_config(
        tiny_ava.config, [*changes[:1], "DATASET.test.custom_classes=null", "DATASET.test.label_file=null"]
    )
    with pytest.raises(UserError, match="MODEL.head.bbox_head.num_classes: auto takes"):
        settled(nothing, classes_of_config(nothing, "test"))
