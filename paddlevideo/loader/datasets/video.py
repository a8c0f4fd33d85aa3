"""Video files with one class each."""

from __future__ import annotations

import os
from collections.abc import Sequence

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import Findings, cut, plural
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.list_content import read_content
from paddlevideo.loader.datasets.lists import (
    ClassCount,
    Labels,
    check_inside,
    expanded,
    folders_without_videos,
    scan_folder,
)
from paddlevideo.loader.datasets.records import Numbers, Records, Texts
from paddlevideo.ranges import NonNegativeInt
from paddlevideo.registry import DATASETS
from paddlevideo.video_files import left_out_files

_SHOWN = 3  # folders


@DATASETS.register
class VideoDataset(Dataset):
    """Samples ``{"filename", "label", "index"}`` from a list (``path label``), a CSV file, or a folder of class
    folders.  With several labels per clip (``path 0 3 17``, ``path 0;3;17``, ``path ;`` for none) a label is multi-hot,
    float32 [K].

    Args:
        file_path: the list; or a folder with one sub-folder per class, whose sorted names are the classes 0, 1, ...;
            names that are all numbers sort as numbers.
        data_prefix: folder the list's paths are relative to.  A path that leaves it is refused.
        suffix: appended to every path, e.g. ``.mp4``.
        num_retries: accepted for PaddleVideo's files; the loader's ``on_error`` decides here.
        test_mode: accepted for PaddleVideo's files.
        allow_outside_root: let paths leave ``data_prefix``.
        class_names: in class-id order.  In a list a name may stand for its number.  Of a folder None: the sorted names
            of its sub-folders; validation and test folders get the training folder's, so that a class they lack shifts
            no label.
        allow_empty_classes: leave class folders without videos out, with a remark; else they are an error.
        multi_label: the list holds any number of labels per clip.
        num_classes: given by the loader; labels are checked against it.

    Raises:
        UserError: the list is missing or empty; a folder of an unknown class, or with ``multi_label``.
        ConfigError: bad lines, all at once.

    Source: PaddleVideo's ``VideoDataset``, MMAction2's with ``multi_class``; unlike there, no unreadable video is
    replaced by a random other one.
    """

    def __init__(
        self,
        file_path: str,
        data_prefix: str | None = None,
        suffix: str = "",
        num_retries: NonNegativeInt = 5,
        test_mode: bool = False,
        allow_outside_root: bool = False,
        class_names: list[str] | None = None,
        multi_label: bool = False,
        allow_empty_classes: bool = False,
        num_classes: int | None = None,
    ):
        self.file_path, self.data_prefix = expanded(file_path), expanded(data_prefix)
        self.allow_outside_root = allow_outside_root
        self.class_names, self.multi_label = class_names, multi_label
        self.allow_empty_classes = allow_empty_classes
        self.remarks: list[str] = []
        self.lines: Sequence[int] = []  # line of each record in the list file
        if os.path.isdir(self.file_path):
            self.records = self._from_folder(num_classes)
        else:
            self.records = self._from_list(suffix, num_classes)

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline."""
        record = self.records[index]
        check_inside(record["filename"], self.data_prefix, self.allow_outside_root)
        return dict(record)

    def left_out(self) -> dict[str, list[str]]:
        """Why -> files of a folder that are no samples."""
        return left_out_files(self.file_path) if os.path.isdir(self.file_path) else {}

    def _from_folder(self, num_classes: int | None) -> Records:
        if self.multi_label:
            raise UserError(
                f"{self.file_path}: multi_label: True needs a list (path 0 3 17); class folders give one label"
            )
        # a folder is its own root: its links are trusted
        self.data_prefix = None
        empty = folders_without_videos(self.file_path) if self.allow_empty_classes else []
        if empty:
            shown = ", ".join(map(printable, cut(empty, _SHOWN)))
            what = plural(len(empty), "class folder")
            self.remarks.append(f"{printable(self.file_path)}: left out, without a video: {what}: {shown}")
        files, self.class_names = scan_folder(self.file_path, self.class_names, empty)
        if num_classes is not None and len(self.class_names) > num_classes:
            problems = Findings(self.file_path)
            for name in self.class_names[num_classes:]:
                key = num_classes.key if isinstance(num_classes, ClassCount) else ClassCount.key
                problems.add(0, f"class folder {name!r} is beyond {key} = {num_classes}")
            problems.raise_if_any()
        paths, labels = Texts.of(file for file, _ in files), Numbers([label for _, label in files])
        return Records({"filename": paths, "label": labels, "index": range(len(files))})

    def _from_list(self, suffix: str, num_classes: int | None) -> Records:
        labels = Labels(num_classes, self.class_names, self.multi_label)
        given = (labels, self.data_prefix, self.allow_outside_root, suffix)
        content = read_content(self.file_path, ("path", "label"), *given)
        self.lines, self.remarks = content.lines, content.remarks
        return Records({"filename": content.paths, "label": content.labels, "index": range(len(content.lines))})
