"""Files that mean harm end in one line that names them: no forged memory, no growth, no endless loop."""

import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import yaml

from paddlevideo.ava_files import read_ava_csv, read_ava_labels, read_proposals
from paddlevideo.config.reading import parse_value, read_yaml
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.inference.exported import Description, read_description
from paddlevideo.inference.runtimes.paddle import program_inputs
from paddlevideo.loader.datasets.lists import read_rows
from paddlevideo.loader.feature_bank import convert_mmaction2
from paddlevideo.loader.labels import read_labels
from paddlevideo.manifest import read_manifest
from paddlevideo.modeling.conversion import read_source
from paddlevideo.modeling.weights import read_weights
from paddlevideo.preparation.person_annotations import ImportOptions, read_people
from paddlevideo.reporting.result_files import read_results
from paddlevideo.safe_io import read_pickle
from paddlevideo.torch_files import read_torch
from tests.faults.crafted_pickles import BOMBS, FORGED, dump, payloads
from tests.tiny import ROOT
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


def pickles(marker):
    """Name -> pickle of protocols 2 and 4 that call something, or that forge memory."""
    calls = payloads(marker)
    found = {f"{name} {p}": pickle.dumps({"a": value}, protocol=p) for name, value in calls for p in (2, 4)}
    return found | {name: dump({"a": value}) for name, value in FORGED.items()}


def put(form, path, content):
    """Writes a pickle as it is, or in the archive that ``torch.save`` makes of it."""
    if form == "pickle":
        path.write_bytes(content)
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", b"3\n")


@pytest.mark.reliability
@pytest.mark.parametrize("form", ["pickle", "torch"])
@pytest.mark.parametrize(
    "door",
    [
        pytest.param(door, marks=pytest.mark.scorecard(1 if door in ("pdparams", "converter") else 3, times=53))
        for door in DOORS
    ],
)
def test_every_door_refuses_every_pickle_and_runs_nothing(door, form, tmp_path):
    file, read = DOORS[door]
    crafted = pickles(tmp_path / "executed")
    assert len(crafted) == 53
    for name, content in crafted.items():
        put(form, tmp_path / file, content)
        with pytest.raises(UserError) as caught:
            read(tmp_path / file)
        assert file in str(caught.value) and not (tmp_path / "executed").exists(), name


BOUNDED = """
import pickle, resource, sys, time
from pathlib import Path
from paddlevideo.config.reading import read_yaml
from paddlevideo.errors import ConfigError, DamagedFileError, UnsafeFileError
from paddlevideo.safe_io import read_pickle
from tests.faults.test_hostile_files import BOMBS, YAML
limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
file = Path(sys.argv[1])
for read, contents in ((read_pickle, BOMBS), (read_yaml, {name: text.encode() for name, text in YAML.items()})):
    for name, content in contents.items():
        file.write_bytes(content)
        start = time.process_time()
        try:
            outcome = repr(read(file))[:100]
        except (ConfigError, DamagedFileError, UnsafeFileError):
            outcome = "refused"
        except Exception as error:
            outcome = repr(error)
        if outcome != "refused" or time.process_time() - start > 5:
            print(f"{name}: {outcome}, {time.process_time() - start:.1f} s")
        print("a file", file=sys.stderr)
try:
    pickle.loads(BOMBS["an array of numbers without bytes"])
except MemoryError:
    print("the limit holds", file=sys.stderr)
"""


