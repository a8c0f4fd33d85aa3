"""Counts what design rules are about: lines, files, questions, copies, and the way of a configuration.

    python -m benchmarks.house                    # this checkout
    python -m benchmarks.house --root OTHER       # another checkout of the repository, with the same counter
    python -m benchmarks.house --no-run           # without the short training run

Code lines are lines with at least one token that is no comment and no docstring.  The run is
``main.py -c tsm_motion_demo.yaml --validate`` for one batch on rendered clips; a profile function sees every
call of a function of the package in its main process.  A *stay* of the configuration is a maximal sequence of calls, in
one file, of functions that get the Config or one of its sections (or a copy) as an argument, from the first call of
``train`` to the first training step; a stay in a file that had one before is a *return*.
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/recognition/tsm/tsm_motion_demo.yaml"
# files of the engine that are training or evaluation; all other lines of the room belong elsewhere
ENGINE = re.compile(
    r"(trainer|training|testing|train|test|hooks|evaluate|collectors?|checkpoint|resuming|distributed|rank_\w+"
    r"|averaging|batch_norms|file_averages|log|data_summary|precision|__init__)\.py"
)
# lines of the package that only the repository needs, at their present and their earlier places
REPOSITORY_ONLY = re.compile(
    r"engine/(golden|parity\w*)\.py|preparation/(actors|actor_drawing|synthetic_ava)\.py|parity/|stage/"
)
DEFINITIONS = {
    "IoU of boxes": r"^\s*def \w*(iou|overlap)\w*\(",
    "list of video endings": r"[\"']\.?mkv[\"'].*[\"']\.?webm[\"']|[\"']\.webm[\"'].*[\"']\.mkv[\"']",
    "H.264 writer": r"libx264[\"']",
    "SHA-256 of a file": r"hashlib\.(sha256\(\)|file_digest)",
    "DEFAULT_SEED": r"^DEFAULT_SEED\b.*=\s*\d",
    "seconds beyond a window": r"^_?BEYOND_S\b.*=",
    "collector of mistakes": r"^class \w*(Problems|Findings|Mistakes)\b",
}


def code_lines(path: Path) -> int:
    """Lines of code of one file; docstrings, comments and blank lines apart."""
    text = path.read_text(encoding="utf-8")
    documentation: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                documentation.update(range(first.lineno, first.end_lineno + 1))
    ignored = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in ignored:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documentation)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and code lines of every function of a file, its docstring apart."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            yield node.name, sum(part.end_lineno - part.lineno + 1 for part in body) + 1


def abstract_members(path: Path) -> list[str]:
    """Names of the abstract methods that the classes of a file define."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            marks = [ast.unparse(mark) for mark in node.decorator_list]
            found += [node.name] * any("abstractmethod" in mark for mark in marks)
    return found


def static_rows(root: Path) -> Iterator[tuple[str, str]]:
    """The rows that need no run."""
    package = root / "paddlevideo"
    files = sorted(package.rglob("*.py"))
    lines = {file: code_lines(file) for file in files}
    texts = {file: file.read_text(encoding="utf-8") for file in files}
    yield "package, code lines (files)", f"{sum(lines.values())} ({len(files)})"
    spare = sum(count for file, count in lines.items() if REPOSITORY_ONLY.search(file.relative_to(package).as_posix()))
    yield "shipped with the package but of no use to its users, code lines", str(spare)
    engine = {file: count for file, count in lines.items() if file.parent == package / "engine"}
    other = sum(count for file, count in engine.items() if not ENGINE.fullmatch(file.name))
    yield "engine: code lines (of files that are not training or evaluation)", f"{sum(engine.values())} ({other})"
    yield "files beyond 450 code lines", _listing({file.name: n for file, n in lines.items() if n > 450})
    long = {f"{file.name}:{name}": n for file in files for name, n in functions(file) if n > 60}
    yield "functions beyond 60 lines", _listing(long)
    bases = {
        file.relative_to(package).as_posix(): abstract_members(file)
        for file in files
        if "abstractmethod" in texts[file]
    }
    yield "base classes: abstract methods", "; ".join(f"{n}: {', '.join(m)}" for n, m in bases.items()) or "none"
    questions = sum(len(re.findall(r"\b(?:hasattr|getattr)\(", text)) for text in texts.values())
    yield "`hasattr` / `getattr` calls in the package", str(questions)
    for what, pattern in DEFINITIONS.items():
        places = [
            f"{file.relative_to(package).as_posix()}:{text[: match.start()].count(chr(10)) + 1}"
            for file, text in texts.items()
            for match in re.finditer(pattern, text, re.MULTILINE)
        ]
        yield f"definitions: {what}", f"{len(places)}" + (f" ({', '.join(places)})" if len(places) > 1 else "")
    tools = [
        file
        for part in ("tools", "demo", "benchmarks")
        for file in (root / part).rglob("*.py")
        if ".peers" not in file.parts
    ]
    inserts = sum(len(re.findall(r"sys\.path\.(insert|append)\(", file.read_text())) for file in [*files, *tools])
    yield "`sys.path` insertions (package, tools, demo, benchmarks)", str(inserts)
    yield "installed commands", str(len(re.findall(r"console_scripts", (root / "setup.py").read_text())))
    tests = sorted((root / "tests").rglob("*.py"))
    yield "tests, code lines (files)", f"{sum(map(code_lines, tests))} ({len(tests)})"


