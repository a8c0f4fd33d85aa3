"""What only a GPU can show, in one run of at most eight minutes:  python -m benchmarks.gpu [--small] [--minutes 8]

Mixed precision against float32, repeatable kernels, the fused attention against the written-out one, ``--scale_lr``,
speed, memory and the reader's share of every family, two ranks on one card, TensorRT.  Every training is the command
that users run, 20 steps from random weights on rendered clips; results are a Markdown table, and the exit code is 1
where a row failed.  A row that the machine, its libraries or the time do not allow states the reason, and is not
counted as passed.

``--small`` takes two small networks and five steps, also on a CPU, where the rows of mixed precision are left out: so
that the script is known to run before there is a GPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.side_by_side import head, header, row

ROOT = Path(__file__).resolve().parents[1]
_CLIPS, _FRAMES, _CLASSES = 32, 72, 4
_HALVES = [(level, dtype) for level in ("O1", "O2") for dtype in ("float16", "bfloat16")]
# 8 and 11 bits of mantissa, through some 50 layers; after the first step two trainings of batch norms part by chance
_FIRST_LOSS, _MEAN_LOSS = 0.02, 0.15


@dataclass(frozen=True)
class Family:
    """A shipped recipe, the clips of a batch that fit a card of 16 GB, and what makes its network a small one."""

    config: str
    batch: int
    small: tuple[str, ...] = ()


FAMILIES = {
    "TSM": Family(
        "tsm_k400_videos", 16, ("MODEL.backbone.depth=18", "MODEL.backbone.width=4", "MODEL.head.in_channels=32")
    ),
    "TimeSformer": Family(
        "timesformer_k400_videos",
        8,
        ("MODEL.backbone.depth=1", "MODEL.backbone.embed_dim=16", "MODEL.backbone.num_heads=2",
         "MODEL.head.in_channels=16"),
    ),
    "PP-TSM": Family("pptsm_k400_videos_uniform", 16),
    "PP-TimeSformer": Family("pptimesformer_k400_videos", 8),
    "SlowFast": Family("slowfast_r50_4x16x1_256e_kinetics400_rgb", 8),
}  # fmt: skip


class NotRun(Exception):
    """A row that cannot be measured here, and why."""


@dataclass(frozen=True)
class Training:
    """What a training command left.

    Attributes:
        losses, rates: of every step.
        clips_per_s: median over the steps after the first ones.
        reader: share of the reader in a step, 0..1.
        memory_mb: peak of the card's allocations; None: a CPU.
        digest: SHA-256 of the last weights.
    """

    losses: np.ndarray
    rates: np.ndarray
    clips_per_s: float
    reader: float
    memory_mb: int | None
    digest: str


@dataclass
class Session:
    """Clips in ``folder``, the device, the number of steps, and the time until which commands are begun."""

    folder: Path
    device: str
    small: bool
    until: float
    number: Iterator[int] = field(default_factory=count)

    @property
    def steps(self) -> int:
        return 5 if self.small else 20

    @property
    def families(self) -> dict[str, Family]:
        return {name: family for name, family in FAMILIES.items() if family.small or not self.small}

    def command(self, words: list[str], **environment: str) -> str:
        """Output of a command; ``NotRun`` where no time is left, RuntimeError with its last lines where it failed."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise NotRun("no time was left")
        own = {name: value for name, value in os.environ.items() if not name.startswith("PADDLE_")}
        try:
            done = subprocess.run(
                words, cwd=ROOT, env={**own, **environment}, capture_output=True, text=True, timeout=left
            )
        except subprocess.TimeoutExpired:
            raise NotRun("the time ended before it did") from None
        if done.returncode:
            lines = (done.stdout + done.stderr).strip().splitlines()
            raise RuntimeError(f"exit code {done.returncode}: {lines[-1] if lines else 'no output'}")
        return done.stdout + done.stderr

    def train(self, name: str, *flags: str, launch: tuple[str, ...] = (), batch: int | None = None) -> Training:
        """Trains a family for the session's steps."""
        family, out = FAMILIES[name], self.folder / f"run{next(self.number)}"
        batch = batch or (2 if self.small else family.batch)
        changes = [
            f"output_dir={out}", f"DATASET.batch_size={batch}", f"DATASET.num_workers={0 if self.small else 8}",
            f"DATASET.train.file_path={self.folder / 'clips.list'}", f"DATASET.train.data_prefix={self.folder}",
            "epochs=1", "log_interval=1", "MODEL.backbone.pretrained=null", f"MODEL.head.num_classes={_CLASSES}",
            "DATASET.label_names=null", *(family.small if self.small else ()),
        ]  # fmt: skip
        words = [*launch, str(ROOT / "main.py")] if launch else [sys.executable, "-m", "paddlevideo", "train"]
        words += ["-c", family.config, "--device", self.device, "--seed", "0", "--max_iters", str(self.steps), *flags]
        self.command([*words, *(part for change in changes for part in ("-o", change))])
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        steps = [record for record in records if record["mode"] == "train"]
        late = steps[len(steps) // 4 :]
        seconds = np.array([record["batch_cost"] for record in late])
        memory = re.findall(r"max_mem_allocated: (\d+) MB", (out / "log.txt").read_text())
        return Training(
            np.array([record["loss"] for record in steps]),
            np.array([record["lr"] for record in steps]),
            float(batch / np.median(seconds)),
            float(np.sum([record["reader_cost"] for record in late]) / seconds.sum()),
            int(memory[-1]) if memory else None,
            hashlib.sha256(max(out.glob("*.pdparams")).read_bytes()).hexdigest(),
        )


def render(folder: Path, small: bool) -> None:
    """Clips of a moving pattern at the size of Kinetics' small copies, and their list."""
    from paddlevideo.video_files import write_video

    height, width = (64, 80) if small else (256, 340)
    lines = []
    for number in range(8 if small else _CLIPS):
        rng, label = np.random.default_rng(number), number % _CLASSES
        pattern = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        shift = ((0, 3), (0, -3), (3, 0), (-3, 0))[label]
        frames = (np.roll(pattern, (t * shift[0], t * shift[1]), (0, 1)) for t in range(_FRAMES))
        write_video(folder / f"{number}.mp4", frames, 25.0)
        lines.append(f"{number}.mp4 {label}\n")
    (folder / "clips.list").write_text("".join(lines) * (8 if small else 20))  # enough for the steps of every batch


Row = tuple[str, str, str, bool]  # what, its setting, the figures, whether it passed


def mixed_precision(session: Session) -> Iterator[Row]:
    """Losses of half precision against those of float32, from the same weights and batches."""
    if not session.device.startswith("gpu"):
        raise NotRun("mixed precision is for GPUs")
    for name in ("TSM", "TimeSformer"):
        whole = session.train(name).losses
        for level, dtype in _HALVES:
            half = session.train(name, "--amp", "--amp_level", level, "--amp_dtype", dtype).losses
            first, mean = abs(half[0] / whole[0] - 1), abs(half.mean() / whole.mean() - 1)
            passed = bool(np.isfinite(half).all() and first < _FIRST_LOSS and mean < _MEAN_LOSS)
            yield f"AMP {name}", f"{level} {dtype}", f"loss off by {first:.2%}, mean of steps {mean:.2%}", passed


def repeatable(session: Session) -> Iterator[Row]:
    """Two trainings with ``--deterministic`` have equal losses and weights."""
    one, two = (session.train("TSM", "--deterministic") for _ in range(2))
    equal = bool((one.losses == two.losses).all() and one.digest == two.digest)
    yield "two trainings", "--deterministic", "equal bits" if equal else "differ", equal


def attention(session: Session) -> Iterator[Row]:
    """The fused kernel against the written-out attention in float32: output and gradient."""
    import paddle

    from paddlevideo.modeling.backbones.vit import Attention

    if not session.device.startswith("gpu"):
        raise NotRun("a CPU has the written-out attention alone")
    paddle.set_device(session.device)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((4, 197, 3, 12, 64)).astype("float32")
    layer = Attention(768, 12)

    def both(form: Callable, dtype: str) -> list[np.ndarray]:
        qkv = paddle.to_tensor(values).astype(dtype)
        qkv.stop_gradient = False
        out = form(qkv)
        out.astype("float32").square().sum().backward()
        return [tensor.astype("float32").numpy() for tensor in (out, qkv.grad)]

    right = both(layer._written_out, "float32")
    for dtype, bound in (("float32", 1e-4), ("float16", 5e-3), ("bfloat16", 4e-2)):
        off = [abs(a - b).max() / abs(b).max() for a, b in zip(both(layer._fused, dtype), right)]
        yield "attention", dtype, f"output off by {off[0]:.1e}, gradient {off[1]:.1e}", max(off) < bound


def scaled_rate(session: Session) -> Iterator[Row]:
    """``--scale_lr`` multiplies the published rate by this batch over the published one."""
    from paddlevideo.config import load_config

    batch = 2
    base = load_config(FAMILIES["TSM"].config).section("OPTIMIZER")["base_batch_size"]
    published, scaled = (session.train("TSM", *flag, batch=batch).rates for flag in ((), ("--scale_lr",)))
    factor = float(scaled[0] / published[0])
    yield "--scale_lr", f"{batch} of {base} clips", f"rate x {factor:.6g}", abs(factor * base / batch - 1) < 1e-6


def speed(session: Session) -> Iterator[Row]:
    """Clips per second, the reader's share and peak memory."""
    ways = [("float32", ()), *([("O1 float16", ("--amp",))] if session.device.startswith("gpu") else [])]
    for name in session.families:
        for way, flags in ways:
            run = session.train(name, *flags)
            memory = "" if run.memory_mb is None else f", {run.memory_mb} MB"
            figures = f"{run.clips_per_s:.3g} clips/s, reader {run.reader:.0%}{memory}"
            yield f"speed {name}", way, figures, bool(np.isfinite(run.losses).all())


def two_ranks(session: Session) -> Iterator[Row]:
    """Two processes on one card, which NCCL allows in some settings only."""
    if not session.device.startswith("gpu"):
        raise NotRun("NCCL is for GPUs")
    log = session.folder / "launch"
    launch = (sys.executable, "-m", "paddle.distributed.launch", "--devices", "0,0", "--log_dir", str(log))
    try:
        run = session.train("TSM", launch=launch)
    except RuntimeError as error:
        raise NotRun(f"two ranks on one card are refused ({error})") from None
    yield "two ranks", "one card, NCCL", f"last loss {run.losses[-1]:.3f}", bool(np.isfinite(run.losses).all())


def tensorrt(session: Session) -> Iterator[Row]:
    """Whether Paddle has TensorRT; predictions with it are ``predict --use_tensorrt``."""
    from paddle import inference

    version = inference.get_trt_compile_version()
    if not session.device.startswith("gpu") or version == (0, 0, 0):
        raise NotRun("this PaddlePaddle has no TensorRT")
    yield "TensorRT", "of Paddle", ".".join(map(str, version)), True


CHECKS = (repeatable, scaled_rate, attention, mixed_precision, speed, two_ranks, tensorrt)


def main(words: list[str] | None = None) -> int:
    """Prints the table; 1 where a row failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="two small networks, five steps")
    parser.add_argument("--minutes", type=float, default=8.0, help="after which no command is begun (%(default)s)")
    args = parser.parse_args(words)
    from paddlevideo.environment import has_gpu

    failed, device = False, "gpu" if has_gpu() else "cpu"
    print(header(f"python -m benchmarks.gpu{' --small' * args.small}"))
    print()
    head("check", "setting", "figures", "result")
    with tempfile.TemporaryDirectory() as name:
        session = Session(Path(name), device, args.small, time.monotonic() + 60 * args.minutes)
        render(session.folder, args.small)
        for check in CHECKS:
            try:
                for what, setting, figures, passed in check(session):
                    failed |= not passed
                    row(what, setting, figures, "passed" if passed else "FAILED")
            except NotRun as reason:
                row(check.__name__, "", reason, "not run")
            except RuntimeError as error:
                failed = True
                row(check.__name__, "", error, "FAILED")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
