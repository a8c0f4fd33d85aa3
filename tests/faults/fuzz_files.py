"""Mutates small honest files of every kind and reads them; run by ``test_hostile_files`` in a process of its own.

    python tests/faults/fuzz_files.py SEED COUNT FOLDER

Prints a line for every input that ends in anything but a value or a ``UserError``, or that takes too long.  Input k is
a function of (seed, k).
"""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import signal
import sys
import traceback
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

MEMORY = 2 << 30
LIMIT_S = 5
_AS_IT_IS = 0.1  # the share of files that are not changed

_NUMBERS = ["-1", "0", "1e12", "-1e308", "nan", "inf", "9" * 400, "9" * 5000, "1.5", "0x10", "4294967296"]
_TOKENS = [*_NUMBERS, "null", "true", "[]", "{}", '""', '"x"', "[" * 300, "{" * 300, ",", ":", "\0", "\x1b[31m", "&x;",
           "<", "\n", '"', "'", "!!python/name:os.system ", "*a", "&a ", "<<: ", "x" * 200_000]  # fmt: skip


class Slow(BaseException):
    """An input took too long; no Exception, so that no reader takes it for a damage."""


def samples() -> dict[str, tuple[str, list[bytes], Callable[[Path], object]]]:
    """Door -> file name, honest contents, and the function that reads the file."""
    import numpy as np
    import yaml

    from paddlevideo.ava_files import read_ava_csv, read_ava_labels, read_excluded, read_proposals, write_proposals
    from paddlevideo.config.reading import read_yaml
    from paddlevideo.inference.exported import read_description
    from paddlevideo.inference.runtimes.paddle import program_inputs
    from paddlevideo.loader.datasets.lists import read_rows
    from paddlevideo.loader.feature_bank import BankFrame, FeatureBank, write_bank
    from paddlevideo.loader.labels import read_labels
    from paddlevideo.manifest import read_note
    from paddlevideo.preparation.person_annotations import ImportOptions, read_people
    from paddlevideo.safe_io import read_pickle
    from paddlevideo.torch_files import read_torch
    from tests.faults.crafted_pickles import BOMBS, FORGED, dump
    from tests.torch_writer import Tensor, write_legacy, write_zip

    folder = Path(sys.argv[3])
    rng = np.random.default_rng(0)
    weights = OrderedDict(a=rng.random((2, 3), "f4"), b=np.arange(3), c=np.float32(1), d=np.array(["x"]), e={"f": [1]})
    boxes = {"a,0902": rng.random((2, 5)).astype("f4"), "a,0903": np.zeros((0, 5), "f4")}
    tensors = {"state_dict": OrderedDict(a=Tensor(rng.random((2, 3), "f4")), b=Tensor(np.arange(3)))}

    def written(name: str, write: Callable[[Path], object]) -> bytes:
        write(folder / name)
        return (folder / name).read_bytes()

    def proposals(ending: str) -> list[bytes]:
        return [written(f"boxes{ending}", lambda path: write_proposals(path, boxes))]

    def people(form: str) -> Callable[[Path], object]:
        return lambda path: read_people(path, form, ImportOptions(lambda video: 25.0))

    frame = BankFrame("a", 1, np.ones((2, 3), "f4"), np.ones(2, "f4"))
    bank = written("x.bank", lambda path: write_bank(path, [frame]))
    coco = {"images": [{"id": 1, "file_name": "a/img_00031.jpg", "width": 100, "height": 80}],
            "categories": [{"id": 1, "name": "walk"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40],
                             "attributes": {"track_id": 3, "sits": True}}]}  # fmt: skip
    via = {"file": {"1": {"fid": "1", "fname": "a.mp4"}}, "view": {"1": {"fid_list": ["1"]}},
           "attribute": {"1": {"aname": "action", "options": {"0": "walk"}}},
           "metadata": {"1_x": {"vid": "1", "z": [1.0], "xy": [2, 1, 2, 30, 40], "av": {"1": "0"}}}}  # fmt: skip
    via2 = {"_via_img_metadata": {"x": {"filename": "a_00031.jpg", "regions": [
        {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4},
         "region_attributes": {"action": {"walk": True}}}]}}}  # fmt: skip
    cvat = """<annotations>
<meta><task><name>a</name><original_size><width>100</width><height>80</height></original_size>
<source>a.mp4</source></task></meta>
<track id="0" label="person">
<box frame="0" outside="0" xtl="1" ytl="2" xbr="30" ybr="40"><attribute name="action">walk</attribute></box>
<box frame="50" outside="0" xtl="1" ytl="2" xbr="30" ybr="40"/></track>
<image id="1" name="a/img_00031.jpg" width="100" height="80"><box label="walk" xtl="1" ytl="2" xbr="3" ybr="4"/></image>
</annotations>"""
    table = "video,time_s,x1,y1,x2,y2,actions,person\na,1.0,0.1,0.2,0.3,0.4,walk;sit,7\na,2,1,2,30,40,,\n"
    line = {"video": "a", "time_s": 1.0, "box": [0.1, 0.2, 0.3, 0.4], "actions": ["walk"], "person": 7}
    program = {"program": {"regions": [{"blocks": [{"ops": [
        {"#": "1.data", "A": [{"N": "name", "AT": {"D": "x"}}, {"N": "shape", "AT": {"D": [-1, 3]}},
                              {"N": "dtype", "AT": {"D": "f4"}}]}]}]}]}}  # fmt: skip
    about = {"format_version": 1, "program": "a.json", "params": "a.pdiparams", "input": {"shape": [1]},
             "num_classes": 2, "pipeline": {"x": {"name": "y"}}}  # fmt: skip
    settings = "a: &a {b: 1e-4, c: [1, 2.5, '(1, 2)']}\nd:\n  <<: *a\n  e: !!str 1\nf: 2001-01-01\n"

    def text(value: object) -> list[bytes]:
        return [json.dumps(value).encode()]

    return {
        "pickle": ("x.pdparams", [pickle.dumps(weights, protocol=p) for p in (2, 3, 4, 5)], read_pickle),
        "crafted": ("x.pdparams", [*(dump({"w": value}) for value in FORGED.values()), *BOMBS.values()], read_pickle),
        "legacy": ("x.pth", [written("l.pth", lambda path: write_legacy(path, tensors))], read_torch),
        "zip": ("x.pth", [written("z.pth", lambda path: write_zip(path, tensors))], read_torch),
        "boxes.pkl": ("x.pkl", proposals(".pkl"), read_proposals),
        "boxes.npz": ("x.npz", proposals(".npz"), read_proposals),
        "boxes.json": ("x.json", proposals(".json"), read_proposals),
        "bank": ("x.bank", [bank], lambda path: FeatureBank(path, verify=False).rows("a", 0, 9)),
        "coco": ("x.json", text(coco), people("coco")),
        "via": ("x.json", [*text(via), *text(via2)], people("via")),
        "cvat": ("x.xml", [cvat.encode()], people("cvat")),
        "csv": ("x.csv", [table.encode()], people("csv")),
        "jsonl": ("x.jsonl", text(line), people("jsonl")),
        "AVA": ("x.csv", [b"a,0902,0.1,0.2,0.3,0.4,12,0\na,0903,0,0,1,1,,\n"], read_ava_csv),
        "labels": ("x.pbtxt", [b'item { name: "a" id: 1 }\nitem { id: 2 name: "b" }', b"1: a\n2: b"], read_ava_labels),
        "excluded": ("x.csv", [b"a,0902\nb,0903.5\n"], read_excluded),
        "names": ("x.txt", [b"0 a\n1 b\n", b"a\nb\n"], read_labels),
        "list": ("x.txt", [b"a.mp4 0\nb c.mp4 1\n", b"path,label\na.mp4,0\n"], lambda f: read_rows(str(f), _COLUMNS)),
        "note": ("x.pdstates", text({"format": 1, "files": {}, "state": {"a": [1]}}), read_note),
        "program": ("x.json", text(program), program_inputs),
        "yaml": ("x.yaml", [settings.encode()], read_yaml),
        "description": ("inference.yml", [yaml.safe_dump(about).encode()], lambda path: read_description(path.parent)),
    }  # fmt: skip


