"""Training parity: the cases, their start weights and batches.  By formula and numpy alone: PyTorch has them too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.parity import golden

SEED = 18
STEPS = 12  # one to an epoch: the published schedules, whose milestones are shares of the run, pass within them
_OURS_AND_TORCH = {"_mean": "running_mean", "_variance": "running_var"}
_COMMON = ("num_seg=4", "MODEL.backbone.pretrained=null", f"epochs={STEPS}")
_CLIP = "OPTIMIZER.grad_clip.value=2.0"  # the published 20 and 40 would not act on networks so small
_RATE = "OPTIMIZER.learning_rate.base_lr="  # the published one for the clips of a batch, as --scale_lr has it


@dataclass(frozen=True)
class Case:
    """A published recipe at small size.

    Args:
        config: of the recipe, from the root of the repository.
        overrides: what makes the network small, and takes away what is random.
        clips: N of a batch.
        size: height and width of the clips, pixels.
        classes: K.
        persons: of each clip; 0: the clips themselves have a class.
        frames: T.
    """

    config: str
    overrides: tuple[str, ...]
    clips: int
    size: int
    classes: int
    persons: int = 0
    frames: int = field(default=4, init=False)


CASES = {
    "TSM R50": Case(
        "configs/recognition/tsm/tsm_r50_1x1x8_50e_kinetics400_rgb.yaml",
        (
            *_COMMON, "MODEL.backbone.width=8", "MODEL.head.in_channels=256", "MODEL.head.num_classes=6",
            "MODEL.head.drop_ratio=0.0", "DATASET.label_names=null", f"{_RATE}{0.01 * 4 / 64}", _CLIP,
        ),
        clips=4, size=64, classes=6,
    ),
    "TimeSformer": Case(
        "configs/recognition/timesformer/timesformer_divST_8x32x1_15e_kinetics400_rgb.yaml",
        (
            *_COMMON, "MODEL.backbone.img_size=32", "MODEL.backbone.patch_size=8", "MODEL.backbone.embed_dim=32",
            "MODEL.backbone.depth=3", "MODEL.backbone.num_heads=4", "MODEL.backbone.drop_path_rate=0.0",
            "MODEL.head.in_channels=32", "MODEL.head.num_classes=6", "DATASET.label_names=null",
            f"{_RATE}{0.005 * 4 / 64}", _CLIP,
        ),
        clips=4, size=32, classes=6,
    ),
    "SlowOnly AVA": Case(
        "configs/detection/ava/slowonly_kinetics_pretrained_r50_4x16x1_20e_ava_rgb.yaml",
        (
            *_COMMON, "MODEL.backbone.width=8", "MODEL.head.bbox_head.in_channels=256",
            "MODEL.head.bbox_head.dropout_ratio=0.0", f"{_RATE}{0.2 * 3 / 128}", _CLIP,
        ),
        clips=3, size=64, classes=81, persons=2,
    ),
}  # fmt: skip


def start_weights(names_and_shapes: Iterable[tuple[str, Sequence[int]]]) -> dict[str, np.ndarray]:
    """float32 parameters and running statistics by name; names and shapes are PyTorch's.

    Classifiers start small, as published: from large ones the first steps amplify every rounding a hundredfold.
    """
    weights = golden.weights(SEED, names_and_shapes, "torch", gain=2**0.5)
    return {name: 0.05 * value if ".fc" in name and "blocks" not in name else value for name, value in weights.items()}


def torch_name(name: str) -> str:
    """PyTorch's name of a parameter or running statistic of the suite."""
    layer, _, last = name.rpartition(".")
    return f"{layer}.{_OURS_AND_TORCH.get(last, last)}"


def batch(case: Case, step: int) -> dict[str, np.ndarray]:
    """The batch of a step, 0-based, as the suite's loader gives it.

    "imgs" uint8 [N, 1, T, H, W, 3]; "label" int64 [N], or of persons "gt_boxes" float32 [G, 4], "gt_boxes_num" int32
    [N], "gt_labels" float32 [G, K] and the proposals "boxes" [R, 4], "boxes_num": the persons' boxes up to 1 %, and as
    many of background.
    """
    shape = (case.clips, case.frames, 3, case.size, case.size)
    picture = golden.dense_input(SEED, f"imgs {step}", shape, cell=8)
    levels = np.clip(np.rint(127.5 + 50.0 * picture), 0, 255).astype("uint8")
    found = {"imgs": np.ascontiguousarray(levels.transpose(0, 1, 3, 4, 2))[:, None]}
    found |= {"index": np.arange(case.clips), "replaced": np.full(case.clips, -1)}
    if not case.persons:
        return found | {"label": golden.integers(SEED, f"label {step}", 0, case.classes, [case.clips])}
    count = case.clips * case.persons
    persons = _boxes(f"persons {step}", count, case.size)
    sides = np.tile(persons[:, 2:] - persons[:, :2], 2)
    moved = golden.draw(SEED, f"moved {step}").uniform(-0.01, 0.01, persons.shape)
    near = (persons + moved * sides).astype("float32")
    others = _boxes(f"background {step}", count, case.size)
    proposals = np.concatenate([near.reshape(case.clips, -1, 4), others.reshape(case.clips, -1, 4)], axis=1)
    labels = (golden.draw(SEED, f"actions {step}").random((count, case.classes)) < 0.05).astype("float32")
    labels[:, 0] = 0.0
    labels[np.arange(count), 1 + np.arange(count)] = 1.0
    return found | {
        "gt_boxes": persons,
        "gt_boxes_num": np.full(case.clips, case.persons, "int32"),
        "gt_labels": labels,
        "boxes": proposals.reshape(-1, 4),
        "boxes_num": np.full(case.clips, 2 * case.persons, "int32"),
    }


def _boxes(name: str, count: int, size: int) -> np.ndarray:
    """float32 [count, 4], sides of 0.3 to 0.9 of the picture's: more than the 16 pixels of a pixel of the features.

    Of narrower ones Paddle's CPU kernel, which is not in use, computes another gradient (benchmarks/README.md).
    """
    share = golden.draw(SEED, name).uniform(0.0, 1.0, (count, 4))
    sides = (0.3 + 0.6 * share[:, 2:]) * size
    corner = share[:, :2] * (size - sides)
    return np.concatenate([corner, corner + sides], axis=1).astype("float32")
