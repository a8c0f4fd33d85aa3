"""``tools/check_parity.py``: rows and exit codes."""

import json
import shutil
from pathlib import Path

from tests.parity.__main__ import main

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def copy_case(name, folder):
    for suffix in (".json", ".npz"):
        shutil.copyfile(GOLDEN / f"{name}{suffix}", folder / f"{Path(name).name}{suffix}")
    return folder / f"{Path(name).name}.json"


def test_a_row_per_case_and_zero_if_nothing_differs(tmp_path, capsys):
    copy_case("paddlevideo/timesformer_space_small", tmp_path)
    copy_case("cases/head_loss", tmp_path)
    assert main([str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and lines[0].split()[0] == "case"
    assert [line.split()[1] for line in lines[1:3]] == ["ok", "ok"]
    assert lines[3] == "2 ok, 0 DIFFERS, 0 no model yet"


def test_one_if_a_case_differs_and_the_layer_is_named(tmp_path, capsys):
    path = copy_case("paddlevideo/timesformer_divided_small", tmp_path)
    case = json.loads(path.read_text())
    case["reference"]["backbone"]["num_heads"] = 2
    path.write_text(json.dumps(case))
    assert main([str(path)]) == 1
    row = capsys.readouterr().out.splitlines()[1].split()
    assert row[1] == "DIFFERS" and row[-1] == "backbone.blocks.0"


def test_a_model_that_is_not_here_is_no_failure(tmp_path, capsys):
    path = copy_case("paddlevideo/timesformer_space_small", tmp_path)
    case = json.loads(path.read_text())
    case["reference"]["backbone"]["name"] = "NoSuchNet"
    path.write_text(json.dumps(case))
    assert main([str(path)]) == 0
    assert "no model yet" in capsys.readouterr().out.splitlines()[1]


def test_two_if_a_path_is_wrong(capsys):
    assert main(["no/such/folder"]) == 2
    assert "no/such/folder" in capsys.readouterr().err
