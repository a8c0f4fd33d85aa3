import os
import subprocess
import sys
from pathlib import Path

from paddlevideo.cli.main import main
from tests.tiny_export import tiny_config, write_config

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "export_model.py"


def test_runs_from_any_folder(tiny, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(TOOL), "-c", str(tiny.config), "-p", str(tiny.weights), "-o", "exported"]
    command += ["--timing", "none"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "Building model(TSM)..."
    assert f"Loading params from ({tiny.weights})..." in lines
    assert lines[-1] == "model (TSM) has been already saved in (exported)."
    assert (tmp_path / "exported" / "inference.yml").is_file() and (tmp_path / "exported" / "TSM.pdiparams").is_file()


def test_an_override_behind_the_flag_of_the_folder_is_refused(tiny, tmp_path, run_tool):
    done = run_tool("export_model", "-c", tiny.config, "-p", tiny.weights, "-o", "MODEL.head.num_classes=5")
    assert done.code == 2 and "--override MODEL.head.num_classes=5" in done.err and done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_the_command_names_its_own_flags_of_the_folder_and_of_overrides(capsys):
    assert main(["export", "-c", "tsm_own_videos", "--out", "epochs=3"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --out epochs=3: here --out names the folder") and "with -o epochs=3" in error


def test_save_name_and_overrides(tiny, tmp_path, run_tool):
    done = run_tool(
        "export_model", "-c", tiny.config, "-p", tiny.weights, "-o", tmp_path / "out", "--save_name", "fight",
        "--timing", "none",
        "--override", "model_name=Fight", "--override", "PIPELINE.test.transform.1.CenterCrop.target_size=24",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "Building model(Fight)..." in done.out and (tmp_path / "out" / "fight.json").is_file()
    assert "- 24" in (tmp_path / "out" / "inference.yml").read_text()


def test_mistakes_are_one_line_and_exit_code_2(tiny, tmp_path, run_tool):
    config = tiny_config()
    config["MODEL"]["head"]["num_classes"] = 7
    other = write_config(tmp_path, config)
    for arguments, named in [
        (["-c", tiny.config, "-p", tmp_path / "none.pdparams"], "none.pdparams"),
        (["-c", tmp_path / "none.yaml", "-p", tiny.weights], "none.yaml"),
        (["-c", other, "-p", tiny.weights], str(tiny.weights)),
        (["-c", tiny.config, "-p", tiny.weights, "--override", "MODEL.head.classes=3"], "MODEL.head.classes"),
    ]:
        done = run_tool("export_model", *arguments, "-o", tmp_path / "out")
        assert done.code == 2 and done.err.startswith("error: ") and named in done.err
        assert "Traceback" not in done.err and not (tmp_path / "out").exists()
