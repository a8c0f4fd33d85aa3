"""What a folder of own videos holds: classes, clips with their headers, and how they are parted into two sets."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from paddlevideo.errors import UserError, printable
from paddlevideo.findings import cut, plural
from paddlevideo.loader.datasets.lists import check_inside, class_folders, read_named_rows
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.decode.header import VideoHeader, read_header
from paddlevideo.preparation.parallel import run_tasks
from paddlevideo.safe_io import sha256
from paddlevideo.sources import Clip, Sources, joined, sources_of, split_by_source, split_folders, subfolders
from paddlevideo.video_files import LIST_SUFFIXES, is_video, left_out_files, left_out_text, videos_below

VAL_SHARE = 0.2
_MAX_CLASSES = 10_000  # by their highest number in a list with fewer lines
_SHOWN = 3


@dataclass(frozen=True)
class OwnClip:
    """A readable video.

    Attributes:
        path: below ``OwnVideos.root``, with ``/``.
        label: class index.
        split: train, val or test; None: the folder does not say.
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
        folders: split -> folder of class folders, where there are such; without val a part of train is taken.
        remarks: lines on what is left out and what is odd.
        is_whole: whether every video and class of the folders is in ``clips``.
        val, test: numbers of the clips that are for validation, and for a test alone.
        outside: numbers of the clips that lie outside ``root``, by links or by their paths in a list.
        sources: of every clip that was parted; None where the split was there.
    """

    root: Path
    names: list[str]
    clips: list[OwnClip] = field(default_factory=list)
    headers: list[VideoHeader] = field(default_factory=list)
    folders: dict[str, Path] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    is_whole: bool = True
    val: set[int] = field(default_factory=set)
    test: set[int] = field(default_factory=set)
    outside: list[int] = field(default_factory=list)
    sources: Sources | None = None

    def split_of(self, number: int) -> str:
        """The split of a clip: train, val or test."""
        return "val" if number in self.val else "test" if number in self.test else "train"

    def counts(self, split: str = "train") -> list[int]:
        """Clips of every class in a split."""
        found = Counter(clip.label for i, clip in enumerate(self.clips) if self.split_of(i) == split)
        return [found[k] for k in range(len(self.names))]

    @property
    def by_folder(self) -> bool:
        """Whether the folders serve as they are, without lists."""
        return self.is_whole and "val" in self.folders


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
        what = "" if place.exists() else "there is no such file or folder; "
        raise UserError(
            f"{printable(place)}: {what}expected a folder with one sub-folder of videos per class, or a list of 'path "
            f"label' lines whose name ends in {', '.join(sorted(LIST_SUFFIXES))}"
        )
    _read_headers(videos, found)
    _drop_empty(videos, place)
    _part(videos, place, seed, source)
    videos.outside = [] if videos.by_folder else [i for i, clip in enumerate(videos.clips) if _is_outside(videos, clip)]
    if videos.outside:
        first = printable(videos.clips[videos.outside[0]].path)
        videos.remarks.append(
            f"outside {printable(videos.root)}: {plural(len(videos.outside), 'clip')}, e.g. {first}; the configuration "
            "permits this: allow_outside_root: True"
        )
    return videos


def _is_outside(videos: OwnVideos, clip: OwnClip) -> bool:
    prefix = None if videos.root == Path() else str(videos.root)
    try:
        check_inside(str(videos.root / clip.path), prefix, False)
    except UserError:
        return True
    return False


def _of_folder(place: Path) -> tuple[OwnVideos, list[OwnClip]]:
    folders = subfolders(place)
    if not folders:
        beside = plural(len(list(filter(is_video, os.listdir(place)))), "video")
        what = "there are no sub-folders in it" if beside[0] == "0" else f"{beside} directly in it, and no sub-folders"
        raise UserError(
            f"{printable(place)}: {what}; put the videos of each class into a sub-folder of its name: "
            f"{printable(place)}/<class>/*.mp4, or give a list of 'path label' lines"
        )
    found = split_folders(place)
    if not found:
        videos, clips = _of_classes(place, {None: place})
        _remark_on_equal_folders(videos)
        return videos, clips
    parts = {split if split != "train" or "val" in found else None: place / name for split, name in found.items()}
    videos, clips = _of_classes(place, parts)
    videos.folders = {split: place / name for split, name in found.items()}
    others = [name for name in folders if name not in found.values()]
    if others:
        what = "folder" if len(others) == 1 else "folders"
        videos.remarks.append(f"left out: the {what} {', '.join(map(printable, others))} beside {found['train']}")
    return videos, clips


def _remark_on_equal_folders(videos: OwnVideos) -> None:
    """Sub-folders of classes are recordings; equal ones in every class may be the classes."""
    inner = {tuple(subfolders(videos.root / name)) for name in videos.names}
    names = next(iter(inner))
    if len(inner) > 1 or len(names) < 2 or any(map(is_video, os.listdir(videos.root / videos.names[0]))):
        return
    videos.remarks.append(
        f"every class has the same sub-folders ({', '.join(cut(list(map(printable, names)), _SHOWN))}); if these are "
        "the classes, name the folders above them train and val"
    )


def _of_classes(place: Path, parts: dict[str | None, Path]) -> tuple[OwnVideos, list[OwnClip]]:
    training = next(iter(parts.values()))
    subfolders(training)
    videos, found = OwnVideos(place, class_folders(str(training))), []
    for split, folder in parts.items():
        for name in subfolders(folder):
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


def _of_list(place: Path, given: Path | None) -> tuple[OwnVideos, list[OwnClip]]:
    root = given.expanduser() if given else place.parent
    found = read_named_rows(place, lambda name: os.path.exists(name) or (root / name).exists())
    texts = {row.fields["label"] for row in found.rows}
    names = found.names or [f"class {k}" for k in range(_num_classes(place, sorted(texts), len(found.rows)))]
    ids = {text: int(text) if text.isdecimal() and text not in names else names.index(text) for text in texts}
    inside = given or any((root / row.fields["path"]).exists() for row in found.rows)
    videos = OwnVideos(root if inside else Path(), names)
    if found.label_file:
        videos.remarks.append(f"{printable(found.label_file)} names the classes")
    if found.unused:
        videos.remarks.append(f"{printable(found.unused)} is left out: it lacks labels of the list")
    videos.is_whole = False
    paths = [row.fields["path"] for row in found.rows]
    return videos, [OwnClip(path, ids[row.fields["label"]], None, path) for path, row in zip(paths, found.rows)]


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
    used = sorted({clip.label for clip in videos.clips if clip.split not in ("val", "test")})
    empty = [printable(name) for k, name in enumerate(videos.names) if k not in used]
    if len(used) < 2:
        reason = next((f" ({line})" for line in videos.remarks if "unreadable" in line), "")
        what = f"one class only ({printable(videos.names[used[0]])})" if used else f"no readable videos{reason}"
        raise UserError(f"{printable(place)}: {what}; a classifier needs videos of at least two classes")
    if not empty:
        return
    what = plural(len(empty), "class", "classes")
    videos.remarks.append(f"left out, without a readable video: {what}: {', '.join(cut(empty, _SHOWN))}")
    numbers = {k: i for i, k in enumerate(used)}
    kept = [(clip, header) for clip, header in zip(videos.clips, videos.headers) if clip.label in numbers]
    videos.clips = [OwnClip(clip.path, numbers[clip.label], clip.split, clip.name) for clip, _ in kept]
    videos.headers = [header for _, header in kept]
    videos.names, videos.is_whole = [videos.names[k] for k in used], False


def _part(videos: OwnVideos, place: Path, seed: int, source: str | None) -> None:
    same = list(_equal_files(videos))
    if same:
        _remark_on_equal(videos, same)
    for split in ("val", "test"):
        own = {i for i, clip in enumerate(videos.clips) if clip.split == split}
        (videos.val if split == "val" else videos.test).update(own)
        if split in videos.folders and not own:
            instead = "a part of train is taken" if split == "val" else "DATASET.test is that of the validation"
            raise UserError(f"{printable(videos.folders[split])}: no readable videos; without that folder {instead}")
    if "val" in videos.folders:
        return
    parted = [i for i in range(len(videos.clips)) if i not in videos.test]
    clips = [Clip(videos.clips[i].name, videos.clips[i].label) for i in parted]
    places = {number: k for k, number in enumerate(parted)}
    groups = [[places[i] for i in group if i in places] for group in same]
    found = sources_of(clips, source)
    videos.sources = Sources(joined(found.names, [group for group in groups if group]), found.rule)
    chosen = split_by_source([clip.label for clip in clips], videos.sources.names, VAL_SHARE, seed)
    videos.val = {parted[k] for k in chosen}
    if not videos.val:
        way_out = "" if source == "none" else ", or give --source none if they are not of one recording"
        raise UserError(
            f"{printable(place)}: nothing is left for validation: every class has one clip, or one source; add "
            f"clips{way_out}"
        )
    left = [printable(name) for name, count in zip(videos.names, videos.counts("val")) if not count]
    if left:
        what = plural(len(left), "class", "classes")
        videos.remarks.append(f"in training only, with one clip or one source: {what}: {', '.join(cut(left, _SHOWN))}")


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
    for what, values in (("two classes", "label"), ("two splits", "split")):
        mixed = [pair for pair, group in zip(pairs, same) if len({vars(videos.clips[i])[values] for i in group}) > 1]
        if mixed:
            videos.remarks.append(f"warning: the same content in {what}: {', '.join(cut(mixed, _SHOWN))}; remove one")
