"""The networks and recipes of ``benchmarks.training_parity`` in PyTorch: plain modules, ``torch.optim``.

``torch_training.py CASE DTYPE FOLDER`` trains the steps of a case and writes ``steps.json`` and ``STEP.npz`` (gradients
before clipping, weights after the step).  Nothing of the project is imported but the numpy formulas of start weights
and batches.  Parameters have the project's names, so that no table of names is needed.  The recipes' figures are those
of the published configurations, written here a second time; milestones and warm-up are the same shares of 12 steps.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from tests.parity.training_inputs import CASES, STEPS, Case, batch, start_weights

_BLOCKS = (3, 4, 6, 3)
_CLIP = 2.0  # the global norm of the gradients; so low that it acts on networks so small


def single(value: float) -> float:
    """Rounded to float32, as Paddle's kernels keep their constants; in float64 it would be the largest difference."""
    return float(np.float32(value))


class Normalize(nn.Module):
    """Levels [N, T, H, W, 3] -> [N, T, 3, H, W]; the two factors are rounded to float32, as they are in the project."""

    def __init__(self, mean: list[float], std: list[float]):
        super().__init__()
        mean32, std32 = np.array(mean, "float32"), np.array(std, "float32")
        self.scale, self.offset = torch.tensor(1.0 / (255.0 * std32)), torch.tensor(-mean32 / std32)

    def forward(self, imgs: torch.Tensor) -> torch.Tensor:
        dtype = torch.get_default_dtype()
        return (imgs.to(dtype) * self.scale.to(dtype) + self.offset.to(dtype)).permute(0, 1, 4, 2, 3)


_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


# --- TSM -------------------------------------------------------------------------------------------------------------


