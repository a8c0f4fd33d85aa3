"""Folders of extracted frames with one class each."""

from __future__ import annotations

import numpy as np

from paddlevideo.findings import Findings
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.list_content import read_content
from paddlevideo.loader.datasets.lists import Labels, Row, check_inside, expanded
from paddlevideo.loader.datasets.records import Choices, Records
from paddlevideo.ranges import NonNegativeInt
from paddlevideo.registry import DATASETS


@DATASETS.register
class FrameDataset(Dataset):
    """Samples ``{"frame_dir", "total_frames", "suffix", "label", "index"}`` from a list (``dir num_frames label``),
    or with several labels per clip (``dir num_frames 0 3 17``).

    Args:
        file_path: the list, or a CSV file.
        data_prefix: folder the list's paths are relative to.  A path that leaves it is refused.
        suffix: file name of a frame with a place for its 1-based number.
        num_retries: accepted for PaddleVideo's files; the loader's ``on_error`` decides here.
        test_mode: accepted for PaddleVideo's files.
        allow_outside_root, class_names, multi_label, num_classes: as in ``VideoDataset``.

    Raises:
        UserError: the list is missing or empty.
        ConfigError: bad lines, all at once.

    Source: PaddleVideo's ``FrameDataset``.
    """

    def __init__(
        self,
        file_path: str,
        data_prefix: str | None = None,
        suffix: str = "img_{:05}.jpg",
        num_retries: NonNegativeInt = 5,
        test_mode: bool = False,
        allow_outside_root: bool = False,
        class_names: list[str] | None = None,
        multi_label: bool = False,
        num_classes: int | None = None,
    ):
        self.file_path, self.data_prefix = expanded(file_path), expanded(data_prefix)
        self.allow_outside_root = allow_outside_root
        self.class_names, self.multi_label = class_names, multi_label
        _check_suffix(suffix)
        labels = Labels(num_classes, class_names, multi_label)
        columns = ("path", "num_frames", "label")
        content = read_content(
            self.file_path, columns, labels, self.data_prefix, allow_outside_root, check=_check_count
        )
        self.lines, self.remarks, length = content.lines, content.remarks, len(content.lines)
        self.records = Records(
            {
                "frame_dir": content.paths,
                "total_frames": content.num_frames,
                "suffix": Choices([suffix], np.broadcast_to(np.uint8(0), length)),
                "label": content.labels,
                "index": range(length),
            }
        )

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline."""
        record = self.records[index]
        check_inside(record["frame_dir"], self.data_prefix, self.allow_outside_root)
        return dict(record)


def _check_count(row: Row, problems: Findings) -> None:
    count = row.fields["num_frames"]
    if not count.isdecimal() or int(count) < 1:
        problems.add(row.line, f"number of frames {count!r} is not a whole number above 0")


def _check_suffix(suffix: str) -> None:
    try:
        differ = suffix.format(1) != suffix.format(2)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"suffix {suffix!r} is not a file name with one place for a number ({error})") from error
    if not differ:
        raise ValueError(f"suffix {suffix!r} has no place for the frame number, e.g. 'img_{{:05}}.jpg'")
