"""The clips of a data set before, within and after a pipeline, as pictures.

The frames are those that a run with this seed sees in this epoch: same data set, same pipeline, same generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from paddlevideo.classes import classes_of_config, settled
from paddlevideo.config import Config
from paddlevideo.drawing import Marked
from paddlevideo.errors import UserError
from paddlevideo.loader.build import build_loader
from paddlevideo.loader.collate import BatchSource
from paddlevideo.loader.decode import VideoReadError
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.labels import read_labels
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.registry import TRANSFORMS
from paddlevideo.reporting.contact_sheet import PictureRow, displayable, spread

_MAX_LABELS = 4  # of a soft label, the greatest


@dataclass
class ClipRows:
    """One sample of the data set: lines that name it, and its pictures at several stages of the pipeline."""

    index: int
    heading: list[str]
    rows: list[PictureRow] = field(default_factory=list)


def prefixes(section: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(name of the last operator, the section up to it) for every operator of a pipeline section."""
    done: dict[str, Any] = {}
    for key, value in section.items():
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield (item if isinstance(item, str) else next(iter(item))), {**done, key: value[: i + 1]}
        else:
            yield value["name"], {**done, key: value}
        done[key] = value


class Browser:
    """Shows samples of one split before and after its pipeline.

    Args:
        config: DATASET, PIPELINE, and MIX if there is one; MODEL only for its number of classes.
        split: train, valid or test.
        seed: of the run.
        epoch: counts from 0 (what a run's log calls epoch 1).
        every_step: show the clip after each operator, not only before and after all of them.
        max_views: rows per stage at most, of clips with several views.

    Raises:
        ConfigError, UserError: a bad section, list or label-name file.
    """

    def __init__(
        self, config: Config, split: str, seed: int = 0, epoch: int = 0, every_step: bool = False, max_views: int = 10
    ):
        config = settled(config, classes_of_config(config, split))
        dataset, pipelines = config.section("DATASET"), config.section("PIPELINE")
        for name, section in (("DATASET", dataset), ("PIPELINE", pipelines)):
            if split not in section:
                raise UserError(f"{config.source}: {name}.{split} is missing; there are: {', '.join(section)}")
        head = config.get("MODEL", {}).get("head", {})
        self.num_classes: int | None = head.get("num_classes")
        self._loader = build_loader(
            dataset[split],
            pipelines[split],
            split,
            seed=seed,
            num_classes=self.num_classes,
            batch_size=1,
            num_workers=0,
            shuffle=False,
            drop_last=False,
        )
        names = dataset.get("label_names")
        self.class_names = read_labels(names, self.num_classes) if names else self._loader.dataset.class_names
        self._section, self._where = pipelines[split], f"PIPELINE.{split}"
        self._mix = config["MIX"].to_dict() if split == "train" and "MIX" in config else None
        self._seed, self._epoch, self._every_step, self._max_views = seed, epoch, every_step, max_views
        self._stages: list[tuple[str, SampleSource]] | None = None

    def __len__(self) -> int:
        """Samples of the split."""
        return len(self._loader.dataset.records)

    def clip(self, index: int) -> ClipRows:
        """The sample, before and after its pipeline.

        Raises:
            UserError: no such sample; it cannot be read, or an operator cannot take it.
        """
        if not 0 <= index < len(self):
            raise UserError(f"there is no sample {index}; {self._where[9:]} holds {len(self)}, 0 to {len(self) - 1}")
        record = self._loader.dataset.records[index]
        source = record.get("filename") or record.get("frame_dir") or "a clip in memory"
        own = self.label_text(record["label"]) if "label" in record else record.get("img_key", "no label")
        clip = ClipRows(index, [f"{own}   sample {index}, epoch {self._epoch}, seed {self._seed}", str(source)])
        last = None
        for title, samples in self._stages_of(index):
            sample, _ = samples.fetch(self._epoch, index)
            if last is not None and self._every_step and np.array_equal(sample["imgs"], last):
                clip.rows.append(PictureRow(f"{title}: nothing changed", None))
                continue
            last = sample["imgs"]
            now = self.label_text(sample["label"]) if "label" in sample else own
            clip.rows += self._rows(title if now == own else f"{title}: now {now}", last, outlined(sample))
        if last is not None:
            clip.heading += self._actions(sample)
        return clip

    @property
    def mixes(self) -> bool:
        """Whether batches of this split are blended by MIX."""
        return self._mix is not None

    def blend(self, clips: Sequence[ClipRows]) -> None:
        """Adds to each clip what MIX makes of them as one batch.

        A run blends the clips of its own batches, so a clip gets other partners.

        Raises:
            UserError: fewer than two clips, or clips of different shapes.
        """
        if self._mix is None:
            raise UserError(f"{self._where}: no MIX to show (it belongs to training)")
        if len(clips) < 2:
            raise UserError("MIX blends clips with one another; show at least two")
        if self.num_classes is None:
            raise UserError("MIX makes soft labels and needs MODEL.head.num_classes")
        samples = self._source(self._loader.dataset, self._loader.pipeline)
        mixer = TRANSFORMS.build(self._mix, "MIX")
        batch = BatchSource(samples, mixer, self.num_classes).make(
            self._epoch, 0, np.array([clip.index for clip in clips])
        )
        for clip, imgs, label in zip(clips, batch["imgs"], batch["label"]):
            clip.rows += self._rows(f"{self._mix['name']}: {self.label_text(label)}", imgs)

    def _source(self, dataset: Any, pipeline: Pipeline) -> SampleSource:
        return SampleSource(dataset, pipeline, self._seed, "raise", damaged=self._loader.damaged)

    def label_text(self, label: Any) -> str:
        """The class's name and number, or the greatest shares of a soft label."""
        if isinstance(label, np.ndarray) and label.ndim:
            order = [int(k) for k in np.argsort(-label, kind="stable") if label[k] >= 0.005]
            more = " + ..." if len(order) > _MAX_LABELS else ""
            return " + ".join(f"{label[k]:.2f} {self._class_name(k)}" for k in order[:_MAX_LABELS]) + more
        return self._class_name(int(label))

    def _actions(self, sample: Mapping[str, Any]) -> list[str]:
        """A line per annotated person, with the number that its box has in the pictures."""
        return [
            f"{person}: {', '.join(self._class_name(int(k)) for k in np.flatnonzero(labels)) or 'no action'}"
            for person, labels in enumerate(sample.get("gt_labels", ()))
        ]

    def _class_name(self, label: int) -> str:
        names = self.class_names
        return f"{names[label]} ({label})" if names is not None and label < len(names) else f"class {label}"

    def _stages_of(self, index: int) -> list[tuple[str, SampleSource]]:
        """What to show: the pipeline up to its sampling operator, and the whole of it (or after each operator)."""
        if self._stages is not None:
            return self._stages
        dataset, steps = self._loader.dataset, list(prefixes(self._section))
        stages: list[tuple[str, SampleSource]] = []
        for name, section in steps:
            pipeline = Pipeline(section, self._where)
            if not stages:
                key = [self._seed, self._epoch, index]
                if "imgs" not in pipeline(self._loader.sample(index), np.random.default_rng(key)):
                    continue
                name = "before"
            elif not self._every_step:
                continue
            stages.append((name, self._source(dataset, pipeline)))
        if not self._every_step:
            stages.append(("after", self._source(dataset, self._loader.pipeline)))
        self._stages = stages
        return stages

    def _rows(self, title: str, imgs: np.ndarray, people: Sequence[Marked] = ()) -> list[PictureRow]:
        """One row per view of imgs [V, T, H, W, 3], with these people in each."""
        views, _, height, width, _ = imgs.shape
        shown, kind = (
            spread(views, self._max_views),
            "" if imgs.dtype == np.uint8 else ", normalised, contrast stretched",
        )
        return [
            PictureRow(
                f"{title}{f', view {v + 1} of {views}' if views > 1 else ''}  {width} x {height}{kind}",
                displayable(imgs[v]),
                people,
            )
            for v in shown
        ]


def outlined(sample: Mapping[str, Any]) -> list[Marked]:
    """The annotated persons of a sample with their numbers; a key frame without annotation has those to classify."""
    annotated = sample.get("gt_boxes", ())
    if len(annotated):
        return [Marked(person, box, [str(person)]) for person, box in enumerate(annotated)]
    return [Marked(person, box, []) for person, box in enumerate(sample.get("boxes", ()))]


def read_clips(browser: Browser, indices: Sequence[int]) -> tuple[list[ClipRows], list[VideoReadError]]:
    """The clips that can be read, and why the others cannot.

    Raises:
        UserError: no such sample, or an operator cannot take it.
    """
    clips, errors = [], []
    for index in indices:
        try:
            clips.append(browser.clip(index))
        except VideoReadError as error:
            errors.append(error)
    return clips, errors