@pytest.mark.reliability
@pytest.mark.scorecard(4, times=len(BOMBS) + 13)
def test_files_that_grow_are_refused_within_five_seconds_and_a_gibibyte(tmp_path):
    command = [sys.executable, "-c", BOUNDED, str(tmp_path / "x.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr[-2000:]
    assert done.stderr.count("a file") == len(BOMBS) + 13 and "the limit holds" in done.stderr


@pytest.mark.scorecard(2)
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


YAML = {
    "a tag as a key": "? !!python/name:os.system x\n: 1",
    "a date that is none as a key": "2001-99-99: 1",
    "a truth value that is none": "a: !!bool xyz",
    "a number without digits": "a: !!int ''",
    "a list as a key": "? [a, b]\n: 1",
    "a merge of text": "a: {<<: x}",
    "a merge with itself": "a: &a\n  <<: *a\n  b: 1",
    "many brackets": "a: " + "[" * 3000 + "]" * 3000,
    "many levels": "".join("  " * i + "a:\n" for i in range(200)),
    "many digits": "a: " + "9" * 5000,
    "many numbers": "a: [" + "1," * 400_000 + "1]",
    "aliases of aliases": "b0: &b0 [1, 1]\n" + "".join(f"b{i}: &b{i} [{f'*b{i - 1},' * 9}]\n" for i in range(1, 9)),
    "megabytes": "# " + "x" * (1 << 24),
}


@pytest.mark.scorecard(5)
@pytest.mark.parametrize("name", YAML)
def test_yaml_of_any_kind_ends_in_one_error(name, tmp_path):
    (tmp_path / "x.yaml").write_text(YAML[name] + "\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: 1 mistake"):
        read_yaml(tmp_path / "x.yaml")


def test_a_value_of_the_command_line_is_bounded_too():
    assert parse_value("a[") == "a["
    with pytest.raises(ConfigError, match="50 levels"):
        parse_value("[" * 2000)


def test_a_quoted_list_is_text_where_it_is_longer_than_any_setting(tmp_path):
    (tmp_path / "x.yaml").write_text("a: '(1, 2)'\nb: '[" + "1," * 100_000 + "]'\n")
    found, _ = read_yaml(tmp_path / "x.yaml")
    assert found["a"] == [1, 2] and isinstance(found["b"], str)


def _npz(file, **members):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "."), content)