def _listing(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(counts.items(), key=lambda item: -item[1])) or "none"


def run_rows(root: Path) -> Iterator[tuple[str, str]]:
    """The rows of the traced run."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "FLAGS_use_stride_kernel": "0"}
        data = f"{folder}/motion"
        maker = ["-m", "demo.motion"] if (root / "demo" / "motion.py").is_file() else ["tools/prepare/motion.py"]
        small = ["--train", "8", "--val", "8", "--test", "8"]
        subprocess.run([sys.executable, *maker, "--out", data, *small], cwd=root, env=environment, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        overrides = [f"DATASET.{split}.data_prefix={data}" for split in ("train", "valid", "test")]
        lists = {"train": "train", "valid": "val", "test": "test"}
        overrides += [f"DATASET.{split}.file_path={data}/{name}.list" for split, name in lists.items()]
        overrides += [f"DATASET.label_names={data}/labels.txt", "DATASET.num_workers=0", f"output_dir={folder}/out"]
        flags = [flag for override in overrides for flag in ("-o", override)]
        command = ["main.py", "-c", CONFIG, "--validate", "--max_iters", "1", *flags]
        report = Path(folder) / "trace.json"
        traced = [sys.executable, __file__, "--trace", str(report), *command]
        done = subprocess.run(traced, cwd=root, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
        found = json.loads(report.read_text())
    yield "files (functions) of the package that run", f"{found['files']} ({found['functions']})"
    stays = found["stays"]
    yield "stays of the config (files, returns)", f"{len(stays)} ({len(set(stays))}, {len(stays) - len(set(stays))})"


def trace(report: Path, command: list[str]) -> None:
    """Runs a script under a profile function, and writes what it saw."""
    root = Path.cwd()
    package = str(root / "paddlevideo") + os.sep
    sys.path.insert(0, str(root))
    seen: Counter[tuple[str, str]] = Counter()
    stays: list[str] = []
    sections: set[str] = set()
    state = {"begun": False, "ended": False}

    def trace(frame: Any, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(package):
            return
        code = frame.f_code
        if code.co_name == "<module>":
            return
        file = code.co_filename[len(package) :]
        seen[(file, code.co_qualname)] += 1
        if file.startswith("engine") and code.co_name == "train":
            state["begun"] = True
        if file.startswith("engine") and code.co_name in ("train_step", "_train_step", "_step", "step_batch", "_batch"):
            state["ended"] = True
        if not state["begun"] or state["ended"] or code.co_qualname.startswith(("<", "Config.")):
            return
        values = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]]
        if any(_is_config(value, sections) for value in values) and (not stays or stays[-1] != file):
            stays.append(file)

    sys.argv = command
    sys.setprofile(trace)
    try:
        import runpy

        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as error:
        if error.code:
            raise
    finally:
        sys.setprofile(None)
    files = {file for file, _ in seen}
    report.write_text(json.dumps({"files": len(files), "functions": len(seen), "stays": stays}))


def _is_config(value: Any, sections: set[str]) -> bool:
    """Whether an argument is the Config, or equals a mapping of it that has two keys or more."""
    if type(value).__name__ == "Config":
        _collect(value.to_dict(), sections)
        return True
    return isinstance(value, dict) and len(value) > 1 and _key(value) in sections


def _collect(value: Any, sections: set[str]) -> None:
    if isinstance(value, dict):
        sections.add(_key(value))
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _collect(part, sections)


def _key(value: Any) -> str:
    return json.dumps(value, default=lambda part: type(part).__name__, skipkeys=True)


def main() -> None:
    """Prints the table."""
    if sys.argv[1:2] == ["--trace"]:
        return trace(Path(sys.argv[2]), sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to count (this one)")
    parser.add_argument("--no-run", action="store_true", help="only what needs no training run")
    args = parser.parse_args()
    root = args.root.resolve()
    print("| | count |\n|---|---|")
    for what, count in itertools.chain(static_rows(root), () if args.no_run else run_rows(root)):
        print(f"| {what} | {count} |", flush=True)


if __name__ == "__main__":
    main()
