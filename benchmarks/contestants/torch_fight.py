"""The recipe of ``tsm_mv2_motion`` in PyTorch: torchvision's MobileNetV2, torchcodec, torch.optim.

``torch_fight.py TRAIN_LIST VAL_LIST CLIPS WEIGHTS.npz OUT --seed N`` trains and writes ``OUT/torch.json``: the scores
of the validation clips after the last epoch, and the learning curve.  Nothing of the project is imported.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
import torchvision_ready  # noqa: F401
from torch import nn
from torch.nn import functional as F
from torchcodec.decoders import VideoDecoder
from torchvision.models import mobilenet_v2
from torchvision.transforms.v2 import functional as T

SEGMENTS, RUN, SIDE, SHORT, GAIN = 8, 3, 112, 128, 2.0
EPOCHS, BATCH, RATES = 12, 16, ((7, 1e-4), (10, 2e-5), (12, 5e-6))
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
LEARNING = 14  # the first of torchvision's 19 blocks that learns: conv7 of the paper's table


class Shifted(nn.Module):
    """Before a block's first layer: an eighth of the channels from the frame after, an eighth from the one before."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        clip, fold = x.view(-1, SEGMENTS, *x.shape[1:]), x.shape[1] // 8
        out = torch.zeros_like(clip)
        out[:, :-1, :fold] = clip[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = clip[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = clip[:, :, 2 * fold :]
        return self.layer(out.view(x.shape))


class Network(nn.Module):
    def __init__(self, weights: Path):
        super().__init__()
        self.features = mobilenet_v2().features
        arrays = [array for _, array in sorted(np.load(weights).items())]
        keys = [key for key in self.features.state_dict() if "num_batches" not in key]
        state = {key: torch.tensor(array) for key, array in zip(keys, arrays, strict=True)}
        self.features.load_state_dict(state, strict=False)
        for block in self.features:
            if getattr(block, "use_res_connect", False):
                block.conv[0] = Shifted(block.conv[0])
        self.features[:LEARNING].requires_grad_(False)
        self.dropout, self.fc = nn.Dropout(0.5), nn.Linear(1280, 2)
        nn.init.normal_(self.fc.weight, std=0.001)
        nn.init.zeros_(self.fc.bias)

    def train(self, mode: bool = True) -> Network:
        super().train(mode)
        self.features[:LEARNING].eval()
        return self

    def forward(self, clips: torch.Tensor) -> torch.Tensor:  # uint8 [N, T, 3, H, W]
        x = (clips.float() / 255 - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)
        pooled = self.features(x.flatten(0, 1)).mean([2, 3])
        return self.fc(self.dropout(pooled)).view(-1, SEGMENTS, 2).mean(1)


def frames_of(file: Path, cache: dict[Path, torch.Tensor]) -> torch.Tensor:
    """uint8 [T, 3, H, W]: all frames."""
    if file not in cache:
        decoder = VideoDecoder(str(file))
        cache[file] = decoder.get_frames_in_range(0, len(decoder)).data
    return cache[file]


def segments(count: int, rng: np.random.Generator | None) -> list[int]:
    """A run of frames in each segment, drawn or about the middle; runs wrap around at the end."""
    length = count // SEGMENTS
    first = [segment * max(length, 1) for segment in range(SEGMENTS)]
    if length >= RUN:
        first = [at + ((length - 1) // 2 if rng is None else int(rng.integers(length - RUN + 1))) for at in first]
    return [(at + k) % count for at in first for k in range(RUN)]


def differences(frames: torch.Tensor) -> torch.Tensor:
    change = (frames[RUN - 1 :: RUN].short() - frames[::RUN].short()).abs().float() * GAIN
    return change.round().clamp(0, 255).byte()


def training_clip(frames: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    clip = frames[segments(len(frames), rng)]
    height, width = clip.shape[2:]
    side, root = rng.uniform(0.7, 1.0) * min(height, width), math.sqrt(1.2 ** rng.uniform(-1, 1))
    h, w = min(height, round(side / root)), min(width, round(side * root))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    clip = T.resized_crop(clip, top, left, h, w, [SIDE, SIDE], antialias=True)
    if rng.random() < 0.5:
        clip = T.horizontal_flip(clip)
    if rng.random() < 0.8:
        for change in (T.adjust_brightness, T.adjust_contrast, T.adjust_saturation):
            clip = change(clip, float(rng.uniform(0.8, 1.2)))
    return differences(clip)


def test_clip(frames: torch.Tensor) -> torch.Tensor:
    clip = T.resize(frames[segments(len(frames), None)], [SHORT], antialias=True)
    return differences(T.center_crop(clip, [SIDE, SIDE]))


def groups(network: Network) -> list[dict]:
    """No weight decay on batch norms and the classifier's bias; the classifier's rates are 5 and 10 times as high."""
    learned = [p for p in network.features.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": 0.05, "times": 1},
        {"params": [p for p in learned if p.ndim == 1], "weight_decay": 0.0, "times": 1},
        {"params": [network.fc.weight], "weight_decay": 0.05, "times": 5},
        {"params": [network.fc.bias], "weight_decay": 0.0, "times": 10},
    ]


def read_list(file: Path) -> list[tuple[str, int]]:
    return [(name, int(label)) for name, label in (line.split() for line in file.read_text().splitlines())]


def scores_of(network: Network, rows: list, clips: Path, cache: dict) -> dict[str, float]:
    network.eval()
    found = {}
    with torch.no_grad():
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            batch = torch.stack([test_clip(frames_of(clips / name, cache)) for name, _ in part])
            scores = F.softmax(network(batch), 1)[:, 1].tolist()
            found |= {name: score for (name, _), score in zip(part, scores)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("train", "val", "clips", "weights", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng, cache = np.random.default_rng(args.seed), {}
    train, val = read_list(args.train), read_list(args.val)
    network = Network(args.weights)
    optimizer = torch.optim.AdamW(groups(network), lr=RATES[0][1])
    learned = [p for p in network.parameters() if p.requires_grad]
    curve: dict[str, list[float]] = {"loss": [], "train": [], "fold": []}
    for epoch in range(args.epochs):
        rate = next(rate for end, rate in RATES if epoch < end)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["times"]
        network.train()
        order, losses, right = rng.permutation(len(train)), [], []
        for start in range(0, len(train), BATCH):
            part = [train[i] for i in order[start : start + BATCH]]
            batch = torch.stack([training_clip(frames_of(args.clips / name, cache), rng) for name, _ in part])
            labels = torch.tensor([label for _, label in part])
            logits = network(batch)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 5.0)
            optimizer.step()
            losses.append(loss.item())
            right.append((logits.argmax(1) == labels).float().mean().item())
        scores = scores_of(network, val, args.clips, cache)
        curve["loss"].append(round(float(np.mean(losses)), 4))
        curve["train"].append(round(float(np.mean(right)), 4))
        curve["fold"].append(round(float(np.mean([(scores[name] > 0.5) == label for name, label in val])), 4))
    (args.out / "torch.json").write_text(json.dumps({"scores": scores, "curve": curve}))
    torch.save(network.state_dict(), args.out / "torch.pth")


if __name__ == "__main__":
    main()
