"""Key frames of persons: interpolated boxes, held actions, no one before the first and after the last."""

import json

import pytest

from paddlevideo.cli.main import main
from paddlevideo.errors import UserError
from paddlevideo.preparation.importers.people import ImportSummary, PersonBox
from paddlevideo.preparation.person_tracks import action_segments, sampled
from paddlevideo.spans import read_spans


def key(time_s, x, actions=("walk",), person="1", video="a"):
    return PersonBox(video, time_s, (x, 0.1, x + 0.2, 0.9), tuple(actions), person, f"t.csv:{time_s}", in_pixels=False)


def shown(people):
    return [(p.person, p.time_s, round(p.box[0], 6), p.actions) for p in people]


def test_boxes_are_interpolated_and_actions_hold_until_the_next():
    keys = [key(4.0, 0.4, ()), key(0.5, 0.0), key(2.5, 0.2, ["run"])]
    found = sampled(keys, 1.0, ImportSummary())
    assert shown(found) == [
        ("1", 1.0, 0.05, ("walk",)), ("1", 2.0, 0.15, ("walk",)), ("1", 3.0, round(0.2 + 0.2 / 3, 6), ("run",)),
        ("1", 4.0, 0.4, ()),
    ]  # fmt: skip


def test_a_single_key_frame_gives_one_sample_and_so_do_all_who_are_there():
    keys = [key(1.25, 0.5, (), "2"), key(0.0, 0.0), key(2.0, 0.2)]
    found = sampled(keys, 1.0, ImportSummary())
    assert shown(found) == [
        ("1", 0.0, 0.0, ("walk",)), ("1", 1.0, 0.1, ("walk",)), ("1", 1.25, 0.125, ("walk",)), ("2", 1.25, 0.5, ()),
        ("1", 2.0, 0.2, ("walk",)),
    ]  # fmt: skip


def test_an_action_between_two_samples_is_not_lost():
    summary = ImportSummary()
    found = sampled([key(0.0, 0.0), key(1.2, 0.0, ["jump"]), key(1.6, 0.0), key(3.0, 0.0)], 1.0, summary)
    assert [p.time_s for p in found if "jump" in p.actions] == [1.399]
    assert summary.remarks["samples lie between, where an action is shorter than 1 s"] == 1


def test_rows_of_one_box_are_its_actions_and_two_boxes_at_once_are_refused():
    found = sampled([key(0.0, 0.0), key(0.0, 0.0, ["run"])], 1.0, ImportSummary())
    assert shown(found) == [("1", 0.0, 0.0, ("walk", "run"))]
    with pytest.raises(UserError, match="person '1' has two boxes at second 0"):
        sampled([key(0.0, 0.0), key(0.0, 0.1)], 1.0, ImportSummary())


def test_actions_become_segments_up_to_the_last_key_frame():
    summary = ImportSummary()
    keys = [key(0.5, 0.0), key(1.5, 0.0, ["walk", "talk"]), key(3.0, 0.0, ["run"])]
    found = [(s.start_s, s.end_s, s.label, s.person) for s in action_segments(keys, summary)]
    assert found == [(0.5, 1.5, "walk", "1"), (1.5, 3.0, "walk", "1"), (1.5, 3.0, "talk", "1")]
    assert summary.dropped["actions of a person's last key frame, which last no time"] == 1


def test_prepare_spans_has_the_spans_of_boxes(tmp_path):
    row = {"video": "a.mp4", "box": [0.1, 0.1, 0.5, 0.9], "person": "7", "units": "fractions"}
    lines = [{**row, "time_s": t, "actions": actions} for t, actions in ((0, ["walk"]), (1, ["walk", "talk"]), (2, []))]
    file = tmp_path / "people.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    out = tmp_path / "out.csv"
    assert main(["prepare", "spans", str(file), "--from_boxes", "--out", str(out)]) == 0
    found = [(s.start_s, s.end_s, s.label, s.person) for s in read_spans(out).spans]
    assert found == [(0.0, 2.0, "walk", "7"), (1.0, 2.0, "talk", "7")]