class ConvBN2d(nn.Module):
    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1):
        super().__init__()
        self._conv = nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, bias=False)
        self._batch_norm = nn.BatchNorm2d(out, single(1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._batch_norm(self._conv(x))


class ShiftedBlock(nn.Module):
    """A bottleneck; its branch sees an eighth of the channels from the frame after, an eighth from the one before."""

    def __init__(self, channels: int, width: int, stride: int, frames: int):
        super().__init__()
        self.frames = frames
        self.conv0, self.conv1 = ConvBN2d(channels, width, 1), ConvBN2d(width, width, 3, stride)
        self.conv2 = ConvBN2d(width, 4 * width, 1)
        self.short = None if stride == 1 and channels == 4 * width else ConvBN2d(channels, 4 * width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.conv1(F.relu(self.conv0(self.shift(x)))))
        return F.relu(self.conv2(y) + (x if self.short is None else self.short(x)))

    def shift(self, x: torch.Tensor) -> torch.Tensor:
        clip, fold = x.view(-1, self.frames, *x.shape[1:]), x.shape[1] // 8
        out = torch.zeros_like(clip)
        out[:, :-1, :fold] = clip[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = clip[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = clip[:, :, 2 * fold :]
        return out.view(x.shape)


class ShiftedResNet(nn.Module):
    def __init__(self, width: int, frames: int):
        super().__init__()
        self.conv, channels = ConvBN2d(3, width, 7, 2), width
        self.blocks = []
        for stage, count in enumerate(_BLOCKS):
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                self.blocks.append(f"res{stage + 2}{'abcdef'[index]}")
                self.add_module(self.blocks[-1], ShiftedBlock(channels, width << stage, stride, frames))
                channels = 4 * (width << stage)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(F.relu(self.conv(x)), 3, 2, 1)
        for name in self.blocks:
            x = self.get_submodule(name)(x)
        return x


class Classifier(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.fc = nn.Linear(channels, classes)


class TSM(nn.Module):
    def __init__(self, case: Case):
        super().__init__()
        self.normalize, self.frames = Normalize(*_IMAGENET), case.frames
        self.backbone, self.head = ShiftedResNet(8, case.frames), Classifier(256, case.classes)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        features = self.backbone(self.normalize(inputs["imgs"][:, 0]).flatten(0, 1))
        logits = self.head.fc(features.mean([2, 3])).view(-1, self.frames, self.head.fc.out_features).mean(1)
        return F.cross_entropy(logits, inputs["label"])


# --- TimeSformer -----------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, dim = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, dim))


class MLP(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class DividedBlock(nn.Module):
    def __init__(self, dim: int, heads: int, frames: int):
        super().__init__()
        self.frames = frames
        self.norm1, self.attn = nn.LayerNorm(dim, single(1e-6)), Attention(dim, heads)
        self.temporal_norm1, self.temporal_attn = nn.LayerNorm(dim, single(1e-6)), Attention(dim, heads)
        self.temporal_fc = nn.Linear(dim, dim)
        self.norm2, self.mlp = nn.LayerNorm(dim, single(1e-6)), MLP(dim)

    def forward(self, cls: torch.Tensor, tokens: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Class tokens [N, 1, D] and patches [N, T, P, D]."""
        rows, frames, patches, dim = tokens.shape
        through_time = tokens.transpose(1, 2).reshape(-1, frames, dim)  # [N * P, T, D]
        change = self.temporal_fc(self.temporal_attn(self.temporal_norm1(through_time)))
        tokens = tokens + change.view(rows, patches, frames, dim).transpose(1, 2)
        sequence = torch.cat([cls.unsqueeze(1).expand(-1, frames, -1, -1), tokens], 2).flatten(0, 1)
        change = self.attn(self.norm1(sequence)).view(rows, frames, 1 + patches, dim)
        cls, tokens = cls + change[:, :, 0].mean(1, keepdim=True), tokens + change[:, :, 1:]
        return cls + self.mlp(self.norm2(cls)), tokens + self.mlp(self.norm2(tokens))


class PatchEmbed(nn.Module):
    def __init__(self, dim: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, patch, patch)


class DividedTransformer(nn.Module):
    def __init__(self, dim: int, depth: int, heads: int, frames: int, size: int, patch: int):
        super().__init__()
        self.patch_embed = PatchEmbed(dim, patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (size // patch) ** 2, dim))
        self.time_embed = nn.Parameter(torch.zeros(1, frames, dim))
        self.blocks = nn.ModuleList(DividedBlock(dim, heads, frames) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, single(1e-6))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """[N, T, 3, H, W] -> [N, D]."""
        rows, frames = clips.shape[:2]
        tokens = self.patch_embed.proj(clips.flatten(0, 1)).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        tokens = tokens.view(rows, frames, *tokens.shape[1:]) + self.time_embed[:, :, None]
        cls = (self.cls_token + self.pos_embed[:, :1]).expand(rows, -1, -1)
        for block in self.blocks:
            cls, tokens = block(cls, tokens)
        return self.norm(cls[:, 0])


class TimeSformer(nn.Module):
    def __init__(self, case: Case):
        super().__init__()
        self.normalize = Normalize([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
        self.backbone = DividedTransformer(32, 3, 4, case.frames, case.size, 8)
        self.head = Classifier(32, case.classes)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        tokens = self.backbone(self.normalize(inputs["imgs"][:, 0]))
        return F.cross_entropy(self.head.fc(tokens), inputs["label"])


# --- SlowOnly on persons ---------------------------------------------------------------------------------------------


class ConvBN3d(nn.Module):
    def __init__(self, channels: int, out: int, kernel: tuple[int, ...], stride: int = 1):
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.conv = nn.Conv3d(channels, out, kernel, (1, stride, stride), padding, bias=False)
        self.bn = nn.BatchNorm3d(out, single(1e-5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Block3d(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, frames: int):
        super().__init__()
        self.conv1 = ConvBN3d(channels, width, (frames, 1, 1))
        self.conv2 = ConvBN3d(width, width, (1, 3, 3), stride)
        self.conv3 = ConvBN3d(width, 4 * width, (1, 1, 1))
        same = stride == 1 and channels == 4 * width
        self.downsample = None if same else ConvBN3d(channels, 4 * width, (1, 1, 1), stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class SlowOnly(nn.Module):
    """1/16 of the picture's side: the last stage keeps its size."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1, channels = ConvBN3d(3, width, (1, 7, 7), 2), width
        for stage, count in enumerate(_BLOCKS):
            blocks = []
            for index in range(count):
                stride = 2 if stage in (1, 2) and index == 0 else 1
                blocks.append(Block3d(channels, width << stage, stride, 3 if stage > 1 else 1))
                channels = 4 * (width << stage)
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool3d(F.relu(self.conv1(x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


def roi_align(maps: torch.Tensor, boxes: torch.Tensor, samples: list[int], size: int, stride: float) -> torch.Tensor:
    """[R, C, size, size] of maps [N, C, h, w]: aligned, one point per pixel of the map, rounded up, their mean."""
    return torch.stack([_region(maps[sample], box / stride - 0.5, size) for sample, box in zip(samples, boxes)])


def _region(maps: torch.Tensor, box: torch.Tensor, size: int) -> torch.Tensor:
    height, width = maps.shape[1:]
    rows, row_points = _points(box[1], box[3], size, height)
    columns, column_points = _points(box[0], box[2], size, width)
    values = rows @ maps @ columns.T  # [C, size * points, size * points]
    return values.view(-1, size, row_points, size, column_points).mean([2, 4])


def _points(low: torch.Tensor, high: torch.Tensor, size: int, length: int) -> tuple[torch.Tensor, int]:
    """Along an axis: the weights [size * points, length] of linear interpolation, and the points of each part."""
    points = math.ceil(float(high - low) / size)
    place = low + (torch.arange(size * points, dtype=low.dtype) + 0.5) * ((high - low) / (size * points))
    inside = (place >= -1.0) & (place <= length)
    place = place.clamp(0.0, length - 1.0)
    distance = (place[:, None] - torch.arange(length, dtype=low.dtype)).abs()
    return (1.0 - distance).clamp(min=0.0) * inside[:, None], points


def labels_of(boxes: torch.Tensor, persons: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """The actions [R, K] of the person that a box overlaps by 0.9 or more; zeros where there is none."""
    low, high = (torch.maximum, torch.minimum)
    corners = low(boxes[:, None, :2], persons[None, :, :2]), high(boxes[:, None, 2:], persons[None, :, 2:])
    shared = (corners[1] - corners[0]).clamp(min=0.0).prod(2)
    areas = [(some[:, 2:] - some[:, :2]).prod(1) for some in (boxes, persons)]
    best, which = (shared / (areas[0][:, None] + areas[1][None] - shared)).max(1)
    return actions[which] * (best >= 0.9)[:, None]


class PersonHead(nn.Module):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.bbox_head = nn.Module()
        self.bbox_head.fc_cls = nn.Linear(channels, classes)

    def forward(self, regions: torch.Tensor) -> torch.Tensor:
        return self.bbox_head.fc_cls(F.adaptive_max_pool2d(regions, 1).flatten(1))


class Detector(nn.Module):
    def __init__(self, case: Case):
        super().__init__()
        self.normalize, self.case = Normalize(*_IMAGENET), case
        self.backbone, self.roi_head = SlowOnly(8), PersonHead(256, case.classes)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        maps = self.backbone(self.normalize(inputs["imgs"][:, 0]).transpose(1, 2)).mean(2)
        boxes, labels, samples = [], [], []
        clips, dtype = self.case.clips, maps.dtype
        parts = (inputs[key].to(dtype).chunk(clips) for key in ("boxes", "gt_boxes", "gt_labels"))
        for clip, (proposals, persons, actions) in enumerate(zip(*parts)):
            boxes.append(torch.cat([persons, proposals]))
            labels.append(labels_of(boxes[-1], persons, actions))
            samples += [clip] * len(boxes[-1])
        targets = torch.cat(labels)[:, 1:]
        logits = self.roi_head(roi_align(maps, torch.cat(boxes), samples, 8, 16.0))[:, 1:]
        kept = targets.sum(1) > 0
        return F.binary_cross_entropy_with_logits(logits[kept], targets[kept])


# --- recipes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """A network and how it learns.

    Args:
        rate: per clip of a batch.
        groups: of the named parameters, the multipliers of rate and decay.
        milestones: steps from which on the rate is a tenth.
        warmup: steps of linear warm-up, from a tenth.
    """

    network: Callable[[Case], nn.Module]
    rate: float
    decay: float
    groups: Callable[[str, nn.Parameter], tuple[float, float]]
    milestones: tuple[float, float]
    warmup: int = 0
    nesterov: bool = False

    def factor(self, step: int) -> float:
        regular = 0.1 ** sum(step >= milestone for milestone in self.milestones)
        return regular * (1.0 - (1.0 - step / self.warmup) * 0.9 if step < self.warmup else 1.0)


def _tsm_groups(name: str, parameter: nn.Parameter) -> tuple[float, float]:
    if name.startswith("head.fc."):
        return (5.0, 1.0) if name.endswith("weight") else (10.0, 0.0)
    return (1.0, 1.0) if parameter.ndim > 1 else (1.0, 0.0)  # the others of one axis are of batch norms


def _transformer_groups(name: str, parameter: nn.Parameter) -> tuple[float, float]:
    return 1.0, 0.0 if name.endswith(("cls_token", "pos_embed", "time_embed")) else 1.0


RECIPES = {
    "TSM R50": Recipe(TSM, 0.01 / 64, 1e-4, _tsm_groups, (20 / 50 * STEPS, 40 / 50 * STEPS)),
    "TimeSformer": Recipe(
        TimeSformer, 0.005 / 64, 1e-4, _transformer_groups, (5 / 15 * STEPS, 10 / 15 * STEPS), nesterov=True
    ),
    "SlowOnly AVA": Recipe(
        Detector, 0.2 / 128, 1e-5, lambda name, parameter: (1.0, 1.0), (10 / 20 * STEPS, 15 / 20 * STEPS),
        warmup=5 * STEPS // 20,
    ),
}  # fmt: skip


def run(name: str, dtype: str) -> Iterator[tuple[dict[str, float], dict[str, np.ndarray]]]:
    """The figures and arrays of each step."""
    torch.set_default_dtype({"float32": torch.float32, "float64": torch.float64}[dtype])
    case, recipe = CASES[name], RECIPES[name]
    network = recipe.network(case)
    state = network.state_dict()
    weights = start_weights((key, value.shape) for key, value in state.items())
    network.load_state_dict({**state, **{key: torch.from_numpy(value) for key, value in weights.items()}})
    parameters = dict(network.named_parameters())
    rate = recipe.rate * case.clips
    groups: list[dict[str, Any]] = []
    for key, parameter in parameters.items():
        of_rate, of_decay = recipe.groups(key, parameter)
        decay = single(of_decay * recipe.decay)
        groups.append({"params": [parameter], "lr": of_rate * rate, "weight_decay": decay})
    optimizer = torch.optim.SGD(groups, rate, momentum=single(0.9), nesterov=recipe.nesterov)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, recipe.factor)
    network.train()
    for step in range(STEPS):
        loss = network({key: torch.from_numpy(value) for key, value in batch(case, step).items()})
        optimizer.zero_grad()
        loss.backward()
        arrays = {f"gradient {key}": parameter.grad.numpy().copy() for key, parameter in parameters.items()}
        norm = clip_gradients(list(parameters.values()), _CLIP)
        optimizer.step()
        schedule.step()
        arrays |= {f"weight {key}": parameter.detach().numpy().copy() for key, parameter in parameters.items()}
        yield {"loss": loss.item(), "gradient_norm": norm, "rate": rate * recipe.factor(step)}, arrays


def clip_gradients(parameters: list[nn.Parameter], limit: float) -> float:
    """The norm of all gradients, which are scaled to ``limit`` where it is above.

    ``clip_grad_norm_`` adds 1e-6 to the norm that it divides by, which would be the largest difference in float64.
    """
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    nn.utils.clip_grads_with_norm_(parameters, limit, norm - 1e-6)
    return norm.item()


def main(name: str, dtype: str, folder: Path) -> None:
    torch.set_num_threads(1)
    figures = []
    for step, (found, arrays) in enumerate(run(name, dtype)):
        figures.append(found)
        np.savez(folder / f"{step}.npz", **arrays)
    (folder / "steps.json").write_text(json.dumps({"torch": torch.__version__, "steps": figures}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