_SMALL = 10_000
_COLUMNS = ("path", "label")


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """One to four changes: bits, cuts, repeats, words, and pieces of other files."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice([1, 2, 4, 8, 30]))
        change = rng.randrange(8)
        if change == 0 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif change == 1 and data:
            data[at % len(data)] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, *b".0Rb(}]h)\x85\x8c\x94", rng.randrange(256)])
        elif change == 2:
            del data[at:end]
        elif change == 3:
            data[at:at] = data[at:end] * rng.choice([1, 2, 50])
        elif change == 4:
            data[at:end] = rng.choice(_TOKENS).encode()
        elif change == 5:
            other = rng.choice(others)
            begin = rng.randrange(len(other) + 1)
            data[at:end] = other[begin : begin + rng.choice([4, 20, 100])]
        elif change == 6:
            del data[at:]
        else:
            numbers = [i for i, byte in enumerate(data) if chr(byte).isdigit()]
            if numbers:
                i = rng.choice(numbers)
                data[i : i + 1] = rng.choice(_NUMBERS).encode()
    return bytes(data)


def repacked(content: bytes, rng: random.Random) -> bytes:
    """A zip archive with one mutated member, and digests that fit."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(stream, "w") as new:
        members = old.infolist()
        chosen = rng.choice(members)
        for member in members:
            inner = old.read(member)
            new.writestr(member.filename, mutated(inner, [inner], rng) if member is chosen else inner)
    return stream.getvalue()


def touch(value: object) -> Iterator[int]:
    """Looks at all the memory of what was read."""
    import numpy as np

    if isinstance(value, np.ndarray | np.generic):
        assert not value.dtype.hasobject
        yield len(value.tobytes())
    elif isinstance(value, dict):
        for key, item in value.items():
            yield len(repr(key))
            yield from touch(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from touch(item)


def main() -> None:
    seed, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from paddlevideo.errors import UserError

    doors = samples()
    everything = [c for _, contents, _ in doors.values() for c in contents if len(c) < _SMALL]
    refused = 0

    def slow(*_: object) -> None:
        raise Slow

    signal.signal(signal.SIGALRM, slow)
    names = list(doors)
    for k in range(count):
        rng = random.Random(f"{seed} {k}")
        door = names[k % len(names)]
        name, contents, read = doors[door]
        content = rng.choice(contents)
        zipped = content[:2] == b"PK" and rng.random() < 0.7
        if rng.random() > _AS_IT_IS:
            content = repacked(content, rng) if zipped else mutated(content, everything, rng)
        (folder / name).write_bytes(content)
        print(f"{door} {k}", file=sys.stderr, flush=True)  # the last one, if the process ends here
        signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
        try:
            sum(touch(read(folder / name)))
        except UserError as error:
            refused += 1
            if str(folder / name) not in str(error):
                print(f"{door} {k}: the file is not named: {error!s:.300}")
        except Slow:
            print(f"{door} {k}: longer than {LIMIT_S} s")
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{door} {k}: {type(error).__name__}: {error!s:.200} ({Path(place.filename).name}:{place.lineno})")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{count} read, {refused} refused", file=sys.stderr)


if __name__ == "__main__":
    main()
