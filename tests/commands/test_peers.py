"""The environments of the libraries that benchmarks compare with."""

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks import peers


@pytest.fixture
def installs(tmp_path, monkeypatch):
    """The packages of every pip call, none of which runs."""
    monkeypatch.setattr(peers, "_FOLDER", tmp_path / "peers")
    monkeypatch.setitem(peers.PEERS, "small", ("a==1",))
    calls = []

    def run(command, check):
        if "venv" in command:
            (command[-1] / "bin").mkdir(parents=True)
            (command[-1] / "bin" / "python").touch()
            return
        time.sleep(0.1)
        calls.append(command[5:])
        if "broken==1" in command:
            raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def test_commands_at_the_same_time_make_an_environment_once(installs):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(peers.python_of, ["small"] * 3))
    assert installs == [["a==1"]] and all(python.path.is_file() for python in found)


def test_an_environment_is_replaced_whole_or_not_at_all(installs, monkeypatch):
    python = peers.python_of("small").path
    python.write_text("earlier")
    monkeypatch.setitem(peers.PEERS, "small", ("broken==1",))
    with pytest.raises(subprocess.CalledProcessError):
        peers.python_of("small")
    assert python.read_text() == "earlier"
    monkeypatch.setitem(peers.PEERS, "small", ("a==2",))
    assert peers.python_of("small").path == python and python.read_text() == ""
    names = {path.name for path in python.parents[2].iterdir()}
    assert names == {"small", "small.lock"} and installs[-1] == ["a==2"]
