"""Files that mean harm end in one line that names them: no forged memory, no growth, no endless loop."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest

from paddlevideo.ava_files import read_proposals
from paddlevideo.engine.bank import convert_mmaction2
from paddlevideo.engine.conversion import read_source
from paddlevideo.engine.results import read_results
from paddlevideo.errors import UserError
from paddlevideo.modeling.weights import read_weights
from paddlevideo.safe_io import read_pickle
from paddlevideo.torch_files import read_torch
from tests.crafted_pickles import BOMBS, FORGED, dump
from tests.torch_writer import Tensor, write_zip

DOORS = {
    "pdparams": ("x.pdparams", read_weights),
    "converter": ("x.pth", read_source),
    "proposals": ("x.pkl", read_proposals),
    "results": ("x.pkl", read_results),
    "bank": ("x.pkl", lambda path: convert_mmaction2(path, path.with_suffix(".bank"), False)),
}


@pytest.mark.parametrize("name", [*FORGED, *BOMBS])
def test_forged_and_growing_pickles_are_refused_before_anything_is_made(name, tmp_path):
    file = tmp_path / "x.pdparams"
    file.write_bytes(BOMBS[name] if name in BOMBS else dump({"weight": FORGED[name]}))
    with pytest.raises(UserError, match=r"x\.pdparams: (refused|damaged)") as caught:
        read_pickle(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["ndarray of objects from bytes", "an array of objects without bytes"])
def test_every_door_refuses_them(door, name, tmp_path):
    file, read = DOORS[door]
    (tmp_path / file).write_bytes(BOMBS[name] if name in BOMBS else dump(FORGED[name]))
    with pytest.raises(UserError, match=rf"{file}: (refused|damaged)"):
        read(tmp_path / file)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_honest_arrays_of_every_plain_type_load_bit_for_bit(tmp_path, protocol):
    content = OrderedDict((kind, np.arange(6).astype(kind).reshape(2, 3)) for kind in "?bhilqBHILQefdFD")
    content |= {
        "big-endian": np.arange(3, dtype=">f4"), "texts": np.array(["a", "bcd"]), "bytes": np.array([b"a", b"bc"]),
        "none": np.zeros((0, 3), "f4"), "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "one": np.array(7.0), "scalar": np.float32(1.5), "text": np.str_("x"), "part": np.arange(9)[::2],
        ("video", 3): np.ones(2), "large": np.zeros(70_000, "u1"), "plain": [b"", b"x", (1, -2.5, None, True), {}],
    }  # fmt: skip
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
    found = read_pickle(tmp_path / "x.pkl")
    assert list(found) == list(content) and found["plain"] == content["plain"]
    for key, value in content.items():
        if key != "plain":
            assert found[key].dtype.newbyteorder("=") == value.dtype.newbyteorder("=")
            assert type(found[key]) is type(value)
            np.testing.assert_array_equal(found[key], value)
    assert found["columns"].flags.f_contiguous


def test_tensors_may_share_a_storage_and_not_multiply_it(tmp_path):
    whole = np.zeros(1 << 18, "f4")  # a megabyte
    tied = read_torch(write_zip(tmp_path / "x.pth", {str(i): Tensor(whole) for i in range(3)}))
    assert [tensor.shape for tensor in tied.values()] == [whole.shape] * 3
    file = write_zip(tmp_path / "y.pth", {str(i): Tensor(whole) for i in range(20)})
    with pytest.raises(UserError, match=r"y\.pth: damaged.*larger than the file"):
        read_torch(file)
