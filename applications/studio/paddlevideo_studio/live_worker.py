"""Runs a command of the package whose words come as one line of JSON on the standard input:

    echo '["timeline", "--model_file", "inference/TSM", "-i", "rtsp://..."]' | python -m paddlevideo_studio.live_worker

Words on a command line are shown to every user of a machine, and the address of a camera may hold a password.
"""

from __future__ import annotations

import json
import sys

from paddlevideo.cli.main import main

if __name__ == "__main__":
    sys.exit(main(json.loads(sys.stdin.readline())))
