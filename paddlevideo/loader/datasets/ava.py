"""Key frames with person boxes and their actions, on folders of frames or on videos."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np

from paddlevideo.ava_files import (
    RESERVED,
    AVARows,
    img_key,
    milliseconds,
    read_ava_csv,
    read_ava_labels,
    read_excluded,
    read_proposals,
    split_key,
)
from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.ava_persons import FAR, Frames, PersonTable, Seconds, clipped, select_persons
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.lists import check_inside, expanded
from paddlevideo.loader.datasets.records import Choices, Column, Numbers, Records, values_of
from paddlevideo.ranges import NonNegative, Positive, PositiveInt, Probability
from paddlevideo.registry import DATASETS
from paddlevideo.video_files import is_video

log = logging.getLogger("paddlevideo")

_AVA_CLASSES = 81  # ids 1 .. 80, and 0, which is reserved
_WHOLE = np.array([[0, 0, 1, 1, 1]], np.float32)


@DATASETS.register
class AVADataset(Dataset):
    """One sample per key frame (video and second): the boxes of its persons and their actions.

    A sample: ``frame_dir`` or ``filename``; ``timestamp_s``, ``timestamp_start``, ``clip_fps``, ``shot_frames`` (first
    frame and the one after the last, from 0); ``boxes`` = ``boxes_norm`` float32 [P, 4] and ``box_scores`` [P], the
    persons to classify; ``gt_boxes`` float32 [G, 4] and ``gt_labels`` 0/1 float32 [G, K], column = action id, column 0
    unused.  Boxes are x1, y1, x2, y2 as fractions of the picture.  Lines of the csv with equal boxes are one person.

    Coordinates slightly outside 0..1 are clipped, and boxes without area left out, each with one warning that counts
    them and names the first; coordinates that cannot be fractions are an error.

    Args:
        file_path: csv of ``video_id, second, x1, y1, x2, y2, action_id, person_id`` (``ava_files.read_ava_csv``).
        data_prefix: folder with one folder of frames, or one video, per video id.
        exclude_file: csv of key frames that are not trained on.  In evaluation the metric leaves them out, and this
            file is not opened.
        proposal_file: persons found by a detector (``ava_files.read_proposals``).  A key frame that is not in it has
            one box, the whole picture.  None: the annotated boxes are the persons.
        label_file: class names, for reports.
        person_det_score_thr: least score of a person; where all of a key frame are below, its best ones stay.
        num_max_proposals: persons per key frame, the first of the file.
        timestamp_start: the second that the first frame of every video shows (AVA's are cut at 900; 0 for whole
            videos).
        timestamp_end: the second at which they end; None: each where it ends.
        fps: the rate that clips count in; folders hold frames of this rate, videos may have any.
        suffix: file name of a frame with a place for its 1-based number.
        videos: read videos instead of folders of frames.
        video_suffix: their ending; empty: whatever video ``data_prefix`` holds under that name.
        custom_classes: the action ids to keep, in the order of the classes 1, 2, ... they become.
        eval_keyframes: in evaluation ``gt`` takes the annotated key frames, ``proposals`` also those where persons were
            found and none was annotated (of the annotated videos).
        allow_outside_root: let links lead out of ``data_prefix``.
        test_mode: evaluation.  ``build_loader`` sets it by the split, over the file's value.
        num_classes: K, given by the loader; None: by custom_classes, else by label_file, else 81.

    Raises:
        UserError, ConfigError: missing files, bad lines with their numbers, nothing left.

    *Source*: MMAction2 0.x's and PaddleVideo's AVADataset.  There mistakes go unnoticed: a second before
    ``timestamp_start`` shows the first frame 32 times, boxes in pixels match nothing.
    """

    has_boxes = True

    def __init__(
        self,
        file_path: str,
        data_prefix: str | None = None,
        exclude_file: str | None = None,
        proposal_file: str | None = None,
        label_file: str | None = None,
        person_det_score_thr: Probability = 0.9,
        num_max_proposals: PositiveInt = 1000,
        timestamp_start: NonNegative = 900,
        timestamp_end: NonNegative | None = 1800,
        fps: Positive = 30,
        suffix: str = "{:05}.jpg",
        videos: bool = False,
        video_suffix: str = "",
        custom_classes: list[int] | None = None,
        eval_keyframes: Literal["gt", "proposals"] = "gt",
        allow_outside_root: bool = False,
        test_mode: bool = False,
        num_classes: int | None = None,
    ):
        if timestamp_end is not None and timestamp_end <= timestamp_start:
            raise ValueError(f"timestamp_end {timestamp_end} must be after timestamp_start {timestamp_start}")
        file_path, data_prefix = expanded(file_path), expanded(data_prefix)
        self.file_path, self.data_prefix, self.suffix = file_path, data_prefix, suffix
        self.exclude_file, self.label_file, self.proposal_file = exclude_file, label_file, proposal_file
        self.timestamp_start, self.timestamp_end, self.fps = timestamp_start, timestamp_end, fps
        self.test_mode, self.allow_outside_root = test_mode, allow_outside_root
        self.custom_classes = list(custom_classes) if custom_classes is not None else None
        names = read_ava_labels(label_file) if label_file else {}
        self.num_classes = _class_count(num_classes, self.custom_classes, names)
        self.class_names = _class_names(self.num_classes, self.custom_classes, names)
        rows = read_ava_csv(file_path)
        if not len(rows):
            raise UserError(f"{file_path}: no annotation in it; a line holds video_id,second,x1,y1,x2,y2,action_id,id")
        self._check_rows(rows)
        self._truth = PersonTable(rows, self._class_column(rows), self.num_classes)
        frames, lines = self._key_frames(rows)
        persons = self._read_persons(frames, person_det_score_thr, num_max_proposals)
        if test_mode and eval_keyframes == "proposals":
            frames, lines = self._with_found_only(frames, lines, persons)
        self._persons = None if persons is None else PersonBoxes(frames, persons)
        self.lines, self._frames = Numbers(lines), frames
        self.records = self._make_records(frames, VideoPaths(data_prefix, videos, video_suffix))

    def sample(self, index: int) -> dict[str, Any]:
        """A new sample dict, ready for the pipeline."""
        record = self.records[index]
        place = "filename" if "filename" in record else "frame_dir"
        check_inside(record[place], self.data_prefix, self.allow_outside_root)
        persons, (gt_boxes, gt_labels) = self.persons(index), self.ground_truth(index)
        end = self.timestamp_end
        return {
            **record,
            "suffix": self.suffix,
            "timestamp_s": record["timestamp"],
            "timestamp_start": self.timestamp_start,
            "clip_fps": self.fps,
            "fps": self.fps if place == "frame_dir" else None,
            # the references never use the last frame of the range; kept for equal clips at second 1798
            "shot_frames": (0, None if end is None else round((end - self.timestamp_start) * self.fps) - 1),
            "training": not self.test_mode,
            "annotation": f"{self.file_path}:{self.lines[index]}" if self.lines[index] else self.proposal_file,
            "boxes": persons[:, :4].copy(),
            "boxes_norm": persons[:, :4].copy(),
            "box_scores": persons[:, 4].copy(),
            "gt_boxes": gt_boxes,
            "gt_labels": gt_labels,
        }

    def left_out(self) -> dict[str, list[str]]:
        """Why -> key frames of the csv that are no samples."""
        return {f"named in {self.exclude_file}": self._excluded}

    def annotation(self) -> dict[str, Any]:
        """The files of the ground truth, the classes that are kept, and the key frames whose files are missing."""
        files = {"file_path": self.file_path, "label_file": self.label_file, "exclude_file": self.exclude_file}
        whole = len(self.records) == len(self._frames)
        missing = set() if whole else {*self._frames[:]}.difference(values_of(self.records, "img_key"))
        return {**files, "custom_classes": self.custom_classes, "missing": missing}

    def persons(self, index: int) -> np.ndarray:
        """The persons to classify: float32 [P, 5], box and score.  Without a proposals file the annotated ones."""
        if self._persons is None:
            boxes, _ = self.ground_truth(index)
            return np.concatenate([boxes, np.ones((len(boxes), 1), np.float32)], axis=1)
        return self._persons.of(self.records[index]["img_key"])

    def ground_truth(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Annotated boxes float32 [G, 4] and labels 0/1 float32 [G, K]; G = 0 where none was annotated."""
        return self._truth.of(self.records[index]["img_key"])

    def class_counts(self) -> np.ndarray:
        """Annotated persons per action in all samples: int64 [K]; column 0 counts those without."""
        places = self._places()
        return self._truth.class_counts(places[places >= 0])

    def label_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """The different actions of each key frame; action 0 of persons who do nothing."""
        return self._truth.classes_of(self._places())

    def _places(self) -> np.ndarray:
        """Of each sample the place of its key frame among the annotated ones, int64 [N]; -1: it is none of them."""
        return self._truth.frames.places(self.records.columns["img_key"])

    def _check_rows(self, rows: AVARows) -> None:
        """Rejects seconds, boxes and labels out of range; clips boxes that reach a little outside."""
        findings = Findings(self.file_path)
        start, end = self.timestamp_start, np.inf if self.timestamp_end is None else self.timestamp_end
        most = self.num_classes - 1 if self.custom_classes is None else np.iinfo(np.int32).max

        def of_time(i: int) -> str:
            text = f"second {rows.timestamp[i]:g} is not in timestamp_start {start:g} .. timestamp_end {end:g}"
            return f"{text}; is the first frame of the video second {start:g}?"

        def of_box(i: int) -> str:
            box = ", ".join(f"{x:g}" for x in rows.boxes[i])
            return f"the box {box} is not in fractions of the picture (0..1); pixels?"

        def of_label(i: int) -> str:
            why = "0 is reserved" if rows.label[i] == 0 else f"the head has {self.num_classes} classes, 0 is reserved"
            upper = "" if self.custom_classes is not None else f"..{most}"
            return f"action id {rows.label[i]} is not in 1{upper} ({why})"

        for bad, text_of in (
            ((rows.timestamp < start) | (rows.timestamp > end), of_time),
            (_far(rows.boxes), of_box),
            ((rows.label == 0) | (rows.label > most), of_label),
        ):
            findings.add_rows(np.flatnonzero(bad), rows.line, text_of)
        findings.raise_if_any()
        rows.boxes = clipped(rows.boxes, self.file_path, lambda i: f"line {rows.line[i]}")

    def _class_column(self, rows: AVARows) -> np.ndarray:
        """The class of every row: 0 without an action, -1 for rows that are left out."""
        label = np.where(rows.label < 0, 0, rows.label)
        if self.custom_classes is not None:
            table = np.full(max(int(label.max()), *self.custom_classes) + 1, -1)
            table[[0, *self.custom_classes]] = np.arange(self.num_classes)
            label = table[label]
        empty = (rows.boxes[:, 0] >= rows.boxes[:, 2]) | (rows.boxes[:, 1] >= rows.boxes[:, 3])
        if empty.any():
            first = rows.line[int(np.argmax(empty))]
            log.warning("%s: %d boxes have no area and are left out; the first: line %d", rows.path, empty.sum(), first)
        return np.where(empty, -1, label)

    def _key_frames(self, rows: AVARows) -> tuple[Frames, np.ndarray]:
        """The annotated key frames in the order of the file, without the excluded, and the line of each."""
        excluded: set = read_excluded(self.exclude_file) if self.exclude_file and not self.test_mode else set()
        every = self._truth.frames
        places = (every.place(img_key(*pair)) for pair in excluded if split_key(img_key(*pair)) == pair)
        gone = sorted(place for place in places if place >= 0)
        self._excluded = [every[place] for place in gone]
        kept = np.delete(np.arange(len(every)), gone)
        if not len(kept):
            why = "exclude_file names them all" if len(every) else "custom_classes name none of its actions"
            raise UserError(f"{self.file_path}: no key frame is left of {len(rows)} lines; {why}")
        return (every.take(kept), self._truth.line[kept]) if gone else (every, self._truth.line)

    def _read_persons(self, keys: Frames, threshold: float, most: int) -> dict[str, np.ndarray] | None:
        if self.proposal_file is None:
            if self.test_mode:
                log.warning(
                    "%s is evaluated on its own annotated boxes, since no proposal_file is named: figures are those of "
                    "a perfect person detector",
                    self.file_path,
                )
            return None
        persons = read_proposals(self.proposal_file)
        missing = [key for key in keys[:] if key not in persons]
        if len(missing) == len(keys):
            example = f"; it has {next(iter(persons))!r}" if persons else "; it is empty"
            raise UserError(
                f"{self.proposal_file}: none of the {len(keys)} key frames of {self.file_path} is in it, "
                f"{missing[0]!r} for one{example}"
            )
        if missing:
            text = "%s: %d of %d key frames are not in it and get one box, the whole picture; the first: %s"
            log.warning(text, self.proposal_file, len(missing), len(keys), missing[0])
        return select_persons(self.proposal_file, persons, threshold, most)

    def _with_found_only(
        self, frames: Frames, lines: np.ndarray, persons: dict[str, np.ndarray] | None
    ) -> tuple[Frames, np.ndarray]:
        """Also key frames of the annotated videos that only the proposals have, by video and second; line 0."""
        if persons is None:
            raise UserError(f"{self.file_path}: eval_keyframes: proposals needs a proposal_file")
        videos = {name: i for i, name in enumerate(frames.names)}
        end = np.inf if self.timestamp_end is None else self.timestamp_end
        more = [split_key(key) for key in persons if frames.place(key) < 0]
        more = [(videos[v], s) for v, s in more if v in videos and self.timestamp_start <= s <= end]
        found = np.array(sorted(more)).reshape(-1, 2)
        video = np.concatenate([frames.video, found[:, 0].astype(np.int32)])
        thousandths = np.concatenate([frames.thousandths, milliseconds(found[:, 1])])
        return Frames(frames.names, video, thousandths), np.concatenate([lines, np.zeros(len(found), np.int32)])

    def _make_records(self, frames: Frames, paths: VideoPaths) -> Records:
        _, first = np.unique(frames.video, return_index=True)
        used = frames.video[np.sort(first)]  # in the order of the records
        code = np.zeros(len(frames.names), np.int32)
        code[used] = np.arange(len(used))
        names = [frames.names[i] for i in used.tolist()]
        codes = code[frames.video]
        columns = {
            paths.kind: Choices([paths.of(video) for video in names], codes),
            "video_id": Choices(names, codes),
            "timestamp": Seconds(frames.thousandths),
            "img_key": frames,
            "digest": Digests(self._truth, self._persons, self._truth.frames.places(frames), np.arange(len(frames))),
            "index": range(len(frames)),
        }
        return Records(columns)


