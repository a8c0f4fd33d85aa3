"""The Timeline page: videos, spans on the canvas, corrections that last, and what it shows against the command."""

import json
import shutil
import signal

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo.spans import read_spans
from tests.studio.browser import PROBLEMS, expect, screenshot, started
from tests.studio.demo_model import ANALYSIS, SETTINGS, run_command
from tests.studio.studio_page import StudioPage, labelled

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("demo model")]
MARKUP = "<img src=x onerror=window.hit=1>"


@pytest.fixture(scope="module")
def studio(demo_model, demo_videos, chromium, tmp_path_factory):
    """A project with the demo's model and its first video, which nobody has analysed."""
    words = ["--model", demo_model, "--add", demo_videos[0][0], *ANALYSIS]
    with started(tmp_path_factory.mktemp("timeline") / "project", *words) as running:
        assert len(running.client.get("/api/videos").json()["videos"]) == 1  # it answers when the video is there
        yield running


def test_a_video_is_uploaded_and_analysed_and_its_spans_are_those_of_the_command(page, studio, demo_videos, tmp_path):
    on, file = StudioPage(page), demo_videos[1][0]
    on.upload(file)
    on.open_video(file.name)
    on.analyse()
    assert page.evaluate("document.activeElement.id") == "lanes"  # Enter keeps a span, and does not analyse again
    spans, fps = on.get("state.spans"), on.get("video().fps")
    assert len(spans) >= 4 and {span["by"] for span in spans} == {"model 1"}
    assert page.locator("#side .card").count() == len(spans)
    assert page.locator(".video[aria-current=true] .words").text_content() == f"0 of {len(spans)} checked"
    for span in spans[1:3]:
        middle = on.at((span["start_s"] + span["end_s"]) / 2, span["label"])
        assert on.colours(middle) > 1  # hatched
        page.mouse.click(*middle)
        on.until(f"state.selected === '{span['id']}' && !media.seeking")
        assert abs(on.second - span["start_s"]) <= 1 / fps
    stored = studio.folder / "videos" / f"{on.get('state.video')}.mp4"
    words = [word for name, value in SETTINGS.items() for word in (f"--{name}", value)]
    model, out = studio.folder / "models" / "1", tmp_path / "a.json"
    run_command("timeline", "--model_file", model, "-i", stored, *words, "--out", out)
    assert labelled(spans) == labelled(span.to_dict() for span in read_spans(out).spans)


def test_a_dragged_edge_is_one_line_on_a_frame_and_outlasts_the_server(open_page, studio, tmp_path):
    folder, journal = tmp_path / "project", tmp_path / "project" / "spans.jsonl"
    shutil.copytree(studio.folder, folder)
    with started(folder) as first:
        page, port = open_page(first.url), first.client.base_url.port
        on = StudioPage(page)
        on.open_video("videos-0.mp4")
        on.analyse()
        before, (span, other) = journal.read_text(), on.get("state.spans.slice(1, 3)")
        trim(on, span, 1.234)
        lines = journal.read_text().removeprefix(before).splitlines()
        assert len(lines) == 1 and json.loads(lines[0])["replaces"] == span["id"]
        (kept,) = [each for each in on.get("state.spans") if each["by"] == "human"]
        assert (kept["start_s"], kept["end_s"]) == (span["start_s"], pytest.approx(span["end_s"] + 1.2, abs=0.11))
        assert kept["end_s"] * on.get("video().fps") == pytest.approx(round(kept["end_s"] * on.get("video().fps")))
        page.reload()
        StudioPage(page).until_current()
        assert on.get("state.spans.find((span) => span.by === 'human')") == kept
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(20) in (0, -signal.SIGTERM)
        page.locator("#offline").wait_for()
        screenshot(page, "server_gone")
    with started(folder, "--port", port) as second:
        page.locator("#offline").wait_for(state="hidden")
        on.until_current()
        assert on.get("state.spans.find((span) => span.by === 'human')") == kept
        trim(on, other, -0.5)
        after = on.get("state.spans")
        second.process.kill()
        page.locator("#offline").wait_for()
    with started(folder, "--port", port):
        page.locator("#offline").wait_for(state="hidden")
        on.until_current()
        assert on.get("state.spans") == after and on.get("video().checked") == 2
        assert page.locator(".video[aria-current=true] .words").text_content() == f"2 of {len(after)} checked"
        PROBLEMS[page].clear()  # requests to a server that is gone


def trim(on, span, by_s):
    """Drags the end of a span on the canvas."""
    label, checked = span["label"], on.get("video().checked")
    x, y = on.at(span["end_s"], label)
    on.drag((x - 2, y), (on.at(span["end_s"] + by_s, label)[0] - 2, y))
    on.until(f"video().checked === {checked + 1}")
    on.until_current()


def test_names_with_markup_are_texts_and_a_refused_file_has_its_reason(page, studio, demo_videos):
    on, name = StudioPage(page), f"{MARKUP}.mp4"
    content = demo_videos[1][0].read_bytes()
    page.set_input_files("#file", {"name": name, "mimeType": "video/mp4", "buffer": content})
    on.open_video(name)
    on.add_class(MARKUP)
    on.press("n", "4")
    on.until(f"state.spans[0]?.label === '{MARKUP}'")
    page.set_input_files("#file", {"name": "<b>notes.mp4", "mimeType": "video/mp4", "buffer": b"not a video" * 99})
    refused = page.locator("#uploads .refused")
    refused.wait_for()
    expect(page, ": 415")
    screenshot(page, "refused")
    assert page.locator(".video .name", has_text=name).count() == 1
    assert page.locator("#side .score .name", has_text=MARKUP).count() == 1
    assert page.locator("#side .chosen b").text_content() == MARKUP
    assert refused.locator("b").text_content() == "<b>notes.mp4"
    assert "not a video" in refused.locator("span").text_content()
    page.click("#tabs [data-tab=people]")
    page.click("#tabs [data-tab=models]")
    assert page.evaluate("window.hit") is None and page.locator("img[src=x], #uploads b b").count() == 0
    page.click("#tabs [data-tab=timeline]")
    refused.get_by_role("button").click()
    assert page.locator("#uploads li").count() == 0
