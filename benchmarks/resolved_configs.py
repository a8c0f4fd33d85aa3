"""Resolved configurations: all leaves as one JSON file, and what differs from another revision, key by key.

    python -m benchmarks.resolved_configs --out resolved.json
    python -m benchmarks.resolved_configs --against 36cbc0a    # exit 1 if a difference is not in EXPECTED

A leaf is resolved as by ``main.py --check``; its PIPELINE.test also with each of its protocols.  The other revision is
unpacked into a temporary folder and resolved by its own package.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MISSING = "(missing)"

_OWN_NAME = "a name of its own, so that checkpoints of different recipes have different names"
_FILLED = "num_seg fills it; nothing reads it here"
# differences from 36cbc0a: leaves and key path (shell patterns), the value now ({name}: the leaf's file name), why
EXPECTED: tuple[tuple[str, str, str, str], ...] = (
    ("*_rgb.yaml", "model_name", "{name}", _OWN_NAME),
    ("*_rgb_custom_classes.yaml", "model_name", "{name}", _OWN_NAME),
    ("*/timesformer_sapceOnly_*", "model_name", "timesformer_spaceOnly_8x32x1_15e_kinetics400_rgb", _OWN_NAME),
    ("*/lfb_slowonly_r50_ava_infer.yaml", "model_name", "{name}", _OWN_NAME),
    ("*/tsm_own_videos.yaml", "model_name", "TSM_own", _OWN_NAME),
    ("*/tsm_own_videos_multilabel.yaml", "model_name", "TSM_own_multilabel", _OWN_NAME),
    ("*/pptimesformer_k400_videos_16frames.yaml", "model_name", "ppTimeSformer_16f", _OWN_NAME),
    ("*/pptimesformer_k400_videos_distill.yaml", "model_name", "ppTimeSformer_distill", _OWN_NAME),
    *(
        (f"recognition/tsm/*{frames}_*_rgb.yaml", key, number, _FILLED)
        for frames, number in (("1x1x8", "8"), ("1x1x16", "16"))
        for key in ("MODEL.runtime_cfg.test.num_seg", "P[IR]*.decode.num_seg")
    ),
)


def resolved(root: Path) -> dict[str, dict[str, Any]]:
    """Leaf, relative to ``configs`` -> its configuration; by the package in ``root``, which this process imports."""
    sys.path.insert(0, str(root))
    from paddlevideo.config import load_config
    from paddlevideo.config.merging import read_with_bases

    found = {}
    for file in sorted((root / "configs").rglob("*.yaml")):
        if "_base_" in file.parts:
            continue
        config = load_config(file)
        content = config.to_dict() | {"output_dir": str(config.output_dir)}
        protocols = read_with_bases(file)[0].get("PROTOCOLS", {})
        content["PROTOCOLS"] = {
            name: load_config(file, [f"protocol={name}"], uses=("test",)).to_dict()["PIPELINE"]["test"]
            for name in protocols
        }
        found[file.relative_to(root / "configs").as_posix()] = content
    return found


def resolved_at(revision: str) -> dict[str, dict[str, Any]]:
    """The same of another revision of this repository."""
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True)
    if archive.returncode:
        raise SystemExit(f"{revision}: {archive.stderr.decode().strip()}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as content:
            content.extractall(folder, filter="data")
        out = Path(folder, "resolved.json")
        own = [sys.executable, str(Path(__file__).resolve()), "--root", folder, "--out", str(out)]
        subprocess.run(own, cwd=folder, check=True)
        return json.loads(out.read_text(encoding="utf-8"))


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key path, before, after) of all values that differ; the order of a pipeline's steps counts."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in [*before, *(key for key in after if key not in before)]:
            here = f"{path}.{key}" if path else str(key)
            yield from differences(before.get(key, MISSING), after.get(key, MISSING), here)
        steps = path.startswith(("PIPELINE.", "PROTOCOLS.")) and path.count(".") == 1
        if steps and set(before) == set(after) and list(before) != list(after):
            yield f"{path} (order)", list(before), list(after)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, (old, new) in enumerate(zip(before, after)):
            yield from differences(old, new, f"{path}[{i}]")
    elif before != after or type(before) is not type(after):
        yield path, before, after


def reason(leaf: str, path: str, after: Any) -> str | None:
    """Why a difference is expected; None where it is not."""
    name = Path(leaf).stem
    for leaves, key, value, why in EXPECTED:
        if fnmatch(leaf, leaves) and fnmatch(path, key) and str(after) == value.format(name=name):
            return why
    return None


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Prints all differences, the unexpected ones marked; returns how many these are."""
    count = unexpected = 0
    for leaf in sorted({*before, *after}):
        for path, old, new in differences(before.get(leaf, MISSING), after.get(leaf, MISSING)):
            why = reason(leaf, path, new)
            count, unexpected = count + 1, unexpected + (why is None)
            print(f"{leaf}: {path}: {old} -> {new}  ({why or 'NOT EXPECTED'})")
    print(f"{len(after)} leaves, {count} differences, {unexpected} of them not expected")
    return unexpected


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="REV", help="a git revision to compare with")
    parser.add_argument("--out", type=Path, help="write the resolved leaves here, as JSON")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    args = parser.parse_args()
    leaves = resolved(args.root.resolve())
    if args.out:
        args.out.write_text(json.dumps(leaves, indent=1), encoding="utf-8")
    return int(bool(args.against and compare(resolved_at(args.against), leaves)))


if __name__ == "__main__":
    sys.exit(main())
