"""Annotation of persons that would be read otherwise than it was meant: each is refused or named."""

import json

import pytest

from paddlevideo.ava_files import read_ava_csv, read_excluded
from paddlevideo.cli.main import main
from tests.clips import numbered_frames, write_clip

NUM, HEADER = 30, "video,time_s,x1,y1,x2,y2,actions,person"
IMAGES = [{"id": 10, "file_name": "a/img_00011.jpg", "width": 64, "height": 48}]
BOX = {"id": 1, "image_id": 10, "category_id": 3, "bbox": [8, 8, 16, 32]}
VIA_3 = {
    "project": {},
    "attribute": {"1": {"aname": "action", "type": 4, "options": {"0": "walk"}}},
    "file": {"1": {"fid": "1", "fname": "a.mp4", "type": 4}},
    "view": {"1": {"fid_list": ["1"]}},
    "metadata": {"m1": {"vid": "1", "z": [1.0], "xy": [2, 32, 12, 32, 24], "av": {"1": "0"}}},
}


@pytest.fixture
def convert(tmp_path, capsys):
    """Converts annotation of ``a.mp4``, 30 frames of 64 x 48 at 10 per second: exit code, what is printed."""
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos" / "a.mp4", numbered_frames(NUM), 10)

    def run(name, content, *more):
        file = tmp_path / name
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        words = ["prepare", "people", file, "--videos", tmp_path / "videos", "--val", "0", "--out", tmp_path / "out"]
        code = main([*map(str, words), *map(str, more)])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def coco(annotations=(BOX,), images=IMAGES, categories=({"id": 3, "name": "walk"},)):
    return {"images": [*images], "annotations": [*annotations], "categories": [*categories]}


@pytest.mark.parametrize(
    "content, reported",
    [
        (coco([{**BOX, "category_id": 4}]), "annotation 1: its category_id, 4, is not in categories"),
        (coco([{**BOX, "category_id": "3"}]), "its category_id, '3', is not in categories"),
        (coco(categories=[{"id": 3, "name": "walk"}, {"id": 3, "name": "jump"}]), "categories 2: its id 3 is that of"),
        (coco(images=[*IMAGES, {**IMAGES[0], "file_name": "b/img_00001.jpg"}]), "images 2: its id 10 is that of"),
        (coco(images=[{**IMAGES[0], "video": "a", "frame_id": 3.7}]), "its frame is 3.7, expected a whole number"),
        (coco(images=[{**IMAGES[0], "file_name": "b/img_00011.jpg"}]), "p.json: annotation 1: no video 'b' in"),
        (coco(images=[{**IMAGES[0], "width": 48, "height": 64}]), "pictures of 48 x 64, the video has 64 x 48"),
        (coco(images=[{**IMAGES[0], "file_name": "a/img_00031.jpg"}]), "frame 30, but a has frames 0 to 29"),
    ],
)
def test_coco(convert, content, reported):
    code, printed = convert("p.json", content)
    assert code == 2 and reported in printed


def test_pictures_that_count_from_0_are_named(convert, tmp_path):
    images = [{**IMAGES[0], "id": k, "file_name": f"a/img_{k:05d}.jpg"} for k in range(30)]
    code, printed = convert("p.json", coco([BOX], images))
    assert code == 0 and "boxes on pictures that are counted from 0 (--first_number)" in printed
    assert read_ava_csv(tmp_path / "out" / "train.csv").timestamp.tolist() == [1.0]
    code, printed = convert("p.json", coco([{**BOX, "image_id": 0}], images), "--first_number", "1")
    assert code == 2 and "picture a/img_00000.jpg is number 0, and pictures count from 1; --first_number 0" in printed


def test_pictures_may_be_scaled(convert, tmp_path):
    box = {**BOX, "bbox": [16, 16, 32, 64]}
    assert convert("p.json", coco([box], [{**IMAGES[0], "width": 128, "height": 96}]))[0] == 0
    (found,) = read_ava_csv(tmp_path / "out" / "train.csv").boxes
    assert found == pytest.approx([1 / 8, 1 / 6, 3 / 8, 5 / 6], abs=1e-3)


