"""torchcodec with torchvision's transforms: uint8, normalised on the device."""

import torch
import torchvision_ready  # noqa: F401
from clip_plan import SHORT, SIDE, frames, repeated
from torchcodec.decoders import VideoDecoder
from torchvision.transforms import v2


def clip(path, train, clips, mode):
    """uint8 [8, 3, 224, 224]; ``mode``: exact, or approximate, which takes the header's rate for the frames' times."""
    torch.set_num_threads(1)
    if train:
        transform = v2.Compose([v2.RandomResizedCrop(SIDE, antialias=True), v2.RandomHorizontalFlip()])
    else:
        transform = v2.Compose([v2.Resize(SHORT, antialias=True), v2.CenterCrop(SIDE)])

    def one(rng):
        torch.manual_seed(int(rng.integers(1 << 30)))
        decoder = VideoDecoder(path, seek_mode=mode, num_ffmpeg_threads=1)
        return transform(decoder.get_frames_at(frames(rng, decoder.metadata.num_frames, train)).data)

    return repeated(one, clips)
