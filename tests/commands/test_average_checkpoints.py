"""tools/average_checkpoints.py: the mean, its note, renewed batch norms, and mistakes that are one line."""

import json

import numpy as np
import pytest

from paddlevideo.config import Config
from paddlevideo.engine.training import train
from paddlevideo.safe_io import read_pickle, sha256, write_pickle
from paddlevideo.settings import Options
from tests.tiny import distilled, make_clips, save, tsm_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run of three epochs: its folder and its configuration file."""
    folder = tmp_path_factory.mktemp("run")
    config = tsm_config(make_clips(folder / "clips"), folder / "out")
    train(Config(config), Options())
    return folder / "out", save(config, folder / "config.yaml")


def epochs(run):
    return [run[0] / f"TSM_epoch_0000{i}.pdparams" for i in (1, 2, 3)]


def is_statistic(key):
    return key.endswith(("._mean", "._variance"))


def test_the_mean_by_hand_and_the_note(run, run_tool, tmp_path):
    target = tmp_path / "mean.pdparams"
    done = run_tool("average_checkpoints", *epochs(run), "-o", target)
    assert done.code == 0 and "the mean of 3 checkpoints" in done.out and "--bn_batches" in done.out, done.err
    states, mean = [read_pickle(path) for path in epochs(run)], read_pickle(target)
    assert mean.keys() == states[0].keys() - {"StructuredToParameterName@@"}
    for key, value in mean.items():
        expected = np.mean([state[key].astype("float64") for state in states], axis=0).astype("float32")
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9, err_msg=key)
    note = json.loads((tmp_path / "mean.pdparams.json").read_text())
    assert [source["sha256"] for source in note["sources"]] == [sha256(path) for path in epochs(run)]
    assert note["sha256"] == sha256(target) and note["weights"] == "equal"


def test_shares(run, run_tool, tmp_path):
    target = tmp_path / "mean.pdparams"
    assert run_tool("average_checkpoints", *epochs(run)[:2], "-o", target, "--weights", 1, 3).code == 0
    a, b, mean = (read_pickle(path)["head.fc.weight"] for path in (*epochs(run)[:2], target))
    np.testing.assert_allclose(mean, 0.25 * a + 0.75 * b, rtol=1e-5, atol=1e-7)
    assert json.loads((tmp_path / "mean.pdparams.json").read_text())["weights"] == [1, 3]


def test_renewed_batch_norms_are_all_that_differs(run, run_tool, tmp_path):
    plain, renewed, again = (tmp_path / f"{name}.pdparams" for name in "abc")
    sources = epochs(run)[1:]
    assert run_tool("average_checkpoints", *sources, "-o", plain).code == 0
    for target in (renewed, again):
        flags = ["-c", run[1], "--bn_batches", 2, "--device", "cpu"]
        done = run_tool("average_checkpoints", *sources, "-o", target, *flags)
        assert done.code == 0 and "batch norms renewed: 20" in done.out, done.err
    a, b = read_pickle(plain), read_pickle(renewed)
    assert a.keys() == b.keys()
    for key in a:
        assert np.array_equal(a[key], b[key]) != is_statistic(key), key
    assert sha256(renewed) == sha256(again)


def test_a_distilled_student_is_renewed_without_its_teacher_s_file(run, run_tool, tmp_path):
    """Its own files, and those of the whole: what is renewed has the same bits."""
    config = save(distilled(tsm_config(run[0].parent / "clips" / "clips.list", tmp_path)), tmp_path / "config.yaml")
    own, wholes = epochs(run)[1:], [tmp_path / "a.pdparams", tmp_path / "b.pdparams"]
    for source, target in zip(own, wholes):
        write_pickle(target, {f"Student.{key}": value for key, value in read_pickle(source).items()})
    means = []
    for sources in (own, wholes):
        target = tmp_path / "mean.pdparams"
        done = run_tool("average_checkpoints", *sources, "-o", target, "-c", config, "--bn_batches", 2)
        assert done.code == 0 and "batch norms renewed: 20" in done.out, done.err
        means.append(read_pickle(target))
    plain, whole = means
    assert whole.keys() == {f"Student.{key}" for key in plain}
    assert all(np.array_equal(value, whole[f"Student.{key}"]) for key, value in plain.items())


def test_mistakes_are_one_line(run, run_tool, tmp_path):
    one, two = epochs(run)[:2]
    other = tmp_path / "other.pdparams"
    arrays = read_pickle(one)
    arrays["head.fc.weight"] = arrays["head.fc.weight"][:, :1]
    write_pickle(other, arrays)
    out = tmp_path / "out.pdparams"
    for arguments, words in [
        ((one, "-o", out), "at least two checkpoints, got 1"),
        ((one, other, "-o", out), "head.fc.weight: [32, 2] in "),
        ((one, one, "-o", out), "is named twice"),
        ((one, two, "-o", one), "is a source, too"),
        ((one, two, "-o", tmp_path / "out.pth"), "must end in .pdparams"),
        ((one, two, "-o", out, "--bn_batches", 2), "-c CFG"),
        ((one, two, "-o", out, "--bn_batches", -2), "--bn_batches: expected at least 0"),
        ((one, two, "-o", out, "--weights", 1, 0), "must be positive numbers, got 0"),
        ((one, tmp_path / "none.pdparams", "-o", out), "none.pdparams"),
        ((one, run[0] / "TSM_epoch_00001.pdopt", "-o", out), "expected a table of arrays"),
    ]:
        done = run_tool("average_checkpoints", *arguments)
        assert done.code == 2 and words in done.err and done.err.count("\n") == 1, done.err
    assert not out.exists()
