"""Pages of the studio in Debian's chromium, driven by playwright.

A test that opens a page has the mark ``browser``.  It fails with what the page wrote to the console as errors, its
uncaught exceptions, and its requests that failed or were refused, but for those that ``expect`` names.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.studio.running import running

CHROMIUM = shutil.which("chromium")
SIZE_PX = {"width": 1280, "height": 800}
PICTURES = "STUDIO_PICTURES"  # variable with the folder of ``screenshot``
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
PROBLEMS: dict[Any, list[str]] = {}  # page -> what went wrong on it
_ENDED_BY_THE_PAGE = "net::ERR_ABORTED"  # it went elsewhere, or a video element has all it needs


@dataclass(frozen=True)
class Studio:
    """A running studio: its address, a client of its API, the project's folder, and the server's process."""

    url: str
    client: httpx.Client
    folder: Path
    process: Any


def missing() -> str | None:
    """What the browser tests need and this machine has not, as one line."""
    for module, package in (("playwright", "playwright"), ("axe_playwright_python", "axe-playwright-python")):
        if importlib.util.find_spec(module) is None:
            return f"{package} is not installed: pip install {package}"
    return None if CHROMIUM else "chromium is not installed: apt-get install chromium"


def launch(playwright: Any) -> Any:
    """Chromium; as root it starts without its sandbox only."""
    words = ["--no-sandbox"] if os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=CHROMIUM, args=words)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser; the test is skipped where something is missing."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """``open_page(url, language="en", **options of a context)`` -> a page of 1280 x 800; see above for what fails."""
    opened = []

    def start(url: str, language: str = "en", **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": SIZE_PX, "locale": language, **options})
        page = context.new_page()
        PROBLEMS[page] = []
        opened.append(page)
        _watch(page, PROBLEMS[page])
        page.goto(url)
        return page

    yield start
    found = []
    for page in opened:
        found += PROBLEMS.pop(page)
        page.context.close()
    assert not found, "the page has errors:\n" + "\n".join(found)


@pytest.fixture(scope="module")
def studio(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A running studio with an empty project; a module with a fixture of this name replaces it."""
    with started(tmp_path_factory.mktemp("studio") / "project") as running_studio:
        yield running_studio


@pytest.fixture
def page(studio: Studio, open_page: Callable[..., Any]) -> Any:
    """The studio's page, in English."""
    return open_page(studio.url)


@contextmanager
def started(folder: Path, *words: object) -> Iterator[Studio]:
    """A studio with a client.

    Args:
        folder: of the project.
        words: further ones of the command.
    """
    with running(folder, *words) as (process, port):
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=100) as client:
            yield Studio(f"{url}/", client, folder, process)


def _watch(page: Any, found: list[str]) -> None:
    def failed(request: Any) -> None:
        if request.failure != _ENDED_BY_THE_PAGE:
            found.append(f"{request.method} {request.url}: {request.failure}")

    def answered(response: Any) -> None:
        if response.status >= 400:
            found.append(f"{response.request.method} {response.url}: {response.status}")

    def logged(message: Any) -> None:
        if message.type == "error" and not message.text.startswith("Failed to load resource"):  # ``answered`` has it
            found.append(f"console: {message.text} ({message.location.get('url')})")

    page.on("console", logged)
    page.on("pageerror", lambda error: found.append(f"uncaught: {error}"))
    page.on("requestfailed", failed)
    page.on("response", answered)


def problems(page: Any) -> list[str]:
    """What went wrong on a page so far."""
    page.evaluate("0")  # events that wait are taken
    return [*PROBLEMS[page]]


def expect(page: Any, text: str) -> None:
    """Takes problems with this text from those that fail the test; there has to be one.

    A test calls it after it has provoked them, e.g. ``expect(page, ": 409")``.
    """
    found = problems(page)
    assert any(text in line for line in found), f"no problem with {text!r} in {found}"
    PROBLEMS[page][:] = [line for line in found if text not in line]


def screenshot(page: Any, name: str) -> Path | None:
    """The page as ``NAME.png`` in the folder that the variable STUDIO_PICTURES names; nothing without it."""
    folder = os.environ.get(PICTURES)
    if not folder:
        return None
    path = Path(folder) / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=path, animations="disabled")
    return path


def axe(page: Any, context: str | None = None) -> list[str]:
    """What axe-core finds against WCAG 2.2 AA and its own best practice, as lines ``rule (impact): help: element``.

    Args:
        context: a CSS selector, of what is looked at; the whole page without it.
    """
    from axe_playwright_python.sync_playwright import Axe

    options = {"resultTypes": ["violations"], "runOnly": {"type": "tag", "values": AXE_TAGS}}
    found = Axe().run(page, context, options).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {' '.join(map(str, node['target']))}"
        for rule in found
        for node in rule["nodes"]
    ]
