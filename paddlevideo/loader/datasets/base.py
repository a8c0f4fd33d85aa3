"""The base class of data sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from paddlevideo.loader.datasets.lists import training_classes
from paddlevideo.loader.datasets.records import label_pairs


class Dataset(ABC):
    """The samples of a split.  A subclass has ``sample``, and its constructor sets ``file_path`` and ``records``.

    A constructor that takes ``num_classes`` is given K of the network (None: unknown), one that takes ``test_mode``
    whether the split is evaluated.

    Attributes:
        file_path: the file or folder that lists the samples.
        records: a dict per sample: "filename" of a video, or "frame_dir"; "index", its place; and "label" (int or
            float32 [K]) where classes are counted.  A list of dicts, or ``Records`` (columns: read only, for lists of
            millions), which a subclass that changes them replaces by a list.
        lines: line of ``file_path`` of each record; empty: unknown.
        remarks: how ``file_path`` was read, for the log.
        data_prefix: folder below which the files are; None: anywhere.
        class_names: in class-id order, for the report of a test and for pictures; None: unknown.  Training, checkpoints
            and exports take names from ``DATASET.label_names`` (``paddlevideo.classes``).
        num_classes: K of ``AVAMetric`` where the data decide it; None: they do not.  The network's is in the YAML.
        has_boxes: samples are key frames with "boxes".
        in_archives: samples are parts of archives, which the constructor checks; records name no files of their own.
    """

    file_path: str
    records: Sequence[dict[str, Any]]
    lines: Sequence[int] = ()
    remarks: Sequence[str] = ()
    data_prefix: str | None = None
    class_names: Sequence[str] | None = None
    num_classes: int | None = None
    has_boxes: bool = False
    in_archives: bool = False

    def __len__(self) -> int:
        return len(self.records)

    @abstractmethod
    def sample(self, index: int) -> dict[str, Any]:
        """A new sample for the pipeline: the record's path, "label" int (or float32 [K], multi-hot or soft), "index".

        Of key frames instead of the label "boxes", "gt_boxes" float32 [P, 4] xyxy, 0..1, and "gt_labels" [P, K].
        """

    def left_out(self) -> dict[str, list[str]]:
        """Reason -> names of files that are no samples."""
        return {}

    def class_counts(self) -> np.ndarray | None:
        """Persons per class, int64 [K], column 0 of those without an action; None: counted from the records' labels."""
        return None

    def label_pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Each label as (place of its record, class): int64 [M] twice, places ascending; class -1 of a record without
        a label.  ``sample_by_class`` draws by it."""
        return label_pairs(self.records)

    def sampling_weights(self) -> np.ndarray | None:
        """Probability of each record in a training epoch, float64 [N]; None: every record once, or as the split's
        ``sample_by_class`` draws."""
        return None

    def shuffled(self, rng: np.random.Generator, num_together: int) -> np.ndarray | None:
        """Order of a training epoch, int64 [N], each record once; None: a permutation.

        Args:
            num_together: samples of one batch on all ranks together.
        """
        return None

    def expect(self, order: np.ndarray) -> None:  # noqa: B027
        """Announces the indices that this process is going to read, int64 [reads]: a hint, which changes no sample."""

    def stamp(self, index: int) -> list[int] | None:
        """What changes when the sample's file does; None: its size and time of modification."""
        return None

    @classmethod
    def class_names_in(cls, section: Mapping[str, Any]) -> list[str] | None:
        """Class names that the data of a section of DATASET state, in class-id order; None: they state none.

        Raises:
            UserError: the data cannot be read.
        """
        return training_classes({"train": section})

    @classmethod
    def findings(cls, section: Mapping[str, Any], num_classes: int | None) -> list[str]:
        """Mistakes in the data of a section of DATASET, as far as they show without reading samples."""
        return []

    def annotation(self) -> Mapping[str, Any]:
        """What a metric of boxes reads the ground truth from: file_path, label_file, exclude_file, custom_classes."""
        return {"file_path": self.file_path}
