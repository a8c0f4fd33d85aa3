"""Every state of the pages: what it says, what axe-core finds, in two sizes and two languages; pictures of each."""

import json
import shutil
import sys
from dataclasses import asdict

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.jobs import Job
from paddlevideo_studio.journal import now

from tests.clips import numbered_frames, write_clip
from tests.studio.browser import axe, screenshot, started
from tests.studio.long_video import plant_analysis
from tests.studio.studio_page import StudioPage

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
SMALL, LARGE = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
FIGURES = {"held_out": {"name": "F1@50", "value": 0.58}, "previous": {"name": "F1@50", "value": 0.64}}
LASTS = "import time; print({}, flush=True, sep=chr(10)); time.sleep(600)"  # a job that goes on until it is cancelled
LOSSES = ", ".join(f'"epoch:[ {n}/10 ] loss: {2 / n:.4f}"' for n in range(1, 9))  # what a training writes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with an analysed video, one whose analysis failed, and one in which nothing was found."""
    base = tmp_path_factory.mktemp("states")
    files = [write_clip(base / f"plaza_{n}.mp4", numbered_frames(300), 25) for n in range(3)]
    with started(base / "project", "--add", *files) as running:
        videos = running.client.get("/api/videos").json()["videos"]
    first = plant_analysis(base / "project", videos[0]["id"], 60, 4, 12)
    command = [sys.executable, "-m", "paddlevideo", "timeline", "--model_file", "models/1", "-i", "videos/plaza_1.mp4"]
    error = "Traceback (most recent call last):\nMemoryError\nended by signal 9; 9: out of memory, mostly"
    plant(base / "project", Job(2, "analyse", [command], videos[1]["id"], 1, state="failed", error=error))
    plant(base / "project", Job(3, "analyse", [command], videos[2]["id"], 1, state="done", result={"spans": 0}))
    (base / "project" / "runs" / "3" / "scores.csv").write_text("start_s,end_s,class 1\n0,6,0.31\n6,12,0.22\n")
    worse = {"model": 1, **FIGURES, "used": False}
    plant(base / "project", Job(4, "teach", [command], None, first.model, state="done", result=worse))
    model = base / "project" / "models" / "1" / "model.json"
    model.write_text(json.dumps({**json.loads(model.read_text()), "held_out": FIGURES["previous"]}))
    return base / "project"


def plant(folder, job):
    """Writes a job into a project that nobody has open."""
    run = folder / "runs" / str(job.id)
    run.mkdir()
    times = {"created": now(), "started": now(), "ended": now() if job.state not in ("queued", "running") else None}
    (run / "log.txt").write_text("")
    (run / "job.json").write_text(json.dumps(asdict(job) | times))


@pytest.fixture(scope="module")
def studio(folder, chromium):
    """The project, opened."""
    with started(folder) as running:
        yield running


def looked_at(page, name):
    """Pictures and axe-core's findings in both sizes."""
    found = []
    for size, ending in ((LARGE, ""), (SMALL, "_small")):
        page.set_viewport_size(size)
        page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        screenshot(page, name + ending)
        found += [f"{name}{ending}: {line}" for line in axe(page)]
        wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        found += [f"{name}{ending}: {wide} pixels too wide"] if wide > 0 else []
    page.set_viewport_size(LARGE)
    return found


