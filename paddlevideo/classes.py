"""What a class index means: fixed when training begins, stored beside the weights, compared wherever they are used.

The names come from ``DATASET.label_names``, or from the class folders or shards of ``DATASET.train``; those of a
detector from its ``label_file``, with the action id of every column.  They are stored in ``S.pdstates`` of a resume
point and in ``S.pdparams.json`` beside every other weights file.  Data that name the same classes in another order are
read in the weights' order; data that name other classes are refused.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paddlevideo.addresses import without_secrets
from paddlevideo.ava_files import read_ava_labels
from paddlevideo.config import Config
from paddlevideo.config.checking import AUTO
from paddlevideo.downloads.cache import local_weights
from paddlevideo.errors import ConfigError, UserError
from paddlevideo.finite import refuse_non_finite
from paddlevideo.loader.datasets.lists import ClassCount, expanded
from paddlevideo.loader.labels import read_labels
from paddlevideo.manifest import SUFFIX, read_manifest, read_note, write_manifest
from paddlevideo.registry import BACKBONES, DATASETS
from paddlevideo.safe_io import DamagedFileError, instead_of_a_file, sha256, write_pickle
from paddlevideo.weight_names import check_thresholds, is_export, read_names

log = logging.getLogger("paddlevideo")

RESERVED = "(reserved)"  # column 0 of a detector
NOTE = ".json"  # appended to the name of a weights file
THRESHOLDS = "thresholds"  # field of the note: the least score per class that counts as found
FITTED_TO = "fitted_to"  # field of the note: keys of the videos that a classifier was fitted to
_COUNTS = ("num_classes", "class_num")
_SHOWN = 5
_AMBIGUOUS = re.compile(r"^\d+\s*[:\s,]")  # a name that a label file would read as a number and a name


@dataclass(frozen=True)
class Classes:
    """The classes of a network's outputs, in their order.

    Args:
        names: K names; None: unknown.
        ids: of a detector, the action id of every column, 0 for the reserved one; else None.
        source: what names them, for messages; equal classes may have different ones.
    """

    names: tuple[str, ...] | None = None
    ids: tuple[int, ...] | None = None
    source: str = field(default="", compare=False)

    @classmethod
    def of(cls, values: Any, where: str) -> Classes:
        """From what ``describe`` gave; None gives unknown classes.

        Raises:
            DamagedFileError: it is something else.
        """
        if values is None:
            return cls()
        parts = []
        for key, kind in (("names", str), ("ids", int)):
            part = values.get(key) if isinstance(values, Mapping) else 0
            if part is not None and not (isinstance(part, list) and part and all(type(v) is kind for v in part)):
                raise DamagedFileError(f"{where}: damaged: classes.{key}: expected a list of {kind.__name__}, or null")
            parts.append(None if part is None else tuple(part))
        return cls(*parts, source=where)

    def describe(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {"names": self.names and list(self.names), "ids": self.ids and list(self.ids)}

    @property
    def count(self) -> int | None:
        """K; None if unknown."""
        known = self.names or self.ids
        return len(known) if known else None

    def text(self) -> str:
        """A label file of the names, numbered where a name would be read as a numbered one."""
        numbered = any(_AMBIGUOUS.match(name) for name in self.names)
        lines = [f"{k}: {name}" if numbered else name for k, name in enumerate(self.names)]
        return "".join(" ".join(line.split()) + "\n" for line in lines)


UNKNOWN = Classes()


def order_in(mine: Classes, theirs: Classes, of_mine: str, of_theirs: str) -> list[int] | None:
    """For each class of ``theirs`` its index among ``mine``; None where both agree, or one of them is unknown.

    Args:
        of_mine, of_theirs: what to call both sides in messages.

    Raises:
        UserError: they are not the same classes.
    """
    pairs = ((mine.names, theirs.names), (mine.ids, theirs.ids))
    a, b = next(((a, b) for a, b in pairs if a and b), (None, None))
    if a == b:
        return None
    if len(set(a)) < len(a) or sorted(map(str, a)) != sorted(map(str, b)):
        parts = ((f"only in {of_mine}", [c for c in a if c not in b]), ("not there", [c for c in b if c not in a]))
        named = "; ".join(f"{part}: {_some(classes)}" for part, classes in parts if classes)
        raise UserError(
            f"{of_theirs}: {len(b)} classes that are not the {len(a)} of {of_mine} ({named or 'a name comes twice'}), "
            "so a class index would mean another class; use the data or the label file of that training"
        )
    places = {c: k for k, c in enumerate(a)}
    return [places[c] for c in b]


def _some(classes: Sequence[Any]) -> str:
    shown = ", ".join(str(c) for c in classes[:_SHOWN])
    return shown if len(classes) <= _SHOWN else f"{shown} and {len(classes) - _SHOWN} more"


# ---- beside weights files


def write_weights(path: Path, arrays: Mapping[str, Any], classes: Classes, about: Mapping[str, Any]) -> str:
    """A ``.pdparams`` file and its note; returns the file's SHA-256.

    Args:
        about: further fields of the note.

    Raises:
        NonFiniteError: an array holds NaN or infinity; existing files are left unchanged.
    """
    refuse_non_finite(arrays, path, "not written; the training that these weights come from has diverged")
    note = path.with_name(path.name + NOTE)
    note.unlink(missing_ok=True)  # a crash between the two leaves weights without a note rather than with a wrong one
    digest = write_pickle(path, arrays)
    write_manifest(note, {"sha256": digest, "classes": classes.describe(), **about})
    return digest


def classes_of_weights(path: str | Path) -> Classes:
    """The classes that a weights file was trained on, from its note or from its resume point's manifest.

    Args:
        path: ``.pdparams``, or its name or address; or exported weights, a ``.pdiparams`` or its folder.

    Returns:
        Unknown classes where there is neither.

    Raises:
        UserError: the file is missing; the note is damaged, or was written for other weights.
    """
    path = local_weights(path)
    if is_export(path):
        names = read_names(path)
        return Classes.of(names.classes, str(names.file))
    if not path.is_file():
        raise UserError(f"{path}: {instead_of_a_file(path)}")
    note, manifest = path.with_name(path.name + NOTE), path.with_suffix(SUFFIX)
    if note.is_file():
        content = read_note(note, f"without it {path.name} has no class names")
        if content["format"] == 1:
            log.warning("%s: of an earlier version: no digest of its own, a changed name goes unnoticed", note)
        digest, values, where = content.get("sha256"), content.get("classes"), note
    elif path.suffix == ".pdparams" and manifest.is_file():
        content = read_manifest(manifest)
        digest, values, where = content["files"].get(path.name), content["state"].get("classes"), manifest
    else:
        return UNKNOWN
    if digest != sha256(path):
        raise DamagedFileError(
            f"{path}: SHA-256 mismatch with {where.name} beside it: damaged, or replaced by other weights; remove "
            f"{where.name} if they are what you mean (their class names are unknown then)"
        )
    return Classes.of(values, str(where))


def thresholds_of_weights(path: str | Path, num_classes: int) -> list[float] | None:
    """The least score per class that counts as found, as the validation that chose the weights found it.

    Args:
        path: as of ``classes_of_weights``, which compares its digest.
        num_classes: K.

    Returns:
        K numbers; None where no threshold is kept with the weights.

    Raises:
        DamagedFileError: they are no thresholds of so many classes.
    """
    path = local_weights(path)
    note = path.with_name(path.name + NOTE)
    if is_export(path):
        names = read_names(path, check=False)
        found, where = names.thresholds, names.file
    elif note.is_file():
        found, where = read_note(note).get(THRESHOLDS), note
    else:
        return None
    return None if found is None else check_thresholds(found, num_classes, where)


def facts_of_weights(path: str | Path) -> dict[str, Any]:
    """What the note of a weights file says of its classifier, and what holds for every copy: the least scores that
    count as found, and the videos that it was fitted to.

    Args:
        path: as of ``classes_of_weights``, which compares its digest.
    """
    path = local_weights(path)
    note = path.with_name(path.name + NOTE)
    content = read_note(note) if not is_export(path) and note.is_file() else {}
    return {key: content[key] for key in (THRESHOLDS, FITTED_TO) if content.get(key)}


def missing_thresholds(config: Config, weights: str | Path, thresholds: Sequence[float] | None) -> list[str]:
    """A line where a network of several labels is to have its own thresholds, and its weights have none."""
    if thresholds is not None or (config.to_dict().get("METRIC") or {}).get("threshold") != "best_f1":
        return []
    return [f"{weights}: no thresholds are kept with it (training with --validate finds them): classes count from 0.5"]


def agreed(config: Config, weights: str | Path, split: str, say: Callable[[str], None]) -> Classes:
    """What the outputs of trained weights mean, compared with what the configuration names.

    The weights' own names need no data; where they have none, the configuration's are taken.

    Args:
        split: the section of DATASET that names a detector's classes.
        say: receives a line that names the source of the names, and one on what differs.

    Raises:
        UserError: ``label_names``, or a detector's ``label_file`` or ``custom_classes``, name other classes.
    """
    classes = classes_of_weights(weights)
    if not classes.count:
        own = classes_of_config(config, split)
        say(unknown_line(weights, own))
        return own
    say(f"{classes.count} classes, named by {weights}")
    try:
        own = classes_of_config(config, split)
    except UserError as error:
        say(f"{error}; the names are the weights' own")
        return classes
    source = source_of(config, split)
    if _of_folders(config, split):
        if own.names and set(own.names) != set(classes.names or own.names):
            say(f"{source} are other classes than the training's by now; the names are the weights' own")
    elif order_in(classes, own, str(weights), f"{config.source}: {source}") is not None:
        say(f"{source}: the classes are in another order than in {weights}; they are mapped by name")
    return classes


def compare_start(classes: Classes, file: str | Path, name: str, teaches: bool, say: Callable[[str], None]) -> None:
    """Compares the classes of weights that a network starts from with those of the training.

    Args:
        classes: of the training.
        name: what to call the file in messages.
        teaches: its logits are learned by another network, so that they must mean the same classes in one order.
        say: receives a line about what differs or cannot be compared.

    Raises:
        UserError: a teacher has other classes, or another order.
    """
    theirs = classes_of_weights(file)
    if not teaches:
        if theirs.names and classes.names and theirs.names != classes.names:
            differ = "these classes in another order" if {*theirs.names} == {*classes.names} else "other class names"
            say(f"{name}: was trained on {differ}; its classifier is a start, no more")
    elif not (theirs.count and classes.count):
        unnamed = "its class names are" if classes.count else "the class names of the training are"
        say(f"{name}: {unnamed} unknown; its logits are taken to mean the training's classes, in the same order")
    elif order_in(classes, theirs, "the training", name) is not None:
        raise UserError(
            f"{name}: its {theirs.count} classes are in another order than those of the training: it would teach "
            f"one class as another ({_some(theirs.names or theirs.ids)} there, {_some(classes.names or classes.ids)} "
            "here); train in its order (of class folders DATASET.label_names decides, of lists their numbers)"
        )


def _of_folders(config: Config, split: str) -> bool:
    """Whether the names are those of the training's class folders, which may have changed since."""
    dataset = config.to_dict().get("DATASET") or {}
    return not dataset.get("label_names") and not _has_boxes(dataset.get(split) or {})


