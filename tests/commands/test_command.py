"""The command ``paddlevideo``: its list, its answers without Paddle, and scripts of a checkout."""

import ast
import importlib
import os
import pkgutil
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.cli.command import run_command
from paddlevideo.cli.main import COMMANDS, SCRIPTS, Group, main

ROOT = Path(__file__).resolve().parents[2]


def leaves(group, words=()):
    """Every command with its words."""
    for word, command in group.commands.items():
        yield from leaves(command, (*words, word)) if isinstance(command, Group) else [(*words, word)]


def python(*words, **more):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, **more)


@pytest.mark.parametrize("words", leaves(COMMANDS), ids=" ".join)
def test_every_command_has_a_help_page(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: paddlevideo {' '.join(words)} ")


def test_the_list_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in COMMANDS.commands)
    assert main([]) == 2
    assert main(["prepare", "--help"]) == 0
    assert "class-weights" in capsys.readouterr().out
    assert main(["trian"]) == 2
    assert "there is no command 'trian'" in capsys.readouterr().err


def test_other_packages_add_commands_by_entry_points(tmp_path, monkeypatch, capsys):
    (tmp_path / "greeting.py").write_text(
        '"""Greets."""\n\n\ndef add_arguments(parser):\n    parser.add_argument("--name")\n\n\n'
        'def run(args):\n    print(f"hello {args.name}")\n    return 0\n'
    )
    (tmp_path / "greeting-1.0.dist-info").mkdir()
    (tmp_path / "greeting-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n"
    )
    points = "[paddlevideo.commands]\ngreet = greeting\ngreet-all = greeting\ntrain = greeting\ngone = nowhere\n"
    (tmp_path / "greeting-1.0.dist-info" / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"\n  greet-all +greets\n", out) and re.search(r"\n  train +train a model\n", out)
    assert re.search(r"\n  gone +nowhere cannot be imported", out)
    assert main(["greet", "--name", "you"]) == 0
    assert capsys.readouterr().out == "hello you\n"
    with pytest.raises(SystemExit):
        main(["train", "--help"])  # a command of the package stays what it is
    assert "Trains a video model" in capsys.readouterr().out


def test_every_script_is_a_printed_name_and_every_printed_name_a_script():
    files = {str(file.relative_to(ROOT)) for file in (ROOT / "tools").rglob("*.py")} - {"tools/check_parity.py"}
    assert files | {"main.py"} == set(SCRIPTS)
    for name in files:
        assert f'run_script("{name}")' in (ROOT / name).read_text()


@pytest.mark.parametrize("command", [["-m", "paddlevideo", "train"], ["tools/train.py"], ["main.py"]], ids=" ".join)
def test_help_is_printed_without_paddle(command):
    """Importing Paddle alone takes more than a second."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python(*command, "--help", cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and not done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # processor time; 0.1 s measured
    done = python("-X", "importtime", *command, "--help", cwd=ROOT)
    assert not {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()} & {"paddle", "cv2", "av"}


def test_a_script_of_a_checkout_that_is_not_installed_names_the_way_out():
    done = subprocess.run([sys.executable, "-ES", ROOT / "tools/predict.py"], capture_output=True, text=True)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and "pip install" in done.stderr


def test_main_py_needs_no_installation(tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, "-S", str(ROOT / "main.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "--validate" in done.stdout


def test_a_configuration_is_found_by_its_name_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("tsm_own_videos", "tsm_own_videos.yaml", "configs/recognition/tsm/tsm_own_videos.yaml"):
        assert main(["check", "-c", name]) == 0
        assert "data/own/train" in capsys.readouterr().out
    assert main(["check", "-c", "tsm_own_video"]) == 2
    assert "did you mean 'tsm_own_videos'" in capsys.readouterr().err


def test_check_compares_the_number_of_classes_with_their_names(tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    words = ["-o", f"DATASET.label_names={tmp_path / 'labels.txt'}", "-o", "MODEL.head.num_classes=4"]
    assert main(["check", "-c", "tsm_k400_videos", *words]) == 2
    assert (
        "labels.txt: 3 class names, but the model has 4 classes; -o MODEL.head.num_classes=3" in capsys.readouterr().err
    )


def test_a_file_of_the_working_directory_comes_before_a_shipped_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsm_k400_videos.yaml").write_text("_base_: tsm_own_videos\nepochs: 3\n")
    assert main(["check", "-c", "tsm_k400_videos"]) == 0
    out = capsys.readouterr().out
    assert "epochs: 3" in out and "data/own/train" in out


def test_a_name_of_several_shipped_files_is_refused(tmp_path, monkeypatch, capsys):
    from paddlevideo.config import finding

    for folder in ("a", "b"):
        (tmp_path / "configs" / folder).mkdir(parents=True)
        (tmp_path / "configs" / folder / "same.yaml").write_text("epochs: 1\n")
    monkeypatch.setattr(finding, "ROOT", tmp_path)
    assert main(["check", "-c", "same"]) == 2
    assert "configs/a/same.yaml, configs/b/same.yaml" in capsys.readouterr().err


def test_what_a_command_imports_when_it_runs_is_there():
    """Modules of commands import in their functions, so a name that is gone would be missed until the command runs."""
    gone = []
    for file in [*(ROOT / "paddlevideo/cli").glob("*.py"), ROOT / "paddlevideo/api.py"]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("paddlevideo"):
                module = importlib.import_module(node.module)
                modules = {name for _, name, _ in pkgutil.iter_modules(getattr(module, "__path__", ()))}
                names = {alias.name for alias in node.names} - {*dir(module)} - modules
                gone += [f"{file.name}: {node.module}.{name}" for name in names]
    assert not gone


def test_a_reader_that_ends_is_no_error():
    words = "import sys; from paddlevideo.cli.main import main; sys.exit(main(['weights', 'list']))"
    with subprocess.Popen([sys.executable, "-c", words], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 141


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_an_output_that_is_closed_is_no_error(monkeypatch, name):
    monkeypatch.setattr(sys, name, None)

    def write():
        print("a line", file=getattr(sys, name), flush=True)

    assert run_command(write) == 0 and getattr(sys, name) is None
