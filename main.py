"""Trains or tests a video model from one YAML file; ``--help`` lists the options."""

import sys

from paddlevideo.cli.main import run_script


def main() -> int:
    """Runs the command line of this process; returns the exit code."""
    return run_script("main.py")


if __name__ == "__main__":
    sys.exit(main())
