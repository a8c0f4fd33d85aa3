"""Video files with one class each."""

from __future__ import annotations

import os

from paddlevideo.loader.datasets.lists import (
    ClassCount,
    Problems,
    check_inside,
    locate,
    parse_label,
    read_rows,
    scan_folder,
)
from paddlevideo.ranges import NonNegativeInt
from paddlevideo.registry import DATASETS
from paddlevideo.video_files import left_out_files


@DATASETS.register
class VideoDataset:
    """Samples ``{"filename", "label", "index"}`` from a list (``path label``), a CSV file, or a folder of class
    folders.

    Args:
        file_path: the list; or a folder with one sub-folder per class, whose sorted names are the classes 0, 1, ...;
            names that are all numbers sort as numbers.
        data_prefix: folder the list's paths are relative to.  A path that leaves it is refused.
        suffix: appended to every path, e.g. ``.mp4``.
        num_retries: accepted for PaddleVideo's files; the loader's ``on_error`` decides here.
        test_mode: accepted for PaddleVideo's files.
        allow_outside_root: let paths leave ``data_prefix``.
        class_names: the classes of a folder in class-id order; None: the sorted names of its sub-folders.  Validation
            and test folders get the training folder's, so that a class they lack shifts no label.
        num_classes: given by the loader; labels are checked against it.

    Raises:
        UserError: the list is missing or empty; a folder of an unknown class.
        ConfigError: bad lines, all at once.

    Source: PaddleVideo's ``VideoDataset``; unlike there, no unreadable video is replaced by a random other one.
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
        num_classes: int | None = None,
    ):
        self.file_path, self.data_prefix = file_path, data_prefix
        self.allow_outside_root = allow_outside_root
        self.class_names = class_names
        self.lines: list[int] = []  # line of each record in the list file
        if os.path.isdir(file_path):
            self.records = self._from_folder(num_classes)
        else:
            self.records = self._from_list(suffix, num_classes)

    def __len__(self) -> int:
        return len(self.records)

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline."""
        record = self.records[index]
        check_inside(record["filename"], self.data_prefix, self.allow_outside_root)
        return dict(record)

    def left_out(self) -> dict[str, list[str]]:
        """Why -> files of a folder that are no samples."""
        return left_out_files(self.file_path) if os.path.isdir(self.file_path) else {}

    def _from_folder(self, num_classes: int | None) -> list[dict]:
        # a folder is its own root: what its links lead to was put there by its owner
        self.data_prefix = None
        files, self.class_names = scan_folder(self.file_path, self.class_names)
        if num_classes is not None and len(self.class_names) > num_classes:
            problems = Problems(self.file_path)
            for name in self.class_names[num_classes:]:
                key = num_classes.key if isinstance(num_classes, ClassCount) else ClassCount.key
                problems.add(0, f"class folder {name!r} is beyond {key} = {num_classes}")
            problems.raise_if_any()
        return [{"filename": file, "label": label, "index": i} for i, (file, label) in enumerate(files)]

    def _from_list(self, suffix: str, num_classes: int | None) -> list[dict]:
        rows = read_rows(self.file_path, ("path", "label"))
        problems = Problems(self.file_path)
        records = []
        for index, row in enumerate(rows):
            path = locate(row, self.data_prefix, self.allow_outside_root, problems)
            label = parse_label(row, num_classes, problems)
            records.append({"filename": path + suffix, "label": label, "index": index})
        problems.raise_if_any()
        self.lines = [row.line for row in rows]
        return records
