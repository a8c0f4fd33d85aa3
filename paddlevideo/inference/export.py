"""From a checkpoint to files that run without this suite's model code: program, weights and ``inference.yml``.

The exported model takes the uint8 clips that ``PIPELINE.test`` makes; normalisation, softmax and the averaging over
views are inside.  It is compared with the network before it is written.  A network that takes persons' boxes
(``framework.takes_boxes``) becomes a program of clips of any size and any number of boxes, also of none; one that takes
feature banks has the windows as inputs.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import paddlevideo
from paddlevideo.build import deployed_network
from paddlevideo.classes import agreed, check_count, settled
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.extensions import sources_of
from paddlevideo.inference.key_frames import ClipMaker, KeyMoment
from paddlevideo.inference.person_actions import DetectionSettings
from paddlevideo.inference.runtime import (
    FILE_NAME,
    MULTI_LABEL,
    ONE_LABEL,
    PARAMS_SUFFIX,
    PROGRAM_SUFFIXES,
    Description,
    ExportedModel,
    Runtime,
    Say,
    pipelines_with_test,
    read_description,
)
from paddlevideo.inference.video_bank import WINDOW, Window, window_of, without_windows
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.pipelines import Pipeline
from paddlevideo.safe_io import sha256, write_atomic

# largest difference of a probability between the exported model and the network; and, since among 400 classes all
# probabilities may be small, the largest ratio, less one, of those above the floor
TOLERANCE = 1e-4
RATIO_TOLERANCE = 1e-2
_RATIO_FLOOR = 1e-6
CONFIG_SUFFIX = "_config.yml"
# clips, and persons in each, of the batches compared: several clips, one of them empty; then another size of picture
_PERSONS = ((1,), (4, 0, 3))
# boxes: x1, y1, x2, y2 in pixels of imgs, those of all clips one after the other; boxes_num: how many each clip has;
# long_term: S slots of C features, zeros where long_term_filled is false
_AXES = {"imgs": "NVTHWC", "boxes": "R4", "boxes_num": "N", "long_term": "NSC", "long_term_filled": "NS"}


@dataclass(frozen=True)
class ExportReport:
    """The files that were written, and how the exported model compares.

    Args:
        input_shape: of one batch, -1 for N: (-1, V, T, H, W, 3); with persons' boxes H and W are -1, too.
        max_difference: largest absolute difference of probabilities, exported against dygraph.
    """

    program: Path
    params: Path
    input_shape: tuple[int, ...]
    num_classes: int
    max_difference: float


def export(
    config: Config,
    params_path: str | Path,
    output_dir: str | Path,
    save_name: str | None = None,
    say: Say = print,
) -> ExportReport:
    """Exports a trained model and compares the result with the network.

    Everything is built in a hidden folder inside ``output_dir`` and moved into place at the end, ``inference.yml``
    last: when anything fails, an earlier export there is as it was.

    Args:
        config: MODEL, PIPELINE.test, ``model_name``; class names come from the weights, where these have none from
            ``DATASET.label_names`` or the training's class folders.
        params_path: the ``.pdparams`` file.
        output_dir: folder for ``<save_name>.json``, ``<save_name>.pdiparams``, ``inference.yml`` and the resolved
            configuration, ``<save_name>_config.yml``.
        save_name: None: ``model_name``.
        say: receives progress lines.

    Raises:
        UserError: weights that do not fit the model key by key, label names that do not fit it, a folder that holds
            another model's export, or an exported model with scores that differ from the network's.
    """
    from paddlevideo.modeling.weights import load_weights

    output_dir, name = Path(output_dir), _checked_name(save_name or config["model_name"])
    _refuse_other_export(output_dir, name)
    pipelines = pipelines_with_test(config)
    pipeline = pipelines["test"]
    with _on_cpu():
        say(f"Building model({config['model_name']})...")
        lines: list[str] = []
        classes = agreed(config, params_path, "test", lines.append)
        config = settled(config, classes)
        framework = deployed_network(config, pipelines)
        framework.eval()
        say(f"Loading params from ({params_path})...")
        say(str(load_weights(framework, params_path, strict=True)))
        settings = DetectionSettings.of_config(config, framework, classes) if framework.takes_boxes else None
        check_count(config, framework.num_classes, classes, params_path)
        labels = list(settings.names) if settings else classes.names and list(classes.names)
        with _work_folder(output_dir) as folder:
            clip = synthetic_key_frame(pipeline) if settings else synthetic_clip(pipeline)
            window = window_of(pipeline, framework)
            specs = framework.input_spec({"imgs": clip[None], **(window.empty(1) if window else {})})
            inputs = [_described(spec) for spec in specs]
            program = _save_program(framework, specs, folder / name)
            difference = _compared(framework, program, clip, window, say)
            for line in lines:
                say(line)
            description = _describe(config, pipeline, framework, program, inputs, labels, Path(params_path), difference)
            detection = {"inputs": inputs, **settings.describe()} if settings else {}
            detection |= {WINDOW: window.describe()} if window else {}
            replace(description, detection=detection).write(folder)
            write_atomic(folder / (name + CONFIG_SUFFIX), config.to_yaml())
            _move_to_target(folder, output_dir)
    say(f"model ({config['model_name']}) has been already saved in ({output_dir}).")
    return ExportReport(
        program=output_dir / program.name,
        params=output_dir / (name + PARAMS_SUFFIX),
        input_shape=tuple(inputs[0]["shape"]),
        num_classes=framework.num_classes,
        max_difference=difference.absolute,
    )


def synthetic_clip(pipeline: Pipeline) -> np.ndarray:
    """A grey clip after the pipeline, [V, T, H, W, 3]: sizes and dtype come from here and nowhere else."""
    sample = {"filename": "synthetic clip", "index": 0, "reader": _synthetic_reader()}
    return pipeline(sample, np.random.default_rng(0))["imgs"]


def synthetic_key_frame(pipeline: Pipeline) -> np.ndarray:
    """A grey clip with one person after the pipeline, [1, T, H, W, 3]."""
    pipeline.refuse_boxes()
    maker = ClipMaker(without_windows(pipeline), _synthetic_reader(), clip_fps=30.0, timestamp_start=0.0)
    whole = np.array([[0, 0, 1, 1]], np.float32)
    return maker.sample(0, KeyMoment(30, 1.0, 1.0), whole, np.ones(1, np.float32))["imgs"]


def _synthetic_reader() -> ArrayReader:
    """A grey video that takes no memory."""
    return ArrayReader(np.broadcast_to(np.uint8(127), (64, 256, 320, 3)))


def random_clips(like: np.ndarray, num_clips: int = 2, seed: int = 0) -> np.ndarray:
    """Seeded clips [N, ...] like one clip: noise, and smooth moving ramps, which reach other parts of a network."""
    rng = np.random.default_rng(seed)
    clips = []
    for i in range(num_clips):
        if i % 2 == 0:
            clip = rng.integers(0, 256, like.shape)
        else:
            _, t, h, w, _ = np.indices(like.shape, sparse=True)
            clip = (h * rng.uniform(1, 3) + w * rng.uniform(1, 3) + t * rng.uniform(5, 20)) % 256 + np.zeros(like.shape)
        # a pipeline that normalises by itself gives float32 of unit scale
        clips.append(clip.astype(np.uint8) if like.dtype == np.uint8 else (clip / 64.0 - 2.0).astype(like.dtype))
    return np.stack(clips)


def person_batches(clip: np.ndarray, window: Window | None = None, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Seeded batches with persons to compare the program with the network on.

    Args:
        clip: [1, T, H, W, 3]; the second batch has pictures of half its height and three quarters of its width.
        window: of a network that takes a feature bank; a random half of its slots is filled.
    """
    rng = np.random.default_rng(seed)
    batches = []
    for persons, part in zip(_PERSONS, (clip, clip[:, :, : clip.shape[2] // 2, : clip.shape[3] * 3 // 4])):
        height, width = part.shape[2:4]
        corners = np.sort(rng.uniform(0, 1, (sum(persons), 2, 2)), axis=1) * [width - 1, height - 1]
        batches.append(
            {
                "imgs": random_clips(part, len(persons), seed),
                "sizes": np.array([[height, width]] * len(persons), np.int64),
                "boxes": corners.reshape(-1, 4).astype(np.float32),
                "boxes_num": np.array(persons, np.int32),
                **(_random_window(window, len(persons), rng) if window else {}),
            }
        )
    return batches


def _random_window(window: Window, num_clips: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    arrays = window.empty(num_clips)
    filled = rng.random(arrays["long_term_filled"].shape) < 0.5  # [N, S]
    arrays["long_term"][filled] = rng.gamma(1.0, 1.0, (filled.sum(), window.channels))  # as after a ReLU
    return {**arrays, "long_term_filled": filled}


@dataclass(frozen=True)
class Difference:
    """Largest absolute difference of a probability, and largest ratio less one of those that are not tiny."""

    absolute: float
    ratio: float

    @property
    def small(self) -> bool:
        """Whether it can come from rounding; not so if it is NaN."""
        return self.absolute <= TOLERANCE and self.ratio <= RATIO_TOLERANCE

    def __str__(self) -> str:
        return (
            f"largest difference of a score: {self.absolute:.3g} (at most {TOLERANCE:g}), "
            f"relative to it: {self.ratio:.3g} (at most {RATIO_TOLERANCE:g})"
        )


def compare(framework: Any, program: Path, clip: np.ndarray, window: Window | None = None) -> Difference:
    """The network's scores against its exported program's, on seeded clips: two in one batch, or with persons."""
    import paddle

    batches = [{"imgs": random_clips(clip)}]
    if framework.takes_boxes:
        batches = person_batches(clip, window)
    model = ExportedModel(program, program.with_suffix(PARAMS_SUFFIX), Runtime(use_gpu=False), say=lambda line: None)
    worst = Difference(0.0, 0.0)
    for batch in batches:
        with paddle.no_grad():  # as --test does
            tensors = {key: paddle.to_tensor(value) for key, value in batch.items()}
            expected = framework(tensors, mode="predict")["scores"].numpy()
        got = model.run(batch)
        if got.shape != expected.shape:
            raise UserError(
                f"{program.name}: exported, it gives scores {list(got.shape)}, the network {list(expected.shape)}"
            )
        ratios = np.abs(got / np.maximum(expected, _RATIO_FLOOR) - 1.0)[expected > _RATIO_FLOOR]
        differences = float(np.abs(got - expected).max()), float(ratios.max(initial=0.0))
        worst = Difference(*np.maximum((worst.absolute, worst.ratio), differences).tolist())  # NaN stays
    return worst


def _compared(framework: Any, program: Path, clip: np.ndarray, window: Window | None, say: Say) -> Difference:
    difference = compare(framework, program, clip, window)
    say(f"exported model against the network, {difference}")
    if not difference.small:
        raise UserError(
            f"{program.stem}: the exported model differs from the network: {difference}; nothing was written. "
            "Please report it with the configuration and the versions"
        )
    return difference


def _described(spec: Any) -> dict[str, Any]:
    """An input for ``inference.yml``: -1 marks a free axis."""
    shape = [-1 if n in (None, -1) else int(n) for n in spec.shape]
    kind = str(spec.dtype).rpartition(".")[2]
    return {"name": spec.name, "dtype": kind, "shape": shape, "axes": _AXES.get(spec.name, "")}


def _save_program(framework: Any, specs: list[Any], stem: Path) -> Path:
    try:
        save_program(framework, specs, stem)
    except OSError as error:
        raise UserError(
            f"{stem.parent}: cannot be written ({error.strerror}); an existing export was left unchanged"
        ) from None
    return next(f for f in (stem.with_name(stem.name + s) for s in PROGRAM_SUFFIXES) if f.is_file())


def save_program(framework: Any, specs: list[Any], stem: Path) -> None:
    """Writes the program of ``framework.predict_scores`` with these inputs."""
    import paddle
    from paddle import nn

    class ScoresOfClips(nn.Layer):
        """The network as one function of its clips."""

        def __init__(self, network: nn.Layer):
            super().__init__()
            self.network = network

        def forward(self, imgs):  # Paddle traces a forward only if its first parameter is called self
            return self.network.predict_scores(imgs)

    class ScoresOfPersons(ScoresOfClips):
        """The network as one function of clips and boxes, and of windows if it takes feature banks."""

        def forward(self, imgs, boxes, boxes_num, long_term=None, long_term_filled=None):
            if long_term is None:
                return self.network.predict_scores(imgs, boxes, boxes_num)
            # zeros there anyway; but a program cannot have an input that some networks do not use
            long_term = long_term * long_term_filled.astype(long_term.dtype).unsqueeze(-1)  # [N, S, C]
            return self.network.predict_scores(imgs, boxes, boxes_num, long_term, long_term_filled)

    model = (ScoresOfPersons if framework.takes_boxes else ScoresOfClips)(framework)
    model.eval()
    paddle.jit.save(paddle.jit.to_static(model, input_spec=specs, full_graph=True), str(stem))


def _describe(
    config: Config,
    pipeline: Pipeline,
    framework: Any,
    program: Path,
    inputs: list[dict[str, Any]],
    labels: list[str] | None,
    params_path: Path,
    difference: Difference,
) -> Description:
    import paddle

    params = program.with_suffix(PARAMS_SUFFIX)
    return Description(
        model_name=config["model_name"],
        program=program.name,
        params=params.name,
        input=inputs[0],
        output={"name": "scores", "dtype": "float32", "shape": [-1, framework.num_classes]},
        num_classes=framework.num_classes,
        score_type=MULTI_LABEL if framework.multi_label else ONE_LABEL,
        views=inputs[0]["shape"][1],
        avg_type=framework.avg_type,
        pipeline=pipeline.describe(),
        labels=labels,
        weights={"file": params_path.name, "sha256": sha256(params_path)},
        check={"max_difference": difference.absolute, "max_ratio": difference.ratio},
        versions={
            "paddlevideo": paddlevideo.__version__,
            "paddle": paddle.__version__,
            "python": platform.python_version(),
        },
        files={file.name: sha256(file) for file in (program, params)},
        imports=sources_of(pipeline.entries),
    )


def _checked_name(name: str) -> str:
    if not name or Path(name).name != name or name.startswith("."):
        raise UserError(f"save name {name!r}: expected a plain file name without folders")
    return name


def _refuse_other_export(output_dir: Path, name: str) -> None:
    """``inference.yml`` is about one model: a second one in the folder would lose its preprocessing."""
    if output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"{output_dir}: is a file, expected a folder for the exported model")
    try:
        present = read_description(output_dir) if output_dir.is_dir() else None
    except UserError:  # damaged or of another version: exporting again is the way out
        return
    if present is not None and Path(present.program).stem != name:
        raise UserError(
            f"{output_dir}: holds the exported model {Path(present.program).stem}, which {name} would orphan; "
            f"choose a folder of its own, e.g. {output_dir / name}"
        )


@contextmanager
def _work_folder(output_dir: Path) -> Iterator[Path]:
    """A hidden folder inside the target, hence on its file system, that is gone afterwards."""
    existed = output_dir.is_dir()
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=".export-", dir=output_dir)
    except OSError as error:
        raise UserError(f"{output_dir}: cannot be written to ({error.strerror})") from None
    try:
        with holder as folder:
            yield Path(folder)
    finally:
        if not existed and not any(output_dir.iterdir()):
            output_dir.rmdir()


def _move_to_target(folder: Path, output_dir: Path) -> None:
    """Every file by a rename; ``inference.yml``, which has the digests of the others, comes last."""
    files = sorted(folder.iterdir(), key=lambda file: (file.name == FILE_NAME, file.name))
    for file in files:
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    for file in files:
        os.replace(file, output_dir / file.name)


@contextmanager
def _on_cpu() -> Iterator[None]:
    """Tracing and comparing happen on the CPU, in plain float32, wherever the model was trained."""
    import paddle

    before = paddle.device.get_device()
    paddle.set_device("cpu")
    try:
        yield
    finally:
        paddle.set_device(before)
