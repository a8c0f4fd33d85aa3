"""The features of the minutes around a key frame: the operator that reads a feature bank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import plural
from paddlevideo.loader.feature_bank import LongTermWindow
from paddlevideo.loader.pipelines.base import Transform
from paddlevideo.ranges import PositiveInt
from paddlevideo.registry import TRANSFORMS


@TRANSFORMS.register
class LongTermFeatures(Transform):
    """Adds ``long_term`` float32 [S, C] and ``long_term_filled`` bool [S], the window of the sample's video and second.

    Args:
        banks: files of ``paddlevideo bank``; a video may be in any of them.
        window_s: seconds, half of them before the key frame.
        max_features: persons per second.
        sampling: which of more persons: "random", "first" (highest scores), or None: random in training, else first.

    *Source*: MMAction2's ``lfb_cfg`` (``window_size``, ``max_num_sampled_feat``), where the head reads the bank.
    """

    takes_boxes = True

    def __init__(
        self,
        banks: str | list[str],
        window_s: PositiveInt = 60,
        max_features: PositiveInt = 5,
        sampling: Literal["random", "first"] | None = None,
    ):
        self.banks = [banks] if isinstance(banks, str) else list(banks)
        self.window_s, self.max_features, self.sampling = window_s, max_features, sampling
        self._window: LongTermWindow | None = None

    def prepare(self) -> None:
        """Opens the banks and verifies them, once, before worker processes begin.

        Raises:
            UserError: a bank is missing, damaged, or of another length than the others.
        """
        if self._window is None:
            self._window = LongTermWindow(self.banks, self.window_s, self.max_features)

    def remark_on(self, records: Sequence[Mapping[str, Any]]) -> str | None:
        """Of key frames: how many of their videos are in no bank, and have windows of zeros.

        Raises:
            UserError: none is in a bank.
        """
        videos = {record["video_id"] for record in records if "video_id" in record}
        lacking = sorted(video for video in videos if not self._window.holds(video))
        if not lacking:
            return None
        files = ", ".join(map(str, self.banks))
        if len(lacking) == len(videos):
            raise UserError(
                f"none of the data set's {plural(len(videos), 'video')} is in {files} (e.g. {printable(lacking[0])}); "
                "name the banks of these videos: paddlevideo bank --split makes them"
            )
        counts = f"{len(lacking)} of {plural(len(videos), 'video')}"
        return f"not in {files}, so that their windows are zeros: {counts}, e.g. {printable(lacking[0])}"

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        if "video_id" not in sample:
            raise UserError("a window needs the video_id and timestamp_s of a key frame: AVADataset gives them")
        self.prepare()
        draws = self.sampling == "random" or (self.sampling is None and sample.get("training"))
        window = self._window(sample["video_id"], sample["timestamp_s"], rng if draws else None)
        sample["long_term"], sample["long_term_filled"] = window
        return sample

    def __getstate__(self) -> dict[str, Any]:  # a mapped file does not travel to another process; it is opened there
        return {**self.__dict__, "_window": None}
