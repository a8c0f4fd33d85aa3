"""``make test-studio`` installs chromium where it may, and says in one line where not; it never fails for that."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("install_chromium.sh")


@pytest.fixture
def run(tmp_path):
    """``run(name=text of a script, ...)``: only these commands are there -> output, and what was called."""
    calls = tmp_path / "calls"
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "env").symlink_to(shutil.which("env"))
    (folder / "true").symlink_to(shutil.which("true"))
    (folder / "chmod").symlink_to(shutil.which("chmod"))

    def start(**commands):
        for name, text in commands.items():
            file = folder / name.replace("_", "-")
            file.write_text(f'#!/bin/sh\necho "{file.name} $*" >> {calls}\n{text}\n')
            file.chmod(0o755)
        environment = {**os.environ, "PATH": str(folder)}
        done = subprocess.run(["/bin/sh", SCRIPT], env=environment, capture_output=True, text=True)
        assert done.returncode == 0
        return done.stdout + done.stderr, calls.read_text().splitlines() if calls.exists() else []

    start.folder = folder
    return start


def installing(folder):
    return f"case $1 in install) echo '#!/bin/sh' > {folder}/chromium; chmod +x {folder}/chromium;; esac"


def test_nothing_is_done_where_it_is_there(run):
    assert run(chromium="", apt_get="exit 1") == ("", [])


@pytest.mark.parametrize(
    ("commands", "reason"),
    [
        ({}, "no apt-get"),
        ({"apt_get": "", "id": "echo 1000"}, "neither root nor sudo"),
        ({"apt_get": "", "id": "echo 1000", "sudo": "exit 1"}, "neither root nor sudo"),
        ({"apt_get": "exit 100", "id": "echo 0"}, "apt-get has installed no chromium"),
    ],
)
def test_the_reason_is_one_line_where_it_cannot_be_installed(run, commands, reason):
    text, calls = run(**commands)
    assert text.startswith("browser tests are skipped: ") and reason in text and text.count("\n") == 1
    assert any(call.startswith("apt-get install") for call in calls) == ("exit 100" in commands.get("apt_get", ""))


def test_root_installs_it(run):
    text, calls = run(apt_get=installing(run.folder), id="echo 0")
    assert text == "" and calls[-1] == "apt-get install -y -q --no-install-recommends chromium"


def test_sudo_without_a_password_installs_it(run):
    sudo = 'shift; exec "$@"'
    text, calls = run(apt_get=installing(run.folder), id="echo 1000", sudo=sudo)
    assert text == "" and calls[-1].startswith("apt-get install") and "sudo -n true" in calls
