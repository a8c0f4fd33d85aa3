"""Official annotation files, in miniature and in their real format, to list files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from paddlevideo.loader.datasets.frame import FrameDataset
from paddlevideo.loader.datasets.video import VideoDataset

ROOT = Path(__file__).resolve().parents[2]


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def touch(root: Path, *names: str) -> None:
    for name in names:
        write(root / name, "x")


def frames(root: Path, name: str, *numbers: int, template: str = "{:05}.jpg") -> None:
    touch(root / name, *(template.format(number) for number in numbers))


def class_names(dataset: str) -> list[str]:
    return (ROOT / "data" / dataset / "labels.txt").read_text().splitlines()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The tools' default folders, data/..., are below this one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kinetics_files(place: Path) -> None:
    notes = place / "data/k400/annotations"
    # a byte-order mark, Windows line ends, quotes and the column is_cc: all occur in copies of these files
    write(
        notes / "train.csv",
        "\ufefflabel,youtube_id,time_start,time_end,split,is_cc\r\n"
        'abseiling,-3B32lodo2M,59,69,train,0\r\n"air drumming",_dbcJuKJQNs,40,50,train,0\r\n'
        '"passing American football (in game)",AAAAAAAAAAA,0,10,train,1\r\n\r\nabseiling,gone_gone-1,7,17,train,0\r\n',
    )
    write(notes / "validate.csv", "label,youtube_id,time_start,time_end,split\nair_drumming,idonly_____,3.0,13.0,val\n")
    write(notes / "test.csv", "youtube_id,time_start,time_end,split\nsecret_____,1,11,test\n")
    touch(
        place / "data/k400/videos",
        "train/air drumming/_dbcJuKJQNs_000040_000050.mp4",
        "train/abseiling/-3B32lodo2M_000059_000069.mp4",
        "val/idonly_____.mkv",
        "AAAAAAAAAAA_000000_000010.mp4",
        "not/in/any/list.mp4",
    )


def test_kinetics(place, run_tool):
    kinetics_files(place)
    done = run_tool("prepare/kinetics")
    assert done.code == 0, done.err
    football = class_names("k400").index("passing American football (in game)")
    assert Path("data/k400/train.list").read_text().splitlines() == [
        "data/k400/videos/train/abseiling/-3B32lodo2M_000059_000069.mp4 0",
        "data/k400/videos/train/air drumming/_dbcJuKJQNs_000040_000050.mp4 1",
        f"data/k400/videos/AAAAAAAAAAA_000000_000010.mp4 {football}",
    ]
    assert Path("data/k400/val.list").read_text() == "data/k400/videos/val/idonly_____.mkv 1\n"
    assert not Path("data/k400/test.list").exists()
    missing = Path("data/k400/train.list.missing").read_text()
    assert "gone_gone-1_000007_000017 0" in missing and "train.csv:6" in missing
    assert "train: 4 annotated, 3 found, 1 missing" in done.out
    assert "1 paths hold spaces" in done.out and "1 of 5 videos" in done.out
    assert [r["filename"] for r in VideoDataset("data/k400/train.list", num_classes=400).records][1].count(" ") == 1


def test_paths_below_the_data_folder_and_strict(place, run_tool):
    kinetics_files(place)
    done = run_tool(
        "prepare/kinetics", "--relative", "--strict", "--out", "lists", "--videos", place / "data/k400/videos"
    )
    assert done.code == 1
    assert Path("lists/val.list").read_text() == "val/idonly_____.mkv 1\n"
    dataset = VideoDataset("lists/train.list", data_prefix="data/k400/videos")
    assert all(Path(record["filename"]).is_file() for record in dataset.records)


def test_something_v1_and_jester_are_frames(place, run_tool):
    for dataset, stem, tool in (
        ("sthv1", "something-something-v1", ("something", "v1")),
        ("jester", "jester-v1", ("jester",)),
    ):
        notes, names = place / "data" / dataset / "annotations", class_names(dataset)
        write(notes / f"{stem}-labels.csv", "\n".join(names) + "\n")
        write(notes / f"{stem}-train.csv", f"100218;{names[5]}\n24413;{names[0]}\n7;{names[2]}\n8;{names[2]}\n")
        write(notes / f"{stem}-validation.csv", f"9;{names[-1]}\n")
        write(notes / f"{stem}-test.csv", "1420\n")
        root = place / "data" / dataset / "rawframes"
        frames(root, "24413", 1, 2, 3)
        frames(root, "100218", 1, 2)
        frames(root, "7", 1, 3)  # frame 2 was lost
        frames(root, "9", 1)
        touch(root / "24413", "flow_x_00001.jpg", "00001.png")
        done = run_tool(f"prepare/{tool[0]}", *tool[1:])
        assert done.code == 0, done.err
        file = f"data/{dataset}/{dataset}_train_list_rawframes.txt"
        assert Path(file).read_text().splitlines() == [
            f"data/{dataset}/rawframes/100218 2 5",
            f"data/{dataset}/rawframes/24413 3 0",
        ]
        assert "train: 4 annotated, 2 found, 2 missing" in done.out and "1 frame folders are incomplete" in done.out
        assert "numbered up to 3; frame 2 is missing" in Path(file + ".missing").read_text()
        assert FrameDataset(file, suffix="{:05}.jpg", num_classes=len(names)).records[1]["total_frames"] == 3


def test_something_v2(place, run_tool):
    notes, names = place / "data/sthv2/annotations", class_names("sthv2")
    write(notes / "something-something-v2-labels.json", json.dumps({name: str(k) for k, name in enumerate(names)}))
    holding, falling = "Holding something next to something", "Something falling like a feather or paper"
    entry = {
        "id": "78687",
        "label": "holding potato next to vicks",
        "template": "Holding [something] next to [something]",
    }
    write(notes / "something-something-v2-train.json", json.dumps([entry | {"placeholders": ["potato", "vicks"]}]))
    entry = {"id": "36585", "label": "plastic falling", "template": "[Something] falling like a feather or paper"}
    write(notes / "validation.json", json.dumps([entry]))  # as the files are called since 2022
    touch(place / "20bn", "78687.webm", "36585.webm")
    done = run_tool("prepare/something", "v2", "--videos", "20bn")
    assert done.code == 0, done.err
    train, val = (Path(f"data/sthv2/sthv2_{split}_list_videos.txt").read_text() for split in ("train", "val"))
    assert train == f"20bn/78687.webm {names.index(holding)}\n"
    assert val == f"20bn/36585.webm {names.index(falling)}\n"


def diving48_files(place: Path, label: object) -> None:
    notes, names = place / "data/diving48/annotations", class_names("diving48")
    write(notes / "Diving48_vocab.json", json.dumps([name.split("+") for name in names]))
    clip = {"vid_name": "-mmq0PT-u8k_00155", "label": label, "start_frame": 0, "end_frame": 48}
    write(notes / "Diving48_V2_train.json", json.dumps([clip]))
    write(notes / "Diving48_V2_test.json", json.dumps([clip | {"vid_name": "2x00lRzlTVQ_00000", "label": 47}]))
    touch(place / "data/diving48/videos", "-mmq0PT-u8k_00155.mp4", "2x00lRzlTVQ_00000.mp4")


def test_diving48(place, run_tool):
    diving48_files(place, 0)
    assert run_tool("prepare/diving48").code == 0
    train, val = (Path(f"data/diving48/diving48_{split}_list_videos.txt").read_text() for split in ("train", "val"))
    assert train == "data/diving48/videos/-mmq0PT-u8k_00155.mp4 0\n"
    assert val == "data/diving48/videos/2x00lRzlTVQ_00000.mp4 47\n"


@pytest.mark.parametrize("label", [48, -1, "3", None])
def test_a_label_that_is_no_class_id_is_refused(place, run_tool, label):
    diving48_files(place, label)
    done = run_tool("prepare/diving48")
    assert done.code == 2
    assert f"Diving48_V2_train.json: entry 1: label {label!r} is not one of 0..47" in done.err
    assert not list(Path("data/diving48").glob("*.txt"))


def test_hmdb51(place, run_tool):
    names = class_names("hmdb51")
    folder = place / "data/hmdb51/annotations/testTrainMulti_7030_splits"
    for name in names:
        write(folder / f"{name}_test_split2.txt", "")
    odd = "#20_Rhythm_clap_u_nm_np1_fr_goo_0.avi"
    write(folder / "clap_test_split2.txt", f"a_clap_0.avi 1 \n{odd} 2 \nunused_clap_1.avi 0 \nmy clap 3.avi 1 \n")
    write(folder / "wave_test_split2.txt", "w_wave_0.avi 2 \n")
    videos = place / "data/hmdb51/videos"
    touch(
        videos, "clap/a_clap_0.avi", f"clap/{odd}", "clap/unused_clap_1.avi", "clap/my clap 3.avi", "wave/w_wave_0.avi"
    )
    done = run_tool("prepare/hmdb51", "--split", 2)
    assert done.code == 0, done.err
    train, val = (f"data/hmdb51/hmdb51_{split}_split_2_videos.txt" for split in ("train", "val"))
    clap, wave = names.index("clap"), names.index("wave")
    assert (
        Path(train).read_text()
        == f"data/hmdb51/videos/clap/a_clap_0.avi {clap}\ndata/hmdb51/videos/clap/my clap 3.avi {clap}\n"
    )
    assert (
        Path(val).read_text() == f"data/hmdb51/videos/clap/{odd} {clap}\ndata/hmdb51/videos/wave/w_wave_0.avi {wave}\n"
    )
    write(folder / "yodel_test_split2.txt", "y.avi 1\n")
    assert "class 'yodel' is not in the class list" in run_tool("prepare/hmdb51", "--split", 2).err


def ucf101_files(place: Path, train: str) -> None:
    notes, names = place / "data/ucf101/annotations/ucfTrainTestlist", class_names("ucf101")
    write(notes / "classInd.txt", "".join(f"{k} {name}\r\n" for k, name in enumerate(names, 1)))
    write(notes / "trainlist01.txt", train)
    write(notes / "testlist01.txt", "YoYo/v_YoYo_g07_c04.avi\r\n")
    root = place / "data/ucf101/videos"
    touch(
        root,
        "HandstandPushups/v_HandstandPushups_g08_c01.avi",
        "Archery/v_Archery_g08_c02.avi",
        "YoYo/v_YoYo_g07_c04.avi",
    )


def test_ucf101(place, run_tool):
    """Names that differ from the files' in case (the official lists have some), and no endings in the lists."""
    names = class_names("ucf101")
    pushups = names.index("HandstandPushups")
    ucf101_files(
        place, f"Archery/v_Archery_g08_c02.avi 3\r\nHandstandPushups/v_HandStandPushups_g08_c01.avi {pushups + 1}\r\n"
    )
    done = run_tool("prepare/ucf101")
    assert done.code == 0, done.err
    train = Path("data/ucf101/ucf101_train_split_1_videos.txt").read_text().splitlines()
    assert train == [
        "data/ucf101/videos/Archery/v_Archery_g08_c02 2",
        f"data/ucf101/videos/HandstandPushups/v_HandstandPushups_g08_c01 {pushups}",
    ]
    assert (
        Path("data/ucf101/ucf101_val_split_1_videos.txt").read_text() == "data/ucf101/videos/YoYo/v_YoYo_g07_c04 100\n"
    )
    assert all(Path(r["filename"]).is_file() for r in VideoDataset(
        "data/ucf101/ucf101_train_split_1_videos.txt", suffix=".avi", num_classes=101).records)  # fmt: skip


