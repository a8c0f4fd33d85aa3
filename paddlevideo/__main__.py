"""``python -m paddlevideo``."""

import sys

from paddlevideo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
