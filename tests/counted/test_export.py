"""How often an export and a prediction run the network and load the program."""

import numpy as np
import pytest

from paddlevideo.config import load_config
from paddlevideo.inference.export import export
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.runtimes.paddle import PaddleModel
from paddlevideo.modeling.frameworks.base import Recognizer
from tests.tiny_export import write_config, write_weights
from tests.unit.inference.test_views import three_crop_config


@pytest.fixture
def counted(monkeypatch):
    """Views per run of the network and of the program, and loads."""
    import paddle
    import paddle.inference

    counts = {"network": [], "program": [], "loads": 0}
    view_logits, output, create = Recognizer.view_logits, PaddleModel.output, paddle.inference.create_predictor

    def counting_logits(self, imgs):
        if paddle.in_dynamic_mode():  # not while a program is traced
            counts["network"].append(imgs.shape[0] * imgs.shape[1])
        return view_logits(self, imgs)

    def counting_output(self, arrays):
        counts["program"].append(arrays[0].shape[0] * arrays[0].shape[1])
        return output(self, arrays)

    def counting_create(config):
        counts["loads"] += 1
        return create(config)

    monkeypatch.setattr(Recognizer, "view_logits", counting_logits)
    monkeypatch.setattr(PaddleModel, "output", counting_output)
    monkeypatch.setattr(paddle.inference, "create_predictor", counting_create)
    return counts


def test_an_export_runs_network_and_program_once_on_few_views(tiny, tmp_path, counted):
    config = write_config(tmp_path, three_crop_config("score"))
    weights = write_weights(config, tmp_path / "w.pdparams", tiny.videos)
    counted["network"].clear()
    report = export(load_config(config), weights, tmp_path / "exported", say=lambda line: None)
    assert report.input_shape[:2] == (-1, 3)
    assert counted == {"network": [6], "program": [6, 2], "loads": 1}  # three clips of two views, and one alone


def test_a_prediction_loads_once_and_runs_once_per_batch(tiny, counted):
    predictor = Predictor.from_export(tiny.folder, batch_size=2)
    assert len(predictor.predict(tiny.videos)) == 3
    assert counted == {"network": [], "program": [2, 1], "loads": 1}
    predictor.scores(np.zeros((1, 1, 4, 32, 32, 3), np.uint8))
    assert counted["loads"] == 1
