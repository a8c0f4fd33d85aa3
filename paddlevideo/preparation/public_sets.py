"""Public data sets: from their official annotations to this suite's list files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddlevideo.errors import UserError
from paddlevideo.loader.labels import read_labels, refuse_doubled
from paddlevideo.preparation.list_files import (
    AnnotatedClip,
    ClassList,
    PathStyle,
    VideoIndex,
    csv_rows,
    find_file,
    id_and_name,
    json_records,
    read_json,
    report_lines,
    text_lines,
    write_listing,
)
from paddlevideo.shipped import ROOT

Reader = Callable[[Path, ClassList, int], Mapping[str, Sequence[AnnotatedClip]]]


@dataclass(frozen=True)
class PublicSet:
    """A data set with official annotations.

    Args:
        name: its folder below ``data/``.
        read: from the annotation folder and the number of the official split to clips by split (``train``,
            ``val``...), all mistakes noted in ``ClassList``.
        list_name: with places for ``split``, ``kind`` (``videos`` or ``rawframes``) and the flags.
        frames_folder: folder below ``data/`` for lists of frame folders, if it is another one.
        frame_name: template of the frames as they are published or extracted.
        from_frames: it is published as frames.
        ending: paths in lists of videos keep their ending.
        ignore_case: names in the annotations differ from the files' in case.
        num_splits: official splits to choose one from with ``--split``.
    """

    name: str
    read: Reader
    list_name: str
    frames_folder: str = ""
    frame_name: str = "img_{:05}.jpg"
    from_frames: bool = False
    ending: bool = True
    ignore_case: bool = False
    num_splits: int = 0

    @property
    def labels(self) -> Path:
        """Its class names, one per line in class-id order; they come with the package."""
        return ROOT / "data" / self.name / "labels.txt"

    def file_name(self, split: str, kind: str, number: int) -> str:
        """Name of a list file."""
        return self.list_name.format(split=split, kind=kind, number=number)

    def write_lists(
        self,
        annotations: Path,
        media: Path,
        out: Path,
        frame_name: str | None,
        labels: Path,
        number: int,
        style: PathStyle,
    ) -> tuple[list[str], bool]:
        """Writes the lists of all splits.

        Args:
            annotations: folder of the official files.
            media: folder of the videos, or of the folders of frames.
            out: folder for the lists.
            frame_name: template of the frames' names; None for videos.
            labels: class names in class-id order.
            number: of the official split, from 1.
            style: of the paths in the lists.

        Returns:
            lines for the user, and whether every annotated clip was found.

        Raises:
            ConfigError: every mistake of the annotations.
            UserError: two classes of one name.
        """
        names = read_labels(labels)
        refuse_doubled(labels, names)
        classes = ClassList(names)
        splits = self.read(annotations, classes, number)
        classes.raise_if_any()
        index = VideoIndex(media, frame_name, self.ignore_case)
        kind = "rawframes" if frame_name else "videos"
        listings = {
            split: write_listing(clips, index, out / self.file_name(split, kind, number), style)
            for split, clips in splits.items()
        }
        return report_lines(listings, index), not any(listing.missing for listing in listings.values())


_KINETICS_FILES = {"train": ("train",), "val": ("validate", "val"), "test": ("test",)}
_KINETICS_COLUMNS = ("youtube_id", "time_start", "time_end")


def read_kinetics(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of Kinetics-400 from the official CSV files.

        paddlevideo prepare kinetics --annotations data/k400/annotations --videos data/k400/videos

    Annotations: ``train.csv``, ``validate.csv`` and, if it is there and has labels, ``test.csv`` (or the mirror's
    ``val.csv``, or ``kinetics_train.csv``...) with the header ``label,youtube_id,time_start,time_end,split``.
    Videos: ``<youtube_id>_<start>_<end>.mp4`` with seconds in six digits, as the usual downloads name them, or
    ``<youtube_id>.mp4``; in any folders.  Kinetics-600 and -700 have the same files: give their --labels.
    """
    splits = {}
    for split, stems in _KINETICS_FILES.items():
        names = [f"{prefix}{stem}.csv" for stem in stems for prefix in ("", "kinetics_", "kinetics400_")]
        if split == "test" and not any((annotations / name).is_file() for name in names):
            continue
        rows = list(csv_rows(find_file(annotations, *names), _KINETICS_COLUMNS))
        if split == "test" and rows and "label" not in rows[0][1]:
            continue  # DeepMind's first release keeps these labels to itself
        times = Counter(row["youtube_id"] for _, row in rows)
        splits[split] = [_kinetics_clip(where, row, classes, times[row["youtube_id"]] == 1) for where, row in rows]
    return splits