def test_all_mistakes_of_the_annotations_at_once(place, run_tool):
    ucf101_files(place, "Archery/v_Archery_g08_c02.avi 4\nArchary/v_Archary_g08_c02.avi 3\n")
    done = run_tool("prepare/ucf101")
    assert done.code == 2
    assert "trainlist01.txt:1: gives class 4, but Archery is 3" in done.err
    assert "trainlist01.txt:2: class 'Archary' is not in the class list" in done.err


def test_another_class_order_is_refused(place, run_tool):
    """With it every label of a released model would name another class."""
    names = class_names("jester")
    write(place / "data/jester/annotations/jester-v1-labels.csv", "\n".join([names[1], names[0], *names[2:]]))
    for split in ("train", "validation"):
        write(place / f"data/jester/annotations/jester-v1-{split}.csv", f"7;{names[0]}\n")
    done = run_tool("prepare/jester")
    assert done.code == 2
    assert "class 0 is 'Swiping Right', but 'Swiping Left' in the class list" in done.err


KINETICS = Path("data/k400")
HEADER = "label,youtube_id,time_start,time_end\n"


@pytest.mark.parametrize(
    ("change", "reported"),
    [
        (lambda: (KINETICS / "annotations/train.csv").unlink(), "expected train.csv or kinetics_train.csv"),
        (lambda: write(KINETICS / "annotations/train.csv", "a,b\n1,2\n"), "the header has no youtube_id"),
        (lambda: write(KINETICS / "annotations/train.csv", HEADER + "abseiling,x,now,9\n"), ":2: time_start"),
        (lambda: (KINETICS / "videos").rename("elsewhere"), "data/k400/videos: no such folder (--videos)"),
        (lambda: (KINETICS / "videos/val/idonly_____.mkv").unlink(), "none of 1 clips"),
    ],
    ids=["no file", "no column", "no number", "no folder", "nothing found"],
)
def test_what_cannot_work_is_reported_in_one_line(place, run_tool, change, reported):
    kinetics_files(place)
    change()
    done = run_tool("prepare/kinetics")
    assert done.code == 2 and reported in done.err and "Traceback" not in done.err


