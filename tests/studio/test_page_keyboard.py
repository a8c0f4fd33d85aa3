"""The whole way by keyboard alone, and what assistive technology finds on every page, size and language."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.studio.browser import axe, expect, screenshot, started
from tests.studio.demo_model import ANALYSIS, CLASSES
from tests.studio.studio_page import StudioPage, labelled

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo model")]
FOCUS = "[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]"
SMALL = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(scope="module")
def studio(demo_model, demo_videos, chromium, tmp_path_factory):
    """A project with the demo's model and its first video."""
    words = ["--model", demo_model, "--add", demo_videos[0][0], *ANALYSIS]
    with started(tmp_path_factory.mktemp("keyboard") / "project", *words) as running:
        assert len(running.client.get("/api/videos").json()["videos"]) == 1
        yield running


class Keyboard(StudioPage):
    """The page, by keys alone."""

    def tab_to(self, selector):
        """Presses Tab until the element has the focus, which is always seen."""
        for _ in range(80):
            if self.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                tag, outline = self.page.evaluate(FOCUS)
                assert tag != "BODY" and outline == "solid", (tag, outline, selector)
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not reach {selector}")

    def assert_focus(self):
        """It is not lost."""
        assert self.page.evaluate("document.activeElement !== document.body")


def test_the_whole_way_by_keyboard(page, studio, demo_videos):
    on, client = Keyboard(page), studio.client
    name = demo_videos[1][0].name
    on.tab_to("#file")
    on.upload(demo_videos[1][0])
    on.tab_to("#video-list .video")
    on.press("ArrowDown")
    on.until_open(name)
    url = f"/api/videos/{on.get('state.video')}"
    found = lambda: client.get(f"{url}/spans").json()["spans"]  # noqa: E731
    page.keyboard.press("Shift+Tab")
    on.tab_to("#analyse")
    on.press("Enter")
    on.until("video().analysed.length && !video().job", 120)
    on.until_current()
    on.assert_focus()
    spans = found()
    # the queue: the first is kept, the second has another class, the third goes
    order = sorted(spans, key=lambda span: span["score"])
    on.tab_to("#side .card")
    on.press("Enter")
    on.until(f"state.selected === '{order[0]['id']}' || video().checked === 1")
    on.assert_focus()
    if not on.get("video().checked"):
        on.press("Enter")
    on.until(f"video().checked === 1 && state.selected === '{order[1]['id']}'")
    on.assert_focus()
    other = next(n for n, label in enumerate(CLASSES, 1) if label != order[1]["label"])
    on.press(str(other))
    on.until("video().checked === 2")
    on.assert_focus()
    on.press("Enter")  # goes to the next that is left
    on.until(f"state.selected === '{order[2]['id']}'")
    on.press("Delete")
    on.until(f"state.spans.length === {len(spans) - 1}")
    on.assert_focus()
    by_hand = [span for span in found() if span["by"] == "human"]
    assert sorted(span["label"] for span in by_hand) == sorted([order[0]["label"], CLASSES[other - 1]])
    on.press("u")
    on.until(f"state.spans.length === {len(spans)}")
    assert labelled([order[2]])[0] in labelled(found())
    # a new span: N, then its end and its start
    on.tab_to("#lanes")
    for _ in range(3):
        on.press("ArrowRight")
    on.until("media.currentTime > 3 && !media.seeking")
    start = on.get("Math.round(media.currentTime * 10) / 10")
    on.press("n")
    on.until("state.spans.find((span) => span.id === state.selected)?.by === 'human' && video().checked === 3")
    on.press("ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", ".")
    on.until(f"Math.abs(media.currentTime - {start + 4.1}) < 0.06")
    on.press("o")
    on.until(f"state.spans.some((span) => Math.abs(span.end_s - {start + 4.2}) < 0.06)")
    on.press(",", "i")
    on.until(f"state.spans.some((span) => Math.abs(span.start_s - {start + 4.0}) < 0.06)")
    assert page.locator("#chosen").text_content().startswith(found_label(on))
    on.press("+", "+", "-")
    # dialogs: keys, export, training; Escape gives the focus back
    on.press("?")
    page.locator("#dialog dl").wait_for()
    screenshot(page, "keys")
    assert axe(page) == []
    on.press("Escape")
    on.assert_focus()
    on.tab_to("#export")
    on.press("Enter")
    on.tab_to("#dialog form select")
    screenshot(page, "export")
    assert axe(page) == []
    on.tab_to("#dialog form .filled")
    with page.expect_download() as download:
        on.press("Enter")
    assert download.value.suggested_filename.endswith(".json")
    on.press("Escape")
    assert page.evaluate("document.activeElement.id") == "export"
    on.tab_to("#train")
    on.press("Enter")
    on.tab_to("#dialog .filled")
    assert axe(page) == []
    on.press("Enter")
    page.locator("#said", has_text="in 1 video").wait_for()  # a held-out video is needed
    expect(page, ": 409")
    on.press("Escape")
    on.press("c")
    page.locator("#dialog .classes").wait_for()
    assert axe(page) == []
    on.press("Escape")
    on.tab_to("#language")
    on.press("Enter")
    page.locator("#tabs [data-tab=models]", has_text="模型").wait_for()
    assert page.evaluate("[document.activeElement.id, document.documentElement.lang]") == ["language", "zh-CN"]
    page.keyboard.press("Shift+Tab")
    on.tab_to("#language")
    on.press("Enter")


def found_label(on):
    return on.get("state.spans.find((span) => span.id === state.selected).label")
