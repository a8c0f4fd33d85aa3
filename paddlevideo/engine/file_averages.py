"""The average of the weight files of several runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import paddle

from paddlevideo.build import deployed_network, loader_for, pipelines_of
from paddlevideo.classes import (
    FITTED_TO,
    THRESHOLDS,
    UNKNOWN,
    Classes,
    classes_of_weights,
    facts_of_weights,
    order_in,
    write_weights,
)
from paddlevideo.config import Config
from paddlevideo.downloads.cache import local_weights
from paddlevideo.engine.batch_norms import batch_norms, renew_batch_norms
from paddlevideo.engine.checkpoint import Arrays, numpy_state
from paddlevideo.engine.data_summary import fitted_videos
from paddlevideo.engine.precision import Precision
from paddlevideo.errors import UserError
from paddlevideo.loader.pipelines.pipeline import rates_text
from paddlevideo.modeling.weights import load_weights, read_weights
from paddlevideo.network_input import FPS, alike, compare_input, input_of_weights, same_input
from paddlevideo.network_input import KEY as INPUT
from paddlevideo.safe_io import sha256
from paddlevideo.settings import DEFAULT_SEED
from paddlevideo.weight_names import weights_file

log = logging.getLogger("paddlevideo")


def average_files(
    sources: Sequence[str | Path],
    target: str | Path,
    weights: Sequence[float] | None = None,
    config: Config | None = None,
    bn_batches: int = 0,
) -> int:
    """Writes the mean of several checkpoints, and ``target``.json that lists its sources.

    Args:
        sources: ``.pdparams`` files of one network, by path, name or address.
        target: ``.pdparams``.
        weights: the share of each; equal ones if not given.
        config: what the network and its training clips are; needed for ``bn_batches``.
        bn_batches: training batches that batch norms are measured over; 0 averages their statistics like the rest.

    Returns:
        The number of batch norms that were renewed.

    Raises:
        UserError: files that do not belong together, do not fit the configuration, or cannot be read.
    """
    target = Path(target).expanduser()
    if target.suffix != ".pdparams":
        raise UserError(f"{target}: the target must end in .pdparams")
    if bn_batches < 0:
        raise UserError(f"--bn_batches: expected at least 0, got {bn_batches}")
    if bn_batches and config is None:
        raise UserError("--bn_batches: which training clips? name the configuration with -c CFG")
    files = [local_weights(source) for source in sources]
    if any(target.resolve() == file.resolve() for file in files):
        raise UserError(f"{target}: is a source, too; give the average a name of its own")
    twice = [str(file) for i, file in enumerate(files) if file.resolve() in {f.resolve() for f in files[:i]}]
    if twice:
        raise UserError(f"{twice[0]}: is named twice; give it more weight with --weights")
    classes = _common_classes(files)
    mean = average_states({str(file): read_weights(file) for file in files}, weights)
    renewed = 0
    if bn_batches:
        for file in files:
            compare_input(pipelines_of(config), file, True, log.warning)
        mean, renewed = _renewed(mean, config, bn_batches, target)
    record = {
        "sources": [{"file": file.name, "sha256": sha256(weights_file(file))} for file in files],
        "weights": list(weights) if weights else "equal",
        "config": config.source if config else None,
        "bn_batches": bn_batches,
        "batch_norms_renewed": renewed,
    }
    clips = _common_input(files)
    if clips:
        record[INPUT] = clips
    if any(THRESHOLDS in facts_of_weights(file) for file in files):
        log.warning("%s: has no thresholds per class: those of its sources are of other scores", target)
    if fitted := sorted(set().union(*map(fitted_videos, files))):
        record[FITTED_TO] = fitted
    write_weights(target, mean, classes, record)
    return renewed


def _common_classes(files: Sequence[Path]) -> Classes:
    """The classes of all the files; unknown if those of one are.

    Raises:
        UserError: two files name other classes, or the same in another order.
    """
    found = [classes_of_weights(file) for file in files]
    known = [(file, classes) for file, classes in zip(files, found) if classes.count]
    for file, classes in known[1:]:
        if order_in(known[0][1], classes, str(known[0][0]), str(file)) is not None:
            raise UserError(
                f"{file}: its classes are in another order than those of {known[0][0]}; they cannot be averaged"
            )
    unknown = [str(file) for file, classes in zip(files, found) if not classes.count]
    if unknown:
        log.info("class names are unknown of %s, and so of the average", ", ".join(unknown))
    return UNKNOWN if unknown else found[0]


def _common_input(files: Sequence[Path]) -> dict[str, Any] | None:
    """What the clips of all the files are; None if it is unknown of one.

    Raises:
        UserError: two files were trained on others.
    """
    found = [input_of_weights(file) for file in files]
    known = [(file, clips) for file, clips in zip(files, found) if clips]
    for file, clips in known[1:]:
        if not same_input(clips, known[0][1]):
            raise UserError(
                f"{file}: was trained on other clips than {known[0][0]} (their PIPELINEs differ in what a "
                "picture shows or how it is normalised); they cannot be averaged"
            )
    if not all(found):
        return None
    rates = [clips[FPS] for clips in found if FPS in clips]
    if rates and not alike(rates):
        texts = "; ".join(f"{file}: {rates_text(clips[FPS])}" for file, clips in known if FPS in clips)
        log.warning("they were trained on videos of other frame rates (%s)", texts)
    return found[0] | ({FPS: [min(low for low, _ in rates), max(high for _, high in rates)]} if rates else {})


def _renewed(mean: Arrays, config: Config, bn_batches: int, target: Path) -> tuple[Arrays, int]:
    """The arrays with batch-norm statistics measured on DATASET.train; of a distillation the student's."""
    framework = deployed_network(config)
    load_weights(framework, mean, source=str(target))
    if not batch_norms(framework):
        return mean, 0
    loader = loader_for(config, "train", framework.num_classes, DEFAULT_SEED)
    paddle.seed(DEFAULT_SEED)
    try:
        count = renew_batch_norms(framework, loader, Precision(), bn_batches)
    finally:
        loader.close()
    prefix = framework.weights_prefix if any(key.startswith(framework.weights_prefix) for key in mean) else ""
    renewed = {f"{prefix}{key}": value for key, value in numpy_state(framework).items()}
    others = [key for key in mean if key not in renewed and key.endswith("._variance")]
    if others:
        log.warning("--bn_batches renews the network that is tested; averaged as they are: %s, ...", others[0])
    return {**mean, **renewed}, count


