"""PIPELINE.train|valid|test of a configuration, as one callable."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from paddlevideo.errors import ConfigError, UserError
from paddlevideo.loader.decode.array import ArrayReader
from paddlevideo.loader.decode.reader import EachFrame, VideoReadError
from paddlevideo.loader.pipelines.base import Transform
from paddlevideo.ranges import mistakes
from paddlevideo.registry import TRANSFORMS, Entry

_BOXES_LEFT = (
    "it would move the pixels and leave the boxes; on key frames use Resize, RandomRescale, JitterScale, RandomCrop, "
    "CenterCrop or Flip"
)

_TRIAL_FRAMES, _TRIAL_SIDE = 64, 16  # of a black clip, with which the reading step is found
SAME_RATE = 1.5  # the ratio of two frame rates up to which they count as alike: 24 and 30 do, 30 and 60 do not


def rates_text(rates: Sequence[float]) -> str:
    """The lowest and the highest frame rate of some videos, for messages."""
    low, high = (f"{rate:.4g}" for rate in rates)
    return f"{low if low == high else f'{low} to {high}'} frames per second"


def _each_frame(op: Transform) -> EachFrame | None:
    """What the operator does to every picture alone; None: nothing, or its class changes a method that it inherits
    with ``each_frame``, which may then do something else."""
    for cls in type(op).__mro__:
        if "each_frame" in vars(cls):
            return op.each_frame()
        if any(callable(member) for name, member in vars(cls).items() if name != "__init__"):
            return None
    return None


class TransformError(UserError):
    """An operator failed on one sample; ``where`` is its key path, ``source`` the sample's file."""

    def __init__(self, where: str, name: str, source: str, message: str):
        self.where, self.name, self.source, self.message = where, name, source, message
        super().__init__(f"{where} ({name}): {message} [{source}]")

    def __reduce__(self):  # it travels from worker processes
        return type(self), (self.where, self.name, self.source, self.message)


