"""Classes are compared with the base class of their kind; a user's own files are read before they are imported."""

from __future__ import annotations

import abc
import subprocess
import sys
from pathlib import Path

import pytest

from paddlevideo.errors import UserError
from paddlevideo.registry import Registry

ROOT = Path(__file__).parents[2]


class Base(abc.ABC):
    width: int
    colour = "red"

    @abc.abstractmethod
    def run(self, x: int, state: str | None = None) -> int: ...

    @property
    def name(self) -> str:
        return "base"

    def stop(self, now: bool = False) -> bool:
        return now


def registry() -> Registry:
    return Registry("thing", bases=(f"{__name__}:Base",))


def define(**members):
    return type("Own", (Base,), {"__module__": __name__, **members})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "run is missing: expected run(self, x, state=None)"),
        ({"run": lambda self, y, state=None: y}, "run(self, y, state=None): expected run(self, x, state=None)"),
        ({"run": lambda self, x: x}, "run(self, x): expected run(self, x, state=None)"),
        ({"run": lambda self, x, state: x}, "run(self, x, state): expected run(self, x, state=None)"),
        ({"run": lambda self, x, state=None, *, more: x}, "run(self, x, state=None, *, more): expected run("),
        ({"run": 3}, "run is 3: expected the method run(self, x, state=None)"),
        ({"run": lambda self, x, state=None: x, "name": lambda self: ""}, "name is a method: expected an attribute"),
        ({"run": lambda self, x, state=None: x, "colour": lambda self: ""}, "colour is a method: expected an"),
        ({"run": lambda self, x, state=None: x, "stop": lambda self: None}, "stop(self): expected stop(self, now=F"),
    ],
)
def test_a_class_that_differs_from_its_base_is_named_in_one_line(members, words):
    with pytest.raises(UserError) as caught:
        registry().register(define(**members))
    assert str(caught.value).startswith(f"{__file__}: thing Own: {words}") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "members",
    [
        {"run": lambda self, x, state=None, more=1: x, "name": "plain", "colour": property(lambda self: "blue")},
        {"run": lambda self, *args, **kwargs: 0},
        {"run": staticmethod(lambda x, state=None: x)},
    ],
)
def test_more_optional_parameters_and_plain_attributes_fit(members):
    assert registry().register(define(**members, width=1))


def test_a_class_without_the_base_is_refused():
    with pytest.raises(UserError, match=r"thing Other: expected a subclass of .*test_registry\.Base"):
        registry().register(type("Other", (), {"__module__": __name__}))


def test_an_attribute_that_the_constructor_leaves_out_is_named():
    things = registry()
    things.register(define(run=lambda self, x, state=None: x))
    with pytest.raises(UserError, match=r"thing Own: its constructor must set width \(int\)"):
        things.build({"name": "Own"}, "THING")


def test_a_taken_name_names_its_module():
    things = registry()
    things.register(define(run=lambda self, x, state=None: x))
    with pytest.raises(UserError, match=r"thing Own: the name is taken by elsewhere \(elsewhere\); rename"):
        things._classes["Own"].__module__ = "elsewhere"
        things.register(define(run=lambda self, x, state=None: x))


MODULE = """
print("executed")
from paddlevideo.registry import LOSSES as L
from paddlevideo.ranges import Positive
from paddlevideo.modeling.losses.cross_entropy import CrossEntropyLoss


@L.register
class ScaledLoss(CrossEntropyLoss):
    def __init__(self, factor: Positive):
        super().__init__()
"""
CONFIG = f"""
_base_: {ROOT}/configs/recognition/tsm/tsm_own_videos.yaml
imports: [my_losses]
MODEL: {{head: {{loss_cfg: {{name: ScaledLoss, factor: FACTOR}}}}}}
"""


def check(folder: Path, factor: object, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    (folder / "my.yaml").write_text(CONFIG.replace("FACTOR", str(factor)))
    command = [sys.executable, str(ROOT / "main.py"), "-c", str(folder / "my.yaml"), "--check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or folder)


def test_a_class_of_a_users_file_is_checked_without_running_it(tmp_path):
    (tmp_path / "my_losses.py").write_text(MODULE)
    done = check(tmp_path, 2)
    assert done.returncode == 0 and "executed" not in done.stdout, done.stderr
    assert str(tmp_path / "my_losses.py") in done.stdout  # the resolved file finds it from any folder
    assert check(tmp_path, 2, cwd=ROOT).returncode == 0
    done = check(tmp_path, -1)
    assert done.returncode == 2 and "MODEL.head.loss_cfg.factor: expected above 0, got -1" in done.stderr
    assert "executed" not in done.stdout


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "imports[0]: there is no module or .py file 'my_losses'; looked in "),
        ("x = 1", "my_losses.py: registers no class; above a class at the top level expected one of @FRAMEWORKS"),
        ("def f(:", "my_losses.py:1: not Python (invalid syntax)"),
        (MODULE.replace("ScaledLoss", "BCELoss"), "loss BCELoss: the name is taken by paddlevideo.modeling.losses."),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, text, words):
    if text is not None:
        (tmp_path / "my_losses.py").write_text(text)
    done = check(tmp_path, 2)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_can_be_named_on_the_command_line(tmp_path):
    (tmp_path / "my_losses.py").write_text(MODULE)
    (tmp_path / "more.py").write_text(MODULE.replace("ScaledLoss", "OtherLoss"))
    done = check(tmp_path, 2, "--import", "more.py", "-o", "MODEL.head.loss_cfg.name=OtherLoss")
    assert done.returncode == 0 and "OtherLoss" in done.stdout and "more.py" in done.stdout, done.stderr
