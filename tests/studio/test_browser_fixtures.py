"""The browser fixtures: what goes wrong on a page fails its test, axe finds faults, pictures are written on demand."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.studio.browser import PICTURES, SIZE_PX, axe, expect, problems, screenshot

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

FAULTS = """async () => {
  console.error("a fault");
  setTimeout(() => { throw new Error("thrown"); });
  await fetch("/api/videos/0000000000000000");
  await fetch("http://127.0.0.1:9/x").catch(() => 0);
  await new Promise(done => setTimeout(done, 50));
}"""
BARE = """() => {
  document.body.innerHTML = '<main><h1>Title</h1><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="></main>';
}"""


def test_what_goes_wrong_on_a_page_is_found(page):
    assert problems(page) == []
    page.evaluate(FAULTS)
    found = "\n".join(problems(page))
    for text in (
        "console: a fault",
        "uncaught: thrown",
        "/api/videos/0000000000000000: 404",
        "Content Security Policy",
    ):
        assert text in found
        expect(page, text)
    with pytest.raises(AssertionError, match="no problem with 'a fault'"):
        expect(page, "a fault")
    for line in problems(page):  # the refused request has more than one line
        expect(page, line)


def test_the_size_the_language_and_pictures(open_page, studio, tmp_path, monkeypatch):
    page = open_page(studio.url, "zh-CN")
    assert page.evaluate("[innerWidth, innerHeight, navigator.language]") == [*SIZE_PX.values(), "zh-CN"]
    monkeypatch.delenv(PICTURES, raising=False)
    assert screenshot(page, "a") is None
    monkeypatch.setenv(PICTURES, str(tmp_path / "pictures"))
    assert screenshot(page, "a").read_bytes()[:4] == b"\x89PNG"


def test_axe_finds_a_picture_without_a_text(open_page):
    page = open_page("about:blank")
    page.evaluate(BARE)
    assert [line for line in axe(page) if line.startswith("image-alt (critical): ") and line.endswith(": img")]
    page.evaluate("document.querySelector('img').alt = 'a dot'")
    assert not [line for line in axe(page) if line.startswith("image-alt")]