class PersonBoxes:
    """The persons of key frames, in one array.

    Args:
        frames: the key frames.
        persons: float32 [P, 5] by key; a key frame that is not there has one box, the whole picture.
    """

    def __init__(self, frames: Frames, persons: Mapping[str, np.ndarray]):
        chosen = [persons.get(key, _WHOLE) for key in frames[:]]
        self._frames, self._boxes = frames, np.concatenate(chosen)
        self._ends = np.cumsum([len(boxes) for boxes in chosen])

    def of(self, key: str) -> np.ndarray:
        """float32 [P, 5], boxes and scores."""
        place = self._frames.place(key)
        return self.at(place) if place >= 0 else _WHOLE

    def at(self, place: int) -> np.ndarray:
        """The same by the place of the key frame."""
        return self._boxes[self._ends[place - 1] if place else 0 : self._ends[place]]


class Digests(Column):
    """Of annotation and persons of key frames, by which a resumed run checks that its data are the same.

    Args:
        place: int64 [N], of the key frames in ``truth``; -1: not annotated.
        number: int64 [N], in ``persons``.
    """

    def __init__(self, truth: PersonTable, persons: PersonBoxes | None, place: np.ndarray, number: np.ndarray):
        self._truth, self._persons, self._place, self._number = truth, persons, place, number

    def __len__(self) -> int:
        return len(self._place)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return list(map(self._of, self._place[i].tolist(), self._number[i].tolist()))
        return self._of(int(self._place[i]), int(self._number[i]))

    def take(self, rows: np.ndarray) -> Digests:
        return Digests(self._truth, self._persons, self._place[rows], self._number[rows])

    def json_texts(self, part: slice) -> Iterable[str]:
        return map(repr, self[part])

    def _of(self, place: int, number: int) -> int:
        persons = b"" if self._persons is None else np.ascontiguousarray(self._persons.at(number))
        return zlib.crc32(persons, self._truth.digest(place))


