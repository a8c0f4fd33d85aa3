"""Files in the form that annotation tools document, with all that they add of their own, give what people drew."""

import argparse
import json
from collections import Counter

import numpy as np
import pytest

from paddlevideo.ava_files import read_ava_csv, read_ava_labels
from paddlevideo.cli import prepare_people
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.preparation.person_annotations import (
    ImportOptions,
    ImportSummary,
    VideoFolder,
    guess_form,
    merge_spellings,
    read_people,
    resolve,
)
from tests.clips import numbered_frames, write_clip
from tests.commands.annotation_forms import BASE, EXPORTS, cvat_coco, cvat_images, label_studio, people, videos_of


def converted(folder, files, rendered, truth):
    """(video, second, rounded box) -> actions, and the account."""
    videos, account, people = VideoFolder(rendered[0] / "videos"), ImportSummary(), []
    for name, text, options in files:
        (folder / name).write_text(text)
        reading = ImportOptions(videos.fps_of, last_s_of=videos.last_s, **options)
        people += read_people(folder / name, "auto", reading, account)
    annotation = resolve(merge_spellings(people, None, account), videos, account)
    found = {(p.video, p.time_s, tuple(np.round(p.box, 2))): set(p.actions) for p in annotation.people}
    assert len(found) == len(annotation.people)
    return found, account


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: export.__name__)
def test_exports_give_what_was_drawn(rendered, tmp_path, export):
    truth = rendered[1]
    expected = {(v, t, tuple(np.round(np.round(box, 3), 2))): set(names) for v, t, box, names, _ in truth}
    found, account = converted(tmp_path, export(truth), rendered, truth)
    assert {names for group in found.values() for names in group} == {n for *_, names, _ in truth for n in names}
    near = {(v, t, names_box) for v, t, names_box in found}
    assert Counter((v, t) for v, t, _ in near) == Counter((v, t) for v, t, _ in expected)
    for (video, second, box), actions in expected.items():
        close = [k for k in found if k[:2] == (video, second) and np.abs(np.subtract(k[2], box)).max() < 0.011]
        assert any(found[key] == actions for key in close), (video, second, box, actions)
    assert sum(account.read.values()) >= len(truth)


HEAD = "video,time_s,x1,y1,x2,y2,actions,person\n"


def read(folder, name, text, account=None, **options):
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    options = {"fps_of": lambda _: 10.0, "last_s_of": lambda _: 4.0} | options
    return read_people(folder / name, "auto", ImportOptions(**options), account)


def refused(folder, name, text, **options):
    with pytest.raises(UserError) as caught:
        read(folder, name, text, **options)
    return str(caught.value)


def run(rendered, folder, text, *more, name="people.csv"):
    (folder / name).write_text(text if isinstance(text, str) else json.dumps(text))
    options = ["--videos", str(rendered[0] / "videos"), "--out", str(folder / "data"), "--base", str(BASE)]
    return people([str(folder / name), *options, "--jobs", "1", *more])


def test_cvats_own_attributes_are_no_actions_and_the_summary_counts_each_box(
    rendered,
    tmp_path,
    capsys,
):
    ((name, text, options), *_) = cvat_coco(rendered[1])
    content = json.loads(text)
    content["annotations"][0]["attributes"]["height_m"] = 1.7
    content["annotations"].append(content["annotations"][1] | {"iscrowd": 1, "id": 99})
    code = run(rendered, tmp_path, content, "--video", options["video"], "--val", "0", name=name)
    lines, boxes = capsys.readouterr().out.splitlines(), len(content["annotations"])
    assert code == 0, lines
    names = sorted({n for v, *_, names, _ in rendered[1] if v == options["video"] for n in names})
    assert list(read_ava_labels(tmp_path / "data/labels.pbtxt").values()) == names
    assert lines[0] == f"read: {boxes} boxes of {tmp_path / name} (coco)"
    assert "dropped: 1 boxes are around groups (iscrowd)" in lines
    assert "note: 1 values of 'height_m' are numbers and taken for no action (--attribute height_m)" in lines
    counts = Counter(n for v, *_, names, _ in rendered[1] if v == options["video"] for n in names)
    assert all(f"class {n!r}: {counts[n]} (from attribute 'action')" in lines for n in names)