ROW = "a.mp4,1,8,8,24,40"


@pytest.mark.parametrize(
    "rows, reported",
    [
        ([f"cam1/{ROW},walk,1", f"cam2/{ROW},walk,2"], "'cam1/a' and 'cam2/a' would both be 'a'"),
        ([f'{ROW},walk,"1', f"{ROW},run,2"], "p.csv:2: a quote is not closed in its line; close it"),
        ([f'{ROW},"walk', 'run",1'], "p.csv:2: a quote is not closed in its line; close it"),
        ([f"{ROW},walk,1", f'{ROW},run,"2'], "p.csv:3: a quote is not closed in its line; close it"),
        (["b.mp4,1,8,8,24,40,walk,1"], "p.csv:2: no video 'b' in"),
        ([f"{ROW.replace(',1,', ',0:01,')},walk,1"], "is not numbers; seconds are expected, as 61.5"),
    ],
)
def test_rows_of_a_table_that_are_refused(convert, rows, reported):
    code, printed = convert("p.csv", "\n".join([HEADER, *rows, ""]))
    assert code == 2 and reported in printed


def test_a_video_in_another_folder_is_named(convert, tmp_path):
    (tmp_path / "videos" / "cam1").mkdir()
    (tmp_path / "videos" / "a.mp4").rename(tmp_path / "videos" / "cam1" / "a.mp4")
    code, printed = convert("p.csv", f"{HEADER}\nx/cam1/{ROW},walk,1\n")
    assert code == 0 and "other folders" not in printed
    code, printed = convert("p.csv", f"{HEADER}\ncam2/{ROW},walk,-1\n")
    assert code == 0 and "video 'cam2/a' in other folders is taken as 'cam1/a'" in printed
    assert "persons are -1 and taken for no track" in printed


def test_a_name_that_no_csv_of_ava_has_changes_nothing(convert, tmp_path):
    assert convert("p.csv", f"{HEADER}\n{ROW},walk,1\n")[0] == 0
    before = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    write_clip(tmp_path / "videos" / "b, c.mp4", numbered_frames(NUM), 10)
    code, printed = convert("p.csv", f'{HEADER}\n{ROW},eat,1\n"b, c.mp4",1,8,8,24,40,eat,1\n')
    assert code == 2 and "p.csv:3: 'b, c': AVA's csv has no name with a comma" in printed
    assert before == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}


def test_a_configuration_that_was_edited_is_kept(convert, tmp_path):
    config = tmp_path / "out" / "detector.yaml"
    assert convert("p.csv", f"{HEADER}\n{ROW},walk,1\n")[0] == 0
    config.write_text(edited := config.read_text() + "# mine\n")
    code, printed = convert("p.csv", f"{HEADER}\n{ROW},walk,1\n")
    assert code == 0 and "was another one, or edited: it is detector_1.yaml now" in printed
    assert config.with_name("detector_1.yaml").read_text() == edited != config.read_text()


def test_the_option_of_a_video_may_have_its_ending(convert):
    row = ROW.partition(",")[2]
    assert convert("p.csv", f"{HEADER.partition(',')[2]}\n{row},walk,1\n", "--video", "a.mp4")[0] == 0


def test_videos_that_differ_in_their_ending_are_named(convert, tmp_path):
    (tmp_path / "videos" / "a.mkv").write_bytes((tmp_path / "videos" / "a.mp4").read_bytes())
    code, printed = convert("p.csv", f"{HEADER}\n{ROW},walk,1\n")
    assert code == 2 and "as .mkv and .mp4: rename one of them" in printed


@pytest.mark.parametrize("height, width, rotation", [(48, 64, 0), (128, 24, 90)])  # a browser turns wide pixels, too
def test_pixels_of_via_are_those_that_a_browser_shows(convert, tmp_path, height, width, rotation):
    frames = numbered_frames(NUM, height, width)
    write_clip(tmp_path / "videos" / "a.mp4", frames, 10, pixel_aspect=2, rotation=rotation)
    code, printed = convert("v.json", VIA_3)
    assert code == 0 and "pixels are not square: taken as pixels as a player shows them" in printed
    assert read_ava_csv(tmp_path / "out" / "train.csv").boxes[0].tolist() == [0.25, 0.25, 0.5, 0.75]  # of 128 x 48