class VideoPaths:
    """The file or folder of each video."""

    def __init__(self, data_prefix: str | None, videos: bool, video_suffix: str):
        self._prefix, self._suffix = os.path.expanduser(data_prefix or ""), video_suffix
        self.kind = "filename" if videos or video_suffix else "frame_dir"
        self._found: dict[str, list[str]] = {}  # video -> files
        if self.kind == "filename" and not video_suffix and os.path.isdir(self._prefix or "."):
            for file in sorted(os.listdir(self._prefix or ".")):
                stem = os.path.splitext(file)[0]
                if is_video(file):
                    self._found.setdefault(stem, []).append(file)

    def of(self, video: str) -> str:
        if os.path.isabs(video) or ".." in video.split("/") or "\0" in video:
            raise UserError(f"the video id {printable(repr(video))} leads out of data_prefix")
        if self.kind == "frame_dir":
            return os.path.join(self._prefix, video)
        files = self._found.get(video, [video + (self._suffix or ".mp4")])
        if len(files) > 1:
            names = printable(" and ".join(files))
            raise UserError(f"the video {printable(repr(video))} may be {names}: set video_suffix")
        return os.path.join(self._prefix, files[0])


def _far(boxes: np.ndarray) -> np.ndarray:
    """Whether boxes [n, 4] are no fractions of the picture: bool [n]."""
    if boxes.min() >= -FAR and boxes.max() <= 1 + FAR:
        return np.zeros(len(boxes), bool)
    return (np.abs(boxes - 0.5) > 0.5 + FAR).any(axis=1)


def _class_count(given: int | None, custom: list[int] | None, names: dict[int, str]) -> int:
    if custom is not None:
        if not custom or min(custom) < 1 or len(set(custom)) < len(custom):
            raise ValueError(f"custom_classes must be different action ids from 1 on, got {custom}")
        if given is not None and given != len(custom) + 1:
            raise ValueError(
                f"{len(custom)} custom_classes and the reserved 0 make {len(custom) + 1} classes, the head has {given}"
            )
        return len(custom) + 1
    if given is not None:
        return given
    return max(names) + 1 if names else _AVA_CLASSES


def _class_names(num_classes: int, custom: list[int] | None, names: dict[int, str]) -> list[str] | None:
    if not names:
        return None
    ids = custom if custom is not None else range(1, num_classes)
    return [RESERVED, *(names.get(i, f"class {i}") for i in ids)]