def test_a_short_action_gets_a_key_frame_of_its_own_and_so_has_everybody_then(tmp_path):
    box = '<box frame="{}" outside="{}" xtl="1" ytl="1" xbr="30" ybr="40"><attribute name="action">{}</attribute></box>'
    short = "".join(box.format(*v) for v in [(0, 0, ""), (12, 0, "jump"), (17, 1, "jump")])
    long = "".join(box.format(*v) for v in [(0, 0, "walk"), (30, 0, "walk")])
    gone = "".join(box.format(*v) for v in [(21, 0, ""), (24, 1, "")])
    tracks = "".join(f'<track id="{k}" label="person">{t}</track>' for k, t in enumerate((short, long, gone)))
    account = ImportSummary()
    text = f"<annotations><meta><source>a.mp4</source></meta>{tracks}</annotations>"
    people = read(tmp_path, "a.xml", text, account)
    assert {(p.time_s, p.actions) for p in people if p.person == "0"} == {(0.0, ()), (1.0, ()), (1.4, ("jump",))}
    assert sorted(p.time_s for p in people if p.person == "1") == [0.0, 1.0, 1.4, 2.0, 3.0]
    assert not [p for p in people if p.person == "2"]
    assert account.dropped["stretches of tracks without an action, shorter than 1 s"] == 1
    assert account.remarks["boxes were resampled from tracks, one every 1 s (--every)"] == len(people) == 8
    assert account.remarks["key frames lie between, where an action is shorter than 1 s"] == 1


def test_one_action_has_one_name_and_one_person_one_line(rendered, tmp_path, capsys):
    rows = [
        "1,5,5,30,40,Walk,0",
        "1,5,5,30,40,walk,0",
        '2,5,5,30,40,"walk, talk  to",0',
        '2,5,5,30,40,"walk,talk to",0',
    ]
    rows += ["3,5,5,30,40,walk,0", "3,5,5,30,40,sit,0", '3,6,6,30,40,"talk to (e.g., a friend; self)",0']
    code = run(rendered, tmp_path, HEAD + "".join(f"train_00000,{row}\n" for row in rows), "--val", "0")
    lines = capsys.readouterr().out.splitlines()
    assert code == 0, lines
    names = read_ava_labels(tmp_path / "data/labels.pbtxt")
    assert list(names.values()) == ["sit", "talk to", "talk to (e.g., a friend; self)", "walk"]
    assert "note: 1 actions 'Walk' were merged with 'walk'" in lines
    assert "dropped: 2 lines occur twice (same video, second, box, person and actions)" in lines
    assert "note: 1 lines of the same box were joined: their actions are one person's" in lines
    assert "note: 1 times a person id has several boxes at one moment" in lines
    assert any(line.startswith("note: 2 values with commas are several actions") for line in lines)
    assert "kept: 4 boxes of people, 0 of them without an action" in lines
    assert len(read_ava_csv(tmp_path / "data/train.csv")) == 6


def test_listed_names_keep_their_commas_and_spelling(rendered, tmp_path, capsys):
    (tmp_path / "labels.txt").write_text("Walk\nstand, or sit\n")
    text = HEAD + 'train_00000,1,5,5,30,40,"stand, or sit",0\ntrain_00000,2,5,5,30,40,walk,0\n'
    assert run(rendered, tmp_path, text, "--val", "0", "--labels", str(tmp_path / "labels.txt")) == 0
    assert list(read_ava_labels(tmp_path / "data/labels.pbtxt").values()) == ["Walk", "stand, or sit"]
    text += "".join(f"train_00000,3,{x},5,40,40,wlak;run,0\n" for x in range(3, 20))
    with pytest.raises(ConfigError) as caught:
        run(rendered, tmp_path, text, "--val", "0", "--labels", str(tmp_path / "labels.txt"))
    assert len(caught.value.problems) == 2
    assert all(":4: action " in p and "(17 times, this is the first)" in p for p in caught.value.problems)


