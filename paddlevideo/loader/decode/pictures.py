"""Picture files as RGB: JPEG through simplejpeg where it is installed and equal to OpenCV, the rest by OpenCV."""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np

from paddlevideo.errors import UserError

PictureBackend = Literal["cv2", "simplejpeg"]
_JPEG = b"\xff\xd8\xff"
_START_OF_SCAN = b"\xff\xda"
_MAX_PIXELS = 1 << 26  # larger pictures are left to OpenCV and its limit
_HINT = "pip install simplejpeg"


class PictureDecoder:
    """Decodes the pictures of one reader, into memory that the next picture overwrites.

    Args:
        backend: of JPEG files.  None: simplejpeg where ``fast_and_equal``, else OpenCV.
        min_side: decode a JPEG at the smallest multiple of an eighth of its size at which no side is below this (DCT
            scaling): twice as fast at 1280 x 720, but other pixels than those of the whole picture.  None: whole.

    Raises:
        UserError: simplejpeg is needed and not installed.
    """

    def __init__(self, backend: PictureBackend | None = None, min_side: int | None = None):
        scaled = min_side is not None
        self._jpeg = None if backend == "cv2" else _simplejpeg(required=backend is not None or scaled)
        if self._jpeg is not None and backend is None and not scaled and not fast_and_equal():
            self._jpeg = None
        self._min_side, self._memory = min_side or 0, np.empty(0, np.uint8)

    def decode(self, data: bytes) -> np.ndarray | None:
        """uint8 [H, W, 3] RGB, upright, valid until the next call; None: not a readable picture."""
        image = self._decode_jpeg(data) if self._jpeg is not None and data.startswith(_JPEG) else None
        return self._decode_any(data) if image is None else image

    def decode_file(self, file: str) -> np.ndarray | None:
        """As ``decode``, of a file whose content it gives None for: OpenCV reads a JPEG that is cut off from a file,
        and not from memory."""
        import cv2

        return self._as_rgb(cv2.imread(file, cv2.IMREAD_COLOR))

    def _decode_jpeg(self, data: bytes) -> np.ndarray | None:
        """None: OpenCV reads it, or says that it is damaged."""
        try:
            height, width, space, _ = self._jpeg.decode_jpeg_header(data)
            has_exif = b"Exif\0" in data[: data.find(_START_OF_SCAN)]
            if space not in ("YCbCr", "Gray") or height * width > _MAX_PIXELS or has_exif:
                return None
            side = self._min_side if min(height, width) > self._min_side else 0
            return self._jpeg.decode_jpeg(
                data, "RGB", min_height=side, min_width=side, buffer=self._scratch((height, width, 3)).reshape(-1)
            )
        except ValueError:
            return None

    def _decode_any(self, data: bytes) -> np.ndarray | None:
        import cv2

        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        return self._as_rgb(image)

    def _as_rgb(self, image: np.ndarray | None) -> np.ndarray | None:
        import cv2

        return None if image is None else cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=self._scratch(image.shape))

    def _scratch(self, shape: tuple[int, ...]) -> np.ndarray:
        if self._memory.shape != shape:
            self._memory = np.empty(shape, np.uint8)
        return self._memory


@functools.cache
def fast_and_equal() -> bool:
    """Whether the installed simplejpeg gives OpenCV's pixels for small pictures of the usual kinds."""
    import cv2

    jpeg = _simplejpeg(required=False)
    if jpeg is None:
        return False
    rng = np.random.default_rng(0)
    factors = [getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}", None) for name in ("420", "422", "444", "440")]
    kinds: list[list[int]] = [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_QUALITY, 30]]
    kinds += [[cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor] for factor in factors if factor is not None]
    for height, width in ((48, 64), (33, 17)):
        noise = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
        picture = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        for kind in kinds:
            for image in (picture, picture[:, :, 0]):
                data = cv2.imencode(".jpg", image, kind)[1]
                wanted = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
                if not np.array_equal(jpeg.decode_jpeg(data.tobytes(), "RGB"), wanted):
                    return False
    return True


def _simplejpeg(required: bool) -> Any:
    try:
        import simplejpeg
    except ImportError as error:
        if required:
            raise UserError(f"decoding JPEG files with simplejpeg needs it: {_HINT} ({error})") from error
        return None
    return simplejpeg