def _kinetics_clip(where: str, row: dict[str, str], classes: ClassList, single: bool) -> AnnotatedClip:
    """One row.  Some copies write class names with underscores, in the lists as in folders.

    Args:
        single: the only clip of this video, so that a file called by its id alone is it.
    """
    if "label" not in row:
        raise UserError(f"{where.rsplit(':', 1)[0]}: the header has no label")
    name = row["label"].strip('"')
    name = name if name in classes.names else name.replace("_", " ")
    try:
        start_s, end_s = int(float(row["time_start"])), int(float(row["time_end"]))
    except ValueError:
        raise UserError(f"{where}: time_start and time_end are not seconds") from None
    stem = f"{row['youtube_id']}_{start_s:06d}_{end_s:06d}"
    folder = name.replace(" ", "_")
    names = [f"{name}/{stem}", f"{folder}/{stem}", stem, *([row["youtube_id"]] if single else [])]
    return AnnotatedClip(tuple(dict.fromkeys(names)), classes.id_of(name, where), where)


_TRAIN_VALIDATION = {"train": "train", "val": "validation"}


def _of_three_tables(annotations: Path, classes: ClassList, name: str) -> dict[str, list[AnnotatedClip]]:
    """Clips of ``<name>-train.csv`` and ``-validation.csv`` (``id;class name``); ``-labels.csv`` has the order."""
    order = find_file(annotations, f"{name}-labels.csv")
    classes.check_order([text for _, text in text_lines(order)], order)
    return {
        split: [
            AnnotatedClip((clip,), classes.id_of(class_name, where), where)
            for where, clip, class_name in id_and_name(find_file(annotations, f"{name}-{stem}.csv"))
        ]
        for split, stem in _TRAIN_VALIDATION.items()
    }


def read_jester(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of Jester from the official files.

        paddlevideo prepare jester --frames data/jester/rawframes

    Published as frames ``<id>/00001.jpg``.  Annotations: ``jester-v1-{labels,train,validation}.csv``, the first one
    class name per line in class-id order, the others ``id;class name``.  The test set has no labels, so it has no list.
    """
    return _of_three_tables(annotations, classes, "jester-v1")


_DIVING48_SPLITS = {"train": "train", "val": "test"}


def read_diving48(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of Diving48 (V2 annotations) from the official JSON files.

        paddlevideo prepare diving48 --videos data/diving48/videos

    Annotations: ``Diving48_V2_{train,test}.json``, lists of {"vid_name", "label", "start_frame", "end_frame"} with
    class ids, and ``Diving48_vocab.json``, the four parts of each class name in class-id order.  Videos:
    ``<vid_name>.mp4``, already cut to the dive.  The test set is the validation set (``val``), as in MMAction2's lists.
    """
    order = find_file(annotations, "Diving48_vocab.json")
    parts = read_json(order, list)
    if not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in parts):
        raise UserError(f'{order}: expected lists of words, e.g. ["Back", "15som", "05Twis", "FREE"]')
    classes.check_order(["+".join(part) for part in parts], order)
    return {
        split: [
            AnnotatedClip((str(record["vid_name"]),), classes.check_id(record["label"], where), where)
            for where, record in json_records(find_file(annotations, f"Diving48_V2_{stem}.json"), ("vid_name", "label"))
        ]
        for split, stem in _DIVING48_SPLITS.items()
    }


_HMDB51_FOLDER = "testTrainMulti_7030_splits"
_HMDB51_SPLIT_OF = {"1": "train", "2": "val", "0": None}