def test_units_are_decided_by_row_and_by_option(tmp_path):
    account = ImportSummary()
    rows = "a,1,5,5,30,40,walk,0\na,2,0.1,0.1,0.4,0.5,walk,0\n"
    assert [p.in_pixels for p in read(tmp_path, "a.csv", HEAD + rows, account)] == [True, False]
    assert account.remarks == {"rows are fractions of the picture, though others are pixels (--units)": 1}
    assert [p.in_pixels for p in read(tmp_path, "a.csv", HEAD + rows, units="pixels")] == [True, True]
    named = HEAD.replace("person", "units") + "a,1,0,0,1,1,walk,fractions\na,2,5,5,30,40,walk,\n"
    assert [p.in_pixels for p in read(tmp_path, "a.csv", named)] == [False, True]
    assert "a.csv:4: box 0, 0, 1, 1 may be pixels or" in refused(
        tmp_path, "a.csv", HEAD + rows + "a,3,0,0,1,1,walk,0\n"
    )
    (person,) = read(tmp_path, "a.csv", HEAD + "a,1,5,6,30,40,walk,0\n", box_format="xywh")
    assert person.box == (5, 6, 35, 46)


def test_the_former_name_of_units_is_understood():
    command = ["a.csv", "--videos", "v", "--out", "o"]
    parser = argparse.ArgumentParser()
    prepare_people.add_arguments(parser)
    assert parser.parse_args([*command, "--boxes", "px"]).units == "pixels"
    assert parser.parse_args([*command, "--boxes", "norm"]).units == "fractions"
    assert parser.parse_args(command).units == "auto"


@pytest.mark.parametrize("frame", ["1e12", "1000000000000", "999999999", "-1", "4.5", "nan", "", "²"])
def test_frames_that_no_video_has_are_refused_and_not_counted_up(tmp_path, frame):
    box = '<box frame="{}" outside="0" xtl="1" ytl="1" xbr="30" ybr="40"/>'
    track = f'<track id="7" label="walk">{box.format(0)}{box.format(frame)}</track>'
    text = f"<annotations><meta><source>a.mp4</source></meta>{track}</annotations>"
    assert "a.xml: track 7: frame " in refused(tmp_path, "a.xml", text)
    entry = {"frame": frame, "enabled": True, "x": 1, "y": 1, "width": 9, "height": 9}
    first = entry | {"frame": 1}
    for late in (frame, 10**12, 10**9):
        value = {"sequence": [first, entry | {"frame": late}], "labels": ["walk"]}
        result = [{"id": "q", "type": "videorectangle", "value": value}]
        task = [{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"result": result}]}]
        assert "a.json: task 1, region q: frame " in refused(tmp_path, "a.json", task)


@pytest.mark.parametrize("late, step", [(100000, 1), (999999999, 1), (42, 1), (71, 30)])
def test_a_track_may_be_switched_off_one_frame_behind_the_end_and_no_later(tmp_path, late, step):
    """A video of 41 frames at 1 frame per second."""
    box = '<box frame="{}" outside="{}" xtl="1" ytl="1" xbr="30" ybr="40"/>'

    def text(frame):
        track = f'<track id="7" label="walk">{box.format(0, 0)}{box.format(frame, 1)}</track>'
        meta = f"<task><source>a.mp4</source><frame_filter>step={step}</frame_filter></task>"
        return f"<annotations><meta>{meta}</meta>{track}</annotations>"

    rate = {"fps_of": lambda _: 1.0, "last_s_of": lambda _: 40.0}
    assert f"a.xml: track 7: frame {late} is second {late:g}" in refused(tmp_path, "a.xml", text(late), **rate)
    assert len(read(tmp_path, "a.xml", text(40 + step), **rate)) == 41


