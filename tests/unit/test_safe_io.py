"""Files from outside cannot run code, and a file of ours is whole or not there."""

import pickle
import shutil
from collections import OrderedDict

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.safe_io import (
    DamagedFileError,
    UnsafeFileError,
    check_writable,
    read_pickle,
    reading,
    sweep_temporary,
    write_atomic,
    write_pickle,
)
from tests.faults.crafted_pickles import Call, payloads


@pytest.mark.scorecard(1, times=15)
@pytest.mark.parametrize("protocol", [2, 4])
def test_crafted_files_are_refused_and_never_run(tmp_path, protocol):
    marker = tmp_path / "executed"
    for name, payload in payloads(marker):
        file = tmp_path / f"{name}.pdparams"
        file.write_bytes(pickle.dumps(payload, protocol=protocol))
        with pytest.raises(UnsafeFileError, match="nothing was run"):
            read_pickle(file)
        assert not marker.exists(), name


def test_the_payloads_do_run_in_an_ordinary_unpickler(tmp_path):
    """The guard above is worth something only if the payloads are live."""
    marker = tmp_path / "executed"
    live = ("os.system", "subprocess", "exec", "eval", "open", "copyfile", "mkdir", "nested")
    for name, payload in payloads(marker):
        if name in live:
            pickle.loads(pickle.dumps(payload))
            assert marker.exists(), name
            shutil.rmtree(marker) if marker.is_dir() else marker.unlink()


@pytest.mark.scorecard(2)
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_honest_files_load_bit_for_bit(tmp_path, protocol):
    weights = OrderedDict(
        a=np.random.default_rng(0).standard_normal((3, 4)).astype("float32"),
        b=np.arange(5),
        c=np.float32(1.5),
        LR_Scheduler={"last_epoch": 3, "last_lr": 0.1},
    )
    file = tmp_path / "weights.pdparams"
    file.write_bytes(pickle.dumps(weights, protocol=protocol))
    loaded = read_pickle(file)
    assert loaded["LR_Scheduler"] == weights["LR_Scheduler"]
    for key in "abc":
        np.testing.assert_array_equal(loaded[key], weights[key])


def test_paddle_reads_what_is_written(tmp_path):
    import paddle

    write_pickle(tmp_path / "x.pdparams", {"w": np.ones((2, 2), "float32")})
    np.testing.assert_array_equal(paddle.load(str(tmp_path / "x.pdparams"))["w"], np.ones((2, 2)))


@pytest.mark.scorecard(4)
def test_array_bomb_is_refused(tmp_path):
    bomb = Call(np._core.multiarray._reconstruct, np.ndarray, (1 << 33,), b"b")
    (tmp_path / "bomb.pdparams").write_bytes(pickle.dumps(bomb))
    with pytest.raises(UnsafeFileError, match="shape"):
        read_pickle(tmp_path / "bomb.pdparams")


def test_every_truncation_is_a_named_error(tmp_path):
    file = tmp_path / "w.pdparams"
    write_pickle(file, {"w": np.arange(100.0)})
    content = file.read_bytes()
    for length in range(0, len(content), 25):
        file.write_bytes(content[:length])
        with pytest.raises(UserError, match="w.pdparams"):
            read_pickle(file)


def test_what_follows_the_pickle_is_a_named_error(tmp_path):
    file = tmp_path / "w.pdparams"
    write_pickle(file, {"w": np.arange(9.0)})
    file.write_bytes(file.read_bytes() + pickle.dumps({"w": np.zeros(9)}))
    with pytest.raises(DamagedFileError, match=r"w\.pdparams: damaged.* bytes follow the end of the pickle"):
        read_pickle(file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing.pdparams: no such file"):
        read_pickle(tmp_path / "nothing.pdparams")


@pytest.mark.scorecard(18)
def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "state.json"
    write_atomic(file, "old")

    def fail(stream):
        stream.write(b"half of it")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        write_atomic(file, fail)
    assert file.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_leftovers_of_a_killed_writer_are_swept(tmp_path):
    (tmp_path / ".x.pdparams.123.tmp").write_bytes(b"half")
    sweep_temporary(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_file_is_a_damaged_file(tmp_path):
    (tmp_path / "text.pdparams").write_text("not a pickle at all")
    with pytest.raises(DamagedFileError, match="text.pdparams"):
        read_pickle(tmp_path / "text.pdparams")


def test_an_error_that_names_the_file_already_is_passed_on_whole(tmp_path):
    file = tmp_path / "x.pkl"
    file.write_bytes(pickle.dumps(Call(print, "x")))
    with pytest.raises(UnsafeFileError) as caught, reading(file, "results"):
        read_pickle(file)
    assert str(caught.value).count("refused") == 1 == str(caught.value).count(str(file)), caught.value


def test_a_place_that_cannot_be_written_is_refused_and_a_missing_folder_made(tmp_path):
    check_writable(tmp_path / "new" / "file.npz")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "file").touch()
    for place, words in ((tmp_path / "new", "is a folder"), (tmp_path / "file" / "x", "cannot be written")):
        with pytest.raises(UserError, match=words):
            check_writable(place)
