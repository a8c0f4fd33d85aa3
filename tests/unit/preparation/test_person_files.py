"""Key frames of persons to files and back."""

from types import SimpleNamespace

import numpy as np
import pytest

from paddlevideo.ava_files import write_proposals
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import Clock, ImportOptions, ImportSummary, PersonBox
from paddlevideo.preparation.person_annotations import excluded_frames, read_detected, read_people
from paddlevideo.preparation.person_files import PERSON_FORMS, read_ava_archive, write_person_file
from paddlevideo.preparation.person_tracks import sampled

CLASSES = ["walk", "lift, carry", "7"]


def key(time_s, x, actions=("walk",), person="1", video="a.mp4"):
    return PersonBox(video, time_s, (x, 0.125, x + 0.25, 0.875), tuple(actions), person, "", in_pixels=False)


def written(folder, people, form, classes=CLASSES):
    file = folder / f"people{PERSON_FORMS[form]}"
    videos = {person.video for person in people}
    lost = write_person_file(
        file, people, form, dict.fromkeys(videos, Clock(25.0)), dict.fromkeys(videos, (640, 480)), classes
    )
    return file, lost


def read(file, labels=None, **options):
    labels = dict(enumerate(CLASSES, 1)) if labels is None else labels
    people = read_people(file, "auto", ImportOptions(lambda name: 25.0, labels=labels, key_frames=True, **options))
    return sorted((p.person, round(p.time_s, 3), p.actions) for p in people)


@pytest.mark.parametrize("form", ["people_csv", "people_jsonl", "people_ava"])
def test_names_that_tables_part_stay_whole(tmp_path, form):
    people = [key(0.5, 0.1, ["walk", "lift, carry"]), key(2.5, 0.2, []), key(1.0, 0.5, ["lift, carry"], "12")]
    file, _ = written(tmp_path, people, form)
    file, labels = read_ava_archive(file, tmp_path) if form == "people_ava" else (file, None)
    found = {}
    for person, time_s, actions in read(file, labels):
        found.setdefault((person, time_s), set()).update(actions)
    assert found == {("1", 0.5): {"walk", "lift, carry"}, ("1", 2.5): set(), ("12", 1.0): {"lift, carry"}}


@pytest.mark.parametrize("form", ["people_csv", "people_jsonl"])
def test_a_class_called_none_is_one_where_it_is_listed(tmp_path, form):
    file, lost = written(tmp_path, [key(0.5, 0.1, ["none"])], form)
    assert "'none' and the like are read as no action, unless --labels names them" in lost[0]
    assert read(file, {1: "none"}) == [("1", 0.5, ("none",))]
    assert read(file, {1: "walk"}) == [("1", 0.5, ())]


def test_cvat_has_the_keys_and_its_tracks_end_with_the_last(tmp_path):
    people = [key(0.48, 0.1, ["walk", "7"]), key(2.51, 0.2, []), key(1.0, 0.5, ["7"], "Ann")]
    file, lost = written(tmp_path, people, "people_cvat")
    assert [line.partition(": ")[2] for line in lost] == [
        "cvat counts frames: times moved by up to 0.010 s", "cvat numbers tracks: names of persons are not kept",
        "cvat: '7': each is a checkbox of the label person",
    ]  # fmt: skip
    assert read(file) == [("0", 1.0, ("7",)), ("1", 0.48, ("walk", "7")), ("1", 2.52, ())]
    with pytest.raises(UserError, match="is of one video, and the boxes are of 2"):
        written(tmp_path, [*people, key(0, 0, video="b.mp4")], "people_cvat")


def test_a_class_that_no_label_file_can_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be written to a label file"):
        written(tmp_path, [key(0, 0, ['say "no"'])], "people_ava", ['say "no"'])


def test_key_frames_of_a_track_say_where_a_person_leaves(tmp_path):
    box = (
        '<box frame="{}" outside="{}" xtl="0" ytl="0" xbr="{}" ybr="48"><attribute name="action">walk</attribute></box>'
    )
    boxes = "".join(box.format(*row) for row in ((0, 0, 20), (50, 1, 20), (100, 0, 40), (110, 0, 40), (111, 1, 40)))
    size = "<original_size><width>64</width><height>48</height></original_size>"
    file = tmp_path / "a.xml"
    file.write_text(
        f"<annotations><meta><task>{size}<source>a.mp4</source></task></meta>"
        f'<track id="4" label="person">{boxes}</track></annotations>'
    )
    summary = ImportSummary()
    people = read_people(file, "auto", ImportOptions(lambda name: 25.0, key_frames=True), summary)
    assert [(p.time_s, p.box[2]) for p in people] == [(0.0, 20), (1.96, 20), (4.0, 40), (4.4, 40)]
    assert summary.remarks["times a person was gone between two boxes: the box is interpolated there"] == 1
    assert [p.time_s for p in sampled(people, 1.0, summary)] == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_what_counts_from_another_second_is_shifted_with_the_annotation(tmp_path):
    """Clips of AVA were cut at second 900, where their files count the first frame."""
    boxes = np.array([[0.1, 0.1, 0.5, 0.9, 0.8]], "float32")
    write_proposals(tmp_path / "boxes.pkl", {"a,0902": boxes, "a,0899": boxes, "b,0900": boxes})
    assert list(read_detected(tmp_path / "boxes.pkl", 900.0)) == ["a,0002", "b,0000"]
    annotation = SimpleNamespace(people=[SimpleNamespace(video="a", time_s=2.0)])
    folder = SimpleNamespace(name_of=lambda name: name)
    assert excluded_frames({("a", 902), ("a", 2)}, annotation, folder, 900.0) == ({("a", 2.0)}, ["a,2"])
