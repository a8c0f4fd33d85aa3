"""Tiny real clips for tests: frames that carry their own number, encoded with PyAV, and ways to damage the files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

SQUARES = 10


def numbered_frames(count: int, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """uint8 [count, height, width, 3]: a moving pattern with the frame number as a row of black and white squares."""
    rng = np.random.default_rng(seed)
    low = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    base = low.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
    frames = np.stack([np.roll(base, shift=(n, 2 * n), axis=(0, 1)) for n in range(count)])
    side = width // SQUARES
    for n in range(count):
        for bit in range(SQUARES):
            frames[n, :side, bit * side : (bit + 1) * side] = 255 if n >> bit & 1 else 0
    return frames


def frame_numbers(frames: np.ndarray) -> list[int]:
    """Reads the number back out of each frame of uint8 [T, H, W, 3]."""
    side = frames.shape[2] // SQUARES
    return [
        sum(int(frame[:side, bit * side : (bit + 1) * side].mean() > 127) << bit for bit in range(SQUARES))
        for frame in frames
    ]


def write_clip(
    path: str | Path,
    frames: np.ndarray,
    fps: float = 30,
    codec: str = "libx264",
    gop: int = 12,
    *,
    bframes: int = 2,
    open_gop: bool = False,
    pts: Sequence[int] | None = None,
    ticks: int = 600,
    rotation: int = 0,
    pixel_aspect: int = 1,
    audio: bool = False,
    options: dict[str, str] | None = None,
    muxer: str | None = None,
    muxer_options: dict[str, str] | None = None,
) -> Path:
    """Encodes uint8 RGB [T, H, W, 3] to a file; the ending names the container.

    Args:
        gop: distance of key frames.
        bframes: B frames between two reference frames (x264, x265, mpeg4).
        open_gop: let the frames before a key frame refer to the group before it (x264).
        pts: time stamps, one per frame, for a variable frame rate; in an AVI, pictures are repeated where they leap.
        ticks: units of ``pts`` in a second.
        rotation: display rotation written as metadata, degrees counter-clockwise.
        pixel_aspect: width of a pixel divided by its height.
        audio: add a silent audio track.
    """
    import av

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=muxer, options=muxer_options or {}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = frames.shape[2], frames.shape[1]
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        context = stream.codec_context
        context.gop_size = gop
        context.thread_count = 1
        context.sample_aspect_ratio = Fraction(pixel_aspect)
        context.options = _encoder_options(codec, bframes, open_gop) | (options or {})
        if pts is not None:
            context.time_base = Fraction(1, ticks)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=8000) if audio else None
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.time_base = context.time_base or 1 / Fraction(fps).limit_denominator(1001)
            frame.pts = number if pts is None else int(pts[number])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_silence(container, sound, len(frames) / float(fps))
    return path


def set_display_matrix(path: str | Path, matrix: Sequence[float]) -> Path:
    """Writes [a, b, c, d] of the display matrix into an mp4 with one track."""
    data = bytearray(Path(path).read_bytes())
    at = data.index(b"tkhd") + 44
    for place, value in zip((0, 4, 12, 16), matrix):
        data[at + place : at + place + 4] = int(value * 65536).to_bytes(4, "big", signed=True)
    Path(path).write_bytes(bytes(data))
    return Path(path)


def write_song(path: str | Path, picture: np.ndarray) -> Path:
    """Sound with a cover picture, uint8 RGB [H, W, 3]."""
    import av

    with av.open(str(path), "w", format="mp3" if Path(path).suffix == ".mp3" else "mp4") as container:
        sound = container.add_stream("libmp3lame" if Path(path).suffix == ".mp3" else "aac", rate=8000)
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width = picture.shape[:2]
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts = 0
        container.mux(cover.encode(frame))
        container.mux(cover.encode(None))
        _add_silence(container, sound, 0.5)
    return Path(path)


def write_audio(path: str | Path, seconds: float = 0.5) -> Path:
    """A file with a silent audio track and no video."""
    import av

    path = Path(path)
    with av.open(str(path), "w") as container:
        _add_silence(container, container.add_stream("aac", rate=8000), seconds)
    return path


def write_frames(folder: str | Path, frames: np.ndarray, suffix: str = "img_{:05}.jpg") -> Path:
    """Writes uint8 RGB frames as image files that count from 1."""
    import cv2

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(frames, 1):
        cv2.imwrite(str(folder / suffix.format(number)), image[..., ::-1])
    return folder


def cut(source: str | Path, target: str | Path, share: float) -> Path:
    """The first ``share`` of a file's bytes."""
    data = Path(source).read_bytes()
    Path(target).write_bytes(data[: int(len(data) * share)])
    return Path(target)


def damage(source: str | Path, target: str | Path, start: float = 0.4, share: float = 0.2, seed: int = 0) -> Path:
    """The same file with ``share`` of its bytes, from ``start`` on, replaced by noise."""
    data = bytearray(Path(source).read_bytes())
    first, count = int(len(data) * start), int(len(data) * share)
    data[first : first + count] = np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()
    Path(target).write_bytes(bytes(data))
    return Path(target)


def _encoder_options(codec: str, bframes: int, open_gop: bool) -> dict[str, str]:
    if codec == "libx264":
        extra = f"open-gop={int(open_gop)}:scenecut=0:threads=1:b-adapt=0"
        return {"preset": "veryfast", "crf": "18", "bf": str(bframes), "x264-params": extra}
    if codec == "libx265":
        extra = f"bframes={bframes}:open-gop={int(open_gop)}:log-level=none:pools=1:frame-threads=1"
        return {"preset": "ultrafast", "x265-params": extra}
    if codec == "mpeg4":
        return {"bf": str(bframes), "qscale": "3"}
    if codec.startswith("libvpx"):
        return {"deadline": "realtime", "cpu-used": "8"}
    return {}


def _add_silence(container: object, stream: object, seconds: float) -> None:
    import av

    samples = 1024
    for number in range(max(1, int(seconds * stream.rate / samples))):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, samples), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = stream.rate
        frame.pts = number * samples
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
