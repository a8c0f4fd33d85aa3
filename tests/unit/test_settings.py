"""Scalars of a run: what a section leaves out has its default, and every default is a value that the check allows."""

from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from paddlevideo.errors import UserError
from paddlevideo.ranges import mistakes
from paddlevideo.settings import Accumulation, Batches, EMASettings, Options, PreciseBN, Reading, Settings, SWASettings


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_iters": 0}, "max_iters: expected at least 1, got 0"),
        ({"max_iters": -1}, "max_iters: expected at least 1, got -1"),
        ({"seed": -1}, "seed: expected 0 to below 1.84467e+19, got -1"),
        ({"seed": 1 << 64}, "seed: expected 0 to below 1.84467e+19, got 18446744073709551616"),
        ({"amp_level": "O3"}, "amp_level: expected one of O1, O2, got 'O3'"),
        ({"amp": 1, "device": 0}, "device: expected str, got 0; amp: expected bool, got 1"),
    ],
)
def test_options_are_checked_when_they_are_made(options, message):
    with pytest.raises(UserError) as caught:
        Options(**options)
    assert str(caught.value).startswith(message)


def test_an_unknown_option_has_the_nearest_name():
    with pytest.raises(UserError, match="^validat: unknown option; did you mean 'validate'"):
        Options.of({"validat": True})
    assert Options.of({"weights": Path("a/b.pdparams"), "max_iters": 2}) == Options(weights="a/b.pdparams", max_iters=2)
