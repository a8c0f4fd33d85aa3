"""A video to a folder of numbered images."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import FrameReader, VideoReadError, open_video
from paddlevideo.preparation.conversion import Job, Outcome
from paddlevideo.preparation.listing import FrameNames

RECORD = "extraction.json"  # in each folder: how its frames were made
_BLOCK_BYTES = 256 << 20  # decoded frames held at once


@dataclass(frozen=True)
class FrameSettings:
    """How frames are written.

    Args:
        frame_name: template with a place for the number, which counts from 1.
        short_side_px: larger frames are scaled down to this shorter side; 0: sizes stay.
        quality: of JPEG, 1..100.
        backend: the suite's decode backend.

    Raises:
        UserError: a value that is none of these.
    """

    frame_name: str = "img_{:05}.jpg"
    short_side_px: int = 0
    quality: int = 95
    backend: str = "pyav"

    def __post_init__(self):
        FrameNames(self.frame_name)
        if not self.frame_name.lower().endswith((".jpg", ".jpeg", ".png")):
            raise UserError(f"frame name {self.frame_name!r}: expected the ending .jpg or .png")
        if self.short_side_px < 0 or not 1 <= self.quality <= 100:
            raise UserError(f"short side {self.short_side_px} and quality {self.quality}: expected 0 or more, 1..100")


def extract_frames(job: Job, out: Path, settings: FrameSettings, overwrite: bool = False) -> Outcome:
    """Writes ``out/<name without ending>/img_00001.jpg``... unless the folder holds just that.

    Args:
        overwrite: replace a folder that this function did not make.

    Raises:
        UserError: the disk is full or cannot be written to.
    """
    folder = out.joinpath(*job.stem.split("/"))
    record = asdict(settings) | _fingerprint(job.source)
    known = _read_record(folder)
    if known is not None and {key: known.get(key) for key in record} == record:
        return Outcome(known["num_frames"], done_before=True)
    if known is None and folder.exists() and not overwrite:
        return Outcome(error=f"{folder}: stands there without {RECORD}, so its frames are others'; see --overwrite")
    temporary = folder.with_name(f".{folder.name}.extracting")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        with open_video(job.source, settings.backend) as reader:
            record["num_frames"], record["fps"] = len(reader), reader.fps
            for number, image in enumerate(read_all(reader), 1):
                _write_image(temporary / settings.frame_name.format(number), image, settings)
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        os.replace(temporary, folder)
    except VideoReadError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        return Outcome(error=str(error))
    except FileExistsError as error:
        raise UserError(f"{temporary}: another run is at work there; one run at a time per output folder") from error
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error
    return Outcome(record["num_frames"])


def read_all(reader: FrameReader) -> Iterator[np.ndarray]:
    """All frames in order, uint8 [H, W, 3] RGB, decoded in blocks of bounded size."""
    count, start, size = len(reader), 0, 1
    while start < count:
        block = reader.get(range(start, min(start + size, count)))  # [T, H, W, 3]
        yield from block
        start += len(block)
        size = max(1, _BLOCK_BYTES // max(1, block[0].nbytes))


def scaled_size(width: int, height: int, short_side_px: int, multiple: int = 1) -> tuple[int, int]:
    """(width, height) with that shorter side, never larger than before, both rounded to a multiple."""
    scale = min(1.0, short_side_px / min(width, height)) if short_side_px else 1.0
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (width, height))


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3] to ``size`` = (width, height), averaging over the area."""
    import cv2

    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _write_image(file: Path, image: np.ndarray, settings: FrameSettings) -> None:
    import cv2

    image = resize(image, scaled_size(image.shape[1], image.shape[0], settings.short_side_px))
    options = [] if file.suffix.lower() == ".png" else [cv2.IMWRITE_JPEG_QUALITY, settings.quality]
    encoded = cv2.imencode(file.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]
    file.write_bytes(encoded.tobytes())  # not imwrite, which does not say why it failed


def _fingerprint(source: str) -> dict[str, int]:
    """Tells whether the video was exchanged; zeros if it is not there, which reading it will report."""
    try:
        status = os.stat(source)
    except OSError:
        return {"source_bytes": 0, "source_mtime_ns": 0}
    return {"source_bytes": status.st_size, "source_mtime_ns": status.st_mtime_ns}


def _read_record(folder: Path) -> dict | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("num_frames"), int) else None
