"""A network with the linear classifier of its features: a checkpoint that predicts, and to fine-tune from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from paddlevideo.build import deployed_network, network, pipelines_of
from paddlevideo.classes import Classes, settled, write_weights
from paddlevideo.config import Config
from paddlevideo.environment import log_lines_to, use_device
from paddlevideo.errors import UserError
from paddlevideo.inference.feature_table import FeatureTable
from paddlevideo.inference.probing import Clips, linear_head, name_of, targets_of
from paddlevideo.inference.runtimes.base import Say
from paddlevideo.safe_io import sha256
from paddlevideo.weight_names import weights_file


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
        UserError: features of another network or other weights; another number of classes; several labels per clip for
            a network with one, or the other way round.
    """
    from paddlevideo.inference.feature_network import head_of
    from paddlevideo.modeling.weights import load_weights

    use_device(device)
    names = tuple(name_of(table, k) for k in range(table.num_classes))
    config = settled(config, Classes(names))
    pipelines = pipelines_of(config)
    if weights is None:
        with log_lines_to(say):
            framework = network(config, pipelines)
        file = (config.section("MODEL").get("backbone") or {}).get("pretrained")
    else:
        framework, file = deployed_network(config, pipelines), weights
        say(str(load_weights(framework, weights, strict=False, allow_head_mismatch=True)))
    if file is None or sha256(weights_file(file)) != table.about.get("weights_sha256"):
        raise UserError(
            f"--save: the features were computed with the weights {table.about.get('weights')}, not with {file}; name "
            "these with -w, or compute the features again"
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
    arrays: dict[str, Any] = {key: np.asarray(value.numpy()) for key, value in framework.state_dict().items()}
    known = Classes(names) if table.names else Classes()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(out, arrays, known, {"probe_of": str(file), "clips": len(table.videos)})
