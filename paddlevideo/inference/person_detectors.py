"""Sources of persons' boxes: a file of boxes, a detector that the user has, or OpenCV's HOG.

This suite holds no person detector.  ``open_detector`` opens an ONNX file, PaddleDetection's export, or, as the last
resort, the HOG detector of 2005 that comes with OpenCV.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from paddlevideo.ava_files import img_key, read_proposals, split_key
from paddlevideo.boxes import to_pixels
from paddlevideo.errors import UserError
from paddlevideo.inference.runtimes.base import KeptWhenForked, Runtime, Say, to_stderr
from paddlevideo.inference.runtimes.paddle import PROGRAM_SUFFIXES
from paddlevideo.loader.datasets.ava import select_persons
from paddlevideo.registry import suggest

HOG = "hog"
_SHOWN = 5


class PersonDetector(KeptWhenForked, ABC):
    """Anything that finds people in frames."""

    name: str

    def account(self) -> list[str]:
        """Lines on what was found so far and what was left out; none where every box is a person."""
        return []

    @abstractmethod
    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """The people in each frame, highest score first.

        Args:
            frames: uint8 [T, H, W, 3] RGB.
            timestamps_s: the frames' seconds as annotation counts them (AVA's 15 minutes begin at 900), for files of
                boxes.

        Returns:
            T arrays float32 [n, 5]: x1, y1, x2, y2 in pixels of the frame, and a score in 0..1; n may be 0.
        """


class ProposalFile(PersonDetector):
    """Boxes that were found before: of AVA (``.pkl``), or written by ``paddlevideo prepare people``.

    Args:
        path: what ``read_proposals`` reads: keys ``"video,0902"``, boxes as fractions of the picture.
        video_id: name of the video in the file.
        min_score: least score of a box; the best one is always taken.  0.9 for AVA's.
        most: boxes per key frame.

    Raises:
        UserError: a bad file, or one without the video.

    Boxes are chosen by ``select_persons``, as AVADataset chooses them: prediction has the persons of testing.
    """

    def __init__(self, path: str | Path, video_id: str, min_score: float, most: int = 1000):
        self.name, self.path, self.video_id = f"boxes of {path}", path, video_id
        content = read_proposals(path)
        places = [(split_key(key), key) for key in content]
        own = {img_key(video, second): content[key] for (video, second), key in places if video == video_id}
        self.timestamps_s: list[float] = sorted(second for (video, second), _ in places if video == video_id)
        if not own:
            videos = list(dict.fromkeys(video for (video, _), _ in places))
            listing = suggest(video_id, videos) if len(videos) <= _SHOWN else f"; there are {len(videos)} others"
            raise UserError(
                f"{path}: no boxes of the video {video_id!r}{listing}; --video-id names it as the file does"
            )
        self._boxes = select_persons(str(path), own, min_score, most)

    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """As ``PersonDetector.detect``; none at a second that the file does not hold."""
        height, width = frames.shape[1:3]
        return [to_pixels(self.boxes_norm(t), width, height).astype(np.float32) for t in timestamps_s]

    def boxes_norm(self, timestamp_s: float) -> np.ndarray:
        """float32 [n, 5] as the file has them: fractions of the picture, and scores."""
        return self._boxes.get(img_key(self.video_id, timestamp_s), np.zeros((0, 5), np.float32))


class HogDetector(PersonDetector):
    """OpenCV's histogram of oriented gradients with its people classifier: a last resort.

    It finds whole, upright, unhidden people from about 100 pixels of height on, and now and then a lamp post.

    Args:
        min_score: scores are the classifier's margins through a sigmoid, hence above 0.5.

    Raises:
        UserError: this OpenCV has no HOG (version 5 keeps it in its contrib package).

    *Source*: Dalal and Triggs 2005; the boxes, which come with a margin around the person, are cut by OpenCV's own
    sample's 10 % of the width on both sides, 7 % of the height above and 13 % below.
    """

    name = "OpenCV's HOG"

    def __init__(self, min_score: float, say: Say):
        if not hasattr(cv2, "HOGDescriptor"):
            raise UserError(
                f"OpenCV {cv2.__version__} has no HOG person detector; give --proposals FILE or --detector MODEL, or "
                "pip uninstall -y opencv-python-headless && pip install opencv-contrib-python-headless"
            )
        say(
            "people are detected by OpenCV's HOG, a last resort that misses many and invents some; --detector takes "
            "an ONNX or Paddle model, --proposals a file of boxes"
        )
        self._min_score = min_score
        self._hog = cv2.HOGDescriptor()
        self._hog.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())

    def detect(self, frames: np.ndarray, timestamps_s: Sequence[float]) -> list[np.ndarray]:
        """As ``PersonDetector.detect``."""
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: np.ndarray) -> np.ndarray:
        height, width = frame.shape[:2]
        factor = max(1.0, 256 / height)  # the detector's window is 128 pixels high
        picture = cv2.resize(np.ascontiguousarray(frame[..., ::-1]), None, fx=factor, fy=factor)
        places, margins = self._hog.detectMultiScale(picture, winStride=(8, 8), padding=(8, 8), scale=1.05)
        if not len(places):
            return np.zeros((0, 5), np.float32)
        x, y, w, h = np.asarray(places, np.float32).T / np.float32(factor)
        scores = 1 / (1 + np.exp(-np.asarray(margins, np.float32).reshape(-1)))
        rows = np.stack([x + 0.1 * w, y + 0.07 * h, x + 0.9 * w, y + 0.87 * h, scores], axis=1)
        return tidy(rows, self._min_score, height, width)


def tidy(rows: np.ndarray, min_score: float, height: int, width: int) -> np.ndarray:
    """Rows x1, y1, x2, y2, score, from ``min_score`` on, clipped to the picture, best first, none without area."""
    rows = np.asarray(rows, np.float32).reshape(-1, 5)
    rows = rows[np.isfinite(rows).all(axis=1)]
    rows = rows[rows[:, 4] >= min_score]
    rows[:, :4] = np.clip(rows[:, :4], 0, np.array([width, height, width, height], np.float32))
    rows = rows[(rows[:, 2] > rows[:, 0]) & (rows[:, 3] > rows[:, 1])]
    return rows[np.argsort(-rows[:, 4], kind="stable")]


def open_detector(
    spec: str,
    min_score: float = 0.5,
    options: str | Path | None = None,
    runtime: Runtime | None = None,
    say: Say = to_stderr,
) -> PersonDetector:
    """A person detector.

    Args:
        spec: ``hog``; an ``.onnx`` file; PaddleDetection's export, a folder or its ``.json`` or ``.pdmodel``.
        min_score: least score of a person.
        options: YAML or JSON file about the model's inputs and outputs, see ``OnnxDetector`` and ``PaddleDetector``;
            None: the one beside the model.
        runtime: where a Paddle model runs.
        say: receives remarks.

    Raises:
        UserError: it names none of these; see the classes.
    """
    from paddlevideo.inference.person_models import OnnxDetector, PaddleDetector

    if spec.lower() == HOG:
        return HogDetector(min_score, say)
    path = Path(spec)
    if path.suffix.lower() == ".onnx":
        return OnnxDetector(path, min_score, options, say)
    if path.is_dir() or path.suffix in PROGRAM_SUFFIXES:
        return PaddleDetector(path, min_score, options, runtime or Runtime(), say)
    if path.suffix == ".pdparams":
        raise UserError(
            f"{path}: weights without their network; export the detector with PaddleDetection's tools/export_model.py "
            "and name the folder that it wrote"
        )
    raise UserError(
        f"person detector {spec!r}: expected {HOG}, an .onnx file, or the folder (or .json, .pdmodel) of a detector "
        "that PaddleDetection exported"
    )
