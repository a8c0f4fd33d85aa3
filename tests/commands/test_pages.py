"""All pages: what they name is there, and the commands they print have the flags and keys they use."""

import ast
import os
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from paddlevideo.config import load_config

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted(file.parent for file in (ROOT / "configs").glob("*/*/README.md"))
PAGES = [folder / name for folder in (ROOT, *FOLDERS) for name in ("README.md", "README_zh-CN.md")]
PAGES += [ROOT / "benchmarks" / "README.md", *sorted((ROOT / "data").glob("*/README.md"))]
PAGES += sorted((ROOT / "docs").glob("*.md"))
TWINS = [page for page in PAGES if page.with_name(f"{page.stem}_zh-CN.md").exists()]
TWINS += [page for page in (ROOT / "docs").glob("*.md") if "_zh-CN" not in page.stem and page not in TWINS]
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
TSM = ROOT / "configs" / "recognition" / "tsm"
OWN = ("data/mine/",)  # what a user's command makes


def commands(page):
    """The printed command lines as words: [script, flags...], or ["paddlevideo train", flags...]."""
    for block in re.findall(r"```\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").replace("$(which paddlevideo)", "paddlevideo").splitlines():
            found = re.search(r"(main\.py|tools/[\w/]+\.py|paddlevideo (?:prepare |weights )?[a-z-]+) ([^;#]*)", line)
            if found and not line.startswith("#"):
                yield [found[1], *shlex.split(found[2])]


