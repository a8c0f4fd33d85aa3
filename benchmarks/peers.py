"""Environments of the libraries that the benchmarks compare with, each apart from the project's own.

They are made on first use under ``benchmarks/.peers`` from the package index, with the versions below, and stay there.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_FOLDER = ROOT / "benchmarks" / ".peers"

# pinned, so that a table can be made again; torch: the build for CPUs where the index has it
PEERS: dict[str, tuple[str, ...]] = {
    "torch": ("torch==2.13.0", "torchvision==0.28.0", "torchcodec==0.13.0", "numpy==2.3.5"),
    "decord": ("decord==0.6.0", "opencv-python-headless==4.11.0.86", "numpy==1.26.4", "pillow==12.0.0", "av==16.0.1"),
    "runtimes": ("onnxruntime==1.32.0", "openvino==2026.4.1", "numpy==2.3.5"),
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


def python_of(name: str) -> Interpreter:
    """The interpreter of a peer's environment, made where it is missing.

    Raises:
        subprocess.CalledProcessError: its packages cannot be installed.
    """
    packages, folder = PEERS[name], _FOLDER / name
    ready = folder / "packages.txt"
    if not ready.is_file() or ready.read_text() != "\n".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        print(f"installing {', '.join(packages)} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)
        ready.write_text("\n".join(packages))
    return Interpreter(folder / "bin" / "python")