def _with(where, **broken):
    """A COCO file of three annotations: one with a key that is broken, one without an image, one that is right."""
    images = [{"id": k, "file_name": "a_00011.jpg"} for k in (1, 2)]
    good = {"id": 8, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "attributes": {"action": "walk"}}
    entry = good | {"id": 7, "image_id": 2}
    {"annotation": entry, "image": images[1]}[where].update(broken)
    return {"images": images, "annotations": [good, entry, good | {"id": 9, "image_id": 77}], "categories": []}


@pytest.mark.parametrize(
    "content, text",
    [
        (_with("annotation", bbox="abcd"), "annotation 7: bbox"),
        (_with("annotation", bbox=None), "annotation 7: bbox"),
        (_with("annotation", bbox=["a", 1, 2, 3]), "annotation 7: bbox"),
        (_with("annotation", attributes=["walk"]), "annotation 7: attributes"),
        (_with("annotation", attributes="walk"), "annotation 7: attributes"),
        (_with("annotation", image_id=[2]), "annotation 7: not as expected"),
        (_with("image", video="a", time_s="abc"), "annotation 7: not as expected"),
        (_with("image", id=[1]), "images 2: not as expected"),
    ],
)
def test_a_broken_element_of_coco_is_named_and_the_others_are_read(tmp_path, content, text):
    message = refused(tmp_path, "a.json", content)
    assert f"a.json: {text}" in message and "its image_id is not in images" in message


