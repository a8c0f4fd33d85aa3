"""The rules of the house that a machine can hold: imports, names, what is never called, side effects."""

import ast
import subprocess
import sys
from pathlib import Path

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


FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "paddle.load", "yaml.load",
    "yaml.unsafe_load", "av.logging.set_level", "shell", "allow_pickle",
}  # fmt: skip


def calls(node, file):
    """What a call names and the flags that it sets to anything but False, with its place."""
    flags = {keyword.arg for keyword in node.keywords if ast.unparse(keyword.value) != "False"}
    return {ast.unparse(node.func), *flags}, f"{file.relative_to(ROOT)}:{node.lineno}"


def test_nothing_dangerous_is_called():
    """Reading weights, lists or options must never run what stands in them."""
    trees = [(file, ast.parse(file.read_text())) for file in SOURCES]
    found = [calls(node, file) for file, tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert {place: names & FORBIDDEN for names, place in found if names & FORBIDDEN} == {}
    (call,) = ast.parse("paddle.load(file, allow_pickle=True, shell=False)").body
    assert calls(call.value, ROOT / "x.py")[0] & FORBIDDEN == {"paddle.load", "allow_pickle"}


def test_nine_registries_whose_constructors_can_be_checked():
    assert len(REGISTRIES) == 9
    for each in REGISTRIES:
        for name in each.names():
            assert each.entry(name).parameters is not None, f"{each.kind} {name} takes **kwargs"


def test_the_source_index_tells_what_the_classes_take():
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
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for p in SOURCES
        if p.is_relative_to(ROOT / "paddlevideo")
    ]
    code = "import importlib\n" + "\n".join(f"importlib.import_module({name!r})" for name in modules)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_configuration_names_no_registered_class():
    """What only a class decides stands in the class: in its annotations and constants."""
    names = {name for each in REGISTRIES for name in each.names()}
    for file in sorted((ROOT / "paddlevideo" / "config").glob("*.py")):
        texts = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not names & texts, file.name
