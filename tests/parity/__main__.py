"""Compares this suite with golden cases of its references.

    python tools/check_parity.py tests/golden
    python tools/check_parity.py my_cases/tsm_r50_16f.json my_other_cases/

A case is a pair of NAME.json and NAME.npz.  Its network is built from its own ``reference`` section, its weights follow
from a formula.  Exit code: 0 if nothing differs, 1 if a case differs, 2 if a path is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time

from paddlevideo.environment import set_cpu_environment


def main(arguments: list[str] | None = None) -> int:
    """Prints a row per case and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="case files, or folders of them")
    options = parser.parse_args(arguments)
    set_cpu_environment()
    from paddlevideo.errors import UserError
    from tests.parity.runner import DIFFERS, MISSING, OK, check

    counts = {OK: 0, DIFFERS: 0, MISSING: 0}
    print(f"{'case':42} {'status':12} {'rel. error':>10} {'seconds':>8}  first layer that differs")
    try:
        begun = time.perf_counter()
        for row in check(options.paths):
            counts[row.status] += 1
            error = "" if row.error is None else f"{row.error:.1e}"
            seconds, begun = time.perf_counter() - begun, time.perf_counter()
            note = row.layer or (row.notes[0] if row.status == MISSING else "")
            print(f"{row.name:42} {row.status:12} {error:>10} {seconds:8.1f}  {note}", flush=True)
            if row.status == DIFFERS:
                print("".join(f"    {line}\n" for note in row.notes for line in note.splitlines()), end="")
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    return 1 if counts[DIFFERS] else 0


if __name__ == "__main__":
    sys.exit(main())
