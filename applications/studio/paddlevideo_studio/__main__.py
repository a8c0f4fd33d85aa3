"""``python -m paddlevideo_studio``: the same as ``paddlevideo studio``."""

import argparse
import sys

from paddlevideo.cli.command import run_command
from paddlevideo_studio import command

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="paddlevideo studio", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    sys.exit(run_command(lambda: command.run(parser.parse_args())))
