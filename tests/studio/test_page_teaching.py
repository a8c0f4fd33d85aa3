"""A person corrects six spans on the page, trains the head, and sees that the new model finds other spans."""

import os
import re
import time

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.studio.browser import PICTURES, screenshot, started
from tests.studio.demo_model import ANALYSIS, CLASSES, NEW_CLASS
from tests.studio.studio_page import StudioPage, labelled
from tests.studio.test_annotations import put

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("demo model")]
LIMIT_S = 180
SELECTED = "(state.spans.find((each) => each.id === state.selected) ?? {})"


@pytest.fixture
def studio(demo_model, new_class_videos, chromium, tmp_path):
    """A project with the demo's model and videos of a class that it does not know."""
    files = [path for path, _ in new_class_videos]
    with started(tmp_path / "project", "--model", demo_model, "--add", *files, *ANALYSIS) as running:
        assert len(running.client.get("/api/videos").json()["videos"]) == len(files)
        yield running


def test_six_corrections_teach_a_new_class(page, studio, new_class_videos):
    on, (*taught, (last, _)) = StudioPage(page), new_class_videos
    page.click("#analyse-all")
    on.until("[...state.videos.values()].every((each) => each.analysed.length && !each.job)", 120)
    on.open_video(last.name)
    on.until_current()
    before, begun = labelled(on.get("state.spans")), time.monotonic()
    on.add_class(NEW_CLASS)
    for number, (path, truth) in enumerate(taught):
        on.open_video(path.name)
        on.until_current()
        marked = [next(span for span in truth if (span.label == NEW_CLASS) is is_new) for is_new in (True, False)]
        for count, span in enumerate(marked, 1):
            choose(on, span)
            on.press(str([*CLASSES, NEW_CLASS].index(span.label) + 1))
            on.until(f"video().checked === {count} && {SELECTED}.label === '{span.label}'")
            for edge in ("start_s", "end_s"):
                (move_by_key if number else move_by_mouse)(on, edge, getattr(span, edge))
        spans = labelled(span for span in on.get("state.spans") if span["by"] == "human")
        assert [label for label, *_ in spans] == sorted(span.label for span in marked)
    on.open_video(last.name)  # it is analysed, so that training is the next step
    train = page.locator("#train.filled")
    assert train.text_content() == "Train on 6 corrections"
    train.click()
    screenshot(page, "train_dialog")
    page.locator("#dialog").get_by_role("button", name="Begin").click()
    page.locator("#tabs [data-tab=models]").click()
    on.until("[...state.jobs.values()].some((job) => job.kind === 'teach' && job.state === 'done')", LIMIT_S)
    toast = page.locator("#said").text_content()
    assert "held-out F1@50 " in toast, toast
    rows = page.locator("#models tbody tr")
    on.until("document.querySelectorAll('#models tbody tr').length === 2")
    if (use := rows.first.get_by_role("button", name="Use")).is_visible():  # it is used at once unless it got worse
        use.click()
    on.until("state.project.model === 2")
    screenshot(page, "taught")
    line = page.locator("#model-line").text_content()
    assert re.search(r"held-out F1@50 [01]\.\d\d \(was [01]\.\d\d\)$", line), line
    page.locator("#tabs [data-tab=timeline]").click()
    on.open_video(last.name)
    page.locator("#analyse.filled").wait_for()
    on.analyse()
    after = labelled(on.get("state.spans"))
    assert after != before and NEW_CLASS in {label for label, _, _ in after}
    page.select_option("#compare", "1")
    on.until("state.other?.spans.length")
    screenshot(page, "compared")
    assert labelled(on.get("state.other.spans")) == before
    assert time.monotonic() - begun < LIMIT_S


@pytest.mark.skipif(not os.environ.get(PICTURES), reason=f"{PICTURES} is not set")
def test_the_picture_of_the_pages_in_the_documents(open_page, demo_model, demo_videos, new_class_videos, tmp_path):
    """A head is taught on three videos, another one is analysed by both models and checked in part."""
    files = []
    for number, (path, _) in enumerate([*new_class_videos, demo_videos[0]], 1):
        files.append(tmp_path / f"scenes_{number}.mp4")
        files[-1].write_bytes(path.read_bytes())
    with started(tmp_path / "demo", "--model", demo_model, "--add", *files, *ANALYSIS) as studio:
        videos = studio.client.get("/api/videos").json()["videos"]
        studio.client.patch("/api/project", json={"classes": [{"name": name} for name in (*CLASSES, NEW_CLASS)]})
        for video, (_, truth) in zip(videos[:3], new_class_videos):
            put(studio.client, video, *({k: vars(s)[k] for k in ("start_s", "end_s", "label")} for s in truth))
        page = open_page(studio.url)
        on = StudioPage(page)
        on.open_video("scenes_4.mp4")
        on.analyse()
        page.click("#train")
        page.locator("#dialog").get_by_role("button", name="Begin").click()
        on.until("state.project.model === 2 && [...state.jobs.values()].every((job) => job.ended)", LIMIT_S)
        on.analyse()
        for count in (1, 2, 3):
            on.press("Enter")
            on.until(f"video().checked === {count}")
        page.select_option("#compare", "1")
        page.locator("#said").wait_for(state="hidden")
        page.mouse.move(640, 200)
        page.evaluate("document.activeElement.blur()")
        screenshot(page, "studio_timeline")


def choose(on, truth):
    """A click on the span that overlaps a true one most, of those that nobody has checked."""
    found = [span for span in on.get("state.spans") if span["by"] != "human"]
    best = max(found, key=lambda span: min(span["end_s"], truth.end_s) - max(span["start_s"], truth.start_s))
    on.page.mouse.click(*on.at((best["start_s"] + best["end_s"]) / 2, best["label"]))
    on.until(f"state.selected === '{best['id']}'")


def move_by_key(on, edge, second):
    """The playhead goes into the frame by a click on the ruler; I or O."""
    inside = second + 0.05 if edge == "start_s" else second - 0.05
    on.page.mouse.click(*on.at(inside))
    on.until(f"Math.abs(media.currentTime - {inside}) < 0.15")
    on.press("i" if edge == "start_s" else "o")
    on.until(f"Math.abs({SELECTED}.{edge} - {second}) < 0.15")


def move_by_mouse(on, edge, second):
    """A drag of the edge on the canvas."""
    span, inside = on.get(SELECTED), 2 if edge == "start_s" else -2
    (x, y), (to, _) = on.at(span[edge], span["label"]), on.at(second, span["label"])
    if abs(x - to) > 3:
        on.drag((x + inside, y), (to + inside, y))
    on.until(f"Math.abs({SELECTED}.{edge} - {second}) < 0.15")
