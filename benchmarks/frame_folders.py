"""Folders of JPEG files to clips:  python -m benchmarks.frame_folders [--root OTHER] [--rounds 5]

Eight of 80 pictures, 340x256 and 1280x720, 4:2:0, quality 90: short side 256, centre 224.  The last columns compare the
clip with that of whole pictures.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks import peers
from benchmarks.side_by_side import Contestant, compare, head, header, row

_REPEATS = 20  # clips per call of a contestant


def write_folder(folder: Path, width: int, height: int, num_frames: int = 80) -> dict[str, Any]:
    """Pictures of a moving pattern with a little noise, of the size that frames of videos have (100 kB at 1280x720)."""
    rng = np.random.default_rng(0)
    pattern = rng.integers(0, 256, (height // 16 + 8, width // 16 + 8, 3), dtype=np.uint8)
    large = cv2.resize(pattern, (width + 128, height + 128), interpolation=cv2.INTER_CUBIC)
    folder.mkdir()
    for k in range(num_frames):
        noise = rng.integers(-2, 3, (height, width, 3))
        picture = np.clip(large[k : k + height, k : k + width] + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(folder / f"img_{k + 1:05}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return {"folder": str(folder), "num_frames": num_frames}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="another checkout, beside this one")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    file, this, jpeg = "benchmarks/contestants/frame_folders.py", peers.ours(), peers.python_of("jpeg")
    print(header("python -m benchmarks.frame_folders"))
    head("pictures", "way", "CPU ms per clip", "to ours", "peak MB", "mean of the clip")
    with tempfile.TemporaryDirectory() as name:
        for width, height in ((340, 256), (1280, 720)):
            given = write_folder(Path(name) / f"{width}", width, height)
            ways = [
                Contestant("ours", this, f"{file}:ours", given),
                Contestant("ours, backend: cv2", this, f"{file}:ours", {**given, "backend": "cv2"}),
                Contestant("ours, min_side: 256", this, f"{file}:ours", {**given, "min_side": 256}),
                Contestant("cv2.imread in a loop", jpeg, f"{file}:plain", given),
                Contestant("cv2 REDUCED_COLOR_2", jpeg, f"{file}:plain", {**given, "flag": "IMREAD_REDUCED_COLOR_2"}),
                Contestant("simplejpeg in a loop", jpeg, f"{file}:simplejpeg", given),
                Contestant("simplejpeg, scaled", jpeg, f"{file}:simplejpeg", {**given, "min_side": 256}),
                Contestant("PaddleVideo's way", jpeg, f"{file}:paddlevideo", given),
            ]
            if args.root:
                ways.insert(1, Contestant("other checkout", peers.ours(args.root), f"{file}:ours", given))
            results = compare(ways, rounds=args.rounds)
            for way, result in results.items():
                ms, ratio = 1e3 * result.cpu_s / _REPEATS, result.cpu_s / results["ours"].cpu_s
                mean = result.error or f"{result.value:.2f}"
                row(f"{width}x{height}", way, f"{ms:.1f}", f"{ratio:.2f}", f"{result.peak_mb:.0f}", mean)
        print(f"\nmin_side: 256 at 1280x720 against whole pictures: {_difference(given)}")


def _difference(given: dict[str, Any]) -> str:
    """Mean and largest difference of the pixels of a clip."""
    from paddlevideo.loader.pipelines import Pipeline

    clips = []
    for decoder in ({}, {"min_side": 256}):
        section = {
            "decode": {"name": "FrameDecoder", **decoder},
            "sample": {"name": "Sampler", "num_seg": 8, "seg_len": 1, "valid_mode": True},
            "transform": [{"Scale": {"short_size": 256, "backend": "cv2"}}, {"CenterCrop": {"target_size": 224}}],
        }
        sample = {"frame_dir": given["folder"], "total_frames": given["num_frames"], "suffix": "img_{:05}.jpg"}
        clips.append(Pipeline(section, "PIPELINE.test")({**sample, "label": 0}, np.random.default_rng(0))["imgs"])
    difference = np.abs(clips[0].astype(int) - clips[1])
    return f"{difference.mean():.2f} levels of 255 on average, {difference.max()} at most"


if __name__ == "__main__":
    main()
