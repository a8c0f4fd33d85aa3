"""Features of clips: what the classifier of a recogniser takes, by any network and of any data set of clips.

A row is the mean over a clip's views and frames, on the clips that testing takes (PIPELINE.test).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paddlevideo.build import network, pipelines_of, trained_network
from paddlevideo.classes import Classes, settled
from paddlevideo.config import Config
from paddlevideo.environment import log_lines_to, use_device
from paddlevideo.errors import UserError, printable
from paddlevideo.inference.feature_table import FeatureTable
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader.build import build_loader, for_evaluation
from paddlevideo.loader.datasets.lists import clip_name, expanded, read_named_rows
from paddlevideo.loader.labels import read_labels
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.memory import within_memory
from paddlevideo.network_input import compare_input, set_rates
from paddlevideo.registry import DATASETS
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.sources import refuse_split_folders
from paddlevideo.weight_names import weights_file

UNLABELLED = "UnlabelledVideoDataset"
_ANY = ("0", "1")  # classes of a network whose classifier is not used
_SHOWN = 5  # files that could not be read


@dataclass(frozen=True)
class FeatureModel:
    """A network and the pipeline of its clips.

    Args:
        config: its configuration.
        framework: in evaluation mode.
        pipeline: PIPELINE.test.
        about: what the features depend on, for the note in their file: ``config`` (its name), ``configuration`` (its
            content), ``weights`` and ``weights_sha256``; ``model_file`` of an export.  Paths are whole, so that they
            hold in any folder.
    """

    config: Config
    framework: Any
    pipeline: Pipeline
    about: Mapping[str, Any]

    @classmethod
    def of_weights(cls, config: Config, weights: str | Path | None, device: str, say: Say) -> FeatureModel:
        """The network of a configuration.

        Args:
            weights: ``.pdparams``, or an export; None: the weights of ``MODEL.backbone.pretrained`` alone.

        Raises:
            UserError: weights that do not fit, none at all, a network of persons' actions.
        """
        import paddle

        use_device(device)
        pipelines = pipelines_of(config)
        if "test" not in pipelines:
            raise UserError(f"{config.source}: PIPELINE.test: is missing; features are of the clips that it gives")
        if weights is None:
            config, file = settled(config, Classes(_ANY)), _start_file(config)
            compare_input(pipelines, file, True, say)
            set_rates(pipelines, file)
            paddle.seed(DEFAULT_SEED)  # of what the file lacks: the same network in every process
            with log_lines_to(say):
                framework = network(config, pipelines)
        else:
            config, framework, _ = trained_network(config, weights, say, pipelines)
            file = str(weights)
        framework.eval()
        if framework.takes_boxes:
            raise UserError(f"{config.source}: MODEL is of persons' actions; paddlevideo bank computes their features")
        noted = _with_whole_paths(config)
        about = {"config": config.source, "configuration": noted.to_yaml(), "weights": whole_path(file)}
        return cls(config, framework, pipelines["test"], {**about, "weights_sha256": sha256(weights_file(file))})

    @classmethod
    def of_table(cls, about: Mapping[str, Any], where: Path, device: str, say: Say) -> FeatureModel:
        """The network that a file of features was made with.

        Args:
            about: of the table.
            where: its file, for messages.

        Raises:
            UserError: the file does not name it; its weights have moved or changed.
        """
        text, weights, export = (about.get(key) for key in ("configuration", "weights", "model_file"))
        if export is not None:
            found = cls.of_export(str(export), device, say)
        elif isinstance(text, str) and weights is not None:
            # data and label files may be gone by now, and the clip that is looked for is none of them
            config = Config({**yaml.safe_load(text), "DATASET": {}}, str(about.get("config")))
            start = (config.section("MODEL").get("backbone") or {}).get("pretrained") == weights
            found = cls.of_weights(config, None if start else str(weights), device, say)
        else:
            raise UserError(f"{where}: does not name its network; compute the features again with this version")
        if found.about["weights_sha256"] != about.get("weights_sha256"):
            raise UserError(f"{where}: its features are of other weights than {weights} has now; compute them again")
        return found

    def clip(self, path: str, section: Mapping[str, Any], say: Say) -> np.ndarray:
        """The feature of one video, float32 [D]; ``section``: keys of DATASET on how videos are read."""
        source = {"format": UNLABELLED, "file_path": path, **section}
        return features_of(self, source, None, 1, 0, say).features[0]

    @classmethod
    def of_export(cls, path: str | Path, device: str, say: Say) -> FeatureModel:
        """The network of an exported model, from its configuration and weights.

        Raises:
            UserError: an export of an earlier version, one in 8 bits alone, one of persons' actions.
        """
        from paddlevideo.inference.feature_network import config_of_export
        from paddlevideo.inference.window_features import TaughtFrom

        model = TaughtFrom.find(path, say, teaches=False)
        found = cls.of_weights(config_of_export(model), model.names.params, device, say)
        return cls(found.config, found.framework, model.pipeline, {**found.about, "model_file": whole_path(path)})


def whole_path(name: str | Path) -> str:
    """The absolute path of a file or folder that is there; other names, e.g. of weights, as they are."""
    path = Path(name).expanduser()
    return os.path.abspath(path) if os.path.exists(path) else str(name)


def _with_whole_paths(config: Config) -> Config:
    """``MODEL.backbone.pretrained`` as ``whole_path``."""
    data = config.to_dict()
    backbone = data["MODEL"].get("backbone") or {}
    if backbone.get("pretrained"):
        backbone["pretrained"] = whole_path(backbone["pretrained"])
    return Config(data, config.source)


def _start_file(config: Config) -> str:
    backbone = config.section("MODEL").get("backbone") or {}
    if not backbone.get("pretrained"):
        raise UserError(
            f"{config.source}: features of a network without trained weights tell clips apart by chance; name weights "
            "with -w, or -o MODEL.backbone.pretrained=NAME (paddlevideo weights list) or FILE"
        )
    return str(backbone["pretrained"])


def data_section(
    config: Config,
    split: str,
    inputs: Sequence[str],
    data_prefix: str | None,
    labelled: bool,
    label_file: str | None = None,
) -> dict[str, Any]:
    """The section of DATASET that the features are of.

    Args:
        split: the section where ``inputs`` are none, and where the kind of data set is from.
        inputs: instead of its ``file_path``: one list or folder of labelled clips, or any number of videos, folders and
            lists.
        labelled: whether labels are read.
        label_file: what names the classes; None: the folders, or the labels of a list.

    Raises:
        UserError: several labelled inputs, no such section.
    """
    section = for_evaluation((config.to_dict().get("DATASET") or {}).get(split) or {})
    section["on_error"] = "count"
    if not inputs:
        if "file_path" not in section:
            raise UserError(f"{config.source}: DATASET.{split}.file_path: is missing; name the clips with -i")
        return section
    kept = {key: section[key] for key in ("on_error", "timeout_s", "damaged", "index") if key in section}
    if not labelled:
        return {"format": UNLABELLED, "file_path": list(inputs), **kept}
    if len(inputs) > 1:
        raise UserError("-i: one list or folder of class folders has labels; several inputs need --no_labels")
    name = section.get("format")
    kind = name if name in DATASETS and not DATASETS.get(name).has_boxes else "VideoDataset"
    more = {key: section[key] for key in ("suffix", "multi_label", "clip_s") if key in section}
    section = {"format": kind, "file_path": inputs[0], "data_prefix": data_prefix, **more, **kept}
    return section if kind != "VideoDataset" else {**section, **_of_videos(section, label_file)}


def _of_videos(section: Mapping[str, Any], label_file: str | None) -> dict[str, Any]:
    """How class folders are read; of a list its class names and its folder, as in ``paddlevideo new``.

    Raises:
        UserError: the folders are splits; a bad list.
    """
    place, prefix = Path(section["file_path"]).expanduser(), section["data_prefix"]
    if place.is_dir():
        refuse_split_folders(place)
        return {"allow_empty_classes": True}
    if label_file or section.get("multi_label") or not place.is_file():
        return {}
    suffix = section.get("suffix", "")
    root = Path(prefix).expanduser() if prefix else place.parent

    def is_here(name: str) -> bool:
        return not prefix and os.path.exists(f"{expanded(name)}{suffix}")

    def is_below(name: str) -> bool:
        return os.path.exists(root / f"{name}{suffix}")

    found = read_named_rows(place, lambda name: is_here(name) or is_below(name))
    more: dict[str, Any] = {"class_names": found.names} if found.names else {}
    paths = [row.fields["path"] for row in found.rows]
    if not prefix and not all(map(is_here, paths)) and any(map(is_below, paths)):
        more["data_prefix"] = str(root)
    return more


def features_of(
    model: FeatureModel,
    section: Mapping[str, Any],
    label_file: str | None,
    batch_size: int,
    num_workers: int,
    say: Say,
    on_clips: Callable[[int, int], None] = lambda done, total: None,
) -> FeatureTable:
    """A row per clip of a data set; clips that cannot be read have none, and are named.

    Args:
        section: of ``data_section``.
        label_file: class names, one per line; None: those of class folders, or of a list's labels.
        on_clips: receives how many clips of how many are done.

    Raises:
        UserError: a bad list, no clip that can be read.
    """
    section = dict(section)
    names = read_labels(label_file) if label_file else section.get("class_names")
    if names and section["format"] != UNLABELLED:
        section["class_names"] = names
    loader = build_loader(
        section, model.pipeline, "test", seed=DEFAULT_SEED, num_classes=None if names is None else len(names),
        batch_size=batch_size, num_workers=num_workers, shuffle=False, drop_last=False,
    )  # fmt: skip
    for remark in loader.dataset.remarks:
        say(remark)
    rows: dict[int, np.ndarray] = {}
    labels: dict[int, Any] = {}
    with contextlib.closing(loader.epoch(0)) as batches:
        for batch in batches:
            own = _run(model.framework, np.asarray(batch["imgs"]))
            valid = np.asarray(batch.get("valid", np.ones(len(own))))
            for place, index in enumerate(np.asarray(batch["index"]).tolist()):
                if valid[place]:
                    rows[index] = own[place]
                    labels[index] = np.asarray(batch["label"])[place] if "label" in batch else -1
            on_clips(len(rows) + len(loader.unreadable), len(loader.dataset.records))
    _report(loader, say)
    if not rows:
        raise UserError(f"none of {len(loader.dataset.records)} clips could be read")
    order = sorted(rows)
    features = np.stack([rows[index] for index in order])
    if not np.isfinite(features).all():
        raise UserError("features hold NaN or infinity: the weights have diverged; take an earlier checkpoint")
    records = [loader.dataset.records[index] for index in order]
    spans = np.array([[record.get(key, np.nan) for key in ("start_s", "end_s")] for record in records], np.float64)
    videos = [
        whole_path(clip_name({key: value for key, value in record.items() if key != "start_s"})) for record in records
    ]
    kind = np.float32 if np.ndim(labels[order[0]]) else np.int64
    names = names or loader.dataset.class_names or ()
    return FeatureTable(videos, features, np.array([labels[i] for i in order], kind), spans, names, dict(model.about))


def _run(framework: Any, imgs: np.ndarray) -> np.ndarray:
    import paddle

    with within_memory("the model's run", imgs, "lower --batch_size"), paddle.no_grad():
        return framework({"imgs": paddle.to_tensor(imgs)}, mode="features")["features"].numpy()


def _report(loader: Any, say: Say) -> None:
    """Names the clips that have no row."""
    bad = loader.unreadable
    for index, why in sorted(bad.items())[:_SHOWN]:
        name = printable(clip_name(loader.dataset.records[index]))
        say(f"left out: {name}: {why.removeprefix(f'{name}: ')}")
    if len(bad) > _SHOWN:
        say(f"... and {len(bad) - _SHOWN} more clips that could not be read are left out")