def test_a_broken_element_of_other_forms_is_named_and_the_others_are_read(tmp_path):
    box = '<box label="walk" frame="{0}" xtl="{1}" ytl="1" xbr="30" ybr="40"{2}/>'
    tracks = "".join(f'<track id="{k}" label="x">{box.format(0, v, "")}</track>' for k, v in ((5, "a"), (6, "nan")))
    images = ""
    for number, width, turn in ((8, 80, ' rotation="q"'), (9, "w", "")):
        boxes = box.format(0, 1, turn) + box.format(0, 1, "")
        images += f'<image id="{number}" name="a_00011.png" width="{width}" height="64">{boxes}</image>'
    message = refused(
        tmp_path, "a.xml", f"<annotations><meta><source>a.mp4</source></meta>{tracks}{images}</annotations>"
    )
    for place in ("track 5: not as expected", "track 6, frame 0: second", "image 8, box 1: not", "image 9: not as"):
        assert f"a.xml: {place}" in message, message

    first = {"frame": 1, "enabled": True, "x": 1, "y": 1, "width": 9, "height": 9}
    values = [{"sequence": 7}, {"sequence": [first | {"frame": 0}]}, {"sequence": [{"frame": 1}]}, {"ranges": [{}]}]
    result = [{"id": f"q{k}", "type": "t", "value": v | {"labels": ["walk"]}} for k, v in enumerate(values)]
    task = {"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"result": result}]}
    message = refused(tmp_path, "l.json", [task, task | {"id": 2, "annotations": [5]}])
    for place in ("region q0: not as", "region q1: frame 0", "region q2: has no 'x'", "region q3: has no 'start'"):
        assert f"l.json: task 1, {place}" in message, message
    assert "l.json: task 2: not as expected" in message

    region = {"shape_attributes": {"name": "rect", "x": 1, "y": 1, "width": 9}, "region_attributes": {}}
    regions = [region, {"shape_attributes": 5}, {"shape_attributes": {"name": "rect"}, "region_attributes": {}}]
    message = refused(tmp_path, "v.json", {"k": {"filename": "a_00011.jpg", "regions": regions}})
    assert "region 1: has no 'height'" in message and "region 2: has no 'region_attributes'" in message
    assert "region 3: has no 'x'" in message


def test_a_table_with_the_same_column_twice_is_refused(tmp_path):
    text = "video,time_s,time_s,x1,y1,x2,y2\na,1,2,.1,.1,.2,.2\n"
    assert "a.csv: the header has time_s several times" in refused(tmp_path, "a.csv", text)


def test_a_line_that_stands_twice_counts_once_for_the_spelling(rendered, tmp_path):
    video = videos_of(rendered[1])[0]
    lines = [f"{video},1,.1,.1,.5,.5,WALK,1"] * 3 + [f"{video},{t},.1,.1,.5,.5,walk,1" for t in (2, 3)]
    found, _ = converted(tmp_path, [("a.csv", HEAD + "\n".join(lines), {})], rendered, rendered[1])
    assert set().union(*found.values()) == {"walk"}


def test_two_boxes_of_a_track_in_a_frame_are_refused(tmp_path):
    box = '<box frame="0" outside="0" xtl="1" ytl="1" xbr="30" ybr="40"><attribute name="action">{}</attribute></box>'
    text = "<annotations><meta><source>a.mp4</source></meta><track id='7' label='person'>{}{}</track></annotations>"
    message = refused(tmp_path, "a.xml", text.format(box.format("walk"), box.format("jump")))
    assert "a.xml: track 7: frame 0 has two boxes" in message
    (person,) = read(tmp_path, "a.xml", text.format(box.format("walk"), box.format("walk")))
    assert person.actions == ("walk",)


def test_stretches_of_time_become_segments(rendered, tmp_path, capsys):
    value = {"ranges": [{"start": 1, "end": 20}, {"start": 31, "end": 40}], "timelinelabels": ["walk, fast"]}
    timeline = {"value": value, "id": "t", "from_name": "l", "to_name": "video", "type": "timelinelabels"}
    ((_, text, _),) = label_studio(rendered[1])
    tasks = json.loads(text)
    tasks[0]["annotations"][0]["result"].append(timeline)
    assert run(rendered, tmp_path, tasks, "--val", "0", name="export.json") == 0
    assert "segments: 2 stretches of time with a label" in capsys.readouterr().out
    written = (tmp_path / "data/segments.csv").read_text().splitlines()
    assert written[1:] == ['train_00000,0.000,2.000,"walk, fast"', 'train_00000,3.000,4.000,"walk, fast"']

    tasks[0]["annotations"][0]["result"] = [timeline]
    with pytest.raises(UserError, match="no boxes of people.*only segments"):
        run(rendered, tmp_path, tasks[:1], name="export.json")
    timeline["value"]["ranges"] = [{"start": 1, "end": 90}]
    with pytest.raises(UserError, match="task 1, region t: ends at second 9, but train_00000 lasts from 0 to 4.00 s"):
        run(rendered, tmp_path, tasks[:1], name="export.json")
    via = {"attribute": {"1": {"aname": "action", "options": {"0": "walk"}}}, "file": {"9": {"fname": "a.mp4"}}}
    via |= {
        "view": {"1": {"fid_list": ["9"]}},
        "metadata": {"m": {"vid": "1", "z": [0.5, 2], "xy": [], "av": {"1": "0"}}},
    }
    account = ImportSummary()
    assert read(tmp_path, "via.json", via, account) == []
    assert [(s.video, s.start_s, s.end_s, s.label) for s in account.segments] == [("a", 0.5, 2.0, "walk")]


def test_label_studios_own_count_of_frames_and_its_choice_of_annotations(tmp_path):
    sequence = [{"frame": 1, "enabled": True, "x": 10, "y": 20, "width": 30, "height": 40}]
    value = {"framesCount": 100, "duration": 4.0, "sequence": sequence, "labels": ["person"]}
    boxes = [{"id": "q", "type": "videorectangle", "value": value}]
    boxes.append({"id": "q", "type": "choices", "value": {"choices": ["walk", "talk"]}})  # of the region q
    other = [{"id": "z", "type": "videorectangle", "value": value | {"labels": ["sit"]}}]
    annotations = [{"result": boxes, "ground_truth": True}, {"result": other}, {"result": other, "was_cancelled": True}]
    task = {"id": 1, "data": {"video": "https://x.org/a%20b.mp4?sig=1"}, "annotations": annotations}
    account = ImportSummary()
    people = read(tmp_path, "a.json", [task], account)
    assert [p.time_s for p in people] == [0.0, 1.0, 2.0, 3.0]  # held to the end: 100 frames, 25 a second
    assert {p.actions for p in people} == {("walk", "talk")} and people[0].box == (0.1, 0.2, 0.4, pytest.approx(0.6))
    assert people[0].video == "a b" and not people[0].in_pixels
    assert len(account.remarks) == 3
    assert any("annotated several times" in remark for remark in account.remarks)
    assert any("count 25 frames a second, 'a b' has 10" in remark for remark in account.remarks)


def test_a_person_of_label_studio_is_gone_behind_a_key_that_is_switched_off(tmp_path):
    keys = [(1, True, 0), (11, False, 10), (21, True, 50), (41, False, 50)]
    sequence = [{"frame": f, "enabled": e, "x": x, "y": 0, "width": 30, "height": 40} for f, e, x in keys]
    value = {"framesCount": 41, "duration": 4.1, "labels": ["walk"]}
    for part, seen in (
        (sequence[:2], [0.0, 1.0]),
        (sequence, [0.0, 1.0, 2.0, 3.0, 4.0]),
        (sequence[1:3], [1, 2, 3, 4]),
    ):
        result = [{"id": "q", "type": "videorectangle", "value": value | {"sequence": part}}]
        people = read(tmp_path, "a.json", [{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"result": result}]}])
        assert [p.time_s for p in people] == seen
    value["sequence"] = [sequence[0], sequence[1], sequence[3] | {"frame": 31}]
    result = [{"id": "q", "type": "videorectangle", "value": value}]
    people = read(tmp_path, "a.json", [{"id": 1, "data": {"video": "a.mp4"}, "annotations": [{"result": result}]}])
    assert [(p.time_s, p.box[0]) for p in people] == [(0.0, 0.0), (1.0, 0.1), (3.0, 0.5)]