def test_a_file_called_by_its_id_alone_is_no_clip_among_several(place, run_tool):
    kinetics_files(place)
    two = HEADER + "abseiling,idonly_____,3,13\nair drumming,idonly_____,40,50\nabseiling,-3B32lodo2M,59,69\n"
    write(KINETICS / "annotations/validate.csv", two)
    assert "val: 3 annotated, 1 found, 2 missing" in run_tool("prepare/kinetics").out


def test_two_files_of_one_name_are_reported(place, run_tool):
    kinetics_files(place)
    touch(place / "data/k400/videos", "replacement/AAAAAAAAAAA_000000_000010.mp4")
    done = run_tool("prepare/kinetics")
    assert "1 names lie in several folders; the first by path is listed" in done.out
    assert "data/k400/videos/AAAAAAAAAAA_000000_000010.mp4" in Path("data/k400/train.list").read_text()


@pytest.mark.parametrize(
    ("tool", "config", "kind"),
    [
        ("kinetics", "k400_videos", "videos"),
        ("kinetics", "k400_frames", "rawframes"),
        ("something v1", "sthv1_frames", "rawframes"),
        ("something v2", "sthv2_frames", "rawframes"),
        ("jester", "jester_frames", "rawframes"),
        ("diving48", "diving48_videos", "videos"),
        ("hmdb51", "hmdb51_frames", "rawframes"),
        ("ucf101", "ucf101_frames", "rawframes"),
        ("ucf101", "ucf101_videos", "videos"),
    ],
)
def test_lists_are_where_the_configurations_read_them(tool, config, kind):
    from paddlevideo.preparation.public_sets import PUBLIC_SETS

    recipe = PUBLIC_SETS[tool]
    folder = recipe.frames_folder if kind == "rawframes" and recipe.frames_folder else recipe.name
    dataset = yaml.safe_load((ROOT / f"configs/_base_/datasets/{config}.yaml").read_text())["DATASET"]
    for section, split in (("train", "train"), ("valid", "val")):
        file = recipe.file_name(split, kind, 1)
        assert dataset[section]["file_path"] == f"data/{folder}/{file}"
        if kind == "rawframes":
            assert dataset[section]["suffix"] == recipe.frame_name
        else:
            assert bool(dataset[section].get("suffix")) is not recipe.ending
    assert dataset["label_names"] == f"data/{recipe.name}/labels.txt"


@pytest.mark.parametrize("page", sorted(ROOT.glob("data/*/README.md")), ids=lambda page: page.parent.name)
def test_commands_of_the_pages_are_there(page, run_tool):
    """Scripts, configurations and flags; what they do is tested above."""
    text = page.read_text()
    commands = re.findall(r"python (tools/\S+\.py)([^\n#]*)", text)
    assert commands
    for script, rest in commands:
        assert (ROOT / script).is_file()
        version = re.findall(r"\bv[12]\b", rest)[:1] if "something" in script else []
        known = run_tool(script.removeprefix("tools/").removesuffix(".py"), *version, "--help").out
        for flag in re.findall(r"(?<!\S)--?[a-z_]+", rest):
            assert flag in re.findall(r"(?<!\S)--?[a-z_]+", known), f"{script} {flag}"
    for config in re.findall(r"configs/\S+\.yaml", text):
        assert (ROOT / config).is_file(), config
    names = (page.parent / "labels.txt").read_text().splitlines()
    assert len(set(names)) == len(names) and re.search(rf"\b{len(names)}\b", text)
