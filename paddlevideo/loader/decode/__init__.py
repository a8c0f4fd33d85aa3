"""Frames out of files: one protocol, one class per backend, chosen by name.

with open_video("clip.mp4") as reader:
    frames = reader.get([0, 10, 20])        # uint8 [3, H, W, 3] RGB
"""

from paddlevideo.loader.decode.folder import FrameFolder
from paddlevideo.loader.decode.memory import MemoryVideo
from paddlevideo.loader.decode.reader import FrameReader, VideoReadError, backends, open_video

__all__ = ["FrameFolder", "FrameReader", "MemoryVideo", "VideoReadError", "backends", "open_video"]