@cache
def help_of(*command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command, "--help"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", done.stdout))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_both_languages_name_every_configuration_and_the_same_figures(folder):
    pages = [(folder / name).read_text() for name in ("README.md", "README_zh-CN.md")]
    for text in pages:
        named = set(re.findall(r"[\w.]+(?=\.yaml)", text))
        assert {file.stem for file in folder.glob("*.yaml") if "sapceOnly" not in file.stem} <= named
    figures = [sorted(re.findall(r"\d+\.\d+|\d+,\d+,\d+", text)) for text in pages]
    assert figures[0] == figures[1]


@pytest.mark.parametrize("page", TWINS, ids=lambda page: str(page.relative_to(ROOT)))
def test_both_languages_have_the_same_headings_and_code_blocks(page):
    found = []
    for name in (page.name, f"{page.stem}_zh-CN.md"):
        text, blocks = re.subn(r"^```.*?^```", "", page.with_name(name).read_text(), flags=re.DOTALL | re.MULTILINE)
        found.append((re.findall(r"^#+(?= )", text, re.MULTILINE), blocks))
    assert found[0] == found[1]


@by_page
def test_what_a_page_links_to_exists(page):
    for target, part in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", page.read_text()):
        if target.startswith("http"):
            continue
        file = page.parent / target if target else page
        assert file.exists(), target
        if part:
            titles = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert part in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, part


@by_page
def test_every_file_and_module_of_the_repository_that_a_page_names_exists(page):
    text = page.read_text()
    rooms = "configs|tools|tests|paddlevideo|benchmarks|docs"
    files = set(
        re.findall(rf"(?<![\w/])((?:{rooms})/[\w/-]+(?:\.(?:py|md|ya?ml|png))?)(?![\w{{}}*.]*[{{}}*])", text, re.ASCII)
    )
    files = {re.sub(r"^(configs/.*)\.py$", r"\1.yaml", name) for name in files}  # MMAction2's names
    files |= {f"{name.replace('.', '/')}.py" for name in re.findall(r"-m ((?:demo|benchmarks|tests)\.[\w.]+\w)", text)}
    assert [name for name in sorted(files) if not (ROOT / name).exists()] == []


@by_page
def test_printed_commands_have_their_flags_files_and_keys(page):
    for tool, *words in commands(page):
        flags = {word for word in words if re.fullmatch(r"--?[A-Za-z][\w-]*", word)}
        version = [word for word in words[:1] if word in ("v1", "v2")]  # of tools/prepare/something.py
        script = ["-m", *tool.split()] if tool.startswith("paddlevideo") else [tool]
        known = help_of(*script, *version)
        assert flags <= known, (tool, flags - known)
        named = [re.sub(r"\.py$", ".yaml", word) for word in words if word.startswith("configs/")]
        assert all((ROOT / name).is_file() for name in named), named
        given = [words[i + 1] for i, word in enumerate(words) if word in ("-o", "--cfg-options")]
        if named and tool in ("main.py", "tools/test.py") and not named[0].startswith(OWN):
            tests = tool == "tools/test.py" or "--test" in words
            load_config(str(ROOT / named[0]), given, uses=("test",) if tests else ("train", "valid"))


ARCHITECTURE = [ROOT / "docs" / "architecture.md", ROOT / "docs" / "architecture_zh-CN.md"]
by_language = pytest.mark.parametrize("page", ARCHITECTURE, ids=lambda page: page.stem)
PACKAGE = ROOT / "paddlevideo"
FILE = r"[\w/.-]*\w(?:/|\.py|\.md|\.toml)(?!\w)"


def blocks(page):
    return re.findall(r"```text\n(.*?)```", page.read_text(), re.DOTALL)


def code_names(page):
    """The dotted names of code that a page writes in backquotes."""
    words = re.findall(r"`([a-z_]+(?:\.\w+)+)`", page.read_text())
    return {word for word in words if not re.search(r"\.(py|md|toml|yaml|yml)$", word)}


def exists(name):
    """Whether a dotted name below paddlevideo is a module, or something that its source defines."""
    parts = name.split(".")
    count = next((n for n in range(len(parts), 0, -1) if PACKAGE.joinpath(*parts[:n]).with_suffix(".py").is_file()), 0)
    if not count:
        return False
    node = ast.parse(PACKAGE.joinpath(*parts[:count]).with_suffix(".py").read_text())
    for part in parts[count:]:
        node = next((inner for inner in getattr(node, "body", ()) if part in defined(inner)), None)
    return node is not None


def defined(node):
    """The names that a statement defines."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {ast.unparse(target) for target in targets}
    return {getattr(node, "name", None)}


def in_tree(page):
    """The path of each line of the tree, and the two places where each file that its text names may be."""
    above = {}
    for line in blocks(page)[0].splitlines():
        indent, name, text = re.fullmatch(r"( *)(\S+) *(.*)", line).groups()
        folder = above.get(len(indent), ROOT)
        above[len(indent) + 2] = folder / name
        named = [[place / file for place in (folder, folder / name)] for file in re.findall(FILE, text, re.ASCII)]
        yield folder / name, named


@by_language
def test_what_the_architecture_page_names_is_there(page):
    missing = [path for path, _ in in_tree(page) if not path.exists()]
    missing += [places for _, files in in_tree(page) for places in files if not any(map(Path.exists, places))]
    words = re.findall(rf"`({FILE})`", page.read_text(), re.ASCII)
    missing += [word for word in words if not any((root / word).exists() for root in (ROOT, PACKAGE))]
    assert missing + [name for name in code_names(page) if not exists(name)] == []
    assert len(code_names(page)) > 50  # a page in another form would pass unread


@by_language
def test_the_architecture_page_has_every_room_and_file_of_the_package(page):
    shown = {place for path, files in in_tree(page) for place in (path, *sum(files, []))}
    there = {path for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert there - shown == set()


@by_language
def test_the_architecture_page_has_the_import_contract(page):
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]["layers"]
    shown = [line.replace("paddlevideo.", "").replace(" :", ",") for line in contract]
    assert blocks(page)[1].splitlines() == shown


def test_both_architecture_pages_name_the_same():
    assert code_names(ARCHITECTURE[0]) == code_names(ARCHITECTURE[1])


# MMAction2's figures beside its accuracies: configuration -> what each of its lines on the page says, from the end
FIGURES = {
    "tsm_r50_1x1x8_50e_kinetics400_rgb": [("74.0 (340 x 256)", "7079")],
    "tsm_r50_video_1x1x8_50e_kinetics400_rgb": [("74.0", "7077")],
    "tsm_r50_1x1x16_50e_kinetics400_rgb": [("47.0 (340 x 256)", "10404; 10398")],
    "tsm_r50_1x1x8_50e_sthv1_rgb": [("74.34 / 76.60", "7077")],
    "tsm_r50_1x1x16_50e_sthv1_rgb": [("76.40 / 77.96", "10390")],
    "tsm_r101_1x1x8_50e_sthv1_rgb": [("75.40 / 77.31", "9800")],
    "tsm_r50_mixup_1x1x8_50e_sthv1_rgb": [("+0.77 / +0.79", "+0.05 / +0.70 (5)")],
    "tsm_r50_cutmix_1x1x8_50e_sthv1_rgb": [("+0.34 / -0.24", "+0.21 / +0.59")],
    "tsm_r50_1x1x8_50e_sthv2_rgb": [("84.57 / 86.28", "7069"), ("", "7069")],
    "tsm_r50_1x1x16_50e_sthv2_rgb": [("85.29 / 86.60", "10400"), ("", "10400")],
    "tsm_r101_1x1x8_50e_sthv2_rgb": [("85.14 / 87.00", "9784"), ("", "9727")],
}


@pytest.mark.parametrize("page", ["README.md", "README_zh-CN.md"])
def test_the_page_has_a_line_for_every_row_and_mmaction2_s_figures(page):
    lines = {}
    for line in (TSM / page).read_text().splitlines():
        if line.startswith("| ["):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            lines.setdefault(cells[0].rpartition("(")[2].removesuffix(".yaml)"), []).append(tuple(cells[-2:]))
    assert {file.stem for file in TSM.glob("*_rgb.yaml")} <= lines.keys()
    assert {name: lines[name] for name in FIGURES} == FIGURES
