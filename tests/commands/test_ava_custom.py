"""Own annotations to AVA's files, from each input form; and a check that names what gives an mAP of 0."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paddlevideo.ava_files import read_ava_csv, read_ava_labels, read_excluded, read_proposals, write_proposals
from paddlevideo.cli import prepare_people
from paddlevideo.cli.main import main
from paddlevideo.config import load_config
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.datasets.ava import AVADataset
from paddlevideo.preparation import check_ava
from paddlevideo.preparation.person_annotations import ImportOptions, guess_form, read_people
from tests.commands.annotation_forms import (
    BASE,
    ROOT,
    convert,
    people,
    written,
)


@pytest.mark.parametrize("form", ["csv", "jsonl", "coco", "via", "cvat"])
def test_every_form_gives_the_same_data_set(rendered, tmp_path, form, capsys):
    assert convert(rendered, tmp_path, form, "--val", "0.25") == 0
    assert "nothing is wrong" in capsys.readouterr().out
    data, (_, truth) = tmp_path / "data", rendered
    names = read_ava_labels(data / "labels.pbtxt")
    assert list(names.values()) == sorted({name for *_, actions, _ in truth for name in actions})
    found = {}
    for split in ("train", "val"):
        rows = read_ava_csv(data / f"{split}.csv")
        assert (
            len(rows.videos) == {"train": 3, "val": 1}[split] and read_excluded(data / f"{split}_excluded.csv") == set()
        )
        for i in range(len(rows)):
            key = (rows.videos[rows.video[i]], float(rows.timestamp[i]), tuple(np.round(rows.boxes[i], 2)))
            found.setdefault(key, set()).add(names[int(rows.label[i])])
        assert set(read_proposals(data / f"{split}_proposals.pkl")) == set(rows.keys()[0])
    expected = {(v, t, tuple(np.round(np.round(box, 3), 2))): set(actions) for v, t, box, actions, _ in truth}
    assert found == expected

    config = load_config(str(data / "detector.yaml"))
    assert (config["model_name"], str(config.output_dir)) == (data.name, f"output/{data.name}")
    assert config["MODEL"]["head"]["bbox_head"]["num_classes"] == len(names) + 1
    section = {key: value for key, value in config["DATASET"]["valid"].items() if key != "format"}
    dataset = AVADataset(**section, test_mode=True, num_classes=len(names) + 1)
    assert len(dataset) == 3 and Path(dataset.records[0]["filename"]).is_file()
    assert len(dataset.sample(0)["boxes"]) == len(dataset.sample(0)["gt_boxes"]) >= 2


def test_the_configuration_passes_the_check(rendered, tmp_path):
    convert(rendered, tmp_path, "csv")
    command = [sys.executable, "main.py", "-c", str(tmp_path / "data/detector.yaml"), "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_any_detectors_configuration_is_a_base(rendered, tmp_path, capsys):
    base = ROOT / "configs/detection/ava/ava.yaml"  # PaddleVideo's, whose METRIC names files and a class count
    convert(rendered, tmp_path, "csv", "--base", str(base))
    printed = capsys.readouterr().out
    assert "the mirror makes one of the other; take Flip out" in printed and "--scale_lr" in printed
    config = load_config(str(tmp_path / "data/detector.yaml"))
    names = read_ava_labels(tmp_path / "data/labels.pbtxt")
    assert config["METRIC"]["custom_classes"] == len(names) + 1 == config["MODEL"]["head"]["bbox_head"]["num_classes"]
    # the metric takes the files of the set that it measures: of --validate those of valid, also where test has others
    assert config["METRIC"]["file_path"] is config["METRIC"]["label_file"] is config["METRIC"]["exclude_file"] is None
    assert config["DATASET"]["test"]["file_path"] == str(tmp_path / "data/val.csv")
    convert(rendered, tmp_path, "csv", "--base", str(prepare_people.BASE))
    assert "it starts from data/slowonly_r50_4x16x1" in capsys.readouterr().out
    with pytest.raises(UserError, match="no action detector"):
        convert(rendered, tmp_path, "csv", "--base", str(ROOT / "configs/recognition/tsm/tsm_motion_demo.yaml"))


def test_folders_of_frames_a_detectors_boxes_and_exclusions(rendered, tmp_path, capsys):
    out, truth = rendered
    detected = {}
    for video, second, box, *_ in truth:
        detected.setdefault(f"{video},{second:04d}", []).append([*(box + 0.005), 0.95])
    write_proposals(tmp_path / "detected.npz", {key: np.array(boxes, np.float32) for key, boxes in detected.items()})
    (tmp_path / "exclude.csv").write_text("".join(f"{video},0002\n" for video in {v for v, *_ in truth}))
    files = written(tmp_path, "csv", truth)
    options = ["--frames", str(out / "frames"), "--fps", "10", "--out", str(tmp_path / "data"), "--base", str(BASE)]
    options += ["--proposals", str(tmp_path / "detected.npz"), "--exclude", str(tmp_path / "exclude.csv")]
    assert people([*files, *options, "--jobs", "1"]) == 0
    assert "recall" in capsys.readouterr().out
    rows = read_ava_csv(tmp_path / "data/train.csv")
    assert len(read_excluded(tmp_path / "data/train_excluded.csv")) == len(rows.videos)
    first = next(iter(read_proposals(tmp_path / "data/train_proposals.pkl").values()))
    assert first.shape[1] == 5 and first[0, 4] == pytest.approx(0.95)
    section = load_config(str(tmp_path / "data/detector.yaml"))["DATASET"]["train"]
    assert section["suffix"] == "img_{:05}.jpg" and section["fps"] == 10


def test_tracks_are_interpolated_and_leave_the_picture(tmp_path):
    box = '<box frame="{}" outside="{}" xtl="{}" ytl="0" xbr="{}" ybr="20"><attribute name="jump">{}</attribute></box>'
    boxes = [(0, 0, 0, 10, "false"), (20, 0, 40, 50, "true"), (25, 1, 50, 60, "true"), (60, 0, 0, 10, "false")]
    track = "".join(box.format(*values) for values in boxes)
    (tmp_path / "a.xml").write_text(
        f'<annotations><meta><job><source>a.mp4</source></job></meta><track id="7" label="person">{track}</track>'
        "</annotations>"
    )
    people = read_people(tmp_path / "a.xml", "auto", ImportOptions(lambda _: 10.0, every_s=0.5))
    seen = {person.time_s: person for person in people}
    assert sorted(seen) == [0.0, 0.5, 1.0, 1.5, 2.0, 6.0]
    assert seen[1.0].box == (20, 0, 30, 20) and seen[1.5].box == (30, 0, 40, 20)
    assert seen[1.5].actions == () and seen[2.0].actions == ("jump",) and seen[2.0].person == "7"


def test_names_of_pictures_give_video_and_second(tmp_path):
    region = {"shape_attributes": {"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}}
    region["region_attributes"] = {"action": {"walk": True, "jump": False}, "person_id": "3"}
    via2 = {"_via_img_metadata": {"k": {"filename": "day1_00026.jpg", "regions": [region]}}}
    via3 = {"attribute": {"1": {"aname": "action", "options": {"0": "walk"}}}, "view": {"1": {"fid_list": ["9"]}}}
    via3 |= {"file": {"9": {"fname": "day1/img_00026.jpg"}}}
    via3 |= {"metadata": {"m": {"vid": "1", "z": [], "xy": [2, 1, 2, 3, 4], "av": {"1": "0"}}}}
    (tmp_path / "2.json").write_text(json.dumps(via2))
    (tmp_path / "3.json").write_text(json.dumps(via3))
    (tmp_path / "c.xml").write_text(
        '<annotations><image id="0" name="day1/frame_00026.png" width="8" height="8"><box label="walk" xtl="1" ytl="2" '
        'xbr="4" ybr="6"/></image></annotations>'
    )
    for name in ("2.json", "3.json", "c.xml"):
        (person,) = read_people(tmp_path / name, "auto", ImportOptions(lambda _: 25.0))
        assert (person.video, person.time_s, person.box) == ("day1", 1.0, (1, 2, 4, 6)), name
        assert person.actions == ("walk",)


def test_coco_of_videos_and_of_named_categories(tmp_path):
    content = {"videos": [{"id": 4, "name": "day1.mp4"}], "categories": [{"id": 1, "name": "walk"}]}
    content["images"] = [{"id": 1, "video_id": 4, "frame_id": 50, "file_name": "x.jpg"}]
    content["images"].append({"id": 2, "video": "day2", "time_s": 2.5, "file_name": "y.jpg"})
    content["annotations"] = [{"image_id": k, "category_id": 1, "bbox": [1, 2, 3, 4]} for k in (1, 2)]
    (tmp_path / "a.json").write_text(json.dumps(content))
    one, two = read_people(tmp_path / "a.json", "auto", ImportOptions(lambda _: 25.0))
    assert (one.video, one.time_s, two.video, two.time_s) == ("day1", 2.0, "day2", 2.5)
    assert one.actions == two.actions == ("walk",)


def test_a_line_of_jsonl_replaces_another(tmp_path):
    box = {"video": "v", "time_s": 1, "box": [0.1, 0.1, 0.2, 0.2], "actions": ["walk"]}
    lines = [
        {**box, "id": "a"}, {**box, "id": "b"}, {**box, "time_s": 2}, {"id": "c", "replaces": "a", "removed": True},
        {**box, "id": "d", "replaces": "b", "box": [0.1, 0.1, 0.4, 0.4]},
    ]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = read_people(tmp_path / "a.jsonl", "auto", ImportOptions(lambda _: 25.0))
    assert [(p.time_s, p.box[2]) for p in found] == [(2, 0.2), (1, 0.4)]
    (tmp_path / "a.jsonl").write_text(json.dumps({**box, "replaces": "x"}) + "\n")
    with pytest.raises(UserError, match="a.jsonl:1: replaces 'x', which no entry before it is"):
        read_people(tmp_path / "a.jsonl", "auto", ImportOptions(lambda _: 25.0))


@pytest.mark.parametrize(
    ("name", "text", "reported"),
    [
        ("a.csv", "video,time_s,x1,y1,x2\na,1,2,3,4\n", "the header has no y2"),
        ("a.csv", "video,time_s,x1,y1,x2,y2\nv,soon,0,0,1,1\n", "a.csv:2: time_s 'soon'"),
        ("a.jsonl", '{"video": "v"}\n', "a.jsonl:1: expected an object"),
        ("a.jsonl", "[\n", "a.jsonl:1: not JSON"),
        ("a.json", '{"images": [], "annotations": [{"id": 5, "image_id": 1}]}', "annotation 5: its image_id"),
        ("a.json", "{}", "unknown form; expected .csv"),
        ("a.xml", "<boxes/>", "expected CVAT's <annotations>"),
        ("a.xml", "<annot", "not XML"),
        ("a.csv", "video,time_s,x1,y1,x2,y2\n", "no person is annotated"),
    ],
)
def test_files_that_cannot_be_read_say_where(tmp_path, name, text, reported):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as caught:
        read_people(tmp_path / name, "auto", ImportOptions(lambda _: 25.0))
    assert reported in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reported"),
    [
        ("nowhere,1,0,0,1,1,walk,0", ":3: no video 'nowhere'"),
        ("train_00000,9,0.1,0.1,0.2,0.2,walk,0", ":3: second 9, but train_00000 lasts from 0 to 4.00 s"),
        ("train_00000,1,0.5,0.1,0.2,0.2,walk,0", ":3: box 0.5, 0.1, 0.2, 0.2 has no area"),
        ("train_00000,1,0.9,0.1,1.4,0.2,walk,0", ":3: box 0.9, 0.1, 1.4, 0.2 is by more than half not in the picture"),
        (
            "train_00000,1,60,1,101,20,walk,0",
            ":3: box 60, 1, 101, 20 is by more than half not in the picture, in pixels",
        ),
        ("train_00000,1,5,5,6.5,40,walk,0", ":3: box 5, 5, 6.5, 40 is 1.5 x 35.0 pixels, below 2"),
        ("train_00000,1,0.2,0.2,0.21,0.5,walk,0", ":3: box 0.2, 0.2, 0.21, 0.5 is 0.8 x 19.2 pixels, below 2"),
        ("train_00000,-1,5,5,20,40,walk,0", ":3: second -1 is not within any video"),
        ("train_00000,nan,5,5,20,40,walk,0", ":3: second nan or box 5, 5, 20, 40: expected finite numbers"),
        ("train_00000,1,5,5,inf,40,walk,0", ":3: second 1 or box 5, 5, inf, 40: expected finite numbers"),
    ],
)
def test_impossible_annotations_are_refused_with_their_line(rendered, tmp_path, row, reported):
    good = "train_00002,1,0.1,0.1,0.2,0.2,walk,0"
    (tmp_path / "a.csv").write_text(f"video,time_s,x1,y1,x2,y2,actions,person\n{good}\n{row}\n")
    options = ["--videos", str(rendered[0] / "videos"), "--out", str(tmp_path / "data"), "--base", str(BASE)]
    with pytest.raises(ConfigError) as caught:
        people([str(tmp_path / "a.csv"), *options])
    assert f"a.csv{reported}" in str(caught.value) and not (tmp_path / "data").exists()
    assert len(caught.value.problems) == 1


def test_a_video_of_another_ending_is_named(rendered, tmp_path, capsys):
    lines = "".join(f"train_00002.webm,{second},0.1,0.1,0.4,0.4,walk,0\n" for second in (1, 2))
    (tmp_path / "a.csv").write_text(f"video,time_s,x1,y1,x2,y2,actions,person\n{lines}")
    options = [
        "--videos",
        str(rendered[0] / "videos"),
        "--out",
        str(tmp_path / "data"),
        "--base",
        str(BASE),
        "--val",
        "0",
    ]
    people([str(tmp_path / "a.csv"), *options])
    assert "2 boxes of train_00002.webm: train_00002.mp4 is the video that is there" in capsys.readouterr().out


def test_one_video_cannot_be_split(rendered, tmp_path):
    (tmp_path / "a.csv").write_text("video,time_s,x1,y1,x2,y2,actions\ntrain_00000,1,0.1,0.1,0.4,0.6,walk\n")
    options = [str(tmp_path / "a.csv"), "--videos", str(rendered[0] / "videos"), "--out", str(tmp_path / "data")]
    with pytest.raises(UserError, match="1 videos cannot be parted into train and val.*--val 0"):
        people([*options, "--base", str(BASE)])
    assert people([*options, "--base", str(BASE), "--val", "0", "--jobs", "1"]) == 0
    config = load_config(str(tmp_path / "data/detector.yaml"))
    assert config["DATASET"]["valid"]["file_path"].endswith("train.csv")
    assert config["MODEL"]["head"]["bbox_head"]["topk"] == [1]


def test_forms_are_distinguished(tmp_path):
    (tmp_path / "v2.json").write_text('{"_via_img_metadata": {}}')
    assert guess_form(tmp_path / "v2.json") == "via" and guess_form(Path("x.xml")) == "cvat"


# the check


@pytest.fixture(scope="module")
def sound(rendered, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    convert(rendered, folder, "csv", "--val", "0.25")
    return folder / "data"


def checked(sound, rendered, **changes):
    options = {"timestamp_start": 0, "timestamp_end": None, "videos": True, "num_classes": 12} | changes
    files = {"file_path": str(sound / "train.csv"), "proposal_file": str(sound / "train_proposals.pkl")}
    files |= {"label_file": str(sound / "labels.pbtxt"), "data_prefix": str(rendered[0] / "videos")}
    return check_ava.check_ava([check_ava.AvaSource("train", **(files | options))])


def kinds(check):
    return {finding.kind for finding in check.findings if finding.level == "error"}


@pytest.mark.parametrize(
    ("column", "value", "kind", "reported"),
    [
        (6, "0", "label", "ids count from 1"),
        (6, "99", "label", "the model has 1..11"),
        (2, "40", "box", "in pixels?"),
        (4, "0.000", "box", "no area"),
        (1, "0099", "short", "second 99"),
        (0, "missing", "video", "missing.mp4"),
        (2, "here", "line", "not a number"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(sound, rendered, tmp_path, column, value, kind, reported):
    lines = (sound / "train.csv").read_text().splitlines()
    cells = lines[4].split(",")
    cells[column] = value
    lines[4] = ",".join(cells)
    (tmp_path / "bad.csv").write_text("\n".join(lines) + "\n")
    check = checked(sound, rendered, file_path=str(tmp_path / "bad.csv"))
    assert kinds(check) == {kind} and not check.is_sound
    found = [finding for finding in check.findings if finding.kind == kind]
    assert [finding.line for finding in found] == [5] and reported in found[0].detail
    assert str(found[0]).startswith(f"{tmp_path}/bad.csv:5: ")


def test_person_boxes_that_do_not_fit_are_named(sound, rendered, tmp_path):
    persons = read_proposals(sound / "train_proposals.pkl")
    shifted = {f"{key.split(',')[0]},{int(key.split(',')[1]) + 900:04d}": value for key, value in persons.items()}
    apart = {key: np.array([[0.0, 0.0, 0.05, 0.05, 1.0]], np.float32) for key in persons}
    pixels = {key: value * np.float32(80) for key, value in persons.items()}
    for boxes, kind, reported in (
        (shifted, "keys", "none of the"),
        (apart, "recall", "0.0 %"),
        (pixels, "file", "pixels?"),
    ):
        write_proposals(tmp_path / "p.pkl", boxes)
        check = checked(sound, rendered, proposal_file=str(tmp_path / "p.pkl"))
        assert kinds(check) == {kind} and reported in check.findings[0].detail
    write_proposals(tmp_path / "p.pkl", dict(list(persons.items())[1:]))
    check = checked(sound, rendered, proposal_file=str(tmp_path / "p.pkl"))
    assert check.is_sound and "missing_keys" in {finding.kind for finding in check.findings}


def test_times_exclusions_and_leaks_are_named(sound, rendered, tmp_path):
    check = checked(sound, rendered, timestamp_start=900, timestamp_end=1800)
    assert kinds(check) == {"time"} and "timestamp_start: 0" in check.findings[0].detail
    keys = read_ava_csv(sound / "train.csv").keys()[0]
    (tmp_path / "all.csv").write_text("\n".join(keys) + "\n")
    assert kinds(checked(sound, rendered, exclude_file=str(tmp_path / "all.csv"))) == {"excluded"}
    assert kinds(checked(sound, rendered, file_path=str(tmp_path / "none.csv"))) == {"file"}
    options = {"timestamp_start": 0, "timestamp_end": None, "data_prefix": str(rendered[0] / "videos"), "videos": True}
    lines = (sound / "train.csv").read_text()
    (tmp_path / "again.csv").write_text(lines)
    both = [
        check_ava.AvaSource("train", str(sound / "train.csv"), **options),
        check_ava.AvaSource("valid", str(tmp_path / "again.csv"), **options),
    ]
    assert kinds(check_ava.check_ava(both)) == {"leak"}
    name = read_ava_csv(sound / "train.csv").videos[0]
    videos = shutil.copytree(rendered[0] / "videos", tmp_path / "videos")
    (own,) = videos.glob(f"{name}.*")
    for other in ("copy", "another copy"):
        shutil.copy(own, own.with_name(other + own.suffix))
    own_lines = [line for line in lines.splitlines() if line.startswith(f"{name},")]
    (tmp_path / "copied.csv").write_text("\n".join(line.replace(name, "copy", 1) for line in own_lines))
    (tmp_path / "twice.csv").write_text(lines + "\n".join(line.replace(name, "another copy", 1) for line in own_lines))
    options["data_prefix"] = str(videos)
    found = check_ava.check_ava(
        [
            check_ava.AvaSource("train", str(tmp_path / "twice.csv"), **options),
            check_ava.AvaSource("valid", str(tmp_path / "copied.csv"), **options),
        ]
    ).findings
    assert {(finding.kind, finding.detail.replace(str(tmp_path), ".")) for finding in found} >= {
        ("duplicate", f"another copy has the content of {name}"),
        ("leak", f"copy has the content of {name} in ./twice.csv"),
    }


def test_the_command_checks_a_configuration(sound, tmp_path, capsys):
    report = tmp_path / "report.json"
    command = ["-c", str(sound / "detector.yaml"), "--report", str(report), "--jobs", "1"]
    assert main(["check-data", *command]) == 0
    assert "recall@0.9" in capsys.readouterr().out
    content = json.loads(report.read_text())
    assert content["sound"] and set(content["sets"]) == {"train", "valid"}
    assert main(["check-data", *command, "-o", "DATASET.train.timestamp_start=900"]) == 1
    content = json.loads(report.read_text())
    assert content["findings"][0]["kind"] == "time" and content["findings"][0]["line"] == 1


def test_key_frames_of_tables_are_sampled(rendered, tmp_path):
    """Two key frames of each person give every second between them."""
    first = [row for row in rendered[1] if row[1] in (1, 3)]
    assert convert((rendered[0], first), tmp_path, "jsonl", "--val", "0.25") == 0
    rows = read_ava_csv(tmp_path / "data/train.csv")
    assert {float(t) for t in rows.timestamp} == {1.0, 3.0}
    assert convert((rendered[0], first), tmp_path, "jsonl", "--val", "0.25", "--every_s", "1") == 0
    rows = read_ava_csv(tmp_path / "data/train.csv")
    assert {float(t) for t in rows.timestamp} == {1.0, 2.0, 3.0}
    own = [(float(rows.timestamp[i]), rows.boxes[i]) for i in range(len(rows)) if rows.video[i] == rows.entity[i] == 0]
    boxes = dict(own)
    np.testing.assert_allclose(boxes[2.0], (boxes[1.0] + boxes[3.0]) / 2, atol=0.0011)


def test_named_videos_are_held_out(rendered, tmp_path):
    videos = sorted({video for video, *_ in rendered[1]})
    names = tmp_path / "val.txt"
    names.write_text(f"{videos[1]}.mp4\n{videos[3]}\n")
    assert convert(rendered, tmp_path, "csv", "--val_videos", str(names)) == 0
    assert sorted(read_ava_csv(tmp_path / "data/val.csv").videos) == [videos[1], videos[3]]
    assert sorted(read_ava_csv(tmp_path / "data/train.csv").videos) == [videos[0], videos[2]]
    for text, wrong in (("other.mp4\n", "'other.mp4' is none of the 4"), ("\n".join(videos), "holds out 4 of 4")):
        names.write_text(text)
        with pytest.raises(UserError, match=wrong):
            convert(rendered, tmp_path, "csv", "--val_videos", str(names))
