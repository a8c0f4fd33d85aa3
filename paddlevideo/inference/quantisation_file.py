"""int8 by PaddleVideo's quantisation file: its samples, through its pipeline, calibrate its exported model.

The first ``batch_size * batch_nums`` samples of the list calibrate, in its order; the rest measures the cost.  The int8
form and its ``inference.yml`` go to ``quant_output_dir``, which ``predict --model_file`` takes as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from paddlevideo.build import normalization_of
from paddlevideo.config import Config
from paddlevideo.config.merging import differences
from paddlevideo.config.quantisation import QUANT, QuantisationFile
from paddlevideo.errors import UserError
from paddlevideo.inference.exported import FILE_NAME, Description, Export
from paddlevideo.inference.predictor import Predictor
from paddlevideo.inference.quantisation import ClipsOfVideos, LabelledVideos, checked_export, write_int8
from paddlevideo.inference.runtimes.base import ExportedModel, Say
from paddlevideo.loader.build import build_dataset
from paddlevideo.loader.datasets.base import Dataset
from paddlevideo.loader.fetch import SampleSource
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.registry import DATASETS
from paddlevideo.settings import DEFAULT_SEED, Reading

_WHERE = f"PIPELINE.{QUANT}"


def quantise_by_file(config: Config, on_error: Literal["raise", "skip"] = "raise", say: Say = print) -> Path:
    """Writes ``NAME.int8.onnx`` and ``inference.yml`` to ``quant_output_dir``, and prints top-1 and size of both forms.

    Args:
        config: of a quantisation file.
        on_error: of a sample that cannot be read: ``raise``, or ``skip`` with a line.
        say: receives the lines.

    Returns:
        ``NAME.int8.onnx``.

    Raises:
        UserError: no such export, samples that cannot be read, or as of ``quantisation.quantise``.
    """
    file = QuantisationFile.of(config)
    if file.below:
        where = f"{file.below}, where PaddleVideo's script runs"
        say(f"{config.source}: its paths count from {where}: model {file.model_dir}")
    if not Path(file.model_dir).exists():
        raise UserError(
            f"{config.source}: inference_model_dir: {file.model_dir}: not there; export the model first (paddlevideo "
            f"export -c CFG -w WEIGHTS --out {file.model_dir}), or name its folder with -o inference_model_dir=DIR"
        )
    export, description = checked_export(file.model_dir, say)
    pipeline = _pipeline(file, export, say)
    dataset = _dataset(file, description)
    whole = LabelledVideos(str(dataset.file_path), *_paths_and_labels(dataset))
    places = np.split(np.arange(len(whole)), [file.num_samples])
    parts = whole.part(places[0]), whole.part(places[1])
    reading = Reading.of(file.dataset, f"DATASET.{QUANT}")
    source = SampleSource(dataset, pipeline, DEFAULT_SEED, "raise", reading.timeout_s, damaged=reading.damaged)

    def clips_of(model: ExportedModel, videos: LabelledVideos) -> _ClipsOfRecords:
        indices = places[0] if videos is parts[0] else places[1]
        predictor = Predictor(model, pipeline, description.model_name, say=say, timeout_s=0.0)
        return _ClipsOfRecords(predictor, videos, on_error, say, source, indices)

    folder = Path(file.output_dir)
    advice = f"lower DATASET.batch_nums (-o DATASET.batch_nums=N), or name a longer list in DATASET.{QUANT}.file_path"
    target = write_int8(export, description, parts, clips_of, folder, advice, say)
    say(f"run it: paddlevideo predict --model_file {folder} -i VIDEO")
    return target


class _ClipsOfRecords(ClipsOfVideos):
    """The clips of a data set's records, through PIPELINE.quant.

    Args:
        source: of all records.
        indices: of the records of this part.
    """

    def __init__(
        self, predictor: Predictor, videos: LabelledVideos, on_error: str, say: Say, source: SampleSource,
        indices: np.ndarray,
    ):  # fmt: skip
        super().__init__(predictor, videos, on_error, say)
        self._source, self._indices = source, indices

    def _imgs(self, path: str, index: int) -> np.ndarray:
        sample, _ = self._source.fetch(0, int(self._indices[index]))
        self._predictor.check_shape(sample["imgs"])
        return sample["imgs"]


def _pipeline(file: QuantisationFile, export: Export, say: Say) -> Pipeline:
    """PIPELINE.quant; one that differs from the export's, which prediction goes on to use, is named in a line."""
    pipeline = export.pipeline(file.steps)
    exported = export.pipeline()
    normalization_of({"exported": exported, QUANT: pipeline}, str(export.file))
    pairs = differences(pipeline.describe(), exported.describe(), _WHERE, ordered=True)
    difference = next((f"{path}: {ours}, exported {theirs}" for path, ours, theirs in pairs), None)
    if difference:
        say(f"{_WHERE} differs from {FILE_NAME}, which prediction uses; calibrating with the file's: {difference}")
    pipeline.prepare()
    return pipeline


def _dataset(file: QuantisationFile, description: Description) -> Dataset:
    section, name = dict(file.dataset), file.dataset["format"]
    taken = {parameter.name for parameter in DATASETS.entry(name).parameters or ()}
    if description.labels and "class_names" in taken:
        section.setdefault("class_names", list(description.labels))
    dataset = build_dataset(section, QUANT, description.num_classes)
    if dataset.has_boxes or dataset.in_archives:
        raise UserError(
            f"DATASET.{QUANT}.format: {name} cannot calibrate; expected a list of videos or of frame folders"
        )
    return dataset


def _paths_and_labels(dataset: Dataset) -> tuple[list[str], np.ndarray | None]:
    records = [dataset.records[index] for index in range(len(dataset.records))]
    paths = [str(record.get("filename") or record.get("frame_dir")) for record in records]
    has_labels = all("label" in record for record in records)
    return paths, np.array([record["label"] for record in records]) if has_labels else None
