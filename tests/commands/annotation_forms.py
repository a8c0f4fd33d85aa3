"""Annotations of people as tools write them, made from what was drawn: (video, second, box, actions, person).

The first forms are short ones of our own pages; the exports below carry all that the tools add of their own, and give
(file name, text, options of ``ImportOptions``).
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from demo.stage.annotation import Settings
from paddlevideo.cli.main import SCRIPTS, execute

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "configs/detection/ava/slowonly_synthetic_demo.yaml"
SMALL = Settings(seed=3, size_px=(80, 64), length_s=4, fps=10, timestamp_start=0)
FPS = SMALL.fps
WIDTH, HEIGHT = SMALL.size_px
SIDES = np.array([WIDTH, HEIGHT] * 2)


def people(argv):
    """The command; errors are raised."""
    return execute(SCRIPTS["tools/prepare/ava_custom.py"], "ava_custom.py", argv)


def as_csv(truth):
    lines = ["video,time_s,x1,y1,x2,y2,actions,person"]
    for video, second, box, names, person in truth:
        corners = ",".join(f"{value:.3f}" for value in box * SIDES)
        lines.append(f"{video}.mp4,{second},{corners},{';'.join(names)},{person}")
    return "people.csv", "\n".join(lines)


def as_jsonl(truth):
    keys = ("video", "time_s", "box", "actions", "person")
    return "people.jsonl", "\n".join(
        json.dumps(dict(zip(keys, (v, t, box.tolist(), names, p)))) for v, t, box, names, p in truth
    )


def as_coco(truth):
    images, annotations = {}, []
    for number, (video, second, box, names, person) in enumerate(truth):
        name = f"{video}/img_{second * 10 + 1:05}.jpg"  # frames count from 1, ten a second
        image = images.setdefault(name, {"id": len(images), "file_name": name, "width": 80, "height": 64})
        x1, y1, x2, y2 = (box * SIDES).tolist()
        entry = {"id": number, "image_id": image["id"], "category_id": 1, "bbox": [x1, y1, x2 - x1, y2 - y1]}
        annotations.append(entry | {"attributes": {"action": names, "track_id": person}})
    content = {"images": list(images.values()), "annotations": annotations}
    return "coco.json", json.dumps(content | {"categories": [{"id": 1, "name": "person"}]})


def as_via(truth):
    words = sorted({name for *_, names, _ in truth for name in names})
    videos = sorted({video for video, *_ in truth})
    content = {
        "attribute": {"1": {"aname": "action", "type": 2, "options": {str(k): w for k, w in enumerate(words)}}},
        "file": {str(k): {"fid": k, "fname": f"{v}.mp4", "type": 4} for k, v in enumerate(videos)},
        "view": {str(k): {"fid_list": [str(k)]} for k in range(len(videos))},
        "metadata": {},
    }
    for number, (video, second, box, names, _) in enumerate(truth):
        x1, y1, x2, y2 = (box * SIDES).tolist()
        content["metadata"][f"m{number}"] = {
            "vid": str(videos.index(video)),
            "z": [float(second)],
            "xy": [2, x1, y1, x2 - x1, y2 - y1],
            "av": {"1": ",".join(str(words.index(name)) for name in names)},
        }
    content["metadata"]["stretch"] = {"vid": "0", "z": [0.0, 2.0], "xy": [], "av": {}}
    return "via.json", json.dumps(content)


def as_cvat(truth, video):
    people = sorted({person for v, *_, person in truth if v == video})
    tracks = []
    for person in people:
        boxes = []
        for _, second, box, names, _ in (row for row in truth if row[0] == video and row[4] == person):
            places = " ".join(f'{key}="{value:.3f}"' for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box * SIDES))
            words = f'<attribute name="action">{";".join(names)}</attribute>'
            boxes.append(f'<box frame="{second * 10}" keyframe="1" outside="0" {places}>{words}</box>')
        tracks.append(f'<track id="{person}" label="person">{"".join(boxes)}</track>')
    meta = (
        f"<task><original_size><width>80</width><height>64</height></original_size><source>{video}.mp4</source></task>"
    )
    return f"{video}.xml", f"<annotations><meta>{meta}</meta>{''.join(tracks)}</annotations>"


def written(folder, form, truth):
    """The annotation files of a form."""
    if form == "cvat":
        pairs = [as_cvat(truth, video) for video in sorted({video for video, *_ in truth})]
    else:
        pairs = [{"csv": as_csv, "jsonl": as_jsonl, "coco": as_coco, "via": as_via}[form](truth)]
    for name, text in pairs:
        (folder / name).write_text(text)
    return [str(folder / name) for name, _ in pairs]


def convert(rendered, folder, form, *more):
    out, truth = rendered
    files = written(folder, form, truth)
    options = ["--videos", str(out / "videos"), "--out", str(folder / "data"), "--base", str(BASE), "--jobs", "1"]
    return people([*files, *options, *more])


# --- exports


def xywh(box, scale=SIDES):
    x1, y1, x2, y2 = (box * scale).tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def places(box):
    return " ".join(f'{key}="{value:.2f}"' for key, value in zip(("xtl", "ytl", "xbr", "ybr"), box * SIDES))


def of(truth, video):
    return [row for row in truth if row[0] == video]


def videos_of(truth):
    return sorted({video for video, *_ in truth})


def cvat_label():
    return (
        "<label><name>person</name><color>#c06060</color><type>any</type><attributes><attribute><name>action</name>"
        "<mutable>True</mutable><input_type>text</input_type><default_value></default_value><values></values>"
        "</attribute></attributes></label>"
    )


def cvat_task(number, video, subset="", size=41, step=""):
    return (
        f"<id>{number}</id><name>{video}.mp4</name><size>{size}</size><mode>interpolation</mode><overlap>5</overlap>"
        f"<bugtracker></bugtracker><created>2024-01-01 10:00:00+00:00</created><updated>2024-01-01</updated>"
        f"<subset>{subset}</subset><start_frame>0</start_frame><stop_frame>{size - 1}</stop_frame>"
        f"<frame_filter>{step}</frame_filter><segments></segments><owner><username>a</username></owner>"
    )


def cvat_tracks(rows, task="", offset=0):
    """Tracks with a box per frame, as CVAT exports them: those between two keyframes have keyframe="0"."""
    text = ""
    for person in sorted({row[4] for row in rows}):
        boxes = ""
        for _, second, box, names, _ in (row for row in rows if row[4] == person):
            for frame, key in ((second * FPS - 1, 0), (second * FPS, 1)):
                boxes += (
                    f'<box frame="{frame + offset}" keyframe="{key}" outside="0" occluded="1" {places(box)}>'
                    f'<attribute name="action">{",".join(names)}</attribute></box>'
                )
        last = rows[-1][1] * FPS + 1 + offset
        boxes += f'<box frame="{last}" keyframe="1" outside="1" occluded="0" {places(box)} z_order="0"/>'
        text += f'<track id="{person}" label="person" source="manual"{task}>{boxes}</track>'
    return text


def cvat_video(truth):
    for video in videos_of(truth):
        size = f"<original_size><width>{WIDTH}</width><height>{HEIGHT}</height></original_size>"
        meta = f"<task>{cvat_task(5, 'a task')}<labels>{cvat_label()}</labels>{size}</task><dumped>2024</dumped>"
        body = f"<version>1.1</version><meta>{meta}<source>{video}.mp4</source></meta>{cvat_tracks(of(truth, video))}"
        yield f"{video}.xml", f'<?xml version="1.0" encoding="utf-8"?><annotations>{body}</annotations>', {}


def cvat_project_of_tasks(truth):
    """Frames begin anew in each task."""
    yield from cvat_project(truth, through=False)


def cvat_project(truth, through=True):
    """Frames of a project count through the tasks of a subset."""
    videos = videos_of(truth)
    subsets = ["", "", *["val"] * (len(videos) - 2)]
    tasks = [cvat_task(k, video, subset) for k, (video, subset) in enumerate(zip(videos, subsets), 7)]
    tasks = "".join(f"<task>{task}</task>" for task in tasks)
    tracks, offsets = "", Counter()
    for k, (video, subset) in enumerate(zip(videos, subsets), 7):
        tracks += cvat_tracks(of(truth, video), f' task_id="{k}" subset="{subset or "default"}"', offsets[subset])
        offsets[subset] += 41 if through else 0
    meta = f"<project><id>3</id><name>walks</name><tasks>{tasks}</tasks><labels>{cvat_label()}</labels></project>"
    yield "project.xml", f"<annotations><version>1.1</version><meta>{meta}</meta>{tracks}</annotations>", {}


def cvat_images(truth):
    """Of a video task: pictures without an ending, numbered from 0."""
    for video in videos_of(truth):
        body = ""
        for frame in range(41):
            boxes = "".join(
                f'<box label="person" source="manual" occluded="0" {places(box)} z_order="0">'
                f'<attribute name="action">{";".join(names)}</attribute></box>'
                for _, second, box, names, _ in of(truth, video)
                if second * FPS == frame
            )
            body += f'<image id="{frame}" name="frame_{frame:06d}" width="{WIDTH}" height="{HEIGHT}">{boxes}</image>'
        yield (
            f"{video}.xml",
            f"<annotations><meta><task><name>x</name></task></meta>{body}</annotations>",
            {"video": video},
        )


def cvat_coco(truth):
    for video in videos_of(truth):
        images, annotations = [], []
        for frame in range(41):
            name = f"frame_{frame:06d}.PNG"
            image = {"id": frame + 1, "width": WIDTH, "height": HEIGHT, "file_name": name, "license": 0}
            images.append(image | {"flickr_url": "", "coco_url": "", "date_captured": 0})
        for number, (_, second, box, names, person) in enumerate(of(truth, video), 1):
            attributes = {"action": ";".join(names), "occluded": False, "rotation": 0.0, "track_id": person}
            entry = {"id": number, "image_id": second * FPS + 1, "category_id": 1, "segmentation": [], "area": 9.0}
            entry |= {"bbox": xywh(box), "iscrowd": 0, "attributes": attributes | {"keyframe": True}}
            annotations.append(entry)
        content = {"licenses": [{"name": "", "id": 0, "url": ""}], "info": {"contributor": "", "year": ""}}
        content |= {"categories": [{"id": 1, "name": "person", "supercategory": ""}]}
        yield f"{video}.json", json.dumps(content | {"images": images, "annotations": annotations}), {"video": video}


def label_studio_regions(rows):
    """Two keys per second, as people interpolate; (id, value) of a VideoRectangle."""
    for person in sorted({row[4] for row in rows}):
        for _, second, box, names, _ in (row for row in rows if row[4] == person):
            x, y, width, height = xywh(box, np.array([100.0] * 4))
            key = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
            sequence = [
                key | {"frame": second * FPS + 1 + shift, "enabled": shift == 0, "time": second + (shift + 1) / FPS}
                for shift in (0, 3)
            ]
            value = {"framesCount": 41, "duration": 4.1, "sequence": sequence, "labels": list(names) or ["person"]}
            yield f"r{person}_{second}", value


def label_studio(truth):
    tasks = []
    for number, video in enumerate(videos_of(truth), 1):
        result = [
            {"value": value, "id": key, "from_name": "box", "to_name": "video", "type": "videorectangle"}
            for key, value in label_studio_regions(of(truth, video))
        ]
        annotation = {"id": number, "completed_by": 1, "result": result, "was_cancelled": False, "ground_truth": False}
        task = {"id": number, "annotations": [annotation], "file_upload": f"0a1b2c3d-{video}.mp4", "drafts": []}
        task |= {"predictions": [], "data": {"video": f"/data/upload/3/0a1b2c3d-{video}.mp4"}, "meta": {}}
        tasks.append(task | {"project": 3, "inner_id": number, "total_annotations": 1})
    yield "export.json", json.dumps(tasks), {}


def label_studio_min(truth):
    tasks = []
    for number, video in enumerate(videos_of(truth), 1):
        box = [value for _, value in label_studio_regions(of(truth, video))]
        task = {"video": f"/data/local-files/?d=walks/{video}.mp4", "id": number, "box": box, "annotator": 1}
        tasks.append(task | {"annotation_id": number, "created_at": "2024-01-01T00:00:00Z", "lead_time": 9.5})
    yield "min.json", json.dumps(tasks), {}


def via3_csv(truth):
    words = sorted({name for *_, names, _ in truth for name in names})
    options = {str(number): word for number, word in enumerate(words)}
    attribute = {"1": {"aname": "action", "anchor_id": "FILE1_Z1_XY1", "type": 2, "options": options}}
    attribute["2"] = {"aname": "note", "anchor_id": "FILE1_Z1_XY1", "type": 1, "options": {"default": "Default"}}
    lines = ["# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)", "# Notes:"]
    lines += ['# SHAPE_ID = {"POINT":1,"RECTANGLE":2}', f"# ATTRIBUTE = {json.dumps(attribute)}"]
    lines += ["# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata"]
    for number, (video, second, box, names, _) in enumerate(truth):
        av = {"1": ",".join(str(words.index(name)) for name in names), "2": "_DEFAULT"}
        cells = [f"1_{number}", [f"{video}.mp4"], 0, [float(second)], [2, *xywh(box)], av]
        lines.append(
            ",".join('"' + (c if isinstance(c, str) else json.dumps(c)).replace('"', '""') + '"' for c in cells)
        )
    yield "via3.csv", "\n".join(lines), {}


def via2_pictures(truth):
    pictures = {}
    for video, second, box, names, person in truth:
        name = f"{video}_{second * FPS + 1:05}.jpg"
        picture = pictures.setdefault(f"{name}123", {"filename": name, "size": 123, "regions": []})
        picture["file_attributes"] = {}
        shape = dict(zip(("x", "y", "width", "height"), xywh(box)))
        words = {"action": dict.fromkeys(names, True) | {"lie": False}, "person_id": str(person)}
        picture["regions"].append({"shape_attributes": {"name": "rect"} | shape, "region_attributes": words})
    return pictures


def via2_project(truth):
    content = {"_via_settings": {}, "_via_attributes": {}, "_via_data_format_version": "2.0.10"}
    yield "project.json", json.dumps(content | {"_via_img_metadata": via2_pictures(truth)}), {}


def via2_json(truth):
    yield "via_export.json", json.dumps(via2_pictures(truth)), {}


def via2_csv(truth):
    lines = ["filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes"]
    for picture in via2_pictures(truth).values():
        for k, region in enumerate(picture["regions"]):
            cells = [json.dumps(region[key]) for key in ("shape_attributes", "region_attributes")]
            cells = ",".join('"' + cell.replace('"', '""') + '"' for cell in cells)
            lines.append(f'{picture["filename"]},123,"{{}}",{len(picture["regions"])},{k},{cells}')
    lines.append('empty_00001.jpg,99,"{}",0,0,"{}","{}"')
    yield "via.csv", "\n".join(lines), {}


def semicolons(truth):
    """As a spreadsheet of a country with decimal commas writes it."""
    lines = ["video;time_s;x1;y1;x2;y2;actions;person"]
    for video, second, box, names, person in truth:
        corners = ";".join(f"{value:.3f}".replace(".", ",") for value in box * SIDES)
        lines.append(f"{video}.mp4;{second},0;{corners};{'|'.join(names)};{person}")
    yield "sheet.csv", "\n".join(lines), {}


def sides_and_frames(truth):
    lines = ["video\tframe\tx\ty\tw\th\tactions"]
    lines += [
        "\t".join([video, str(second * FPS), *(f"{value:.3f}" for value in xywh(box)), ",".join(names)])
        for video, second, box, names, _ in truth
    ]
    yield "tabs.csv", "\n".join(lines), {}


def ava(truth):
    words = sorted({name for *_, names, _ in truth for name in names})
    lines = []
    for video, second, box, names, person in truth:
        corners = ",".join(f"{value:.3f}" for value in box)
        ids = [str(words.index(name) + 1) for name in names] or [""]
        lines += [f"{video},{900 + second:04d},{corners},{number},{person}" for number in ids]
    yield "ava_train.csv", "\n".join(lines), {"labels": dict(enumerate(words, 1)), "start_s": 900.0}


EXPORTS = [
    cvat_video,
    cvat_project,
    cvat_project_of_tasks,
    cvat_images,
    cvat_coco,
    label_studio,
    label_studio_min,
    via3_csv,
    via2_project,
]
EXPORTS += [via2_json, via2_csv, semicolons, sides_and_frames, ava]