def _npy(shape, kind="<f4", content=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + content


def _saved(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


_BOXES = {"img_keys": np.array(["a,0902"]), "num_boxes": np.array([1]), "boxes": np.zeros((1, 5), "f4")}
NPZ = {
    "zeros": lambda file: _npz(file, a__npy=_npy((1 << 24,), content=bytes((1 << 26) + 1000))),
    "a header of terabytes": lambda file: _npz(file, a__npy=_npy((1 << 38,), content=b"1234")),
    "objects": lambda file: _npz(file, a__npy=_npy((1,), "|O", b"A" * 8)),
    "fields": lambda file: _npz(file, a__npy=_npy((1,), [("a", "|O")], b"A" * 8)),
    "junk": lambda file: _npz(file, a__txt=b"junk"),
    "a bare array": lambda file: np.save(file.open("wb"), np.zeros(3)),
    "fractions as counts": lambda file: file.write_bytes(_saved(**_BOXES | {"num_boxes": np.array([1.0])})),
    "counts without a row": lambda file: file.write_bytes(_saved(**_BOXES | {"num_boxes": np.array(1)})),
    "counts that overflow": lambda file: file.write_bytes(_saved(**_BOXES | {"num_boxes": np.array([201], "u1")})),
}


@pytest.mark.scorecard(11)
@pytest.mark.parametrize("name", NPZ)
def test_person_boxes_of_any_npz_end_in_one_line(name, tmp_path):
    NPZ[name](tmp_path / "x.npz")
    with pytest.raises(UserError, match=r"x\.npz: ") as caught:
        read_proposals(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


JSON = {"many brackets": "[" * 100_000, "many digits": "[" + "9" * 5000 + "]", "text": "nothing", "bytes": "\udcff"}
JSON_DOORS = {
    "annotations": ("x.json", lambda path: read_people(path, "auto", ImportOptions(lambda name: 25.0))),
    "proposals": ("x.json", read_proposals),
    "results": ("x.json", read_results),
    "manifest": ("x.pdstates", read_manifest),
    "program": ("x.json", program_inputs),
}


@pytest.mark.parametrize("door", JSON_DOORS)
@pytest.mark.parametrize("name", JSON)
def test_json_of_any_kind_ends_in_one_line(name, door, tmp_path):
    file, read = JSON_DOORS[door]
    (tmp_path / file).write_bytes(JSON[name].encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=rf"{file}: damaged") as caught:
        read(tmp_path / file)
    assert "\n" not in str(caught.value)


LONG = '"' + "x" * 200_000 + '",0\n'
TABLES = {
    "list": ("x.txt", "a.mp4,0\n" + LONG, lambda path: read_rows(str(path), ("path", "label"))),
    "list of names": ("x.txt", "1" * 5000 + ": a\n", read_labels),
    "list of actions": ("x.pbtxt", "1" * 5000 + ": a\n", read_ava_labels),
    "annotations": (
        "x.csv",
        "video,time_s,x1,y1,x2,y2\n" + LONG,
        lambda path: read_people(path, "csv", ImportOptions(lambda name: 25.0)),
    ),
    "AVA": ("x.csv", '"a",0,0,0,0,0,0,0\n' + LONG, read_ava_csv),
    "results": ("x.csv", "path,label,predicted,score_0\n" + LONG, read_results),
}  # fmt: skip


@pytest.mark.parametrize("door", TABLES)
def test_fields_of_any_length_end_in_one_line(door, tmp_path):
    file, text, read = TABLES[door]
    (tmp_path / file).write_text(text)
    # these name the line; the others are damaged as a whole
    with_line = {"list": "needs", "annotations": "damaged, or no csv"}
    with pytest.raises(UserError, match=f"{file}:2: {with_line[door]}" if door in with_line else f"{file}: damaged"):
        read(tmp_path / file)


@pytest.mark.parametrize("line", ["program: [1]", "input: 3", "pipeline: text", "views: many", "? [a]\n: 1"])
def test_a_damaged_description_of_an_export_is_one_line(line, tmp_path):
    rest = {"format_version": 1, "program": "a", "params": "b", "input": {}, "num_classes": 2, "pipeline": {}}
    text = yaml.safe_dump({k: v for k, v in rest.items() if k != line.split(":")[0]}) + line + "\n"
    (tmp_path / "inference.yml").write_text(text)
    with pytest.raises(UserError, match=r"inference\.yml: damaged .*export the model again"):
        read_description(tmp_path)


def test_a_description_comes_back_as_it_was_written(tmp_path):
    names = ["12", "1e4", "(walk)", "2001-01-01", "yes", "null", "~"]
    written = Description("m", "a.json", "a.pdiparams", {}, {}, 7, "sigmoid", 1, None, {"x": {"1.0": "(1, 2)"}}, names)
    written.write(tmp_path)
    assert read_description(tmp_path) == written


@pytest.mark.parametrize("frames", [(0, 1 << 40), (-(1 << 40), 0), (0, 10**400)])
def test_a_track_of_any_length_ends(frames, tmp_path):
    boxes = "".join(f'<box frame="{n}" xtl="1" ytl="1" xbr="2" ybr="2"/>' for n in frames)
    (tmp_path / "x.xml").write_text(f'<annotations><track id="0" label="walk">{boxes}</track></annotations>')
    with pytest.raises(UserError, match=r"x\.xml: (track 0|damaged)"):
        read_people(tmp_path / "x.xml", "cvat", ImportOptions(lambda name: 25.0))


@pytest.mark.parametrize("boxes", [[[10**400, 0, 1, 1]], {"a": 1}, [[0, 0, "x", 1]], 7])
def test_boxes_of_any_value_end_in_one_line(boxes, tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"a,0902": boxes}))
    with pytest.raises(UserError, match=r"x\.json: 'a,0902' holds"):
        read_proposals(tmp_path / "x.json")


@pytest.mark.parametrize(
    "count", [20, pytest.param(60, marks=pytest.mark.slow), pytest.param(2000, marks=pytest.mark.reliability)]
)
def test_mutated_files_end_in_a_value_or_one_line(count, tmp_path):
    """No crash, no traceback and no hang at any door, in a process with two GiB of memory."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, ROOT / "tests" / "faults" / "fuzz_files.py", "12", str(count), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, timeout=300)
    last = done.stderr.splitlines()[-1:]
    assert done.returncode == 0 and done.stdout == "", f"{done.returncode} at {last}: {done.stdout[:2000]}"
    assert last[0].startswith(f"{count} read")
