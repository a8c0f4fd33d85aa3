"""Files of ``torch.save`` are read without torch, in both forms, and neither run code nor grow beyond their size."""

import io
import pickle
from collections import OrderedDict

import numpy as np
import pytest

from paddlevideo.errors import UserError
from paddlevideo.safe_io import DamagedFileError, UnsafeFileError, file_form, read_pickle
from paddlevideo.torch_files import read_torch
from tests.torch_writer import WRITERS, Global, Tensor, write_legacy, write_zip


@pytest.fixture(params=WRITERS)
def write(request):
    return WRITERS[request.param]


def test_tensors_come_back_with_shape_type_and_value(write, tmp_path):
    rng = np.random.default_rng(0)
    values = {kind: rng.integers(-9, 9, (2, 3, 4)).astype(kind) for kind in ("f4", "f8", "f2", "i8")}
    bfloat = np.array([1.0, -2.5, 3e38], "f4")
    cut = np.arange(24.0, dtype="f4")
    content = {
        "state_dict": OrderedDict({kind: Tensor(value) for kind, value in values.items()}),
        "bfloat": Tensor((bfloat.view("u4") >> 16).astype("u2")),
        "cut": Tensor(cut, offset=5, shape=(4, 2), strides=(1, 8)),
        "one": Tensor(np.array(7.0, "f4")),
        "none": Tensor(np.zeros((0, 3), "f4")),
        "meta": {"epoch": 3, "size": [1, 2], "text": "x"},
    }
    found = read_torch(write(tmp_path / "x.pth", content))
    for kind, value in values.items():
        assert found["state_dict"][kind].dtype == value.dtype and np.array_equal(found["state_dict"][kind], value)
    assert found["bfloat"].dtype == np.float32 and np.allclose(found["bfloat"], bfloat, rtol=1e-2)
    assert np.array_equal(found["cut"], [[5, 13], [6, 14], [7, 15], [8, 16]])
    assert found["one"].shape == () and found["none"].shape == (0, 3) and found["meta"] == content["meta"]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ({"a": Global("os", "system")}, UnsafeFileError, "names os.system"),
        ({"a": Global("torch.nn", "Linear")}, UnsafeFileError, "model.state_dict()"),
        ({"a": Tensor(np.zeros(3, "i1"))}, UserError, "quantised"),
        ({"a": Tensor(np.zeros(4, "f4"), shape=(1 << 40,), strides=(0,))}, DamagedFileError, "beyond the 4 values"),
        ({"a": Tensor(np.zeros(4, "f4"), shape=(4,), strides=(2,))}, DamagedFileError, "beyond the 4 values"),
        ({"a": Tensor(np.zeros(4, "f4"), offset=-1, shape=(2,), strides=(1,))}, DamagedFileError, "beyond"),
    ],
)
def test_code_quantised_numbers_and_tensors_beyond_their_storage_are_refused(content, kind, words, write, tmp_path):
    with pytest.raises(kind) as caught:
        read_torch(write(tmp_path / "x.pth", content))
    assert words in str(caught.value) and str(caught.value).startswith(str(tmp_path / "x.pth"))


def test_every_truncation_and_every_extra_byte_is_a_named_error(write, tmp_path):
    content = {"a": Tensor(np.arange(6.0, dtype="f4")), "b": Tensor(np.arange(3))}
    file = write(tmp_path / "x.pth", content)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"x\.pth"):
            read_torch(file)
    if write is write_legacy:
        file.write_bytes(whole + b"\0")
        with pytest.raises(DamagedFileError, match="1 bytes follow its last storage"):
            read_torch(file)


def test_a_file_is_recognised_by_its_first_bytes(tmp_path):
    values = {"a": Tensor(np.zeros(2, "f4"))}
    (tmp_path / "x.pkl").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    (tmp_path / "x.npz").write_bytes(b"")
    np.savez(tmp_path / "x.npz", a=np.zeros(2))
    (tmp_path / "x.txt").write_text("a 0")
    forms = [file_form(write_legacy(tmp_path / "l", values)), file_form(write_zip(tmp_path / "z", values))]
    assert [*forms, *(file_form(tmp_path / f"x.{end}") for end in ("pkl", "npz", "txt"))] == [
        "torch legacy", "zip", "pickle", "zip", "",
    ]  # fmt: skip
    for size in (2, 0x380):  # a header of 896 bytes begins as a pickle of protocol 3
        (tmp_path / "s").write_bytes(size.to_bytes(8, "little") + b"{}".ljust(size))
        assert file_form(tmp_path / "s") == "safetensors"
    (tmp_path / "cut").write_bytes((99).to_bytes(8, "little") + b"{}")
    assert file_form(tmp_path / "cut") == ""
    for name in ("l", "z", "s"):
        with pytest.raises(UserError, match="PyTorch, safetensors or another archive.*paddlevideo convert"):
            read_pickle(tmp_path / name)
    with pytest.raises(UserError, match="zip archive, but not of torch.save"):
        read_torch(tmp_path / "x.npz")
    with pytest.raises(UserError, match="no file of torch.save"):
        read_torch(tmp_path / "x.pkl")


def test_torch_itself_writes_what_is_read(tmp_path):
    torch = pytest.importorskip("torch", reason="only to compare with: reading its files does not need it")
    content = {"a": torch.arange(24.0).reshape(2, 3, 4).permute(2, 0, 1), "b": torch.ones(3).bfloat16()}
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=zipped)
        (tmp_path / "x.pth").write_bytes(stream.getvalue())
        found = read_torch(tmp_path / "x.pth")
        assert np.array_equal(found["a"], content["a"].numpy()) and np.array_equal(found["b"], np.ones(3))