def test_an_empty_project_names_the_first_step(open_page, chromium, tmp_path):
    with started(tmp_path / "project") as studio:
        page = open_page(studio.url)
        StudioPage(page)
        page.get_by_role("heading", name="No videos yet").wait_for()
        assert page.locator("#analyse").get_attribute("aria-disabled") == "true"
        assert "first" in page.locator("#analyse").get_attribute("title")
        assert page.locator("button.filled:visible").all_text_contents() == ["Choose videos"]
        found = looked_at(page, "empty")
        page.click("#tabs [data-tab=live]")
        found += looked_at(page, "live_empty")
        page.click("#tabs [data-tab=models]")
        found += looked_at(page, "models_empty")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_every_state_is_shown_and_accessible(open_page, studio, language):
    page = open_page(studio.url, language)
    on, ending = StudioPage(page), "" if language == "en" else "_zh"
    on.open_video("plaza_0.mp4")
    on.until("state.spans.length === 12")
    found = looked_at(page, f"timeline{ending}")
    page.set_viewport_size(SMALL)
    for sheet in ("side", "videos"):
        page.click(f"#controls [data-sheet={sheet}]")
        assert page.locator("#side, #videos").evaluate_all("all => all.map((each) => each.checkVisibility())") == [
            sheet == "videos", sheet == "side"
        ]  # fmt: skip
        screenshot(page, f"sheet_{sheet}{ending}")
        found += axe(page)
    page.locator("#video-list .video").first.click()
    assert not page.locator("#videos").is_visible()
    page.set_viewport_size(LARGE)
    on.open_video("plaza_1.mp4")
    notice = page.locator("#job")
    notice.wait_for()
    assert "MemoryError" in notice.text_content() and "paddlevideo timeline --model_file" in notice.text_content()
    found += looked_at(page, f"job_failed{ending}")
    on.open_video("plaza_2.mp4")
    page.locator("#side input[type=range]").wait_for()
    assert "0.31" in page.locator("#side .chosen").text_content()
    found += looked_at(page, f"nothing_found{ending}")
    for tab in ("people", "live", "models"):
        page.click(f"#tabs [data-tab={tab}]")
        found += looked_at(page, f"{tab}{ending}")
    line = page.locator("#models .jobs li").first.text_content()
    assert "F1@50 0.58" in line and "F1@50 0.64" in line and page.locator("#models tbody tr").count() == 1
    page.click("#tabs [data-tab=timeline]")
    for button in ("export", "keys"):
        page.click(f"#{button}")
        found += looked_at(page, f"{button}_dialog{ending}")
        on.press("Escape")
    assert not found, "\n".join(found)


def test_uploads_and_jobs_have_a_bar_and_are_cancelled(open_page, folder, tmp_path):
    copy = tmp_path / "project"
    shutil.copytree(folder, copy)
    video = next(iter(json.loads(file.read_text())["id"] for file in (copy / "videos").glob("*.json")))
    running = [sys.executable, "-c", LASTS.format('"at 3.0 s"')]
    plant(copy, Job(5, "analyse", [running], video, 1, total_s=12.0))
    plant(copy, Job(6, "teach", [[sys.executable, "-c", LASTS.format(LOSSES)]], None, 1))
    with started(copy) as studio:
        page = open_page(studio.url)
        on, card = StudioPage(page), page.locator(f"#video-list [data-id='{video}']")
        card.locator(".video").click()
        on.until(
            "[...document.querySelectorAll('.words')].some((each) => /analysing 25 % · .* left/.test(each.textContent))"
        )
        slow = page.context.new_cdp_session(page)
        limits = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
        slow.send("Network.emulateNetworkConditions", limits)
        page.set_input_files("#file", {"name": "big.mp4", "mimeType": "video/mp4", "buffer": bytes(2_000_000)})
        on.until("state.uploads[0]?.share > 0.02")
        found = looked_at(page, "busy")
        assert "sending, " in page.locator("#uploads li span").text_content()
        page.locator("#uploads button").click()
        on.until("!state.uploads.length && !document.querySelector('#uploads li')")
        slow.send("Network.emulateNetworkConditions", {**limits, "uploadThroughput": -1})
        page.locator("#tracks").get_by_role("button", name="Cancel").click()
        on.until("state.jobs.get(5).state === 'cancelled' && state.jobs.get(6).state === 'running'")
        page.click("#tabs [data-tab=models]")
        page.locator("#models .jobs svg").wait_for()
        assert page.locator("#models svg").get_attribute("aria-label") == "Loss from 2 to 0.25"
        found += looked_at(page, "training")
        page.locator("#models .jobs li").first.get_by_role("button", name="Cancel").click()
        on.until("state.jobs.get(6).state === 'cancelled'")
        assert "cancelled" in page.locator("#models .jobs li").first.text_content()
    assert not found, "\n".join(found)
