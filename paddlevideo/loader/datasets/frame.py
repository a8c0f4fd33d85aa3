"""Folders of extracted frames with one class each."""

from __future__ import annotations

from paddlevideo.loader.datasets.lists import (
    Problems,
    check_inside,
    locate,
    parse_label,
    read_rows,
)
from paddlevideo.ranges import NonNegativeInt
from paddlevideo.registry import DATASETS


@DATASETS.register
class FrameDataset:
    """Samples ``{"frame_dir", "total_frames", "suffix", "label", "index"}`` from a list (``dir num_frames label``).

    Args:
        file_path: the list, or a CSV file.
        data_prefix: folder the list's paths are relative to.  A path that leaves it is refused.
        suffix: file name of a frame with a place for its 1-based number.
        num_retries: accepted for PaddleVideo's files; the loader's ``on_error`` decides here.
        test_mode: accepted for PaddleVideo's files.
        allow_outside_root, num_classes: as in ``VideoDataset``.

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
        num_classes: int | None = None,
    ):
        self.file_path, self.data_prefix = file_path, data_prefix
        self.allow_outside_root = allow_outside_root
        self.class_names: list[str] | None = None
        self.lines: list[int] = []  # line of each record in the list file
        _check_suffix(suffix)
        rows = read_rows(file_path, ("path", "num_frames", "label"))
        problems = Problems(file_path)
        self.records = []
        for index, row in enumerate(rows):
            path = locate(row, data_prefix, allow_outside_root, problems)
            count = row.fields["num_frames"]
            if not count.isdecimal() or int(count) < 1:
                problems.add(row.line, f"number of frames {count!r} is not a whole number above 0")
                count = "1"
            label = parse_label(row, num_classes, problems)
            self.records.append(
                {"frame_dir": path, "total_frames": int(count), "suffix": suffix, "label": label, "index": index}
            )
        problems.raise_if_any()
        self.lines = [row.line for row in rows]

    def __len__(self) -> int:
        return len(self.records)

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline."""
        record = self.records[index]
        check_inside(record["frame_dir"], self.data_prefix, self.allow_outside_root)
        return dict(record)


def _check_suffix(suffix: str) -> None:
    try:
        differ = suffix.format(1) != suffix.format(2)
    except (IndexError, KeyError, ValueError) as error:
        raise ValueError(f"suffix {suffix!r} is not a file name with one place for a number ({error})") from error
    if not differ:
        raise ValueError(f"suffix {suffix!r} has no place for the frame number, e.g. 'img_{{:05}}.jpg'")
