"""Draws what a prediction depends on, over the frames.

    paddlevideo visualize -c CFG -w WEIGHTS -i clip.mp4 --out pictures

Attention rollout for transformers, Grad-CAM for convolutional networks.  Clips go through PIPELINE.test, so scores are
those of testing.  One picture per clip, named after it: the frames as the network gets them, and below them the map.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddlevideo.cli import options
from paddlevideo.cli.browse import add_pictures, write_picture

if TYPE_CHECKING:
    import numpy as np

    from paddlevideo.reporting.attention import HeatMaps
    from paddlevideo.reporting.contact_sheet import PictureRow

_TOP = 3  # classes named above a picture


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser, "YAML file the weights were trained with")
    options.add_weights(parser, required=True)
    add = parser.add_argument
    add("-i", "--input", required=True, nargs="+", metavar="PATH", help="videos, folders of videos, list files")
    add("--class", type=int, dest="class_id", metavar="N", help="class that Grad-CAM maps (the predicted one)")
    layer = "layer for Grad-CAM, e.g. backbone.res4b (the last block of at least 7 x 7 places)"
    add("--layer", metavar="NAME", help=layer)
    options.add_device(parser)
    add("--max_views", type=options.at_least(1), default=10, help="views drawn of a clip with several (%(default)s)")
    add_pictures(parser)


def run(args: argparse.Namespace) -> int:
    """Draws; 0 if every clip could be read."""
    from paddlevideo.inference.predictor import Predictor
    from paddlevideo.loader.decode import VideoReadError
    from paddlevideo.reporting.attention import heat_maps
    from paddlevideo.video_files import find_videos

    config = options.read_config(args)
    videos = find_videos(args.input, say)
    predictor = Predictor.from_config(config, args.weights, args.device, say=say)
    network, names = predictor.model.framework, predictor.names
    if args.class_id is not None and network.backbone.attention_type:
        say("attention rollout is the same for all classes: --class changes the heading only")
    unread = 0
    paths = picture_paths(videos, Path(args.out), args.format)
    for i, (path, video) in enumerate(zip(paths, videos)):
        try:
            imgs = predictor.clip(video, i)["imgs"]
        except VideoReadError as error:
            unread += 1
            say(f"skipped: {error}")
            continue
        maps = heat_maps(network, imgs, args.class_id, args.layer)
        write_picture(path, *sheet(video.name, imgs, maps, names, args.class_id, args.max_views), args)
    return 1 if unread else 0


def say(line: str) -> None:
    """Remarks go to stderr, so that stdout holds the pictures' paths only."""
    print(line, file=sys.stderr)


def picture_paths(videos: list[Path], folder: Path, suffix: str) -> list[Path]:
    """One path per video: its own name, numbered where several videos share it."""
    taken: dict[str, int] = {}
    paths = []
    for video in videos:
        count = taken[video.stem] = taken.get(video.stem, 0) + 1
        paths.append(folder / f"{video.stem}{'' if count == 1 else f'_{count}'}.{suffix}")
    return paths


def sheet(
    title: str, imgs: np.ndarray, maps: HeatMaps, names: list[str] | None, class_id: int | None, max_views: int
) -> tuple[list[str], list[PictureRow]]:
    """Heading and rows of one clip's picture: for each view its frames, and the map over them."""
    from paddlevideo.reporting.attention import heat_over
    from paddlevideo.reporting.contact_sheet import PictureRow, displayable, spread

    order = [int(k) for k in (-maps.scores).argsort(kind="stable")[:_TOP]]
    heading = [title, "predicted: " + ", ".join(scored(k, maps, names) for k in order)]
    if class_id is not None:
        heading.append(f"mapped: {scored(class_id, maps, names)}")
    rows: list[Any] = []
    for v in spread(len(imgs), max_views):
        frames = displayable(imgs[v])
        view = f", view {v + 1} of {len(imgs)}" if len(imgs) > 1 else ""
        rows += [
            PictureRow(f"frames{view}  {imgs.shape[3]} x {imgs.shape[2]}", frames),
            PictureRow(f"{maps.method}{view}", heat_over(frames, maps.heat[v])),
        ]
    return heading, rows


def scored(class_id: int, maps: HeatMaps, names: list[str] | None) -> str:
    """``left 0.93``."""
    name = names[class_id] if names else f"class {class_id}"
    return f"{name} {maps.scores[class_id]:.3f}"