def unknown_line(weights: str | Path, data: Classes) -> str:
    """The line, logged once, on weights without class names."""
    line = f"{weights}: its class names are unknown"
    if data.names:
        line += "; those of the configuration's data are taken for them"
        if data.names != tuple(sorted(data.names)) and all(name.isdecimal() for name in data.names):
            line += " (numbered folders count as numbers: 2 before 10; earlier versions sorted them as text)"
    return line


# ---- of a configuration


def classes_of_config(config: Config, split: str = "train") -> Classes:
    """The classes that a configuration's data name; unknown for lists without ``DATASET.label_names``.

    Args:
        split: the section of DATASET that names a detector's classes; folders are always those of ``train``.

    Raises:
        UserError: the label file is missing or no label file.
    """
    dataset = config.to_dict().get("DATASET")
    dataset = dataset if isinstance(dataset, dict) else {}
    section = dataset.get(split)
    if isinstance(section, Mapping) and _has_boxes(section):
        return _of_detection(config, section, split)
    path = dataset.get("label_names")
    if not path:
        names = names_in(dataset.get("train") or {})
        return Classes(tuple(names), source=source_of(config)) if names else UNKNOWN
    try:
        return Classes(tuple(read_labels(path)), source=source_of(config))
    except UserError as error:
        raise UserError(
            f"{config.source}: DATASET.label_names: {error}; -o DATASET.label_names=null goes without names"
        ) from None


