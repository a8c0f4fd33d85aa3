"""One folder per class: ids come from the training folder, whatever the others lack."""

import numpy as np
import pytest

from paddlevideo.build import loader_for
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from tests.clips import write_clip
from tests.tiny import tsm_config


@pytest.fixture
def config(tmp_path):
    clip = np.zeros((4, 40, 40, 3), "uint8")
    for path in ("train/jump", "train/run", "train/walk", "val/walk"):
        (tmp_path / path).mkdir(parents=True)
        write_clip(tmp_path / path / "a.mp4", clip)
    data = tsm_config(tmp_path / "train", tmp_path / "out")
    data["DATASET"]["valid"] = {"format": "VideoDataset", "file_path": str(tmp_path / "val")}
    return data


def test_a_class_that_validation_lacks_shifts_no_label(config):
    train = loader_for(Config(config), "train", 3, seed=0)
    valid = loader_for(Config(config), "valid", 3, seed=0)
    assert train.dataset.class_names == ["jump", "run", "walk"]
    assert [record["label"] for record in valid.dataset.records] == [2]


def test_a_class_that_training_lacks_is_named(config, tmp_path):
    (tmp_path / "val" / "swim").mkdir()
    with pytest.raises(UserError, match="'swim' is none of the 3 classes"):
        loader_for(Config(config), "valid", 3, seed=0)


def test_the_names_travel_with_the_export(config):
    from paddlevideo.classes import classes_of_config

    assert classes_of_config(Config(config), "test").names == ("jump", "run", "walk")
