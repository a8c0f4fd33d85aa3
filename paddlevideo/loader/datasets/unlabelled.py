"""Video files without labels."""

from __future__ import annotations

from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.datasets.records import Records, Texts
from paddlevideo.registry import DATASETS
from paddlevideo.video_files import find_videos


@DATASETS.register
class UnlabelledVideoDataset(Dataset):
    """Samples ``{"filename", "index"}``: for features; training and evaluation need labels.

    Args:
        file_path: videos, folders (the videos directly in them) and lists (a path per line; labels are not read).

    Raises:
        UserError: no such file, a folder without videos, an empty list.
    """

    def __init__(self, file_path: str | list[str]):
        paths = [file_path] if isinstance(file_path, str) else file_path
        self.remarks: list[str] = []
        videos = find_videos(paths, self.remarks.append)
        self.file_path = paths[0]
        self.records = Records({"filename": Texts.of(map(str, videos)), "index": range(len(videos))})

    def sample(self, index: int) -> dict:
        """A new sample dict, ready for the pipeline."""
        return dict(self.records[index])
