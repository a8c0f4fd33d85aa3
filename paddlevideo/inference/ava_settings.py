"""What a detection model must be told besides its pixels: of a configuration, or of ``inference.yml``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from paddlevideo.ava_files import read_ava_labels
from paddlevideo.classes import RESERVED, UNKNOWN, Classes
from paddlevideo.config import Config
from paddlevideo.errors import UserError


@dataclass(frozen=True)
class DetectionSettings:
    """The names of the actions, and how key frames and people are chosen.

    Args:
        class_ids: the action id of every column of the scores; column 0 is reserved and nobody's.
        names: a name for every column.
        clip_fps: frames per second of the frames it was trained on.
        timestamp_start: the second that the first frame shows, where boxes come from a file.
        timestamp_end: the second at which videos end; None: each where it ends.
        person_det_score_thr: least score of a person out of a file.
        num_max_proposals: boxes per key frame out of a file.
        action_thr: least score that the csv lists.
    """

    class_ids: Sequence[int]
    names: Sequence[str]
    clip_fps: float = 30.0
    timestamp_start: float = 900.0
    timestamp_end: float | None = 1800.0
    person_det_score_thr: float = 0.9
    num_max_proposals: int = 1000
    action_thr: float = 0.002

    def with_labels(self, path: str | Path) -> DetectionSettings:
        """The same with the names of a label file, by action id; e.g. in another language.

        Raises:
            UserError: a bad file, or one that names none of the model's actions, or one as another is called.
        """
        names = names_of(self.class_ids, path)
        for action, own, name in zip(self.class_ids, self.names, names):
            if name != own and name in self.names:
                other = self.class_ids[list(self.names).index(name)]
                raise UserError(
                    f"{path}: calls action {action} {name!r}, which is action {other} of the model; use the label file "
                    "of the training, or leave it out: the model carries its names"
                )
        return replace(self, names=names)

    def describe(self) -> dict[str, Any]:
        """Plain data for ``inference.yml``: ``settings_of_description`` gives these settings back."""
        values = asdict(self)
        return {**values, "class_ids": list(self.class_ids), "names": list(self.names)}


def names_of(class_ids: Sequence[int], label_file: str | Path | None) -> list[str]:
    """A name for every column: the file's, ``class 7`` where it has none, as AVA's list of 60 has none for 20.

    Raises:
        UserError: a bad file, or one that names none of the actions.
    """
    known = read_ava_labels(label_file) if label_file else {}
    if known and not set(known) & set(class_ids[1:]):
        raise UserError(
            f"{label_file}: names actions {min(known)} to {max(known)}, but none of the model's {len(class_ids) - 1}"
        )
    return [RESERVED, *(known.get(i, f"class {i}") for i in class_ids[1:])]


def settings_of_config(config: Config, framework: Any, classes: Classes = UNKNOWN) -> DetectionSettings:
    """The settings that DATASET.test (or .valid, .train) and METRIC of a configuration hold.

    Args:
        framework: the network: ``num_classes`` (K, the reserved column among them) and ``action_thr``.
        classes: the weights' own, before those of the configuration.

    Raises:
        UserError: custom classes that do not make K, a label file that is missing.
    """
    content, num_classes = config.to_dict(), framework.num_classes
    splits = content.get("DATASET") or {}
    places = [(f"DATASET.{split}", splits.get(split)) for split in ("test", "valid", "train")]
    places = [(where, s) for where, s in [*places, ("METRIC", content.get("METRIC"))] if isinstance(s, Mapping)]
    sections = [section for _, section in places]

    def first(key: str, default: Any = None) -> Any:
        return next((section[key] for section in sections if section.get(key) is not None), default)

    custom = next((s["custom_classes"] for s in sections if isinstance(s.get("custom_classes"), Sequence)), None)
    class_ids = list(classes.ids or [0, *(custom if custom is not None else range(1, num_classes))])
    if len(class_ids) != num_classes:
        raise UserError(
            f"{config.source}: custom_classes: {len(class_ids) - 1} and the reserved 0 make {len(class_ids)}, but the "
            f"network has {num_classes} classes"
        )
    where, label_file = next(((where, s["label_file"]) for where, s in places if "label_file" in s), ("", None))
    try:
        names = list(classes.names or names_of(class_ids, label_file))
    except UserError as error:
        way_out = f"override {where}.label_file=null to go without names"
        raise UserError(f"{config.source}: {where}.label_file: {error}; {way_out}") from None
    ends = [section["timestamp_end"] for section in sections if "timestamp_end" in section]
    return DetectionSettings(
        class_ids=class_ids,
        names=names,
        clip_fps=float(first("fps", DetectionSettings.clip_fps)),
        timestamp_start=first("timestamp_start", DetectionSettings.timestamp_start),
        timestamp_end=ends[0] if ends else DetectionSettings.timestamp_end,
        person_det_score_thr=first("person_det_score_thr", DetectionSettings.person_det_score_thr),
        num_max_proposals=first("num_max_proposals", DetectionSettings.num_max_proposals),
        action_thr=framework.action_thr,
    )


def settings_of_description(values: Mapping[str, Any], where: str) -> DetectionSettings:
    """The settings in ``inference.yml``.

    Raises:
        UserError: a key is missing.
    """
    known = [field.name for field in fields(DetectionSettings)]
    missing = [key for key in known if key not in values]
    if missing:
        raise UserError(f"{where}: detection lacks {', '.join(missing)}; export the model again")
    return DetectionSettings(**{key: values[key] for key in known})
