"""A network with the linear classifier of its features: a checkpoint that predicts, and to fine-tune from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from paddlevideo.build import deployed_network, network, pipelines_of
from paddlevideo.classes import FITTED_TO, Classes, classes_of_config, settled, write_weights
from paddlevideo.config import Config
from paddlevideo.config.merging import differences
from paddlevideo.environment import log_lines_to, use_device
from paddlevideo.errors import UserError
from paddlevideo.inference.export_check import synthetic_clip
from paddlevideo.inference.feature_table import FeatureTable
from paddlevideo.inference.probing import Clips, linear_head, name_of, targets_of
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.network_input import KEY, input_of, set_rates
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.video_files import video_key
from paddlevideo.weight_names import weights_file

# keys of MODEL that decide the classifier, its training and its start, and no feature
_OF_CLASSES = ("num_classes", "class_num", "pretrained", "loss_cfg", "loss", "ls_eps", "drop_ratio", "dropout_ratio")


def save_probe(
    config: Config, weights: str | None, table: FeatureTable, sources: Sequence[str], out: Path, device: str, say: Say
) -> None:
    """Writes the weights of a network whose classifier is fitted to all clips of a table.

    Args:
        config: of the network; its number of classes is that of the table, or ``auto``.
        weights: the ones that the features were computed with; None: those of ``MODEL.backbone.pretrained``.
        sources: of every clip, see ``probing``.
        out: ``.pdparams``.

    Raises:
        UserError: features of another network, other weights or another PIPELINE.test; another number of classes;
            several labels per clip for a network with one, or the other way round.
    """
    import paddle

    from paddlevideo.inference.feature_network import head_of
    from paddlevideo.modeling.weights import load_weights

    use_device(device)
    names = _names(config, table, say)
    config = settled(config, Classes(names))
    _compare(config, table)
    pipelines = pipelines_of(config)
    if weights is None:
        paddle.seed(DEFAULT_SEED)  # of what the file lacks: the same network in every process
        with log_lines_to(say):
            framework = network(config, pipelines)
        file = (config.section("MODEL").get("backbone") or {}).get("pretrained")
    else:
        framework, file = deployed_network(config, pipelines), weights
        say(str(load_weights(framework, weights, strict=False, allow_head_mismatch=True)))
    if file is None or sha256(weights_file(file)) != table.about.get("weights_sha256"):
        raise UserError(
            f"--save: the features were computed with the weights {table.about.get('weights')}, not with "
            f"{file or 'the weights of a start by chance'}; name these with -w, or compute the features again"
        )
    if framework.multi_label != table.multi_label:
        raise UserError(
            "--save: MODEL.head.loss_cfg and the features' labels differ: one label per clip needs a loss like "
            "CrossEntropyLoss, several need BCELoss"
        )
    if framework.num_classes != table.num_classes:
        raise UserError(
            f"--save: MODEL has {framework.num_classes} classes, the features' labels {table.num_classes}; set the "
            "number of classes, or auto"
        )
    clips = Clips(table.features, targets_of(table), np.asarray(sources), table.multi_label)
    head, own = linear_head(clips), head_of(framework)
    if own.weight.shape != head.weight.shape:
        shapes = f"{list(head.weight.shape)}, the network's classifier is {list(own.weight.shape)}"
        raise UserError(f"--save: the features make a classifier of {shapes}; compute them with this network")
    framework.classifier.weight.set_value(head.weight)
    framework.classifier.bias.set_value(head.bias)
    _check_linear(framework, pipelines["test"])
    arrays: dict[str, Any] = {key: np.asarray(value.numpy()) for key, value in framework.state_dict().items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    fitted_to = sorted(set(map(video_key, table.videos)))
    if file:
        set_rates(pipelines, file)
    about = {
        "probe_of": str(file),
        "clips": len(table.videos),
        FITTED_TO: fitted_to,
        KEY: input_of(pipelines, config.section("MODEL")),
    }
    write_weights(out, arrays, Classes(names), about)


def _check_linear(framework: Any, pipeline: Pipeline) -> None:
    """
    Raises:
        UserError: the head does more with its classifier than to average over a clip.
    """
    import paddle

    from paddlevideo.inference.feature_network import is_linear

    framework.eval()
    grey, rng = synthetic_clip(pipeline)[None, :1], np.random.default_rng(0)
    # noise, as all frames of a grey clip are alike
    noise = rng.integers(0, 256, grey.shape) if grey.dtype == np.uint8 else rng.standard_normal(grey.shape)
    with paddle.no_grad():
        outputs = framework({"imgs": paddle.to_tensor(noise.astype(grey.dtype))}, mode="features")
    if not is_linear(framework, *(outputs[key].astype("float32").numpy() for key in ("features", "scores"))):
        raise UserError(
            "--save: the network's scores are more than a linear layer on the mean of a clip's features, which is what "
            "the features make; train it as a whole instead"
        )


def _names(config: Config, table: FeatureTable, say: Say) -> tuple[str, ...]:
    """Of the classes: the features' own, else those of a label file of the configuration, else their numbers."""
    if not table.names and (config.to_dict().get("DATASET") or {}).get("label_names"):
        found = classes_of_config(config)
        if found.count == table.num_classes:
            return found.names
    if not table.names:
        say(
            f"the features have no class names: the weights name their classes 0 to {table.num_classes - 1}; compute "
            "the features with --label_file FILE for others"
        )
    return tuple(name_of(table, k) for k in range(table.num_classes))


def _compare(config: Config, table: FeatureTable) -> None:
    """
    Raises:
        UserError: the features are of another network or other clips than those of the configuration.
    """
    text = table.about.get("configuration")
    if not isinstance(text, str):
        raise UserError("--save: the features do not name their network; compute them again with this version")
    theirs = Config(yaml.safe_load(text), str(table.about.get("config")))
    pairs = [*differences(_network_of(theirs), _network_of(config), "MODEL")]
    if not pairs:
        steps = [pipelines_of(each)["test"].describe() for each in (theirs, config)]
        pairs = [*differences(*steps, "PIPELINE.test", ordered=True)]
    if pairs:
        path, there, here = pairs[0]
        raise UserError(
            f"--save: the features were computed with {path}: {there}, {config.source} has {here}; take that "
            "configuration, or compute the features again"
        )


def _network_of(config: Config) -> Any:
    """MODEL without what changes no feature."""

    def without(value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        return {key: without(inner) for key, inner in value.items() if key not in _OF_CLASSES}

    return without(config.section("MODEL"))
