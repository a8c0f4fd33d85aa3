"""Folders of JPEG files through simplejpeg: OpenCV's pixels, or OpenCV itself."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from paddlevideo.errors import UserError
from paddlevideo.loader.decode import FrameFolder, VideoReadError, pictures
from paddlevideo.loader.decode.pictures import PictureDecoder
from paddlevideo.loader.pipelines.decode import FrameDecoder

simplejpeg = pytest.importorskip("simplejpeg", reason="simplejpeg is an extra")


def picture(height, width, channels=3):
    rng = np.random.default_rng(height * width)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, channels), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def encoded(array, mode="RGB", kind="JPEG", **options):
    stream = io.BytesIO()
    Image.fromarray(array, mode).save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    return exif


def files(height, width):
    """name -> content, of a size."""
    rgb = picture(height, width)
    whole = encoded(rgb)
    return {
        **{f"sampling {k}": encoded(rgb, subsampling=k) for k in (0, 1, 2)},
        "progressive": encoded(rgb, progressive=True),
        "coarse": encoded(rgb, quality=20),
        "fine": encoded(rgb, quality=100),
        "restart": encoded(rgb, restart_marker_blocks=3),
        "grey": encoded(np.ascontiguousarray(rgb[:, :, 0]), "L"),
        "CMYK": encoded(picture(height, width, 4), "CMYK"),
        **{f"EXIF {k}": encoded(rgb, exif=turned(k)) for k in (1, 3, 6, 8)},
        "more bytes": whole + b"\0" * 50,
        "cut off": whole[: len(whole) * 2 // 3],
        "flipped": whole[:-40] + bytes([whole[-40] ^ 0x55]) + whole[-39:],
        "header only": whole[:20],
        "PNG": encoded(rgb, kind="PNG"),
        "text": b"no picture",
    }


@pytest.mark.parametrize("size", [(64, 96), (33, 17), (1, 1), (256, 341)])
def test_every_kind_of_file_has_the_pixels_of_opencv(size):
    fast, slow = PictureDecoder("simplejpeg"), PictureDecoder("cv2")
    for name, data in files(*size).items():
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        for decoder in (fast, slow):
            found = decoder.decode(data)
            assert (found is None) == (read is None), name
            assert read is None or np.array_equal(found, read[:, :, ::-1]), name


@pytest.mark.parametrize("backend", ["simplejpeg", "cv2"])
@pytest.mark.parametrize("kind", [{}, {"progressive": True}])
def test_a_file_that_is_cut_off_has_the_pixels_that_opencv_reads(tmp_path, backend, kind):
    whole, file = encoded(picture(256, 341), **kind), tmp_path / "img_00001.jpg"
    for cut in (0, 1, 2, 3, 10, 40, len(whole) // 2, len(whole) - 20):
        file.write_bytes(whole[: len(whole) - cut])
        expected, reader = cv2.imread(str(file)), FrameFolder(tmp_path, 1, decoder=PictureDecoder(backend))
        assert (expected is None) == (cut == len(whole) - 20)
        if expected is None:
            with pytest.raises(VideoReadError, match="not a readable image"):
                reader.get([0])
        else:
            assert np.array_equal(reader.get([0])[0], expected[:, :, ::-1])
            if cut <= 2:  # only the end marker is missing
                assert np.array_equal(expected, cv2.imdecode(np.frombuffer(whole, np.uint8), cv2.IMREAD_COLOR))


def test_simplejpeg_decodes_what_is_plain(monkeypatch):
    decoded, decode = [], simplejpeg.decode_jpeg
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *a, **k: decoded.append(a[0]) or decode(*a, **k))
    all_files = files(64, 96)
    for data in all_files.values():
        PictureDecoder("simplejpeg").decode(data)
    names = {name for name, data in all_files.items() if data in decoded}
    plain = {"sampling 0", "sampling 1", "sampling 2", "progressive", "coarse", "fine", "restart", "grey", "more bytes"}
    assert plain <= names and not names & {"CMYK", "EXIF 1", "EXIF 3", "EXIF 6", "EXIF 8", "PNG", "text", "header only"}


def test_the_default_is_simplejpeg_only_where_it_is_equal(monkeypatch):
    data, own = encoded(picture(16, 16)), np.full((16, 16, 3), 7, np.uint8)
    pictures.fast_and_equal.cache_clear()
    assert pictures.fast_and_equal()
    monkeypatch.setattr(simplejpeg, "decode_jpeg", lambda *_, **__: own)
    assert np.array_equal(PictureDecoder().decode(data), own)
    pictures.fast_and_equal.cache_clear()  # another library
    assert not pictures.fast_and_equal()
    assert not np.array_equal(PictureDecoder().decode(data), own)
    assert np.array_equal(PictureDecoder("simplejpeg").decode(data), own)  # written in the YAML
    monkeypatch.undo()
    pictures.fast_and_equal.cache_clear()


def test_without_simplejpeg(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "simplejpeg", None)
    pictures.fast_and_equal.cache_clear()
    assert PictureDecoder().decode(encoded(picture(16, 16))).shape == (16, 16, 3)
    for options in ({"backend": "simplejpeg"}, {"min_side": 8}):
        with pytest.raises(UserError, match="pip install simplejpeg"):
            PictureDecoder(**options)
    pictures.fast_and_equal.cache_clear()


def test_scaled_decoding(tmp_path):
    with pytest.raises(ValueError, match="min_side"):
        FrameDecoder("cv2", min_side=64)
    rgb = picture(180, 320)
    for number in (1, 2):
        (tmp_path / f"img_{number:05}.jpg").write_bytes(encoded(rgb, quality=95))
    sample = FrameDecoder(min_side=80)({"frame_dir": str(tmp_path), "total_frames": 2}, np.random.default_rng(0))
    frames = sample["reader"].get([0, 1, 1])
    assert frames.shape == (3, 90, 160, 3)
    wanted = cv2.resize(rgb, (160, 90), interpolation=cv2.INTER_AREA)
    assert np.abs(frames[0].astype(int) - wanted).mean() < 2
    whole = FrameDecoder(min_side=180)({"frame_dir": str(tmp_path)}, np.random.default_rng(0))["reader"].get([0])
    assert whole.shape == (1, 180, 320, 3)


def test_damaged_files_of_a_folder(tmp_path):
    data = encoded(picture(32, 48))
    for number, content in enumerate([data, b"", data[:300], b"text"], 1):
        (tmp_path / f"img_{number:05}.jpg").write_bytes(content)
    reader = FrameFolder(tmp_path, 5)
    assert reader.get([0, 0]).shape == (2, 32, 48, 3)
    for index, reason in ((1, "empty"), (2, "corrupt"), (3, "corrupt"), (4, "missing")):
        with pytest.raises(VideoReadError) as caught:
            reader.get([index])
        assert caught.value.reason == reason
