"""``paddlevideo visualize`` under its printed name; ``--help`` lists the options."""

import sys

try:
    from paddlevideo.cli.main import run_script
except ModuleNotFoundError:
    print('error: paddlevideo is not installed; run: python -m pip install -e ".[cpu]" in its folder', file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    sys.exit(run_script("tools/visualize.py"))
