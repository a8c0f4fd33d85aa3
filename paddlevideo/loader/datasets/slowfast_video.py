"""Video files in several views, as PaddleVideo's SlowFast files name them."""

from __future__ import annotations

from paddlevideo.loader.datasets.video import VideoDataset
from paddlevideo.ranges import NonNegativeInt, PositiveInt
from paddlevideo.registry import DATASETS


@DATASETS.register
class SFVideoDataset(VideoDataset):
    """``VideoDataset`` with the numbers of views of a test.

    A configuration hands them on to the operators that make the views (``config.data_arguments``): ``DecodeSampler``
    and ``MultiCrop`` of the split's pipeline, in test mode.  All views of a video are one sample, and the network
    averages over them.

    Args:
        num_ensemble_views: clips of a video.
        num_spatial_crops: crops of a clip.
        num_samples_precise_bn: must be left out: PRECISEBN takes batches of the training set.
        file_path, data_prefix, suffix, num_retries, test_mode, allow_outside_root, class_names, multi_label,
            num_classes: as of ``VideoDataset``.

    *Source*: PaddleVideo's ``SFVideoDataset``, where each view is a sample, and another video, drawn at random, takes
    the place of a view that cannot be read, in tests too.
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
        num_classes: int | None = None,
        num_ensemble_views: PositiveInt = 1,
        num_spatial_crops: PositiveInt = 1,
        num_samples_precise_bn: None = None,
    ):
        super().__init__(
            file_path, data_prefix, suffix, num_retries, test_mode, allow_outside_root, class_names, multi_label,
            num_classes=num_classes,
        )  # fmt: skip
        self.num_ensemble_views, self.num_spatial_crops = num_ensemble_views, num_spatial_crops