def test_a_file_that_does_not_name_its_video_needs_it_named(rendered, tmp_path):
    ((_, coco, _), *_), ((_, xml, _), *_) = cvat_coco(rendered[1]), cvat_images(rendered[1])
    assert "--video names the video of frame_000031.PNG" in refused(tmp_path, "a.json", coco)
    table = "time_s,x1,y1,x2,y2\n1,5,5,30,40\n"
    assert "the header has no video" in refused(tmp_path, "a.csv", table)
    assert read(tmp_path, "a.csv", table, video="b")[0].video == "b"
    for name, text in (("a.json", coco), ("a.xml", xml)):
        people = read(tmp_path, name, text, video="b")
        assert {p.video for p in people} == {"b"} and {p.time_s for p in people} == {1.0, 2.0, 3.0}
    account = ImportSummary()
    assert read(tmp_path, "a.csv", HEAD + "c,1,5,5,30,40,walk,0\n", account, video="b")[0].video == "b"
    assert account.remarks == {"file that names 'c' is taken as of 'b' (--video)": 1}
    two = HEAD + "c,1,5,5,30,40,walk,0\nd,1,5,5,30,40,walk,0\n"
    assert "--video b, but it names 2: c, d" in refused(tmp_path, "a.csv", two, video="b")


@pytest.mark.parametrize(("attribute", "actions"), [(None, ("jump",)), ("code", ("7",)), ("jump", ("jump",))])
def test_numbers_and_marks_of_tools_are_no_actions(tmp_path, attribute, actions):
    attributes = {"jump": "true", "sit": "false", "code": 7, "note": "_DEFAULT", "speed": "1.5", "person_id": "4"}
    content = {"images": [{"id": 1, "file_name": "a_00011.jpg"}], "categories": [{"id": 1, "name": "Person"}]}
    content["annotations"] = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40], "attributes": attributes}]
    (person,) = read(tmp_path, "a.json", content, attribute=attribute)
    assert person.actions == actions and person.person == "4"


