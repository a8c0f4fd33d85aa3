"""People in the pictures of ``tools/browse_dataset.py``: each where it is after every operator, with what it does."""

import numpy as np

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.config import load_config
from paddlevideo.drawing import Marked, colour_of
from paddlevideo.reporting.browse import Browser
from paddlevideo.reporting.contact_sheet import PictureRow, contact_sheet
from tests.tiny_ava import CUSTOM, SIZE_PX


def test_people_move_with_the_pixels_and_their_actions_are_named(tiny_ava):
    browser = Browser(load_config(tiny_ava.config), "test", every_step=True)
    clip = browser.clip(0)
    before, resized, normalised = clip.rows
    boxes, labels = browser._loader.dataset.ground_truth(0)
    assert len(before.people) == len(boxes) and normalised.frames is None
    for row in (before, resized):
        sides = np.tile(row.frames.shape[2:0:-1], 2)
        np.testing.assert_allclose([one.box_px for one in row.people], boxes * sides, atol=0.01 * SIZE_PX[0])
    names = read_ava_labels(tiny_ava.data / "labels.pbtxt")
    assert clip.heading[0].startswith(browser._loader.dataset.records[0]["img_key"])
    for person, (line, row) in enumerate(zip(clip.heading[2:], labels, strict=True)):
        own = [names[CUSTOM[k - 1]] for k in np.flatnonzero(row)]
        assert line.startswith(f"{person}: ") and all(name in line for name in own or ["no action"])


def test_an_outline_lies_on_the_sides_of_its_box():
    frame = np.full((1, 50, 80, 3), 255, np.uint8)
    sheet = contact_sheet([], [PictureRow("", frame, [Marked(2, np.array([10, 20, 30, 40]), [])])], 100, 1)
    drawn = np.argwhere((sheet == colour_of(2)).all(axis=2))
    (top, left), (bottom, right) = drawn.min(0), drawn.max(0)
    assert (left, right, bottom - top) == (20, 60, 40)  # twice as large
    assert len(drawn) == 2 * (40 + 40)  # the outline alone: what is inside can be seen
