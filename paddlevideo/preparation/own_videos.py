"""What a folder of own videos holds: classes, clips with their headers, and how they are parted into two sets."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import cut
from paddlevideo.loader.datasets.list_lines import Fields
from paddlevideo.loader.datasets.lists import class_folders, read_list
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.decode.header import VideoHeader, read_header
from paddlevideo.loader.labels import read_labels
from paddlevideo.preparation.parallel import run_tasks
from paddlevideo.safe_io import sha256
from paddlevideo.sources import Clip, Sources, joined, sources_of, split_by_source
from paddlevideo.video_files import LIST_SUFFIXES, left_out_files, left_out_text, videos_below

VAL_SHARE = 0.2
_TRAIN, _VAL = ("train", "training"), ("val", "valid", "validation", "test", "testing")
_LABEL_FILES = ("classes.txt", "labels.txt")
_MAX_CLASSES = 10_000  # by their highest number in a list with fewer lines
_SHOWN = 3


@dataclass(frozen=True)
class OwnClip:
    """A readable video.

    Attributes:
        path: below ``OwnVideos.root``, with ``/``.
        label: class index.
        split: train or val; None: the folder does not say.
        name: path below the folder of its class.
    """

    path: str
    label: int
    split: str | None
    name: str


@dataclass
class OwnVideos:
    """The videos of a folder or list.

    Attributes:
        root: folder that paths are relative to.
        names: of the classes, in class-id order.
        clips: the readable ones, with a header each.
        folders: split -> folder of class folders, where there are such.
        remarks: lines on what is left out and what is odd.
        is_whole: whether every video and class of the folders is in ``clips``.
        val: numbers of the clips that are for validation.
        sources: of every clip; None where the split was there.
    """

    root: Path
    names: list[str]
    clips: list[OwnClip] = field(default_factory=list)
    headers: list[VideoHeader] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    is_whole: bool = True
    val: set[int] = field(default_factory=set)
    sources: Sources | None = None

    def counts(self, val: bool = False) -> list[int]:
        """Clips of every class in training, or in validation."""
        found = Counter(clip.label for i, clip in enumerate(self.clips) if (i in self.val) == val)
        return [found[k] for k in range(len(self.names))]


def read_own_videos(place: Path, seed: int, source: str | None = None, root: Path | None = None) -> OwnVideos:
    """Looks at every video of a folder of class folders (with train and val folders above them or not), or of a list.

    Args:
        place: the folder; or a list of ``path label`` lines, whose paths are relative to its folder or to here.
        seed: of the split, where there is none.
        source: as of ``sources_of``.
        root: folder that the paths of a list are relative to.

    Raises:
        UserError: nothing to train on: no such place, no videos, one class.
    """
    place = place.expanduser()
    if place.is_file() and place.suffix.lower() in LIST_SUFFIXES:
        videos, found = _of_list(place, root)
    elif place.is_dir() and root is None:
        videos, found = _of_folder(place)
    else:
        raise UserError(f"{printable(place)}: expected a folder with one sub-folder of videos per class, or a list "
                        f"({', '.join(sorted(LIST_SUFFIXES))}) of 'path label' lines")  # fmt: skip
    _read_headers(videos, found)
    _drop_empty(videos, place)
    _part(videos, seed, source)
    return videos


def _of_folder(place: Path) -> tuple[OwnVideos, list[OwnClip]]:
    folders = _subfolders(place)
    if not folders:
        beside = len([name for name in _listed(place) if name.lower().endswith(".mp4")])
        what = f"{beside} videos directly in it, and no sub-folders" if beside else "there are no sub-folders in it"
        raise UserError(
            f"{printable(place)}: {what}; put the videos of each class into a sub-folder of its name: "
            f"{printable(place)}/<class>/*.mp4, or give a list of 'path label' lines"
        )
    train = next((name for name in _TRAIN if name in folders), None)
    if train is None:
        return _of_classes(place, {None: place})
    val = next((name for name in _VAL if name in folders), None)
    parts = {"train" if val else None: place / train} | ({"val": place / val} if val else {})
    videos, found = _of_classes(place, parts)
    videos.folders = {split: folder for split, folder in parts.items() if split and val}
    others = [name for name in folders if name not in (train, val)]
    if others:
        videos.remarks.append(f"left out: the folders {', '.join(map(printable, others))} beside {train}")
    return videos, found


def _of_classes(place: Path, parts: dict[str | None, Path]) -> tuple[OwnVideos, list[OwnClip]]:
    training = next(iter(parts.values()))
    _subfolders(training)
    videos, found = OwnVideos(place, class_folders(str(training))), []
    for split, folder in parts.items():
        for name in _subfolders(folder):
            if name not in videos.names:
                raise UserError(
                    f"{printable(folder / name)}: no class of {printable(training)}; rename it, or add it there"
                )
            for clip in videos_below(folder / name, follow_links=False, on_error=_refuse):
                path = (folder / name / clip).relative_to(place).as_posix()
                found.append(OwnClip(path, videos.names.index(name), split, clip))
        counts = {reason: len(files) for reason, files in left_out_files(str(folder)).items()}
        if counts:
            videos.remarks.append(f"{printable(folder)}: {left_out_text(counts)}")
    return videos, found


def _refuse(error: OSError) -> None:
    raise UserError(f"{printable(error.filename)}: cannot be read ({error.strerror}); give yourself access to it")


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        _refuse(error)
        raise


def _subfolders(folder: Path) -> list[str]:
    return [name for name in _listed(folder) if not name.startswith(".") and (folder / name).is_dir()]


def _of_list(place: Path, given: Path | None) -> tuple[OwnVideos, list[OwnClip]]:
    root = given.expanduser() if given else place.parent
    labels = next((place.parent / name for name in _LABEL_FILES if (place.parent / name).is_file()), None)
    known = read_labels(labels) if labels else []
    lines = place.read_text("utf-8-sig", "replace").splitlines()
    words = {re.split(r"[\s,;]+", line.strip())[-1] for line in lines if line.strip()}
    fields = Fields(("path", "label"), frozenset([*known, *words]))
    rows, _ = read_list(str(place), fields, exists=lambda name: os.path.exists(name) or (root / name).exists())
    texts = sorted({row.fields["label"] for row in rows})
    if all(text.isdecimal() for text in texts):
        count = _num_classes(place, texts, len(rows))
        names = known if len(known) >= count else [f"class {k}" for k in range(count)]
        ids = {text: int(text) for text in texts}
    else:
        names = known if set(texts) <= set(known) else texts
        ids = {text: names.index(text) for text in texts}
    inside = given or any((root / row.fields["path"]).exists() for row in rows)
    videos = OwnVideos(root if inside else Path(), names)
    if labels:
        used = "names the classes" if names is known else "is left out: it lacks labels of the list"
        videos.remarks.append(f"{printable(labels)} {used}")
    videos.is_whole = False
    return videos, [OwnClip(r.fields["path"], ids[r.fields["label"]], None, r.fields["path"]) for r in rows]


def _num_classes(place: Path, labels: Sequence[str], num_rows: int) -> int:
    """One more than the highest of labels in digits.

    Raises:
        UserError: it is far beyond the number of clips.
    """
    highest = max(labels, key=lambda text: (len(text.lstrip("0")), text.lstrip("0")))
    if len(highest.lstrip("0")) > len(str(_MAX_CLASSES)) or int(highest) >= max(num_rows, _MAX_CLASSES):
        raise UserError(
            f"{printable(place)}: the last column, the label, holds {highest:.12} in {num_rows} lines: expected "
            "class numbers from 0 on, or class names; remove a column of ids, or put the label last"
        )
    return int(highest) + 1


def _header(path: str) -> VideoHeader | str:
    try:
        return read_header(path)
    except VideoReadError as error:
        return f"{error.reason}: {error.detail}"


def _read_headers(videos: OwnVideos, found: Sequence[OwnClip]) -> None:
    paths = [str(videos.root / clip.path) for clip in found]
    headers = dict(run_tasks(_header, paths, 1, "headers"))
    bad = []
    for i, clip in enumerate(found):
        if isinstance(headers[i], VideoHeader):
            videos.clips.append(clip)
            videos.headers.append(headers[i])
        else:
            bad.append(f"{printable(clip.path)} ({printable(headers[i])})")
    if bad:
        videos.is_whole = False
        videos.remarks.append(f"left out, unreadable: {len(bad)}: {'; '.join(cut(bad, _SHOWN))}")


def _drop_empty(videos: OwnVideos, place: Path) -> None:
    """Leaves out classes without a readable video in training."""
    used = sorted({clip.label for clip in videos.clips if clip.split != "val"})
    empty = [printable(name) for k, name in enumerate(videos.names) if k not in used]
    if len(used) < 2:
        reason = next((f" ({line})" for line in videos.remarks if "unreadable" in line), "")
        what = f"one class only ({printable(videos.names[used[0]])})" if used else f"no readable videos{reason}"
        raise UserError(f"{printable(place)}: {what}; a classifier needs videos of at least two classes")
    if not empty:
        return
    videos.remarks.append(f"left out, without a readable video: {len(empty)} classes: {', '.join(cut(empty, _SHOWN))}")
    numbers = {k: i for i, k in enumerate(used)}
    kept = [(clip, header) for clip, header in zip(videos.clips, videos.headers) if clip.label in numbers]
    videos.clips = [OwnClip(clip.path, numbers[clip.label], clip.split, clip.name) for clip, _ in kept]
    videos.headers = [header for _, header in kept]
    videos.names, videos.is_whole = [videos.names[k] for k in used], False


def _part(videos: OwnVideos, seed: int, source: str | None) -> None:
    same = list(_equal_files(videos))
    if same:
        _remark_on_equal(videos, same)
    labels = [clip.label for clip in videos.clips]
    if any(clip.split for clip in videos.clips):
        videos.val = {i for i, clip in enumerate(videos.clips) if clip.split == "val"}
        if not videos.val:
            raise UserError(
                f"{printable(videos.folders['val'])}: no readable videos; without that folder a part of train is taken"
            )
        return
    found = sources_of([Clip(clip.name, clip.label) for clip in videos.clips], source)
    videos.sources = Sources(joined(found.names, same), found.rule)
    videos.val = split_by_source(labels, videos.sources.names, VAL_SHARE, seed)
    if not videos.val:
        raise UserError(
            f"{printable(videos.root)}: nothing is left for validation: every class has one clip, or one source; add "
            "clips, or give --source none if they are not of one recording"
        )
    left = [printable(name) for name, count in zip(videos.names, videos.counts(val=True)) if not count]
    if left:
        videos.remarks.append(
            f"in training only, with one clip or one source: {len(left)} classes: {', '.join(cut(left, _SHOWN))}"
        )


def _equal_files(videos: OwnVideos) -> Iterator[list[int]]:
    """Numbers of clips with the same content; only files of equal size are read."""
    sizes: dict[int, list[int]] = defaultdict(list)
    for i, clip in enumerate(videos.clips):
        sizes[os.path.getsize(videos.root / clip.path)].append(i)
    for alike in sizes.values():
        digests: dict[str, list[int]] = defaultdict(list)
        for i in alike if len(alike) > 1 else ():
            digests[sha256(videos.root / videos.clips[i].path)].append(i)
        yield from (group for group in digests.values() if len(group) > 1)


def _remark_on_equal(videos: OwnVideos, same: Sequence[Sequence[int]]) -> None:
    pairs = [f"{printable(videos.clips[i].path)} = {printable(videos.clips[j].path)}" for i, j, *_ in same]
    videos.remarks.append(f"the same content twice: {len(same)}: {', '.join(cut(pairs, _SHOWN))}")
    for what, values in (("two classes", "label"), ("training and validation both", "split")):
        mixed = [pair for pair, group in zip(pairs, same) if len({vars(videos.clips[i])[values] for i in group}) > 1]
        if mixed:
            videos.remarks.append(f"warning: the same content in {what}: {', '.join(cut(mixed, _SHOWN))}; remove one")
