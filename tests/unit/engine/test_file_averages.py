"""The mean of the weight files of several runs."""

import numpy as np
import pytest

from paddlevideo.classes import FITTED_TO, UNKNOWN, Classes, read_note, write_weights
from paddlevideo.engine.file_averages import average_files, average_states
from paddlevideo.errors import UserError


def checkpoint(seed, **changes):
    rng = np.random.default_rng(seed)
    arrays = {"fc.weight": rng.standard_normal((3, 2)).astype("float32"), "bn.count": np.array([seed], "int64")}
    return {**arrays, "half": rng.standard_normal(4).astype("float16"), **changes}


def test_states_are_averaged_in_float64_and_counters_are_the_lasts():
    states = {str(seed): checkpoint(seed) for seed in range(3)}
    mean = average_states(states)
    for key in ("fc.weight", "half"):
        expected = np.mean([state[key].astype("float64") for state in states.values()], axis=0)
        np.testing.assert_array_equal(mean[key], expected.astype(states["0"][key].dtype))
    assert mean["bn.count"] == 2 and mean["bn.count"].dtype == np.int64
    large = {name: {"x": np.array([2**24 + sign], "float32")} for name, sign in (("a", 2), ("b", 4))}
    assert average_states(large)["x"] == np.float32(2**24 + 3)  # what float32 rounds to, after an exact sum


def test_the_order_of_classes_is_compared_where_the_first_file_has_none(tmp_path):
    for name, classes in (("a", UNKNOWN), ("b", Classes(("x", "y"))), ("c", Classes(("y", "x")))):
        write_weights(tmp_path / f"{name}.pdparams", checkpoint(0), classes, {})
    with pytest.raises(UserError, match=r"c.pdparams: its classes are in another order than those of .*b.pdparams"):
        average_files([tmp_path / f"{name}.pdparams" for name in "abc"], tmp_path / "mean.pdparams")


def test_the_videos_that_classifiers_were_fitted_to_are_kept(tmp_path):
    files = [tmp_path / f"{k}.pdparams" for k in range(2)]
    for file, videos in zip(files, (["p", "q"], ["q", "r"])):
        write_weights(file, checkpoint(0), Classes(("x", "y")), {FITTED_TO: videos})
    average_files(files, tmp_path / "mean.pdparams")
    assert read_note(tmp_path / "mean.pdparams.json")[FITTED_TO] == ["p", "q", "r"]


def test_shares_are_divided_by_their_sum():
    a, b = checkpoint(0), checkpoint(1)
    mean = average_states({"a": a, "b": b}, weights=[1, 3])
    np.testing.assert_allclose(mean["fc.weight"], 0.25 * a["fc.weight"] + 0.75 * b["fc.weight"], rtol=1e-6)


@pytest.mark.parametrize(
    ("change", "weights", "words"),
    [
        ({"more": np.zeros(1)}, None, "b: does not belong to the same network: more is only in b"),
        ({"half": np.zeros(5, "float16")}, None, r"half: \[4\] in a, \[5\] in b"),
        ({"half": np.zeros(4, "int32")}, None, "half: float16 in a, int32 in b"),
        ({"half": np.full(4, np.nan, "float16")}, None, "b: half holds numbers that are not finite"),
        ({}, [1], "2 checkpoints need as many weights, got 1"),
        ({}, [1, -1], "must be positive numbers, got -1"),
        ({}, [1, float("nan")], "must be positive numbers, got nan"),
    ],
)
def test_states_that_do_not_belong_together_are_refused(change, weights, words):
    with pytest.raises(UserError, match=words):
        average_states({"a": checkpoint(0), "b": checkpoint(1, **change)}, weights)


def test_one_state_or_bfloat16_is_refused():
    with pytest.raises(UserError, match="at least two checkpoints, got 1"):
        average_states({"a": checkpoint(0)})
    stored = {"x": np.zeros(2, "uint16")}  # how Paddle stores bfloat16
    with pytest.raises(UserError, match="x is bfloat16"):
        average_states({"a": stored, "b": stored})
