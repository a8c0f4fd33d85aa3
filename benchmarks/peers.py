"""Environments of the libraries that the benchmarks compare with, each apart from the project's own.

They are made on first use under ``benchmarks/.peers`` from the package index, with the versions below, and stay there.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = ROOT / "benchmarks" / ".peers"

# pinned, so that a table can be made again; torch: the build for CPUs where the index has it
PEERS: dict[str, tuple[str, ...]] = {
    "torch": ("torch==2.13.0", "torchvision==0.28.0", "torchcodec==0.13.0", "numpy==2.3.5"),
    "decord": ("decord==0.6.0", "opencv-python-headless==4.11.0.86", "numpy==1.26.4", "pillow==12.0.0", "av==16.0.1"),
    "runtimes": ("onnxruntime==1.32.0", "openvino==2026.4.1", "numpy==2.3.5"),
    # the project's own requirements with every runtime of an export
    "exports": (
        "paddlepaddle==3.3.1",
        "paddle2onnx==2.1.0",
        "onnxruntime==1.32.0",
        "openvino==2026.4.1",
        "numpy==2.3.5",
        "opencv-contrib-python-headless==4.11.0.86",
        "av==18.1.0",
        "pillow==12.0.0",
        "PyYAML==6.0.3",
        "safetensors==0.7.0",
        "tqdm==4.67.1",
        "setuptools==80.9.0",
    ),
    "webdataset": ("torch==2.13.0", "torchcodec==0.13.0", "webdataset==1.0.2", "numpy==2.3.5"),
    "jpeg": ("simplejpeg==1.9.0", "opencv-python-headless==4.11.0.86", "numpy==1.26.4", "pillow==12.0.0"),
}


@dataclass(frozen=True)
class Interpreter:
    """A Python executable, and the folder from which it imports the project (None: it does not)."""

    path: Path
    root: Path | None = None


def ours(root: Path = ROOT) -> Interpreter:
    """The interpreter of this process, with the project of the given checkout."""
    return Interpreter(Path(sys.executable), Path(root).resolve())


def ours_with_runtimes(root: Path = ROOT) -> Interpreter:
    """The project of the given checkout beside every runtime that an export can use."""
    return Interpreter(python_of("exports").path, Path(root).resolve())


def python_of(name: str) -> Interpreter:
    """The interpreter of a peer's environment, made where it is missing; one command makes it, others wait for it.

    Raises:
        subprocess.CalledProcessError: its packages cannot be installed.
    """
    packages, folder = PEERS[name], _FOLDER / name
    ready, lines = folder / "packages.txt", "\n".join(packages)
    with _locked(folder):
        if not ready.is_file() or ready.read_text() != lines:
            print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr, flush=True)
            made, old = folder.with_name(f"{name}.new"), folder.with_name(f"{name}.old")
            shutil.rmtree(made, ignore_errors=True)
            subprocess.run([sys.executable, "-m", "venv", made], check=True)
            # by the interpreter, which runs from any folder; the scripts beside it name the folder they were made in
            subprocess.run([made / "bin" / "python", "-m", "pip", "install", "--quiet", *packages], check=True)
            (made / ready.name).write_text(lines)
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            made.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
    return Interpreter(folder / "bin" / "python")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Blocks while another process or thread makes this folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
