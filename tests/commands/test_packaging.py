"""What an installed package holds, and that it works in an empty folder without the checkout."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that a wheel would be packed from."""
    folder = tmp_path_factory.mktemp("installed")
    options = ["--build-lib", folder, "egg_info", "--egg-base", tmp_path_factory.mktemp("info")]
    command = [sys.executable, "setup.py", "--quiet", "build_py", *options]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def run(installed, *words, cwd):
    """Runs Python with the built package instead of the checkout's."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_it_holds_the_package_the_yaml_files_and_the_label_lists(installed):
    files = {file.relative_to(installed) for file in installed.rglob("*") if file.is_file()}
    assert {file.parts[0] for file in files} == {"paddlevideo", "paddlevideo_studio"}
    studio = ROOT / "applications/studio"
    of_studio = {file for file in studio.rglob("*") if file.is_file() and file.suffix != ".pyc"} - {
        *studio.glob("*.md")
    }
    assert {file for file in files if file.parts[0] != "paddlevideo"} == {f.relative_to(studio) for f in of_studio}
    files = {file for file in files if file.parts[0] == "paddlevideo"}
    shipped = {file for file in files if file.suffix != ".py"}
    wanted = [*ROOT.glob("configs/**/*.yaml"), ROOT / "configs/weights.yml", *ROOT.glob("data/*/labels.txt")]
    assert shipped == {"paddlevideo" / file.relative_to(ROOT) for file in wanted} and len(shipped) > 100
    assert {file for file in files if file.suffix == ".py"} == {
        file.relative_to(ROOT) for file in (ROOT / "paddlevideo").rglob("*.py")
    }


def test_it_works_in_an_empty_folder(installed, tmp_path):
    done = run(installed, "-c", "import paddlevideo; print(paddlevideo.__file__)", cwd=tmp_path)
    assert done.stdout.startswith(str(installed))
    done = run(installed, "-m", "paddlevideo", "check", "-c", "tsm_k400_videos", cwd=tmp_path)
    assert done.returncode == 0 and "label_names: data/k400/labels.txt" in done.stdout, done.stderr
    code = "from paddlevideo.loader.labels import read_labels; print(len(read_labels('data/k400/labels.txt')))"
    assert run(installed, "-c", code, cwd=tmp_path).stdout == "400\n"
    done = run(installed, "-m", "paddlevideo", "prepare", "ucf101", "--help", cwd=tmp_path)
    assert done.returncode == 0 and "ucfTrainTestlist" in done.stdout


def test_a_label_list_of_the_working_directory_comes_first(installed, tmp_path):
    (tmp_path / "data/k400").mkdir(parents=True)
    (tmp_path / "data/k400/labels.txt").write_text("one\ntwo\n")
    code = "from paddlevideo.loader.labels import read_labels; print(read_labels('data/k400/labels.txt'))"
    assert run(installed, "-c", code, cwd=tmp_path).stdout == "['one', 'two']\n"


def test_the_five_names_and_no_paddle(installed, tmp_path):
    code = (
        "import sys, paddlevideo; assert not {'paddle', 'numpy', 'yaml'} & {*sys.modules};"
        "names = ['load', 'detect', 'train', 'test', 'export'];"
        "assert paddlevideo.__all__ == names and {*names} <= {*dir(paddlevideo)};"
        "from paddlevideo import load, detect, train, test, export;"
        "assert all(map(callable, (load, detect, train, test, export)))"
    )
    done = run(installed, "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(installed, "-c", "import paddlevideo; paddlevideo.tarin", cwd=tmp_path)
    assert "has no attribute 'tarin'" in done.stderr
