"""What a person does on the studio's page, and what the page then knows: every wait is for a state."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.studio.browser import screenshot

# Of js/tracks.js: where rows and seconds are on the canvas.
RULER_PX, LANE_PX, CURVE_PX, GAP_PX, LEFT_PX, RIGHT_PX = 26, 24, 24, 6, 124, 12
STORE = """const { state, video, queue } = await import("/static/js/store.js");
    const media = document.querySelector("video");
    const box_of = (person, time_s) => state.people.find((box) => box.person === person && box.time_s === time_s);
"""
LIMIT_MS = 60_000


class StudioPage:
    """The page, with shortcuts.

    Args:
        page: of playwright, which has opened the studio.
    """

    def __init__(self, page: Any):
        self.page = page
        page.set_default_timeout(LIMIT_MS)
        self.until("state.project")

    def get(self, expression: str) -> Any:
        """What a JavaScript expression over what ``STORE`` names gives."""
        return self.page.evaluate(f"async () => {{ {STORE} return {expression}; }}")

    def until(self, expression: str, limit_s: float = 60) -> None:
        """Waits until such an expression is true, which may ``await``."""
        held = self.page.evaluate(
            f"""async () => {{
                {STORE} const end = performance.now() + {1000 * limit_s};
                for (;;) {{
                    if ({expression}) return true;
                    if (performance.now() > end) return false;
                    await new Promise((done) => setTimeout(done, 30));
                }}
            }}"""
        )
        if not held:
            screenshot(self.page, "failed")
        assert held, f"not within {limit_s} s: {expression}; last message: {self.page.text_content('#said')!r}"

    def press(self, *keys: str) -> None:
        """Presses keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def upload(self, *files: Path) -> None:
        """Chooses files in the page's input, and waits until they are in the project."""
        before = self.get("state.videos.size")
        self.page.set_input_files("#file", [str(file) for file in files])
        self.until(f"state.videos.size == {before + len(files)} && !state.uploads.length")

    def open_video(self, name: str) -> None:
        """A click on the video of that name; waits until it can be played."""
        self.page.locator("#video-list .video", has_text=name).click()
        self.until_open(name)

    def until_open(self, name: str) -> None:
        """Waits until the video of that name can be played and its spans are there."""
        self.until(f"video()?.name == {name!r} && state.times && media.readyState >= 1")

    def add_class(self, name: str) -> None:
        """In the dialog of the classes."""
        self.press("c")
        self.page.get_by_role("button", name="Add a class").click()
        self.page.locator("#dialog input:not([type=color])").last.fill(name)
        self.page.locator("#dialog").get_by_role("button", name="Save").click()
        self.until(
            f"state.project.classes.at(-1).name === {json.dumps(name)} && !document.querySelector('#dialog').open"
        )

    def analyse(self, limit_s: float = 120) -> None:
        """A click on Analyse; waits for its end."""
        self.page.click("#analyse")
        self.until("video().job", 20)
        self.until("!video().job && state.jobs.values().every((job) => job.ended)", limit_s)
        self.until_current()

    def until_current(self) -> None:
        """Waits until the page shows the spans and the scores that the server has of the open video."""
        self.until("""await (async () => {
            const ask = async (what) => (await fetch(`/api/videos/${state.video}/${what}`)).json();
            const [{ spans }, { run }] = [await ask("spans"), await ask("scores")];
            return state.scores?.run === run && JSON.stringify(spans) === JSON.stringify(state.spans);
        })()""")

    @property
    def second(self) -> float:
        """Of the playhead."""
        return self.page.evaluate("document.querySelector('video').currentTime")

    def at(self, second: float, label: str | None = None) -> tuple[float, float]:
        """The point of the window where a second is on the row of a class, zoomed out, where no spans overlap; on the
        ruler without a class."""
        box = self.page.locator("#lanes").bounding_box()
        scale = (box["width"] - LEFT_PX - RIGHT_PX) / self.get("video().duration_s")
        y = RULER_PX / 2
        if label is not None:
            names = self.get("state.project.classes.map((each) => each.name)")
            curved = self.get("state.scores?.scores.length ? state.scores.classes : []")
            heights = [LANE_PX + GAP_PX + CURVE_PX * (name in curved) for name in names[: names.index(label)]]
            y = RULER_PX + sum(heights) + LANE_PX / 2
        return box["x"] + LEFT_PX + second * scale, box["y"] + y

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """With the mouse's button down."""
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        mouse.move(*end)
        mouse.up()

    def colours(self, point: tuple[float, float]) -> int:
        """How many colours the canvas has around a point: several where a bar is hatched, one where it is solid."""
        return self.page.evaluate(
            """([x, y]) => {
                const canvas = document.querySelector("#lanes canvas"), box = canvas.getBoundingClientRect();
                const [left, top] = [Math.round(x - box.left), Math.round(y - box.top) + 7];
                const { data } = canvas.getContext("2d").getImageData(left, top, 8, 1);
                return new Set(Array.from({ length: 8 }, (_, k) => data.slice(4 * k, 4 * k + 3).join())).size;
            }""",
            [*point],
        )


def labelled(spans: Iterable[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Label, start and end of spans, in order."""
    return sorted((span["label"], span["start_s"], span["end_s"]) for span in spans)
