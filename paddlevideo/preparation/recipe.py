"""What the commands of all data sets share: their flags, and the way from annotations to lists."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from paddlevideo.loader.labels import read_labels
from paddlevideo.preparation.list_files import (
    AnnotatedClip,
    Classes,
    PathStyle,
    VideoIndex,
    report_lines,
    write_listing,
)

Reader = Callable[[Path, Classes, argparse.Namespace], Mapping[str, Sequence[AnnotatedClip]]]
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Recipe:
    """One data set.

    Args:
        name: its folder below ``data/``.
        read: from the annotation folder to clips by split (``train``, ``val``...), all mistakes noted in ``Classes``.
        list_name: with places for ``split``, ``kind`` (``videos`` or ``rawframes``) and the flags.
        frames_folder: folder below ``data/`` for lists of frame folders, if it is another one.
        frame_name: template of the frames as they are published or extracted.
        from_frames: it is published as frames.
        ending: paths in lists of videos keep their ending.
        ignore_case: names in the annotations differ from the files' in case.
        num_splits: official splits to choose one from with ``--split``.
    """

    name: str
    read: Reader
    list_name: str
    frames_folder: str = ""
    frame_name: str = "img_{:05}.jpg"
    from_frames: bool = False
    ending: bool = True
    ignore_case: bool = False
    num_splits: int = 0

    def run(self, argv: Sequence[str] | None, about: str) -> int:
        """The command; 0, or 1 with ``--strict`` if clips are missing."""
        args = self._parse(argv, about)
        classes = Classes(read_labels(args.labels))
        splits = self.read(args.annotations, classes, args)
        classes.raise_if_any()
        index = VideoIndex(args.frames or args.videos, args.frame_name if args.frames else None, self.ignore_case)
        style = PathStyle(args.relative, args.ending)
        kind = "rawframes" if args.frames else "videos"
        listings = {
            split: write_listing(clips, index, args.out / self._file(split, kind, args), style)
            for split, clips in splits.items()
        }
        print("\n".join(report_lines(listings, index)))
        if args.frames:
            print(f"frames are called {args.frame_name!r}: that is DATASET.*.suffix in the configuration")
        elif not args.ending:
            print("paths are written without their ending: DATASET.*.suffix in the configuration adds it")
        return int(args.strict and any(listing.missing for listing in listings.values()))

    def _file(self, split: str, kind: str, args: argparse.Namespace) -> str:
        return self.list_name.format(split=split, kind=kind, number=getattr(args, "split", 1))

    def _parse(self, argv: Sequence[str] | None, about: str) -> argparse.Namespace:
        data = Path("data", self.name)
        parser = argparse.ArgumentParser(description=about.partition("\n")[0])
        add = parser.add_argument
        add(
            "--annotations", type=Path, default=data / "annotations", metavar="DIR", help="official files (%(default)s)"
        )
        add("--videos", type=Path, metavar="DIR", help=f"folder of the videos, in any structure ({data / 'videos'})")
        add("--frames", type=Path, metavar="DIR", help="folder of frame folders, to list those and not videos")
        add("--frame_name", default=self.frame_name, help="of the frames (%(default)s)")
        add("--out", type=Path, metavar="DIR", help=f"folder for the lists ({data})")
        labels = REPOSITORY / data / "labels.txt"
        add("--labels", type=Path, default=labels, metavar="FILE", help="class names in class-id order (the suite's)")
        if self.num_splits:
            add("--split", type=int, default=1, choices=range(1, self.num_splits + 1), help="official split (1)")
        add("--relative", action="store_true", help="paths below that folder, for DATASET.*.data_prefix")
        add("--ending", action=argparse.BooleanOptionalAction, default=self.ending, help="endings of the videos' names")
        add("--strict", action="store_true", help="exit with 1 if annotated clips are missing")
        args = parser.parse_args(argv)
        if args.videos and args.frames:
            parser.error("--videos and --frames: one of them")
        if not (args.videos or args.frames):
            key, folder = ("frames", "rawframes") if self.from_frames else ("videos", "videos")
            setattr(args, key, data / folder)
        args.out = args.out or Path("data", self.frames_folder if args.frames and self.frames_folder else self.name)
        return args
