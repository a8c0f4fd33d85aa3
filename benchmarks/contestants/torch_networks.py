"""The networks of ``benchmarks.training_step`` in PyTorch, eager: the same layers as ours at full size, batch 1.

Residual networks are torchvision's where it has them. Nothing of the project is imported.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision_ready  # noqa: F401
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2, resnet50

_BLOCKS = (3, 4, 6, 3)


class Shift(nn.Module):
    """Of [N * T, C, H, W] an eighth of the channels from the frame before, an eighth from the one after."""

    def __init__(self, layer: nn.Module, num_seg: int = 8):
        super().__init__()
        self.layer, self.num_seg = layer, num_seg

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clip = x.view(-1, self.num_seg, *x.shape[1:])
        fold = x.shape[1] // 8
        out = torch.zeros_like(clip)
        out[:, 1:, :fold] = clip[:, :-1, :fold]
        out[:, :-1, fold : 2 * fold] = clip[:, 1:, fold : 2 * fold]
        out[:, :, 2 * fold :] = clip[:, :, 2 * fold :]
        return self.layer(out.view(x.shape))


class FramesHead(nn.Module):
    """Mean over space, dropout, classifier, mean over frames."""

    def __init__(self, features: nn.Module, channels: int, num_seg: int = 8):
        super().__init__()
        self.features, self.num_seg = features, num_seg
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(channels, 400)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:  # [N, T, 3, H, W]
        pooled = self.features(clips.flatten(0, 1)).mean([2, 3])
        return self.fc(self.dropout(pooled)).view(-1, self.num_seg, 400).mean(1)


def tsm() -> nn.Module:
    network = resnet50()
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.conv1 = Shift(block.conv1)
    return FramesHead(nn.Sequential(*list(network.children())[:-2]), 2048)


def tsm_mobilenetv2() -> nn.Module:
    network = mobilenet_v2()
    for block in network.features:
        if getattr(block, "use_res_connect", False):
            block.conv[0] = Shift(block.conv[0])
    return FramesHead(network.features, 1280)


def conv_bn(channels: int, out: int, kernel: tuple, stride: tuple = (1, 1, 1), relu: bool = True) -> nn.Sequential:
    padding = tuple((size - 1) // 2 for size in kernel)
    parts = [nn.Conv3d(channels, out, kernel, stride, padding, bias=False), nn.BatchNorm3d(out)]
    return nn.Sequential(*parts, *([nn.ReLU(inplace=True)] if relu else []))


class Block3d(nn.Module):
    def __init__(self, channels: int, width: int, stride: int, frames: int):
        super().__init__()
        strides = (1, stride, stride)
        self.branch = nn.Sequential(
            conv_bn(channels, width, (frames, 1, 1)),
            conv_bn(width, width, (1, 3, 3), strides),
            conv_bn(width, 4 * width, (1, 1, 1), relu=False),
        )
        same = stride == 1 and channels == 4 * width
        self.short = nn.Identity() if same else conv_bn(channels, 4 * width, (1, 1, 1), strides, relu=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.branch(x) + self.short(x), inplace=True)


class Pathway(nn.Module):
    def __init__(self, width: int, stem_frames: int, inflate: tuple, extra: tuple = (0, 0, 0, 0)):
        super().__init__()
        self.stem = nn.Sequential(
            conv_bn(3, width, (stem_frames, 7, 7), (1, 2, 2)), nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        )
        self.stages, channels = nn.ModuleList(), width
        for stage, count in enumerate(_BLOCKS):
            blocks = []
            for index in range(count):
                stride = 2 if stage and index == 0 else 1
                joined = channels + (extra[stage] if index == 0 else 0)
                blocks.append(Block3d(joined, width << stage, stride, 3 if inflate[stage] else 1))
                channels = 4 * (width << stage)
            self.stages.append(nn.Sequential(*blocks))


class ClipsHead(nn.Module):
    """Mean over time and space of every pathway, dropout, classifier."""

    def __init__(self, network: nn.Module, channels: int):
        super().__init__()
        self.network, self.dropout, self.fc = network, nn.Dropout(0.5), nn.Linear(channels, 400)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:  # [N, T, 3, H, W]
        maps = self.network(clips.transpose(1, 2).contiguous())
        return self.fc(self.dropout(torch.cat([one.mean([2, 3, 4]) for one in maps], 1)))


class SlowOnly(Pathway):
    def __init__(self) -> None:
        super().__init__(64, 1, (False, False, True, True))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
        return [x]


class SlowFast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        fused = (8, 32, 64, 128)
        self.slow = Pathway(64, 1, (False, False, True, True), tuple(2 * channels for channels in fused))
        self.fast = Pathway(8, 5, (True, True, True, True))
        self.laterals = nn.ModuleList(
            nn.Conv3d(channels, 2 * channels, (5, 1, 1), (8, 1, 1), (2, 0, 0), bias=False) for channels in fused
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        slow, fast = self.slow.stem(x[:, :, ::8]), self.fast.stem(x)
        for lateral, of_slow, of_fast in zip(self.laterals, self.slow.stages, self.fast.stages):
            slow, fast = of_slow(torch.cat([slow, lateral(fast)], 1)), of_fast(fast)
        return [slow, fast]


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.qkv, self.proj = heads, nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, dim = x.shape
        q, k, v = self.qkv(x).view(rows, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(rows, length, dim))


class DividedBlock(nn.Module):
    def __init__(self, dim: int, heads: int, frames: int, drop_path: float):
        super().__init__()
        self.frames, self.rate = frames, drop_path
        self.norm_t, self.norm_s, self.norm_m = (nn.LayerNorm(dim, 1e-6) for _ in range(3))
        self.time, self.space, self.fc = Attention(dim, heads), Attention(dim, heads), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def drop(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        return x * (torch.rand(len(x), *[1] * (x.ndim - 1)) < keep) / keep

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # [N, 1 + P * T, D]
        rows, length, dim = x.shape
        frames, patches = self.frames, (length - 1) // self.frames
        cls, tokens = x[:, :1], x[:, 1:]
        through_time = tokens.reshape(-1, frames, dim)
        tokens = (through_time + self.fc(self.drop(self.time(self.norm_t(through_time))))).view(rows, -1, dim)
        in_frames = tokens.view(rows, patches, frames, dim).transpose(1, 2).reshape(-1, patches, dim)
        copies = cls.expand(rows, frames, dim).reshape(-1, 1, dim)
        change = self.drop(self.space(self.norm_s(torch.cat([copies, in_frames], 1))))
        cls = cls + change[:, 0].view(rows, frames, dim).mean(1, keepdim=True)
        change = change[:, 1:].reshape(rows, frames, patches, dim).transpose(1, 2).reshape(rows, -1, dim)
        x = torch.cat([cls, tokens + change], 1)
        return x + self.drop(self.mlp(self.norm_m(x)))


class TimeSformer(nn.Module):
    def __init__(self, dim: int = 768, depth: int = 12, heads: int = 12, frames: int = 8, patches: int = 196):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 16, 16)
        self.cls, self.places = nn.Parameter(torch.zeros(1, 1, dim)), nn.Parameter(torch.zeros(1, 1 + patches, dim))
        self.times = nn.Parameter(torch.zeros(1, frames, dim))
        rates = torch.linspace(0, 0.1, depth).tolist()
        self.blocks = nn.Sequential(*(DividedBlock(dim, heads, frames, rate) for rate in rates))
        self.norm, self.fc = nn.LayerNorm(dim, 1e-6), nn.Linear(dim, 400)

    def forward(self, clips: torch.Tensor) -> torch.Tensor:  # [N, T, 3, H, W]
        rows, frames = clips.shape[:2]
        tokens = self.embed(clips.flatten(0, 1)).flatten(2).transpose(1, 2) + self.places[:, 1:]
        dim = tokens.shape[-1]
        tokens = tokens.view(rows, frames, -1, dim).transpose(1, 2) + self.times  # [N, P, T, D]
        cls = (self.cls + self.places[:, :1]).expand(rows, 1, dim)
        x = self.blocks(torch.cat([cls, tokens.reshape(rows, -1, dim)], 1))
        return self.fc(self.norm(x[:, 0]))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "TSM-R50": tsm,
    "SlowOnly-R50 4x16": lambda: ClipsHead(SlowOnly(), 2048),
    "SlowFast-R50 4x16": lambda: ClipsHead(SlowFast(), 2304),
    "TimeSformer-B": TimeSformer,
    "TSM-MobileNetV2": tsm_mobilenetv2,
}


def step(network: str, frames: int, train: bool, threads: int, clip_norm: float | None, nesterov: bool) -> Callable:
    """A training step, or a prediction, of one uint8 clip [1, T, 224, 224, 3]; returns its loss, or highest score."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = NETWORKS[network]()
    clips = torch.randint(0, 256, (1, frames, 224, 224, 3), dtype=torch.uint8)
    label = torch.tensor([3])
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    model.train(train)

    def scores() -> torch.Tensor:
        return model((clips.permute(0, 1, 4, 2, 3).float() / 255.0 - mean) / std)

    def predict() -> float:
        with torch.inference_mode():
            return float(scores().softmax(-1).max())

    if not train:
        return predict
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9, weight_decay=1e-4, nesterov=nesterov)

    def run() -> float:
        loss = F.cross_entropy(scores(), label)
        loss.backward()
        if clip_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return run