def test_a_short_line_of_via(convert):
    header = "filename,file_size,region_shape_attributes,region_attributes"
    shape = '"{""name"":""rect"",""x"":8,""y"":8,""width"":16,""height"":32}"'
    good = f'a/img_00011.jpg,1,{shape},"{{""action"":""walk""}}"'
    code, printed = convert("v.csv", "\n".join([header, good, 'a/img_00021.jpg,1,"{}"', ""]))
    assert code == 2 and "v.csv:3: 3 fields, the header has 4" in printed
    code, printed = convert("v.csv", "\n".join([header.replace(",", ";"), good.replace(",", ";"), ""]))
    assert code == 2 and "not parted by commas" in printed


@pytest.mark.parametrize(
    "header, row, reported",
    [
        (HEADER.replace("time_s", "frame"), "a.mp4,30,8,8,24,40,walk,1", "frame 30, but a has frames 0 to 29"),
        (f"{HEADER},frame", "a.mp4,1,8,8,24,40,walk,1,25", "second 1, but frame 25 is at 2.50 s"),
        (HEADER.replace("time_s", "frame"), "a.mp4,x.jpg,8,8,24,40,walk,1", "frame 'x.jpg' or box"),
        (f"{HEADER},frame", "a.mp4,1,8,8,24,40,walk,1,25.0", "second 1, but frame 25 is at 2.50 s"),
        (f"{HEADER},action", "a.mp4,1,8,8,24,40,walk,1,run", "actions and action mean the same"),
    ],
)
def test_columns_that_contradict(convert, header, row, reported):
    code, printed = convert("t.csv", f"{header}\n{row}\n")
    assert code == 2 and reported in printed


@pytest.mark.parametrize(("frame", "noted"), [("10.0", False), ("", False), ("img_10.jpg", True), ("10.5", True)])
def test_a_frame_beside_the_second(convert, tmp_path, frame, noted):
    """Frame 10 is at 1 s; the name of a picture is no number."""
    code, printed = convert("t.csv", f"{HEADER},frame\na.mp4,1,8,8,24,40,walk,1,{frame}\n")
    assert code == 0 and ("values of frame are no numbers and not read" in printed) == noted
    assert read_ava_csv(tmp_path / "out" / "train.csv").timestamp.tolist() == [1]


def test_other_names_of_columns(convert, tmp_path):
    header = HEADER.replace("actions", "label").replace("person", "track_id")
    rows = ["a.mp4,1,8,8,24,40,walk,7,x", "a.mp4,2,8,8,24,40,none,7,x"]
    code, printed = convert("t.csv", "\n".join([f"{header},weather", *rows, ""]))
    assert code == 0 and "1 column of" in printed and "is not read: weather" in printed
    assert "actions are 'none' and taken for no action" in printed and "1 of them without an action" in printed
    assert read_ava_csv(tmp_path / "out" / "train.csv").entity.tolist() == [0]


def test_key_frames_to_leave_out(convert, tmp_path):
    (tmp_path / "ex.csv").write_text("a.mp4,1\na,1.5\nnothere,1\n")
    rows = [f"a.mp4,{second},8,8,24,40,walk,7" for second in (1, 2)]
    code, printed = convert("t.csv", "\n".join([HEADER, *rows, ""]), "--exclude", tmp_path / "ex.csv")
    assert code == 0 and "2 lines are of no annotated key frame: 'a,1.5', 'nothere,1'" in printed
    assert read_excluded(tmp_path / "out" / "train_excluded.csv") == {("a", 1)}


def test_a_list_with_a_name_twice(convert, tmp_path):
    (tmp_path / "l.txt").write_text("walk\nrun\nwalk\n")
    code, printed = convert("t.csv", f"{HEADER}\na.mp4,1,8,8,24,40,walk,7\n", "--labels", tmp_path / "l.txt")
    assert code == 2 and "'walk' is the name of two classes" in printed
