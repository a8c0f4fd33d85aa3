"""Draws where a network looks: python tools/visualize.py -c CFG -w WEIGHTS -i clip.mp4 --out look

Attention rollout for transformers, Grad-CAM for convolutional networks.  Clips go through PIPELINE.test, so scores are
those of testing.  One picture per clip, named after it: the frames as the network gets them, and below them the map.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import paddlevideo  # noqa: F401
except ModuleNotFoundError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from paddlevideo.cli.command import run_command
from paddlevideo.environment import hide_paddle_remarks, set_cpu_environment

if TYPE_CHECKING:
    import numpy as np

    from paddlevideo.config import Config
    from paddlevideo.reporting.attention import Look
    from paddlevideo.reporting.contact_sheet import Row

_TOP = 3  # classes named above a picture


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description="Draw where a network looks in videos.")
    add = parser.add_argument
    add("-c", "--config", required=True, help="YAML file the weights were trained with")
    add(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="change a value of the configuration"
    )
    add("-w", "--weights", required=True, metavar="FILE", help="trained weights (.pdparams)")
    add("-i", "--input", required=True, nargs="+", metavar="PATH", help="videos, folders of videos, list files")
    add("--out", required=True, metavar="DIR", help="folder for the pictures")
    add("--class", type=int, dest="class_id", metavar="N", help="class Grad-CAM asks about (the one predicted)")
    add(
        "--layer",
        metavar="NAME",
        help="layer for Grad-CAM, e.g. backbone.res4b (the last block of at least 7 x 7 places)",
    )
    add("--format", choices=("png", "gif"), default="png", help="strips, or films (%(default)s)")
    add("--device", default="auto", help="cpu, gpu, gpu:N or auto (%(default)s)")
    add("--height", type=int, default=128, help="pixels of a drawn frame (%(default)s)")
    add("--max_frames", type=int, default=16, help="columns of a strip (%(default)s)")
    add("--max_views", type=int, default=10, help="views drawn of a clip that has several (%(default)s)")
    add("--fps", type=float, default=4.0, help="of a film (%(default)s)")
    args = parser.parse_args(argv)
    for name in ("height", "max_frames", "max_views", "fps"):
        if getattr(args, name) <= 0:
            parser.error(f"argument --{name}: expected more than 0, got {getattr(args, name)}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Draws; 0 if every clip could be read."""
    args = parse_args(argv)
    set_cpu_environment()
    hide_paddle_remarks()
    from paddlevideo.build import deployed_network
    from paddlevideo.classes import agreed, check_count, settled
    from paddlevideo.config import load_config
    from paddlevideo.engine import distributed
    from paddlevideo.inference.sources import find_videos
    from paddlevideo.loader.decode import VideoReadError
    from paddlevideo.modeling.weights import load_weights
    from paddlevideo.reporting.attention import look_inside
    from paddlevideo.reporting.contact_sheet import contact_sheet, moving_sheet, write_gif, write_png

    config = load_config(args.config, args.override)
    videos = find_videos(args.input, say)
    distributed.set_up(args.device)
    classes = agreed(config, args.weights, "test", say)
    config = settled(config, classes)
    model = deployed_network(config)
    say(str(load_weights(model, args.weights)))
    check_count(config, model.num_classes, classes, args.weights)
    names, clips = classes.names, Clips(config)
    if args.class_id is not None and hasattr(model.backbone, "attention_type"):
        say("attention rollout knows no classes: --class changes the heading only")
    unread = 0
    paths = picture_paths(videos, Path(args.out), args.format)
    for i, (path, video) in enumerate(zip(paths, videos)):
        try:
            imgs = clips.read(str(video), i)
        except VideoReadError as error:
            unread += 1
            say(f"skipped: {error}")
            continue
        look = look_inside(model, imgs, args.class_id, args.layer)
        heading, rows = sheet(video.name, imgs, look, names, args.class_id, args.max_views)
        if args.format == "gif":
            write_gif(path, moving_sheet(heading, rows, args.height), args.fps)
        else:
            write_png(path, contact_sheet(heading, rows, args.height, args.max_frames))
        print(path)
    return 1 if unread else 0


def say(line: str) -> None:
    """Remarks go to stderr, so that stdout holds the pictures' paths only."""
    print(line, file=sys.stderr)


class Clips:
    """PIPELINE.test for single video files, with the generators that testing has."""

    def __init__(self, config: Config):
        from paddlevideo.errors import ConfigError
        from paddlevideo.loader.pipelines import Pipeline
        from paddlevideo.loader.pipelines.decode import FrameDecoder
        from paddlevideo.registry import TRANSFORMS

        section = config.section("PIPELINE")
        if "test" not in section:
            raise ConfigError(config.source, ["PIPELINE.test: is missing; it says how clips are cut out of a video"])
        self.pipeline = Pipeline(section["test"], "PIPELINE.test")
        names = [step.get("name") for step in section["test"].values() if isinstance(step, Mapping)]
        self._of_frames = any(name in TRANSFORMS and TRANSFORMS.get(name) is FrameDecoder for name in names)

    def read(self, path: str, index: int) -> np.ndarray:
        """[V, T, H, W, 3].  A pipeline for folders of frames reads the same frames from the video file."""
        import numpy as np

        from paddlevideo.loader.decode import open_video
        from paddlevideo.settings import DEFAULT_SEED

        sample: dict[str, Any] = {"filename": path, "index": index}
        if self._of_frames:
            sample["reader"] = open_video(path)
        return self.pipeline(sample, np.random.default_rng([DEFAULT_SEED, 0, index]))["imgs"]


def picture_paths(videos: list[Path], folder: Path, suffix: str) -> list[Path]:
    """One path per video: its own name, numbered where several videos share it."""
    taken: dict[str, int] = {}
    paths = []
    for video in videos:
        count = taken[video.stem] = taken.get(video.stem, 0) + 1
        paths.append(folder / f"{video.stem}{'' if count == 1 else f'_{count}'}.{suffix}")
    return paths


def sheet(
    title: str, imgs: np.ndarray, look: Look, names: list[str] | None, class_id: int | None, max_views: int
) -> tuple[list[str], list[Row]]:
    """Heading and rows of one clip's picture: for each view its frames, and the map over them."""
    from paddlevideo.reporting.attention import heat_over
    from paddlevideo.reporting.contact_sheet import Row, displayable, spread

    order = [int(k) for k in (-look.scores).argsort(kind="stable")[:_TOP]]
    heading = [title, "predicted: " + ", ".join(scored(k, look, names) for k in order)]
    if class_id is not None:
        heading.append(f"asked about: {scored(class_id, look, names)}")
    rows: list[Any] = []
    for v in spread(len(imgs), max_views):
        frames = displayable(imgs[v])
        view = f", view {v + 1} of {len(imgs)}" if len(imgs) > 1 else ""
        rows += [
            Row(f"frames{view}  {imgs.shape[3]} x {imgs.shape[2]}", frames),
            Row(f"{look.method}{view}", heat_over(frames, look.heat[v])),
        ]
    return heading, rows


def scored(class_id: int, look: Look, names: list[str] | None) -> str:
    """``left 0.93``."""
    name = names[class_id] if names else f"class {class_id}"
    return f"{name} {look.scores[class_id]:.3f}"


if __name__ == "__main__":
    sys.exit(run_command(main))