def average_states(
    states: Mapping[str, Mapping[str, np.ndarray]], weights: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """The mean of several state dicts of one network, summed in float64.

    Args:
        states: name of each (a file, for messages) -> its arrays; in order.
        weights: the share of each, positive; they are divided by their sum.  Equal shares if not given.

    Returns:
        Floating arrays: the mean, in the last state's dtype.  Others (counters): the last state's own.

    Raises:
        UserError: fewer than two states, unusable weights, other keys, shapes or kinds, numbers that are not finite.
    """
    if len(states) < 2:
        raise UserError(f"an average takes at least two checkpoints, got {len(states)}")
    shares = _shares(weights, len(states))
    (first, reference), *others = states.items()
    for name, state in others:
        _must_agree(first, reference, name, state)
    for name, state in states.items():
        for key, array in state.items():
            if array.dtype == np.uint16:
                raise UserError(f"{name}: {key} is bfloat16, which numpy cannot add up; save float32 weights instead")
            if not np.isfinite(array).all():
                raise UserError(f"{name}: {key} holds numbers that are not finite; leave this checkpoint out")
    last = states[list(states)[-1]]
    mean = {}
    for key, array in last.items():
        mean[key] = array
        if np.issubdtype(array.dtype, np.floating):
            total = sum(share * state[key].astype("float64") for share, state in zip(shares, states.values()))
            mean[key] = np.asarray(total).astype(array.dtype)
    return mean


def _shares(weights: Sequence[float] | None, count: int) -> list[float]:
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise UserError(f"{count} checkpoints need as many weights, got {len(weights)}")
    bad = [weight for weight in weights if not 0 < weight < float("inf")]
    if bad:
        raise UserError(f"weights of an average must be positive numbers, got {bad[0]}")
    return [weight / sum(weights) for weight in weights]


def _must_agree(first: str, reference: Mapping[str, Any], name: str, state: Mapping[str, Any]) -> None:
    differences = [f"{key} is only in {first}" for key in reference if key not in state]
    differences += [f"{key} is only in {name}" for key in state if key not in reference]
    for key in reference:
        a, b = reference[key], state.get(key, reference[key])
        if a.shape != b.shape:
            differences.append(f"{key}: {list(a.shape)} in {first}, {list(b.shape)} in {name}")
        elif a.dtype.kind != b.dtype.kind:
            differences.append(f"{key}: {a.dtype} in {first}, {b.dtype} in {name}")
    if differences:
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise UserError(f"{name}: does not belong to the same network: {'; '.join(differences[:4])}{more}")
