"""Scalars of a run: what a section leaves out has its default, and every default is a value that the check allows."""

from dataclasses import MISSING, fields

import pytest

from paddlevideo.ranges import mistakes
from paddlevideo.settings import Accumulation, Batches, EMASettings, PreciseBN, Reading, Settings, SWASettings


@pytest.mark.parametrize("section", [Settings, Batches, Reading, PreciseBN, Accumulation, EMASettings, SWASettings])
def test_every_default_is_allowed(section):
    for field in fields(section):
        if field.name in section.kinds() and field.default not in (MISSING, None):
            assert mistakes(field.default, section.kinds()[field.name], field.name) == []


def test_a_section_gives_its_own_values_and_the_defaults_of_the_rest():
    settings = Settings.of({"model_name": "TSM", "log_interval": 3, "MODEL": {}, "EMA": {"decay": 0.5}})
    assert (settings.log_interval, settings.save_interval, settings.epochs) == (3, 1, None)
    assert (settings.ema, settings.swa, settings.batches) == (EMASettings(decay=0.5), None, Batches())


def test_batches_and_workers_of_a_split():
    batches = Batches.of({"batch_size": 4, "num_workers": 3, "test_num_workers": 0, "train": {}})
    assert [batches.batch_size_of(split) for split in ("train", "valid", "test")] == [4, 4, 8]
    assert [batches.num_workers_of(split) for split in ("train", "valid", "test")] == [3, 3, 0]


def test_null_is_no_value_of_a_key_that_may_be_left_out():
    assert mistakes(None, Settings.kinds()["epochs"], "epochs") == ["epochs: expected int, got None"]
