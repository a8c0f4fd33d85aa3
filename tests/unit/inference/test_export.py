import hashlib
import json

import numpy as np
import pytest
import yaml

from paddlevideo.build import deployed_network, pipelines_of, trained_network
from paddlevideo.config import load_config
from paddlevideo.errors import UserError
from paddlevideo.inference import export as export_module
from paddlevideo.inference.export import export
from paddlevideo.inference.export_check import Difference, Reference, compare, random_clips, synthetic_clip
from paddlevideo.inference.exported import read_description
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.paddle import program_inputs
from paddlevideo.modeling.weights import load_weights
from paddlevideo.safe_io import read_pickle, write_pickle
from tests.tiny_export import LABELS, NUM_CLASSES, tiny_config, write_config, write_weights


def files_of(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def network_of(tiny, config=None):
    config = config or load_config(tiny.config)
    framework = deployed_network(config)
    framework.eval()
    load_weights(framework, tiny.weights, strict=True)
    return framework


def network_scores(framework, imgs):
    import paddle

    with paddle.no_grad():
        return framework({"imgs": paddle.to_tensor(imgs)}, mode="predict")["scores"].numpy()


def test_writes_the_program_its_weights_and_what_predict_needs(tiny):
    files = ["TSM.json", "TSM.pdiparams", "TSM_config.yml", "TSM_names.json", "inference.yml"]
    assert sorted(files_of(tiny.folder)) == files
    noted = yaml.safe_load((tiny.folder / "inference.yml").read_text())
    assert noted["model_name"] == "TSM"
    assert noted["input"] == {"name": "imgs", "dtype": "uint8", "shape": [-1, 1, 4, 32, 32, 3], "axes": "NVTHWC"}
    assert (noted["num_classes"], noted["views"], noted["score_type"]) == (NUM_CLASSES, 1, "probability")
    assert noted["labels"] == LABELS
    pipeline = tiny_config()["PIPELINE"]["test"]
    pipeline["transform"][0]["Scale"]["interpolation"] = "antialias"  # said, whatever the default becomes
    assert noted["pipeline"] == pipeline
    assert noted["weights"]["sha256"] == hashlib.sha256(tiny.weights.read_bytes()).hexdigest()
    assert noted["files"]["TSM.pdiparams"] == files_of(tiny.folder)["TSM.pdiparams"]


def test_an_export_is_a_checkpoint_with_its_class_names(tiny, tmp_path):
    """A network with the weights of the folder, and an export of the export, give the same scores to the bit."""
    imgs = random_clips(synthetic_clip(pipelines_of(load_config(tiny.config))["test"]), 2)
    framework = network_of(tiny)
    wanted = network_scores(framework, imgs)
    config = load_config(tiny.folder / "TSM_config.yml")
    _, again, classes = trained_network(config, tiny.folder, lambda line: None)
    again.eval()
    assert np.array_equal(network_scores(again, imgs), wanted) and list(classes.names) == LABELS
    export(config, tiny.folder / "TSM.pdiparams", tmp_path / "again", say=lambda line: None)
    scores = [Predictor.from_export(folder).scores(imgs) for folder in (tiny.folder, tmp_path / "again")]
    assert np.array_equal(*scores)
    noted = read_description(tmp_path / "again")
    assert noted.weights == {"file": "TSM.pdiparams", "sha256": files_of(tiny.folder)["TSM.pdiparams"]}
    assert noted.files["TSM_names.json"] == files_of(tmp_path / "again")["TSM_names.json"]


def test_prints_what_paddlevideo_prints_and_the_difference(tiny):
    assert tiny.lines[0] == "Building model(TSM)..."
    assert tiny.lines[1] == f"Loading params from ({tiny.weights})..."
    assert "keys loaded, 0 missing, 0 unexpected" in tiny.lines[2]
    assert "largest difference" in tiny.lines[3]
    assert tiny.lines[-1] == f"model (TSM) has been already saved in ({tiny.folder})."
    assert tiny.report.max_difference < 1e-6


def test_the_program_takes_uint8_clips_with_a_free_batch_axis(tiny):
    (spec,) = program_inputs(tiny.report.program)
    assert (spec.name, spec.shape, spec.dtype) == ("imgs", (-1, 1, 4, 32, 32, 3), "uint8")


@pytest.mark.parametrize("num_clips", [1, 3])
def test_exported_equals_network_at_any_batch_size(tiny, num_clips):
    framework = network_of(tiny)
    imgs = random_clips(synthetic_clip(pipelines_of(load_config(tiny.config))["test"]), num_clips)
    got = Predictor.from_export(tiny.folder).scores(imgs)
    assert got.shape == (num_clips, NUM_CLASSES) and got.dtype == np.float32
    np.testing.assert_allclose(got, network_scores(framework, imgs), atol=1e-6)
    np.testing.assert_allclose(got.sum(axis=1), 1.0, atol=1e-5)


def test_the_comparison_sees_other_weights(tiny):
    framework = network_of(tiny)
    state = framework.state_dict()
    head = next(value for value in state.values() if value.shape[-1:] == [NUM_CLASSES] and value.ndim == 2)
    head.set_value(head * 1.1)
    clip = synthetic_clip(pipelines_of(load_config(tiny.config))["test"])
    assert not compare(Reference.of(framework, clip), tiny.report.program).small


def test_a_difference_is_an_error_and_the_earlier_export_stays(tiny, monkeypatch):
    before = files_of(tiny.folder)
    monkeypatch.setattr(export_module, "compare", lambda *_: Difference(2e-4, 0.0))
    with pytest.raises(UserError, match="differs from the network: .*0.0002"):
        export(load_config(tiny.config), tiny.weights, tiny.folder, say=lambda line: None)
    assert files_of(tiny.folder) == before


def test_a_difference_that_is_no_number_is_not_small_and_neither_is_one_between_small_scores():
    assert Difference(1e-5, 1e-4).small
    assert not Difference(float("nan"), 0.0).small and not Difference(1e-5, 0.05).small


def test_a_first_export_that_fails_leaves_no_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(export_module, "compare", lambda *_: Difference(float("nan"), 0.0))
    with pytest.raises(UserError):
        export(load_config(tiny.config), tiny.weights, tmp_path / "new", say=lambda line: None)
    assert not (tmp_path / "new").exists()


def test_weights_with_a_gap_are_refused_and_nothing_is_written(tiny, tmp_path):
    state = read_pickle(tiny.weights)
    name = next(name for name in state if state[name].ndim == 2)
    write_pickle(tmp_path / "gap.pdparams", {key: value for key, value in state.items() if key != name})
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        export(load_config(tiny.config), tmp_path / "gap.pdparams", tmp_path / "out", say=lambda line: None)
    assert not (tmp_path / "out").exists()


def test_weights_of_another_class_count_are_refused(tiny, tmp_path):
    config = tiny_config()
    config["MODEL"]["head"]["num_classes"] = 7
    with pytest.raises(UserError, match="7"):
        export(load_config(write_config(tmp_path, config)), tiny.weights, tmp_path / "out", say=lambda line: None)


def test_missing_and_damaged_weights_are_named(tiny, tmp_path):
    with pytest.raises(UserError, match="none.pdparams"):
        export(load_config(tiny.config), tmp_path / "none.pdparams", tmp_path / "out", say=lambda line: None)
    (tmp_path / "half.pdparams").write_bytes(tiny.weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="half.pdparams"):
        export(load_config(tiny.config), tmp_path / "half.pdparams", tmp_path / "out", say=lambda line: None)


def test_labels_must_be_as_many_as_classes(tiny, tmp_path):
    (tmp_path / "four.txt").write_text("a\nb\nc\nd\n")
    config = load_config(write_config(tmp_path, tiny_config(label_names=str(tmp_path / "four.txt"))))
    with pytest.raises(UserError, match="4 class names, but the model has 5"):
        export(config, tiny.weights, tmp_path / "out", say=lambda line: None)


def test_save_name_names_the_files(tiny, tmp_path):
    report = export(load_config(tiny.config), tiny.weights, tmp_path, "fight", say=lambda line: None)
    assert report.program.name == "fight.json" and report.params.is_file()
    assert Predictor.from_export(tmp_path).model.name == str(report.program)


def test_a_folder_that_holds_another_model_is_left_alone(tiny):
    before = files_of(tiny.folder)
    with pytest.raises(UserError, match="holds the exported model TSM"):
        export(load_config(tiny.config), tiny.weights, tiny.folder, "other", say=lambda line: None)
    assert files_of(tiny.folder) == before


def test_averaging_of_probabilities_is_not_softmaxed_again(tiny, tmp_path):
    config = load_config(write_config(tmp_path, tiny_config(avg_type="prob")))
    weights = write_weights(tmp_path / "tsm.yaml", tmp_path / "prob.pdparams", tiny.videos)
    export(config, weights, tmp_path / "out", say=lambda line: None)
    predictor = Predictor.from_export(tmp_path / "out")
    scores = np.stack([prediction.scores for prediction in predictor.predict(tiny.videos)])
    # a softmax of five probabilities cannot pass e / (e + 4) = 0.405
    assert scores.max() > 0.41
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, atol=1e-5)


def test_the_exported_program_holds_no_path_of_this_machine(tiny):
    text = (tiny.folder / "TSM.json").read_text()
    assert json.loads(text) and str(tiny.root) not in text


def test_a_description_that_is_cut_off_is_one_line(tiny, tmp_path):
    """Wherever it ends before the digests of its files: what is left may be YAML with empty values."""
    text = (tiny.folder / "inference.yml").read_text()
    end = text.index("\nfiles:") + 1
    cuts = [at + 1 for at in range(end) if text[at] in "\n:"]
    assert any(text[:cut].endswith("num_seg:") for cut in cuts)
    for cut in cuts:
        (tmp_path / "inference.yml").write_text(text[:cut])
        with pytest.raises(UserError, match="inference.yml.*export the model again"):
            read_description(tmp_path)