def read_hmdb51(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of HMDB51 from the official split files.

        paddlevideo prepare hmdb51 --videos data/hmdb51/videos --split 1

    Annotations: the folder ``testTrainMulti_7030_splits`` (or one that holds it) with a file
    ``<class>_test_split<1|2|3>.txt`` per class and lines ``name.avi 1``: 1 training, 2 test, 0 not in this split.
    Videos: ``<class>/<name>.avi``.  The test set is the validation set (``val``), as in MMAction2's lists.
    """
    folder = annotations / _HMDB51_FOLDER if (annotations / _HMDB51_FOLDER).is_dir() else annotations
    splits: dict[str, list[AnnotatedClip]] = {"train": [], "val": []}
    for label, name in enumerate(classes.names):
        file = find_file(folder, f"{name}_test_split{number}.txt")
        for where, text in text_lines(file):
            video, _, mark = text.rpartition(" ")
            if mark not in _HMDB51_SPLIT_OF or not video.strip():
                raise UserError(f"{where}: expected 'name.avi 0|1|2', has {text[:80]!r}")
            if _HMDB51_SPLIT_OF[mark]:
                stem = video.strip().removesuffix(".avi")
                splits[_HMDB51_SPLIT_OF[mark]].append(AnnotatedClip((f"{name}/{stem}", stem), label, where))
    unknown = sorted({f.name.rpartition("_test_split")[0] for f in folder.glob("*_test_split?.txt")} - {*classes.names})
    for name in unknown:
        classes.note(str(folder), f"class {name!r} is not in the class list")
    return splits


_UCF101_FOLDER = "ucfTrainTestlist"
_UCF101_SPLITS = {"train": "trainlist", "val": "testlist"}


def read_ucf101(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of UCF101 from the official split files.

        paddlevideo prepare ucf101 --videos data/ucf101/videos --split 1

    Annotations (or a folder ``ucfTrainTestlist`` in them): ``classInd.txt`` with lines ``1 ApplyEyeMakeup``, counted
    from 1; ``trainlist0N.txt`` with lines ``Class/v_Class_g08_c01.avi 1``; ``testlist0N.txt`` with the paths only.
    The test set is the validation set (``val``).  Paths are listed without ``.avi``, as PaddleVideo's lists are.
    """
    folder = annotations / _UCF101_FOLDER if (annotations / _UCF101_FOLDER).is_dir() else annotations
    order = find_file(folder, "classInd.txt")
    pairs = [text.split(maxsplit=1) for _, text in text_lines(order)]
    if [pair[0] for pair in pairs] != [str(k) for k in range(1, len(pairs) + 1)] or any(len(p) < 2 for p in pairs):
        raise UserError(f"{order}: expected lines '1 ApplyEyeMakeup', counted from 1")
    classes.check_order([pair[1] for pair in pairs], order)
    return {
        split: [
            _ucf101_clip(where, text, classes)
            for where, text in text_lines(find_file(folder, f"{stem}{number:02d}.txt"))
        ]
        for split, stem in _UCF101_SPLITS.items()
    }


def _ucf101_clip(where: str, text: str, classes: ClassList) -> AnnotatedClip:
    """One line; the class is the folder, and the number after it, counted from 1, must agree."""
    path, dot, rest = text.partition(".avi")
    name, slash, stem = path.rpartition("/")
    if not (dot and slash):
        raise UserError(f"{where}: expected 'Class/name.avi', has {text[:80]!r}")
    label = classes.id_of(name, where)
    if rest.strip() and label >= 0 and rest.strip() != str(label + 1):
        classes.note(where, f"gives class {rest.strip()}, but {name} is {label + 1} in classInd.txt")
    return AnnotatedClip((path, stem), label, where)


def read_something_v1(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of Something-Something V1 from the official files.

        paddlevideo prepare something v1 --frames data/sthv1/rawframes

    Published as frames ``<id>/00001.jpg``: ``something-something-v1-{labels,train,validation}.csv``, the first one
    class name per line in class-id order, the others ``id;class name``.  The test set has no labels, so it has no list.
    """
    return _of_three_tables(annotations, classes, "something-something-v1")


def read_something_v2(annotations: Path, classes: ClassList, number: int) -> dict[str, list[AnnotatedClip]]:
    """Lists of Something-Something V2 from the official files.

        paddlevideo prepare something v2 --videos data/sthv2/videos

    Published as ``<id>.webm``: ``something-something-v2-{labels,train,validation}.json`` (or ``labels.json``...), the
    first {class name: "class id"}, the others a list of {"id", "label", "template", "placeholders"}; the class is the
    template without its square brackets.  The test set has no labels, so it has no list.
    """
    order = find_file(annotations, "something-something-v2-labels.json", "labels.json")
    try:
        official = sorted((int(number), name) for name, number in read_json(order, dict).items())
    except (TypeError, ValueError):
        raise UserError(f'{order}: expected {{"class name": "class id"}}') from None
    if [number for number, _ in official] != list(range(len(official))):
        raise UserError(f"{order}: class ids are not 0..{len(official) - 1}")
    classes.check_order([name for _, name in official], order)
    return {
        split: [
            AnnotatedClip((str(record["id"]),), classes.id_of(_something_class(str(record["template"])), where), where)
            for where, record in json_records(
                find_file(annotations, f"something-something-v2-{stem}.json", f"{stem}.json"), ("id", "template")
            )
        ]
        for split, stem in _TRAIN_VALIDATION.items()
    }


def _something_class(template: str) -> str:
    """``Holding [something] next to [something]`` -> the class name."""
    return template.replace("[", "").replace("]", "")


PUBLIC_SETS = {
    "kinetics": PublicSet("k400", read_kinetics, "{split}.list", frames_folder="k400_frames"),
    "jester": PublicSet(
        "jester", read_jester, "jester_{split}_list_{kind}.txt", frame_name="{:05}.jpg", from_frames=True
    ),
    "diving48": PublicSet("diving48", read_diving48, "diving48_{split}_list_{kind}.txt"),
    "hmdb51": PublicSet("hmdb51", read_hmdb51, "hmdb51_{split}_split_{number}_{kind}.txt", num_splits=3),
    "ucf101": PublicSet(
        "ucf101", read_ucf101, "ucf101_{split}_split_{number}_{kind}.txt", ending=False, ignore_case=True, num_splits=3
    ),
    "something v1": PublicSet(
        "sthv1", read_something_v1, "sthv1_{split}_list_{kind}.txt", frame_name="{:05}.jpg", from_frames=True
    ),
    "something v2": PublicSet("sthv2", read_something_v2, "sthv2_{split}_list_{kind}.txt"),
}