class Pipeline:
    """Runs the operators of a YAML section one after the other, in the order in which they are written.

    The section's keys are free (``decode``, ``sample``, ``transform``, ``sampler``, ...); only their order counts.  A
    value is one operator, ``{name: Op, argument: value}``, or a list of ``Op`` and ``{Op: {argument: value}}``.

    An operator is a ``Transform``.  Its pictures are uint8 levels 0..255; one that normalises them, to float32, has
    ``normalizes = True``, and nothing else gives floats.

    Attributes:
        learned_fps: the lowest and the highest frame rate of the videos that the network learned from; None: unknown.
            Where it ``counts_frames``, a video of another rate gets a remark.

    Args:
        section: the mapping below ``PIPELINE.train``, ``.valid`` or ``.test``.
        where: its key path, for messages.
        unstated_interpolation: of operators that name none; None: as in the reference (``pipelines.resizing``).

    Raises:
        ConfigError: an entry is malformed, an operator unknown, an argument wrong.
    """

    def __init__(self, section: Mapping[str, Any], where: str, unstated_interpolation: str | None = None):
        if not isinstance(section, Mapping) or not section:
            raise ConfigError(
                where, [f"{where}: expected a mapping of steps (decode, sample, transform), got {section!r}"]
            )
        self.where = where
        self.learned_fps: tuple[float, float] | None = None
        self._section = _plain(section)
        self._steps: list[tuple[str, str, Transform]] = []
        for here, spec in list(_specs(self._section, where)):
            op = TRANSFORMS.build(spec, here)
            if not isinstance(op, Transform):
                raise ConfigError(where, [f"{here}: {spec['name']} blends the clips of a batch; write it below MIX"])
            op.settle([other for _, _, other in self._steps])
            if unstated_interpolation and "interpolation" not in spec and op.interpolation:
                op.interpolation = unstated_interpolation
            self._steps.append((here, spec["name"], op))
        # what the step after a reading one does to every picture alone is done while reading: ten clips of 4K
        # pictures are 2 GB, and 45 MB once they are scaled
        self._each = [*(_each_frame(op) for _, _, op in self._steps[1:]), None]
        normalizing = [here for here, _, op in self._steps if op.normalizes or op.on_device]
        if len(normalizing) > 1:
            raise ConfigError(where, [f"{normalizing[1]}: a second Normalization; the first is {normalizing[0]}"])

    @classmethod
    def of_export(cls, section: Mapping[str, Any], where: str) -> Pipeline:
        """The pipeline of an ``inference.yml``.

        ``describe`` writes the interpolation of every operator.  A file that lacks it is from before that: then all
        were linear, whatever their ``backend``.

        Raises:
            ConfigError: also where the value of an argument is missing (YAML then has None), as in an edited file.
        """
        pipeline = cls(section, where, unstated_interpolation="linear")
        empty = [
            line
            for (here, name, _), (_, spec) in zip(pipeline._steps, _specs(pipeline._section, where))
            for p in TRANSFORMS.entry(name).parameters or ()
            if spec.get(p.name, p) is None and (p.required or p.default is not None)
            for line in mistakes(None, p.annotation, f"{here}.{p.name}")
        ]
        if empty:
            raise ConfigError(where, empty)
        return pipeline

    @property
    def normalization(self) -> Any | None:
        """The ``Normalization`` that is left to the device (``.mean``, ``.std``: float32 [3], 0..1 scale), or None."""
        return next((op for _, _, op in self._steps if op.on_device), None)

    @property
    def normalizes(self) -> bool:
        """Whether an operator normalises the pictures here, so that float32 comes out."""
        return any(op.normalizes for _, _, op in self._steps)

    @property
    def input(self) -> dict[str, Any]:
        """What a network learns to take, as plain data.

        Returns:
            ``steps``: the operators that decide what a picture shows, each with its arguments; ``mean`` and ``std``:
            three numbers each on the 0..1 scale, None where nothing is normalised, or by an operator of another kind;
            ``fps``: ``learned_fps``, where it is known and the pipeline counts frames.
        """
        specs = [spec for _, spec in _specs(self._section, self.where)]
        deciding = [(name, spec) for (_, name, op), spec in zip(self._steps, specs, strict=True) if op.decides_input]
        normalizing = next((op for _, _, op in self._steps if op.mean is not None), None)
        mean, std = (None, None) if normalizing is None else (normalizing.mean, normalizing.std)
        return {
            "steps": {name: _with_defaults(name, spec) for name, spec in deciding},
            "mean": _numbers(mean),
            "std": _numbers(std),
            **({"fps": list(self.learned_fps)} if self.learned_fps and self.counts_frames else {}),
        }

    @property
    def clip_s(self) -> float | None:
        """Seconds of a video that a clip spans (frame intervals counted at 30 frames per second); None: all of it."""
        return next((op.clip_s for _, _, op in self._steps if op.clip_s is not None), None)

    @property
    def counts_frames(self) -> bool:
        """Whether the time between two frames of a clip depends on the frame rate of the video."""
        return any(op.counts_frames for _, _, op in self._steps)

    def _rate_remark(self, fps: float) -> str | None:
        """What there is to say of a video of so many frames per second (0.0: unknown).

        One of two texts, so that those of many videos, or of the windows of one, are counted together.
        """
        if self.learned_fps is None or not fps > 0 or not self.counts_frames:
            return None
        low, high = self.learned_fps
        learned = rates_text(self.learned_fps)
        if fps > high * SAME_RATE:
            return (
                f"its frame rate is above that of the training ({learned}): the frames of a clip are closer together "
                f"in time than learned; read fewer of them (ffmpeg -r {high:g}, timeline --max_fps {high:g})"
            )
        if fps < low / SAME_RATE:
            return (
                f"its frame rate is below that of the training ({learned}): the frames of a clip are further apart in "
                "time than learned, which repeated frames do not mend; hold more of them (timeline --max_fps), or "
                "train on videos of this rate"
            )
        return None

    @property
    def clip_shape(self) -> tuple[int, int]:
        """Frames and side of the clips, where both can be others: what multigrid training starts from.

        Raises:
            ConfigError: no operator, or several, decide on one of them.
        """
        frames = [op.clip_frames for _, _, op in self._steps if op.clip_frames is not None]
        sides = [op.clip_side for _, _, op in self._steps if op.clip_side is not None]
        if len(frames) == len(sides) == 1:
            return frames[0], sides[0]
        raise ConfigError(
            self.where,
            [
                f"{self.where}: --multigrid needs one sampler of clips (DecodeSampler, SampleFrames) and one operator "
                "that gives squares (MultiCrop, RandomCrop, Resize with keep_ratio: False); there are "
                f"{len(frames)} and {len(sides)}"
            ],
        )

    @property
    def entries(self) -> list[Entry]:
        """The operators' places in the registry."""
        return [TRANSFORMS.entry(name) for _, name, _ in self._steps]

    def deviations(self) -> dict[str, str]:
        """Operator -> how it differs, on purpose, from PaddleVideo's of the same name and arguments."""
        return {name: op.differs for _, name, op in self._steps if op.differs}

    def refuse_boxes(self) -> None:
        """Raises ConfigError if an operator would leave boxes where they are while the pixels move."""
        problems = [f"{here}: {name}: {_BOXES_LEFT}" for here, name, op in self._steps if not op.takes_boxes]
        if problems:
            raise ConfigError(self.where, problems)

    def prepare(self) -> None:
        """Lets operators open what they read from besides the clips, once, before worker processes begin."""
        for _, _, op in self._steps:
            op.prepare()

    def remarks_on(self, records: Sequence[Mapping[str, Any]]) -> list[str]:
        """What operators say of a data set's records, each line with its key path.

        Raises:
            UserError: an operator has nothing for any of them.
        """
        lines = []
        for here, _, op in self._steps:
            try:
                line = op.remark_on(records)
            except UserError as error:
                raise UserError(f"{here}: {error}") from None
            lines += [f"{here}: {line}"] if line else []
        return lines

    def open(self, sample: Mapping[str, Any]) -> float:
        """Runs the steps up to the one that opens the sample's file, and closes it again; no frame is decoded.

        Returns:
            Its frames per second; 0.0: unknown.

        Raises:
            VideoReadError: the file cannot be read.
        """
        sample = {**sample, "only_open": True}  # of an operator that also samples
        for _, _, op in self._steps:
            sample = op(sample, np.random.default_rng(0))
            if "reader" in sample:
                sample["reader"].close()
                return float(sample["reader"].fps)
        return 0.0

    def describe(self) -> dict[str, Any]:
        """The section as plain data: ``Pipeline(p.describe(), where)`` is the same pipeline.

        Interpolations are written out, so that it stays the same whatever an operator's default becomes.
        """
        return _with_interpolations(_plain(self._section), iter([op for _, _, op in self._steps]))

    def __call__(self, sample: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Args:
            sample: ``filename`` or ``frame_dir`` (or an open ``reader``), ``label`` if there is one; left as it is.
            rng: the sample's own generator.

        Returns:
            the sample with ``imgs``: uint8 [V, T, H, W, 3], C-contiguous; float32 if an operator normalises, with
            ``normalized``: True.

        Raises:
            TransformError: an operator cannot take this clip.
            VideoReadError: the file cannot be decoded (from the reader, unchanged).
        """
        return self._run(sample, rng, 0)

    def on_pictures(self, sample: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Runs the steps after the one that reads the frames: for pictures that are there.

        Args:
            sample: with ``imgs``: uint8 [V, T, H, W, 3]; left as it is.
            rng, returns, raises: as of a call.
        """
        return self._run(sample, rng, self._num_reading)

    @cached_property
    def _num_reading(self) -> int:
        """How many steps it takes until the frames are read, of any video."""
        sample: Any = {"filename": "a clip in memory", "index": 0}
        sample["reader"] = ArrayReader(np.zeros((_TRIAL_FRAMES, _TRIAL_SIDE, _TRIAL_SIDE, 3), np.uint8))
        for number, (_, _, op) in enumerate(self._steps, 1):
            sample = op(sample, np.random.default_rng(0))
            if "imgs" in sample:
                return number
        raise UserError(f"{self.where}: no step reads frames; add a sampler")

    def _run(self, sample: Mapping[str, Any], rng: np.random.Generator, first: int) -> dict[str, Any]:
        sample = dict(sample)
        try:
            for (here, name, op), each in zip(self._steps[first:], self._each[first:]):
                try:
                    if "boxes" in sample and not op.takes_boxes:
                        raise UserError(_BOXES_LEFT)
                    if each is not None and "reader" in sample and "boxes" not in sample:
                        sample["each"] = each
                    given = op(sample, rng)
                    _check_sample(given)
                    sample = given
                    if op.normalizes:
                        sample["normalized"] = True
                    _check_pixels(sample)
                except Exception as error:
                    source = str(sample.get("filename") or sample.get("frame_dir") or "a clip in memory")
                    if isinstance(error, VideoReadError):  # it names its file already
                        raise
                    if isinstance(error, UserError):
                        raise TransformError(here, name, source, str(error)) from error
                    error.add_note(f"in {here} ({name}), on {source}")
                    raise
        finally:
            sample.pop("each", None)
            reader = sample.pop("reader", None)
            if reader is not None:
                reader.close()
        if "imgs" in sample:
            sample["imgs"] = np.ascontiguousarray(sample["imgs"])
        if (remark := self._rate_remark(sample.get("fps") or 0.0)) is not None:
            sample["remarks"] = [*sample.get("remarks", ()), remark]
        return sample


def _check_sample(sample: Any) -> None:
    """Raises UserError if an operator did not give a sample, or gave frames of another shape."""
    if not isinstance(sample, dict):
        raise UserError(f"its __call__ returns {type(sample).__name__}, expected the sample, a dict")
    imgs = sample.get("imgs")
    if imgs is None or (isinstance(imgs, np.ndarray) and imgs.ndim == 5 and imgs.shape[-1] == 3):
        return
    got = list(imgs.shape) if isinstance(imgs, np.ndarray) else type(imgs).__name__
    raise UserError(f"its __call__ gives 'imgs' {got}, expected an array [V, T, H, W, 3]")


def _check_pixels(sample: Mapping[str, Any]) -> None:
    """Raises UserError if there are floats that nothing calls normalised: the network would take them for that."""
    imgs, normalized = sample.get("imgs"), sample.get("normalized", False)
    if not isinstance(imgs, np.ndarray) or imgs.dtype == (np.float32 if normalized else np.uint8):
        return
    if normalized:
        raise UserError(f"gives {imgs.dtype} pixels, which are normalised; give float32: imgs.astype(np.float32)")
    raise UserError(
        f"gives {imgs.dtype} pixels; give levels 0..255 as uint8: np.clip(np.rint(imgs), 0, 255).astype(np.uint8); "
        "or, if they are normalised as the network takes them, set normalizes = True in its class"
    )


def _with_interpolations(section: dict[str, Any], operators: Iterator[Any]) -> dict[str, Any]:
    """The section with the interpolation of each of its operators, in their order."""

    def stated(arguments: Any, op: Any) -> Any:
        return {**(arguments or {}), "interpolation": op.interpolation} if op.interpolation else arguments

    def item(value: Any) -> Any:
        ((name, arguments),) = value.items() if isinstance(value, dict) else [(value, None)]
        with_it = stated(arguments, next(operators))
        return value if with_it is arguments else {name: with_it}

    return {
        key: [item(one) for one in value] if isinstance(value, list) else stated(value, next(operators))
        for key, value in section.items()
    }


def _specs(section: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in section.items():
        here = f"{where}.{key}"
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield f"{here}[{i}]", _spec_of_item(item, f"{here}[{i}]")
        elif isinstance(value, dict) and "name" in value:
            yield here, value
        else:
            raise ConfigError(where, [f"{here}: expected a mapping with 'name' or a list of operators, got {value!r}"])


def _spec_of_item(item: Any, here: str) -> dict[str, Any]:
    if isinstance(item, str):
        return {"name": item}
    if isinstance(item, dict) and len(item) == 1:
        ((name, arguments),) = item.items()
        if arguments is None or isinstance(arguments, dict):
            return {**(arguments or {}), "name": name}
    raise ConfigError(here, [f"{here}: expected '- Name:' with its arguments below, got {item!r}"])


def _with_defaults(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of an operator, those that are left out too."""
    return {p.name: spec.get(p.name, p.default) for p in TRANSFORMS.entry(name).parameters or ()}


def _numbers(values: np.ndarray | None) -> list[float] | None:
    """Float32 numbers as one writes them: 0.45, not 0.44999998807907104."""
    return None if values is None else [float(str(value)) for value in values]


def _plain(value: Any) -> Any:
    """A deep copy made of dict and list only, so that it can be written as YAML."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
