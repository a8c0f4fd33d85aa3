"""Parameters and multiply-adds of a network, by part, for one clip of its test.

They are counted in the static program that export makes, which is traced for shapes and not run: convolutions, linear
layers, every other product of matrices (attention, non-local blocks, pooling of pictures beside regions) and RoIAlign.
A temporal shift moves values and counts 0, as do normalisations, activations, sums, softmax and pooling.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from paddlevideo.build import deployed_network
from paddlevideo.config import Config
from paddlevideo.errors import UserError
from paddlevideo.inference.export import on_cpu, static_network
from paddlevideo.inference.export_check import synthetic_clip, synthetic_key_frame
from paddlevideo.inference.network import pipelines_with_test
from paddlevideo.inference.video_bank import window_of

_CONVOLUTIONS = ("pd_op.conv2d", "pd_op.depthwise_conv2d", "pd_op.conv3d")
_PRODUCTS = ("pd_op.matmul", "pd_op.bmm")
_ROI_ALIGN = "pd_op.roi_align"
_VIEWS_OF_WEIGHTS = ("pd_op.transpose", "pd_op.reshape", "pd_op.slice", "pd_op.cast")
_STATISTICS = ("_mean", "_variance")  # of batch norms: parameters to Paddle, which do not learn
_BLOCK = re.compile(r"(res\d+)[a-z]\d*|(bb_\d+)_\d+")  # of a stage: res2a, res4b12, bb_0_1
_PATHWAY = "_path"  # has stages of its own


@dataclass(frozen=True)
class Part:
    """A part of the network: a stage of the backbone, the head, a layer of its own.

    Args:
        num_parameters: that learn; running statistics of batch norms are none.
        macs: multiply-adds of one view.
    """

    name: str
    num_parameters: int
    macs: int


@dataclass(frozen=True)
class Summary:
    """What a network costs, from the first layer to the scores.

    Args:
        clip: V, T, H, W of the test: views of a video, frames, and pixels.
        num_boxes: persons that the multiply-adds are of; 0: the network takes none.
    """

    model_name: str
    clip: tuple[int, int, int, int]
    num_boxes: int
    parts: tuple[Part, ...]

    @property
    def num_parameters(self) -> int:
        """Of the whole network."""
        return sum(part.num_parameters for part in self.parts)

    @property
    def macs(self) -> int:
        """Multiply-adds of one view."""
        return sum(part.macs for part in self.parts)

    def describe(self) -> dict[str, Any]:
        """Plain data."""
        views = self.clip[0]
        shape = dict(zip(("views", "frames", "height", "width"), self.clip))
        totals = {"num_parameters": self.num_parameters, "macs": self.macs, "macs_of_all_views": self.macs * views}
        parts = [asdict(part) for part in self.parts]
        return {"model_name": self.model_name, **shape, "num_boxes": self.num_boxes, **totals, "parts": parts}

    def lines(self) -> Iterator[str]:
        """A table for the terminal."""
        views, frames, height, width = self.clip
        boxes = f", {self.num_boxes} box{'es' * (self.num_boxes != 1)}" if self.num_boxes else ""
        yield f"{self.model_name}: one view of {frames} frames, {height} x {width} pixels{boxes}"
        wide = max(len(part.name) for part in self.parts) + 2
        yield f"  {'part':{wide}}{'parameters':>14}{'multiply-adds':>18}"
        for part in (*self.parts, Part("all", self.num_parameters, self.macs)):
            yield f"  {part.name:{wide}}{part.num_parameters:14,}{part.macs:18,}"
        in_all = f"; {views} views of a video: {views * self.macs / 1e9:.2f} G" if views > 1 else ""
        yield f"{self.num_parameters / 1e6:.2f} M parameters, {self.macs / 1e9:.2f} G multiply-adds{in_all}"


def summarise(config: Config, num_boxes: int | None = None) -> Summary:
    """Counts the network that is tested and exported, at the size of ``PIPELINE.test``; of a distillation the student.

    Args:
        config: MODEL and PIPELINE.test; no weights and no videos are read.
        num_boxes: persons in the clip, of a network that takes them; each is the whole picture; None: 1.

    Raises:
        UserError: MODEL or PIPELINE.test cannot be built, or a layer takes another size.
    """
    pipelines = pipelines_with_test(config)
    with on_cpu():
        framework = deployed_network(config, pipelines)
        framework.eval()
        takes_boxes = framework.takes_boxes
        if num_boxes is not None and not takes_boxes:
            raise UserError(f"{config.source}: --boxes: MODEL takes no boxes; leave it out")
        num_boxes = num_boxes or 1
        clip = (synthetic_key_frame if takes_boxes else synthetic_clip)(pipelines["test"])  # [V, T, H, W, 3]
        window = window_of(pipelines["test"], framework)
        given = {"imgs": clip[None, :1], **(window.empty(1) if window else {})}
        specs = [_of_one_clip(spec, given, num_boxes) for spec in framework.input_spec(given)]
        network = static_network(framework, specs)  # its program lives as long as this layer
        macs = _by_part(network.forward.concrete_program.main_program.global_block().ops, framework)
    parameters: Counter[str] = Counter()
    for name, parameter in framework.named_parameters():
        if name.rpartition(".")[2] not in _STATISTICS:
            parameters[part_of(name)] += math.prod(parameter.shape)
    names = dict.fromkeys([*parameters, *macs])
    parts = tuple(Part(name, parameters[name], macs[name]) for name in names)
    views, frames, height, width, _ = clip.shape
    return Summary(config["model_name"], (views, frames, height, width), num_boxes if takes_boxes else 0, parts)


def part_of(name: str) -> str:
    """The part that a parameter belongs to: of the backbone a stage (``backbone.res2``), else the first layer."""
    layer, *inner = name.split(".")[:-1]
    if not inner:
        return layer
    if inner[0].endswith(_PATHWAY):
        return ".".join([layer, *inner[:2]])
    block = _BLOCK.fullmatch(inner[0])
    return f"{layer}.{(block[1] or block[2]) if block else inner[0]}"


def _of_one_clip(spec: Any, given: dict[str, Any], num_boxes: int) -> Any:
    """An input with the free axes of ``spec`` fixed."""
    import paddle

    free = {"boxes": [num_boxes, 4], "boxes_num": [1]}
    shape = free[spec.name] if spec.name in free else list(given[spec.name].shape)
    return paddle.static.InputSpec(shape, spec.dtype, name=spec.name)


def _by_part(operators: Any, framework: Any) -> Counter[str]:
    """Multiply-adds by part, in the order in which the parts compute."""
    names = {parameter.name: name for name, parameter in framework.named_parameters()}
    layers = {name: type(layer).__name__ for name, layer in framework.named_sublayers() if name.count(".") < 2}
    found: Counter[str] = Counter()
    last = ""
    for operator in operators:
        macs = macs_of(operator)
        if macs == 0:
            continue
        weight = next(filter(None, map(_parameter, operator.operands_source())), None)
        if weight is not None:
            part = part_of(names[weight])
        else:  # a product of activations: of the part whose weights came last, unless it is in another layer
            place = _layer_of(operator, layers)
            part = last if not place or last.partition(".")[0] == place.partition(".")[0] else place
        last = part
        found[part] += macs
    return found


def _layer_of(operator: Any, layers: dict[str, str]) -> str:
    """The layer that an operator comes from, at most two levels deep; "" if it is unknown.

    Args:
        layers: path -> name of the class, which is what a program keeps: ``/AVARoIHead/SingleRoIExtractor3D/``.
    """
    path = ""
    for word in str(operator.attrs().get("struct_name", "")).strip("/").split("/")[:2]:
        name = re.sub(r"_\d+$", "", word)
        inside = (p for p, kind in layers.items() if kind == name and p.rpartition(".")[0] == path)
        found = next(inside, None)
        if found is None:
            break
        path = found
    return path


def _parameter(value: Any) -> str | None:
    """The parameter that an operand is, or a part or another shape of; None: it is computed."""
    operator = value.get_defining_op()
    while operator is not None and operator.name() in _VIEWS_OF_WEIGHTS:
        operator = operator.operands_source()[0].get_defining_op()
    is_parameter = operator is not None and operator.name() == "builtin.parameter"
    return operator.attrs()["parameter_name"] if is_parameter else None


def macs_of(operator: Any) -> int:
    """Multiply-adds of an operator of a program; 0 of those that are not counted."""
    name = operator.name()
    if name not in (*_CONVOLUTIONS, *_PRODUCTS, _ROI_ALIGN):
        return 0
    (out, *_), (first, second, *_) = operator.results(), operator.operands_source()
    count = math.prod(out.shape)
    if name in _CONVOLUTIONS:  # weight [C', C / groups, kernel ...]
        return count * math.prod(second.shape[1:])
    if name in _PRODUCTS:
        axis = -2 if operator.attrs().get("transpose_x") and len(first.shape) > 1 else -1
        return count * first.shape[axis]
    ratio, sides = operator.attrs()["sampling_ratio"], zip(first.shape[2:], out.shape[2:])
    points = ratio**2 if ratio > 0 else math.prod(math.ceil(length / size) for length, size in sides)
    return count * points * 4  # a point is interpolated between four pixels
