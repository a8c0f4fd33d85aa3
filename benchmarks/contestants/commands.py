"""A command of this project, whose decoded frames are counted in all of its processes.

python contestants/commands.py COUNTS.json tools/predict.py ARGUMENTS...
"""

import json
import multiprocessing
import sys
from pathlib import Path


def main() -> int:
    """Runs the command; its exit code."""
    from paddlevideo.cli.main import run_script
    from paddlevideo.loader.decode.packets import OpenVideo

    decode, counted = OpenVideo.decode, multiprocessing.Value("q", 0)

    def counting(source, packet, lines):
        frames = decode(source, packet, lines)
        with counted.get_lock():
            counted.value += len(frames)
        return frames

    OpenVideo.decode = counting
    try:
        return run_script(sys.argv[2], sys.argv[3:])
    finally:
        Path(sys.argv[1]).write_text(json.dumps({"decoded": counted.value}))


if __name__ == "__main__":
    sys.exit(main())
