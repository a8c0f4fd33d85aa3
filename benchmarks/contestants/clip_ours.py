"""This project: the pipelines of its TSM recipe."""

import os
import tempfile

from clip_plan import repeated


def tsm(path, train, clips, index=False, linear=False):
    """uint8 [1, 8, 224, 224, 3], to be normalised on the device.

    ``index``: with the index of the data set; ``linear``: resized by OpenCV as MMAction2 does it, not by Pillow as
    PaddleVideo does.
    """
    from paddlevideo.config import load_config
    from paddlevideo.loader.pipelines import Pipeline

    split = "train" if train else "test"
    section = load_config("tsm_k400_videos.yaml").to_dict()["PIPELINE"][split]
    if linear:
        name = "MultiScaleCrop" if train else "Scale"
        section["transform"][0] = {name: {**section["transform"][0][name], "backend": "cv2"}}
    pipeline = Pipeline(section, f"PIPELINE.{split}")
    sample = {"filename": path, "label": 0}
    if index:
        sample["video_index"] = _index(path)
    return repeated(lambda rng: pipeline(dict(sample), rng)["imgs"], clips)


def _index(path):
    from paddlevideo.loader.decode import open_video
    from paddlevideo.loader.decode.index import VideoIndex, packed, write_index

    file, folder, status = os.path.join(tempfile.mkdtemp(), "index"), os.path.dirname(path), os.stat(path)
    with open_video(path) as reader:
        write_index(file, {folder: {path: (status.st_size, status.st_mtime_ns, packed(reader.known()))}})
    return VideoIndex(file, folder)