def names_in(section: Mapping[str, Any]) -> list[str] | None:
    """Class names that the data of a section of DATASET state, e.g. class folders; None: they state none."""
    name = section.get("format")
    return DATASETS.get(name).class_names_in(section) if name in DATASETS else None


def in_archives(section: Mapping[str, Any]) -> bool:
    """Whether the samples of a section of DATASET are parts of archives."""
    name = section.get("format")
    return name in DATASETS and DATASETS.get(name).in_archives


def _has_boxes(section: Mapping[str, Any]) -> bool:
    name = section.get("format")
    return name in DATASETS and DATASETS.get(name).has_boxes


def _of_detection(config: Config, section: Mapping[str, Any], split: str) -> Classes:
    names = {}
    if section.get("label_file"):
        try:
            names = read_ava_labels(section["label_file"])
        except UserError as error:
            raise UserError(f"{config.source}: DATASET.{split}.label_file: {error}") from None
    custom, given = section.get("custom_classes"), class_counts(config).values()
    number = next((count for count in given if isinstance(count, int)), max(names) + 1 if names else 0)
    ids = (0, *(custom if isinstance(custom, list) else range(1, number)))
    if len(ids) == 1:
        return UNKNOWN
    known = (RESERVED, *(names.get(i, f"class {i}") for i in ids[1:]))
    return Classes(known if names else None, ids, source_of(config, split))


