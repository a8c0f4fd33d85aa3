"""The rules of the house that a machine can hold: imports, words, what is never called, side effects."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

from paddlevideo import registry
from paddlevideo.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for part in ("paddlevideo", "tools", "demo", "applications") for p in sorted((ROOT / part).rglob("*.py"))]
SOURCES.append(ROOT / "main.py")
REGISTRIES = [value for value in vars(registry).values() if isinstance(value, Registry)]


def test_import_contract():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


def test_no_room_without_a_name_of_its_own():
    assert not [p for p in SOURCES if p.stem in {"utils", "util", "common", "misc", "helpers"}]


# of people, or of this suite alone: code has no intentions
NO_WORDS = (
    r"add_up|witness(es)?|handovers?|shel(f|ves)|footage|keepers?|films?|forg(e|o)t\w*|meets?|untold|is told|asks|"
    r"wants|knows|hears|judges|whoever|nobody|remembers?"
)
NO_NAMES = NO_WORDS + "|add up|met|whose|told|asked|says|said|speaks|lives|judged?|remembered"


def identifiers(tree):
    """(line, name) of what a source defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id if isinstance(node, ast.Name) else node.attr


def prose(source, tree):
    """(line, text) of docstrings, messages and comments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def odd_words(source, in_prose=True):
    """(line, name or text) with a word that is not the field's."""
    tree = ast.parse(source)
    for line, name in identifiers(tree):
        words = " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))
        if re.search(rf"\b({NO_NAMES})\b", words, re.IGNORECASE):
            yield line, name
    plain = re.sub(r"\\[a-z]", " ", source)  # after "\n" in a text a word begins
    if in_prose and re.search(rf"\b({NO_WORDS})\b", plain, re.IGNORECASE):  # then where: tokens take most of the time
        for line, text in prose(source, tree):
            if re.search(rf"\b({NO_WORDS})\b", text, re.IGNORECASE):
                yield line, text


def test_the_words_are_the_field_s():
    """Names, docstrings, messages and comments of the sources, names of the tests."""
    tests = [(file, False) for file in sorted((ROOT / "tests").rglob("*.py"))]
    measured = [file for file in sorted((ROOT / "benchmarks").rglob("*.py")) if ".peers" not in file.parts]
    files = [(file, True) for file in [*SOURCES, *measured]] + tests
    found = [
        f"{file.relative_to(ROOT)}:{line}: {text[:80]}"
        for file, in_prose in files
        for line, text in odd_words(file.read_text(), in_prose)
    ]
    assert found == []
    source = 'class ViewKeeper:\n    def add_up(self):\n        """Waits for whoever."""\n        return 1  # a film\n'
    assert [line for line, _ in odd_words(source)] == [1, 2, 3, 4]
    assert [line for line, _ in odd_words('x = "two lines:\\nfilms are here"\n')] == [1]


FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "paddle.load", "yaml.load",
    "yaml.unsafe_load", "av.logging.set_level", "shell", "allow_pickle",
}  # fmt: skip


def calls(node, file):
    """What a call names and the flags that it sets to anything but False, with its place."""
    flags = {k.arg for k in node.keywords if not (isinstance(k.value, ast.Constant) and k.value.value is False)}
    return {dotted(node.func), *flags}, f"{file.relative_to(ROOT)}:{node.lineno}"


def dotted(node):
    """``a.b.c`` of a name or an attribute of names; the empty text of any other expression."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@pytest.mark.scorecard(7)
def test_nothing_dangerous_is_called():
    """Reading weights, lists or options must never run what stands in them."""
    trees = [(file, ast.parse(file.read_text())) for file in SOURCES]
    found = [calls(node, file) for file, tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert {place: names & FORBIDDEN for names, place in found if names & FORBIDDEN} == {}
    (call,) = ast.parse("paddle.load(file, allow_pickle=True, shell=False)").body
    assert calls(call.value, ROOT / "x.py")[0] & FORBIDDEN == {"paddle.load", "allow_pickle"}


def test_nine_registries_with_constructors_that_can_be_checked():
    assert len(REGISTRIES) == 9
    for each in REGISTRIES:
        for name in each.names():
            assert each.entry(name).parameters is not None, f"{each.kind} {name} takes **kwargs"


def test_the_source_index_has_what_the_classes_take():
    """The check reads sources; what it reads must be what Python calls."""
    import inspect

    for each in REGISTRIES:
        for name in each.names():
            indexed = [(p.name, p.required) for p in each.entry(name).parameters]
            real = [
                (p.name, p.default is p.empty)
                for p in inspect.signature(each.get(name).__init__).parameters.values()
                if p.name != "self"
            ]
            assert indexed == real, f"{each.kind} {name}"


def test_importing_the_package_does_nothing(tmp_path):
    """No file, no thread, no signal handler, and not Paddle either."""
    code = (
        "import signal, sys, threading, os; before = signal.getsignal(signal.SIGTERM), threading.active_count();"
        "import paddlevideo, paddlevideo.config, paddlevideo.registry, paddlevideo.safe_io;"
        "assert (signal.getsignal(signal.SIGTERM), threading.active_count()) == before;"
        "assert 'paddle' not in sys.modules; assert not os.listdir('.')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_module_can_be_imported():
    benchmarks, demo = (sorted((ROOT / name).glob("*.py")) for name in ("benchmarks", "demo"))
    files = [file for file in SOURCES if file.is_relative_to(ROOT / "paddlevideo")] + benchmarks + demo
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]
    code = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_configuration_names_no_registered_class():
    """What only a class decides stands in the class: in its annotations and constants."""
    names = {name for each in REGISTRIES for name in each.names()}
    for file in sorted((ROOT / "paddlevideo" / "config").glob("*.py")):
        texts = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not names & texts, file.name
