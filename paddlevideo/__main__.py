"""``python -m paddlevideo``."""

import sys

from paddlevideo.cli.main import main

sys.exit(main())
