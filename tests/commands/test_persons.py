"""``paddlevideo persons``: key frames of persons without a model of actions, which other commands read."""

import numpy as np
import pytest

from paddlevideo.cli.main import main
from paddlevideo.inference import person_detectors
from paddlevideo.inference.person_detectors import PersonDetector
from paddlevideo.preparation.importers.people import ImportOptions
from paddlevideo.preparation.person_annotations import read_people
from tests.clips import numbered_frames, write_clip


class Walker(PersonDetector):
    """A person from left to right, one pixel a frame at 10 frames per second, up to second 2.5."""

    name = "a walker"

    def detect(self, frames, timestamps_s):
        boxes = [[10 * t, 10, 10 * t + 16, 42, 0.9] for t in timestamps_s]
        return [np.array([box] if t <= 2.5 else [], np.float32).reshape(-1, 5) for t, box in zip(timestamps_s, boxes)]


@pytest.fixture
def clip(tmp_path, monkeypatch):
    monkeypatch.setattr(person_detectors, "open_detector", lambda *args: Walker())
    return write_clip(tmp_path / "a.mp4", numbered_frames(40), 10)


def test_a_person_has_key_frames_at_every_second_and_at_both_ends(clip, tmp_path, capsys):
    out = tmp_path / "people.csv"
    words = ["persons", "-i", str(clip), "--out", str(out), "--every_s", "1", "--detect_every", "0.5", "--progress"]
    assert main(words) == 0
    people = read_people(out, "auto", ImportOptions(lambda name: 10.0))
    found = [(p.person, p.time_s, round(p.box[0] * 64, 1), p.actions) for p in people]
    assert found == [("0", 0.0, 0.0, ()), ("0", 1.0, 10.0, ()), ("0", 2.0, 20.0, ()), ("0", 2.5, 25.0, ())]
    printed = capsys.readouterr()
    assert "1 persons in 8 frames" in printed.out and "at 0.0 s" in printed.err


def test_what_cannot_be_written_or_tracked_is_refused(clip, tmp_path, capsys):
    for words, text in (
        (["--out", str(tmp_path / "a.txt")], "expected a name ending in .csv"),
        (["--out", str(tmp_path / "a.csv"), "--detect_every", "3"], "at most 1 s apart"),
        (["-i", str(clip), str(clip), "--out", str(tmp_path / "a.csv")], "a.mp4: is named twice"),
        (["-i", str(clip), "none.mp4", "--out", str(tmp_path / "a.csv")], "none.mp4: missing"),
    ):
        assert main(["persons", "-i", str(clip), *words]) != 0
        printed = capsys.readouterr()
        assert text in printed.err and "persons in" not in printed.out
    assert not (tmp_path / "a.csv").exists()