def test_turned_boxes_and_other_shapes_are_accounted_for(tmp_path):
    account = ImportSummary()
    shapes = '<polygon label="walk" points="1,1;2,2"/><tag label="day"/>'
    box = '<box label="walk" occluded="0" xtl="10" ytl="10" xbr="20" ybr="40" rotation="90.00" z_order="0"/>'
    text = f'<annotations><image id="0" name="a_00011.png" width="80" height="64">{shapes}{box}</image></annotations>'
    (person,) = read(tmp_path, "a.xml", text, account)
    assert person.box == pytest.approx((0, 20, 30, 30))
    assert account.remarks == {"turned boxes became the upright ones around them": 1}
    assert set(account.dropped) == {f"{k} shapes or tags of CVAT: only boxes are people" for k in ("polygon", "tag")}


def test_what_was_written_can_be_read_again(rendered, tmp_path, capsys):
    ((name, text, _),) = label_studio(rendered[1])
    assert run(rendered, tmp_path, json.loads(text), "--val", "0", name=name) == 0
    first = (tmp_path / "data/train.csv").read_text()
    (tmp_path / "again").mkdir()
    assert guess_form(tmp_path / "data/train.csv") == "ava"
    options = ["--labels", str(tmp_path / "data/labels.pbtxt"), "--val", "0"]
    assert run(rendered, tmp_path / "again", first, *options, name="ava.csv") == 0
    assert (tmp_path / "again/data/train.csv").read_text() == first
    assert "--labels names their file" in refused(tmp_path, "ava.csv", first)
    missing = refused(tmp_path, "ava.csv", first, labels={1: "a"})
    assert "action id 3 is not in the list of labels" in missing and "times, this is the first" in missing


def test_frames_of_a_variable_rate_are_timed_by_their_time_stamps(tmp_path):
    """Ten frames in second 0, then one a second up to second 6."""
    seconds = [k / 10 for k in range(10)] + [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos/a.mp4", numbered_frames(len(seconds)), pts=[round(600 * s) for s in seconds])
    videos = VideoFolder(tmp_path / "videos")
    assert videos.last_s("a") == pytest.approx(6.0)
    own = {"fps_of": videos.fps_of, "last_s_of": videos.last_s, "times_of": videos.times_s}
    box = '<box frame="{}" outside="0" xtl="{}" ytl="1" xbr="30" ybr="40"/>'
    track = f'<track id="7" label="walk">{box.format(5, 5)}{box.format(15, 15)}</track>'
    people = read(tmp_path, "a.xml", f"<annotations><meta><source>a.mp4</source></meta>{track}</annotations>", **own)
    assert [(p.time_s, round(p.box[0], 3)) for p in people] == [(s, 9.0 + s) for s in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    table = "video,frame,x1,y1,x2,y2,actions\n" + "".join(f"a,{k},5,5,30,40,walk\n" for k in (0, 9, 12))
    assert [p.time_s for p in read(tmp_path, "a.csv", table, **own)] == pytest.approx([0, 0.9, 3.0])


def test_an_empty_last_field_after_a_tab_is_one(tmp_path):
    text = "video\ttime_s\tx1\ty1\tx2\ty2\tactions\na\t1\t0\t0\t20\t20\twalk\na\t2\t0\t0\t20\t20\t\n"
    assert [p.actions for p in read(tmp_path, "tabs.csv", text)] == [("walk",), ()]
