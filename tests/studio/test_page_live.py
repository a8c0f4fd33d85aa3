"""The Live page: spans of a camera, a cut connection, the last minute as a video; memory stays over two minutes."""

import os

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.clips import numbered_frames, write_clip
from tests.studio.browser import axe, expect, screenshot, started
from tests.studio.camera import camera, jpegs_of
from tests.studio.memory import tree_bytes_over
from tests.studio.studio_page import StudioPage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("live")]
MB = 1 << 20
LASTS_S = float(os.environ.get("STUDIO_LIVE_S", "120"))
SETTINGS = ["window_s=0.5", "on=0.22", "off=0.21", "min_s=0.05", "smoothing=none"]


@pytest.fixture
def studio(chromium, tmp_path, tiny):
    """A project with a model that finds spans in the camera's pictures all the time."""
    with started(tmp_path / "project", "--model", tiny.folder, "--analysis", *SETTINGS) as running:
        yield running


def test_a_camera_that_is_cut_goes_on_and_its_last_minute_becomes_a_video(page, studio, tmp_path):
    on, rows = StudioPage(page), page.locator("#live tbody tr")
    with camera(jpegs_of(write_clip(tmp_path / "a.mp4", numbered_frames(100), 25)), 25) as shown:
        page.click("#tabs [data-tab=live]")
        page.locator("#live input").fill("gopher://127.0.0.1/")
        page.keyboard.press("Enter")
        on.until("document.querySelector('#said').textContent.includes('not read')")
        expect(page, ": 422")
        page.locator("#live input").fill(shown.url)
        page.keyboard.press("Enter")
        on.until("state.live.state === 'running' && document.querySelectorAll('#live tbody tr').length > 3", 90)
        assert page.evaluate("document.activeElement.name") == "source"  # the focus is not lost
        shown.cut(5.0)
        page.get_by_text("connection lost").wait_for()
        count = on.get("state.live.spans.at(-1).end_s")
        on.until(f"state.live.spans.at(-1).end_s > {count}", 60)
        assert shown.connections == 2 and shown.refused > 0 and rows.count() > 3
        screenshot(page, "live")
        assert axe(page) == []
        page.get_by_role("button", name="Save the last minute").click()
        saved = "each.name.startsWith('live ') && each.num_frames > 20 && each.state === 'ready'"
        on.until(f"[...state.videos.values()].some((each) => {saved})")
        memory = tree_bytes_over(studio.process.pid, LASTS_S)
        half = len(memory) // 2
        assert max(memory) < 1500 * MB and max(memory[half:]) - max(memory[:half]) < 30 * MB
        assert on.get("state.live.state") == "running" and rows.count() <= 100
        page.get_by_role("button", name="Stop").click()
        on.until("state.live.state === 'off'")
    page.click("#tabs [data-tab=timeline]")
    on.until("video().name.startsWith('live ') && media.readyState >= 2")
