"""The Timeline page with two hours of video, 14,400 windows of 8 classes and 3,000 spans: time and memory."""

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from tests.studio.browser import screenshot, started
from tests.studio.long_video import TWO_HOURS_S, plant_analysis, write_long_video
from tests.studio.memory import tree_bytes
from tests.studio.studio_page import StudioPage

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("long video")]
WINDOWS, CLASSES, SPANS = 14_400, 8, 3000
REDRAW_MS, GB = 100, 1 << 30
# Milliseconds of the page's work for each of some events on the canvas, one per picture on the screen.
WORK = """async (events) => {
    const root = document.querySelector("#lanes"), box = root.getBoundingClientRect(), spent = [];
    const at = { clientX: box.x + box.width / 2, clientY: box.y + 100, bubbles: true, cancelable: true, pointerId: 1 };
    root.setPointerCapture = () => {};
    for (const [type, values] of events) {
        await new Promise(requestAnimationFrame);
        const begun = performance.now();
        const Kind = type === "wheel" ? WheelEvent : PointerEvent;
        root.dispatchEvent(new Kind(type, { ...at, ...values, clientX: at.clientX + (values.dx ?? 0) }));
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
        spent.push([Math.round(performance.now() - begun), Number(root.dataset.drawMs)]);
    }
    return spent;
}"""


@pytest.fixture
def folder(chromium, tmp_path):
    """The project, from an upload through the page's own route and a planted analysis."""
    file = write_long_video(tmp_path / "long.mp4")
    with started(tmp_path / "project", "--add", file) as running:
        (video,) = running.client.get("/api/videos").json()["videos"]
    plant_analysis(tmp_path / "project", video["id"], WINDOWS, CLASSES, SPANS)
    return tmp_path / "project"


def test_two_hours_open_zoom_and_pan(open_page, folder):
    with started(folder) as studio:
        page = open_page(studio.url)
        on = StudioPage(page)
        on.until(f"state.spans.length === {SPANS} && state.scores?.reduced && video().duration_s === {TWO_HOURS_S}")
        on.until("media.readyState >= 2")
        screenshot(page, "two_hours")
        whole = on.get("state.scores.windows_s.length")
        zoom = [("wheel", {"deltaY": -250}) for _ in range(12)]
        pan = [("wheel", {"deltaX": 90}) for _ in range(8)]
        drag = [
            ("pointerdown", {}),
            *(("pointermove", {"dx": 20 * n}) for n in range(1, 8)),
            ("pointerup", {"dx": 140}),
        ]
        back = [("wheel", {"deltaY": 250}) for _ in range(12)]
        spent = page.evaluate(WORK, [*zoom, *pan, *drag])
        on.until("state.scores.windows_s.some(([start, end]) => end - start < 0.6)")  # every window, where zoomed in
        screenshot(page, "two_hours_zoomed")
        spent += page.evaluate(WORK, back)
        worst, drawn = max(each for each, _ in spent), max(each for _, each in spent)
        print(f"{whole} of {WINDOWS} windows; most milliseconds of an event {worst}, of drawing {drawn}")
        assert worst < REDRAW_MS and drawn < REDRAW_MS
        span = on.get("state.spans[1500]")
        page.evaluate("(id) => import('/static/js/timeline.js').then((m) => m.choose(id))", span["id"])
        on.until(f"Math.abs(media.currentTime - {span['start_s']}) <= 0.2")
        on.press("Enter")
        on.until("video().checked === 1")
        total = tree_bytes(studio.process.pid) + renderer_bytes(page)
        print(f"server and pages {total >> 20} MB")
        assert total < 1.5 * GB


def renderer_bytes(page):
    """Resident memory of the browser's process that shows the page."""
    session = page.context.browser.new_browser_cdp_session()
    found = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return sum(tree_bytes(each["id"]) for each in found if each["type"] == "renderer")
