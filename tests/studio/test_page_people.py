"""The People page: persons are merged and split, boxes drawn and dragged, actions set, and boxes saved as a file."""

import csv

import pytest

pytest.importorskip("fastapi", reason="the studio's packages are not installed")

from paddlevideo_studio.project import Project

from demo.ava_synthetic import Settings, Video, make_video
from tests.studio.browser import axe, screenshot, started
from tests.studio.studio_page import StudioPage

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
SETTINGS = Settings(size_px=(480, 360), length_s=12, fps=10)
SCENE = Video("test", 0, 0)  # of three persons
CUT_S = 6  # from here on the third one has another number, as a tracker gives it after an occlusion


@pytest.fixture
def studio(chromium, tmp_path):
    """A project with a rendered video and the boxes of its persons, found by a model: 1, 2, 3, and 9 who is 3."""
    truth = make_video(SCENE, tmp_path, SETTINGS, with_frames=False)
    file = (tmp_path / "videos" / f"{SCENE.name(SETTINGS)}.mp4").rename(tmp_path / "stage_1.mp4")
    with started(tmp_path / "project", "--add", file) as running:
        assert len(running.client.get("/api/videos").json()["videos"]) == 1
    with Project.open(tmp_path / "project") as project:
        project.change(kind="people")
        project.add_classes(sorted({name for people in truth.labels for names in people for name in names})[:9])
        (video,), known = project.videos, set(project.class_names())
        for person in range(3):
            project.people.append(
                [
                    {
                        "video": video.file, "time_s": float(second), "box": truth.boxes[second - 1][person].tolist(),
                        "units": "fractions", "person": "9" if person == 2 and second >= CUT_S else str(person + 1),
                        "actions": [n for n in truth.labels[second - 1][person] if n in known], "score": 0.87,
                    }
                    for second in range(1, SETTINGS.length_s)
                ],
                "model 1",
            )  # fmt: skip
    with started(tmp_path / "project") as running:
        yield running


def test_persons_boxes_and_actions(page, studio):
    on, cards = StudioPage(page), page.locator("#side .card.person")
    page.click("#tabs [data-tab=people]")
    on.until("state.persons.length === 4 && document.querySelectorAll('#side .card.person').length === 4")
    # the same person under two numbers
    cards.filter(has_text="Person 9").click()
    page.locator("#side select").select_option("3")
    on.until("state.persons.length === 3 && state.person === '3'")
    assert cards.count() == 3 and {box["person"] for box in on.get("state.people")} == {"1", "2", "3"}
    on.press("u")
    on.until("state.persons.length === 4")
    cards.filter(has_text="Person 9").click()
    page.locator("#side select").select_option("3")
    on.until("state.persons.length === 3")
    # a corner of a box
    (first, second) = on.get("state.people.filter((box) => box.person === '1').slice(1, 3)")
    cards.filter(has_text="Person 1").click()
    seek(on, first["time_s"])
    screenshot(page, "studio_people")
    assert axe(page) == []
    x1, y1, x2, y2 = first["box"]
    on.drag(point(on, x2, y2), point(on, x2 + 0.1, y2 + 0.1))
    on.until(f"box_of('1', {first['time_s']})?.by === 'human'")
    moved = on.get(f"box_of('1', {first['time_s']})")
    assert moved["box"] == pytest.approx([x1, y1, x2 + 0.1, y2 + 0.1], abs=0.01)
    assert moved["actions"] == first["actions"]
    on.press("u")
    on.until(f"box_of('1', {first['time_s']}).box[2] === {x2}")
    # an action begins and ends
    name = on.get("state.project.classes[0].name")
    for has in (name not in first["actions"], name in first["actions"]):
        if has:  # a click on its box, which has the focus then, and the key
            page.locator("#side input[type=checkbox]").first.click()
        else:
            on.press("1")
        on.until(f"box_of('1', {first['time_s']}).actions.includes('{name}') === {str(has).lower()}")
    # between two key frames the box is interpolated; moving it there makes a key frame
    seek(on, (first["time_s"] + second["time_s"]) / 2)
    middle = [(a + b) / 2 for a, b in zip(first["box"], second["box"])]
    inside = (middle[0] + middle[2]) / 2, (middle[1] + middle[3]) / 2
    on.drag(point(on, *inside), point(on, inside[0] + 0.05, inside[1]))
    on.until(f"box_of('1', {first['time_s'] + 0.5})")
    made = on.get(f"box_of('1', {first['time_s'] + 0.5})")
    assert made["box"] == pytest.approx([middle[0] + 0.05, middle[1], middle[2] + 0.05, middle[3]], abs=0.015)
    on.press("Delete")
    on.until(f"!box_of('1', {first['time_s'] + 0.5})")
    # a new person
    on.page.evaluate("import('/static/js/store.js').then(({ update }) => update({ person: null }))")
    on.drag(point(on, 0.02, 0.72), point(on, 0.12, 0.97))
    on.until("state.persons.length === 4 && state.person === '4'")
    drawn = on.get("state.people.find((box) => box.person === '4')")
    assert drawn["box"] == pytest.approx([0.02, 0.72, 0.12, 0.97], abs=0.01) and drawn["by"] == "human"
    # a person becomes two
    cards.filter(has_text="Person 3").click()
    seek(on, CUT_S)
    page.locator("#side").get_by_role("button", name="Another person from here").click()
    on.until("state.persons.length === 5")
    assert min(box["time_s"] for box in on.get("state.people") if box["person"] == "5") == CUT_S
    # the boxes as a table
    page.click("#export")
    page.locator("#dialog select").first.select_option("people_csv")
    with page.expect_download() as download:
        page.locator("#dialog").get_by_role("button", name="Export").click()
    rows = list(csv.DictReader(download.value.path().open()))
    assert {row["person"] for row in rows} == {"1", "2", "3", "4", "5"}
    on.page.keyboard.press("Escape")


def seek(on, second):
    """The playhead goes to a second, as a click on the ruler does."""
    on.page.mouse.click(*on.at(second + 0.01))
    on.until(f"Math.abs(media.currentTime - {second}) < 0.06 && !media.seeking")


def point(on, x, y):
    """Of the window, of fractions of the picture."""
    box = on.page.locator("#overlay").bounding_box()
    width = min(box["width"], box["height"] * SETTINGS.size_px[0] / SETTINGS.size_px[1])
    height = width * SETTINGS.size_px[1] / SETTINGS.size_px[0]
    return (
        box["x"] + (box["width"] - width) / 2 + x * width,
        box["y"] + (box["height"] - height) / 2 + y * height,
    )
