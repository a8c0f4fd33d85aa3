"""How MMAction2 and PaddleVideo read a clip (decord, PyAV, Pillow), made again from descriptions of their pipelines."""

import cv2
import numpy as np
from clip_plan import SIDE, frames, multi_scale_crop, repeated, short_side

cv2.setNumThreads(0)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def mmaction2(path, train, clips, decoder="decord"):
    """uint8 [8, 3, 224, 224]: short side to 256, then crop, then 224; ``decoder``: decord, or pyav, which decodes up to
    the last frame."""

    def one(rng):
        images = _decord(path, rng, train, 1) if decoder == "decord" else _pyav(path, rng, train)
        height, width = short_side(*images[0].shape[:2])
        images = [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images]
        return np.ascontiguousarray(np.stack(_cropped(images, rng, train)).transpose(0, 3, 1, 2))

    return repeated(one, clips)


def decord_cv2(path, train, clips):
    """uint8 [8, 224, 224, 3]: crop and one resize."""

    def one(rng):
        images = _decord(path, rng, train, 1)
        if not train:
            height, width = short_side(*images[0].shape[:2])
            images = [cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR) for image in images]
        return np.stack(_cropped(images, rng, train))

    return repeated(one, clips)


def paddlevideo(path, train, clips):
    """float32 [8, 3, 224, 224]: decord with as many threads as it likes, pictures of Pillow, normalised one by one."""
    from PIL import Image

    def one(rng):
        pictures = [Image.fromarray(image) for image in _decord(path, rng, train, 0)]
        width, height = pictures[0].size
        if train:
            top, left, h, w = multi_scale_crop(rng, height, width)
            flip = rng.random() < 0.5
            pictures = [p.crop((left, top, left + w, top + h)).resize((SIDE, SIDE), Image.BILINEAR) for p in pictures]
            pictures = [p.transpose(Image.FLIP_LEFT_RIGHT) if flip else p for p in pictures]
        else:
            height, width = short_side(height, width)
            top, left = (height - SIDE) // 2, (width - SIDE) // 2
            box = (left, top, left + SIDE, top + SIDE)
            pictures = [p.resize((width, height), Image.BILINEAR).crop(box) for p in pictures]
        arrays = [np.array(p).astype(np.float32).transpose(2, 0, 1) / 255.0 for p in pictures]
        return np.stack([(array - MEAN[:, None, None]) / STD[:, None, None] for array in arrays])

    return repeated(one, clips)


def _decord(path, rng, train, threads):
    import decord

    video = decord.VideoReader(path, num_threads=threads)
    return list(video.get_batch(frames(rng, len(video), train)).asnumpy())


def _pyav(path, rng, train):
    import av

    with av.open(path) as container:
        count = container.streams.video[0].frames
        if not count:
            raise IndexError("the header has no number of frames")
        wanted, images = frames(rng, count, train), []
        for number, frame in enumerate(container.decode(video=0)):
            if number > max(wanted) + 1:
                break
            images.append(frame.to_rgb().to_ndarray())
    return [images[number] for number in wanted]


def _cropped(images, rng, train):
    height, width = images[0].shape[:2]
    if not train:
        top, left = (height - SIDE) // 2, (width - SIDE) // 2
        return [image[top : top + SIDE, left : left + SIDE] for image in images]
    top, left, h, w = multi_scale_crop(rng, height, width)
    flip = rng.random() < 0.5
    images = [cv2.resize(image[top : top + h, left : left + w], (SIDE, SIDE)) for image in images]
    return [image[:, ::-1] if flip else image for image in images]