def class_counts(config: Config) -> dict[str, Any]:
    """Key path -> value of every number of classes that MODEL states."""
    return {path: table[key] for path, table, key in _places(config.to_dict().get("MODEL"), "MODEL")}


def _places(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any], str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in _COUNTS:
                yield f"{where}.{key}", value, key
            else:
                yield from _places(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _places(inner, f"{where}[{i}]")


def count_key(config: Config) -> str:
    """The key of the configuration that states the number of classes of the network that predicts."""
    section, where = config.to_dict().get("MODEL") or {}, "MODEL"
    for i, item in enumerate(section.get("models") or []):
        ((name, inner),) = item.items()
        if name == "Student" or where == "MODEL":
            deployed, place = inner, f"MODEL.models[{i}].{name}"
            if name == "Student":
                section, where = deployed, place
    backbone, head = section.get("backbone") or {}, section.get("head") or {}
    takes = BACKBONES.entry(backbone["name"]).parameters if backbone.get("name") in BACKBONES else None
    if any(parameter.name == "class_num" for parameter in takes or ()):
        return f"{where}.backbone.class_num"
    return f"{where}.head.bbox_head.num_classes" if "bbox_head" in head else f"{where}.head.num_classes"


def settled(config: Config, classes: Classes) -> Config:
    """The configuration with a number in place of each ``auto`` that MODEL has for the number of classes.

    Raises:
        ConfigError: there is an ``auto``, and nothing names the classes.
    """
    waiting = [path for path, value in class_counts(config).items() if value == AUTO]
    if not waiting:
        return config
    if classes.count is None:
        training = (config.to_dict().get("DATASET") or {}).get("train") or {}
        root = training.get("file_path")
        if root and not os.path.exists(root) and not _has_boxes(training):
            problem = f"DATASET.train.file_path: {root}: no such {'file' if Path(root).suffix else 'folder'}"
            places = "the class names of its index" if in_archives(training) else "its sub-folders, one per class"
            wanted = f"{waiting[0]}: {AUTO} counts {places}; or set the number: -o {waiting[0]}=K"
            raise ConfigError(config.source, [f"{problem}; {wanted}"])
        reason = (
            "auto takes the number of classes from class folders or shards (DATASET.train.file_path), a label file "
            "(DATASET.label_names; of a detector label_file or custom_classes) or the weights' own names, and there is "
            "none of them here; a list alone may lack the last class: name a label file, or set the number"
        )
        raise ConfigError(config.source, [f"{path}: {reason}" for path in waiting])
    data = config.to_dict()
    for _, table, key in _places(data["MODEL"], "MODEL"):
        if table[key] == AUTO:
            table[key] = classes.count
    return Config(data, config.source)


def check_count(config: Config, num_classes: int, classes: Classes, weights: str | Path | None = None) -> None:
    """Compares the network's number of classes with those that are named.

    Args:
        weights: a file that the network has been found to fit, so that the names are what differs; None: in training
            the number of the configuration may be wrong.

    Raises:
        ConfigError: they differ.
    """
    if classes.count in (None, num_classes):
        return
    key, named = count_key(config), (config.get("DATASET") or {}).get("label_names")
    fitting = "" if weights is None else f", which {weights} fits"
    ways = [f"-o {key}={classes.count}, or {AUTO}"] if weights is None else []
    if not classes.source.startswith("DATASET."):
        ways += [] if weights is None else ["they are not the names of these weights; without that file they have none"]
    elif named:
        ways.append("-o DATASET.label_names=null goes without names")
    elif weights is not None:
        key_of_names = "custom_classes or label_file" if classes.ids else "DATASET.label_names"
        ways.append(f"name the classes of the training with {key_of_names}")
    problem = f"{key}: {classes.source}: {classes.count} class names, but the model has {num_classes} classes{fitting}"
    raise ConfigError(config.source, [f"{problem}; {'; '.join(ways)}"])


def counted(config: Config, num_classes: int) -> ClassCount:
    """The number with the key that states it, for messages about labels beyond it."""
    return ClassCount(num_classes, count_key(config))


def source_of(config: Config, split: str = "train") -> str:
    """What names the classes of a configuration, for messages."""
    dataset = config.to_dict().get("DATASET") or {}
    section = dataset.get(split) or {}
    if _has_boxes(section):
        part = "custom_classes" if isinstance(section.get("custom_classes"), list) else "label_file"
        return f"DATASET.{split}.{part}" + (f": {section[part]}" if part == "label_file" else "")
    if dataset.get("label_names"):
        return f"DATASET.label_names: {dataset['label_names']}"
    training = dataset.get("train") or {}
    if in_archives(training):
        return f"DATASET.train: the index of {without_secrets(str(training.get('file_path')))}"
    root = expanded(training.get("file_path"))
    return f"DATASET.train.file_path: the folders of {root}" if root and os.path.isdir(root) else "DATASET"
