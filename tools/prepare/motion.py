"""The printed name of ``python -m demo.motion``, which see."""

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    runpy.run_module("demo.motion", run_name="__main__", alter_sys=True)
