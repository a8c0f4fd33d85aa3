"""The meaning of an ONNX detector's outputs: one table of layouts, recognised by shapes and names.

``recognise`` gives the first layout of ``LAYOUTS`` that fits.  Every layout turns its arrays into boxes x1, y1, x2, y2
in pixels of the model's input, scores and class numbers; raw ones are decoded and freed of duplicates here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from paddlevideo.boxes import iou, to_pixels

XYXY = ("x1", "y1", "x2", "y2")
CENTRED = ("cx", "cy", "w", "h")
_CORNER = ("x1", "y1", "w", "h")
COLUMNS = (*XYXY, "cx", "cy", "w", "h", "score", "class", "batch")

_ROWS = {5: (*XYXY, "score"), 6: (*XYXY, "score", "class"), 7: ("batch", *XYXY, "class", "score")}
_PADDLE_ROWS = ("class", "score", *XYXY)
_SSD_ROWS = ("batch", "class", "score", *XYXY)
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))
_COCO_CLASSES = 80
_IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
_UNIT = ((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
_PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
_FRACTION_MAX = 1.5  # boxes none of which reaches further are fractions of the picture, not pixels


@dataclass(frozen=True)
class Outputs:
    """A model's outputs for one picture, and what its file and the options state about them.

    Args:
        arrays: by name, in the order of the model.
        size: height and width of the picture that was given to it.
        inputs: names of the model's inputs.
        num_classes: from the model's own description; None: unknown.
        names: the outputs that the options name, in the order boxes, scores, labels.
        columns: the columns of boxes or rows that the options name.
    """

    arrays: Mapping[str, np.ndarray]
    size: tuple[int, int]
    inputs: Sequence[str] = ()
    num_classes: int | None = None
    names: Sequence[str] | None = None
    columns: Sequence[str] | None = None

    def listing(self) -> str:
        """Names and shapes; the shape alone if there is one."""
        if len(self.arrays) == 1:
            return str(list(next(iter(self.arrays.values())).shape))
        return ", ".join(f"{name} {list(array.shape)}" for name, array in self.arrays.items())


@dataclass(frozen=True)
class Detections:
    """float32 boxes [n, 4] x1, y1, x2, y2 in pixels of the input, scores [n], and classes [n] or None."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True)
class Layout:
    """A meaning of outputs.

    Args:
        name: as the option ``output`` has it.
        text: for people.
        fits: whether outputs have this layout.
        decode: outputs, least score, least overlap of duplicates -> detections; boxes may still be fractions.
        person: class of people where the model does not name its classes.
        guess: why ``person`` may be wrong and a later picture may show it; empty: it follows from the form.
        channels, mean, std: the usual preparation of pixels for such models.
    """

    name: str
    text: str
    fits: Callable[[Outputs], bool]
    decode: Callable[[Outputs, float, float], Detections]
    person: int = 0
    guess: str = ""
    channels: str = "RGB"
    mean: tuple[float, ...] = _UNIT[0]
    std: tuple[float, ...] = _UNIT[1]


def recognise(outputs: Outputs, name: str | None = None) -> Layout | None:
    """The layout of that name, else the first that fits; None if none does."""
    return next((each for each in LAYOUTS if (each.name == name if name else each.fits(outputs))), None)


def in_pixels(boxes: np.ndarray, size: tuple[int, int], unit: str | None) -> np.ndarray:
    """Boxes in pixels of a picture of this size (height, width).

    Args:
        unit: ``pixels`` or ``fractions``; None: fractions if no box reaches further than 1.5.
    """
    if unit == "fractions" or (unit is None and len(boxes) and boxes.max() <= _FRACTION_MAX):
        return to_pixels(boxes, size[1], size[0]).astype(np.float32)
    return boxes


def corners(table: np.ndarray, columns: Sequence[str]) -> np.ndarray:
    """Boxes x1, y1, x2, y2, float32 [n, 4], of columns in any order: corners, centre and size, or corner and size.

    Raises:
        ValueError: the columns do not make a box.
    """
    at = {column: table[:, i].astype(np.float32) for i, column in enumerate(columns)}
    if set(XYXY) <= set(at):
        return np.stack([at[column] for column in XYXY], axis=1)
    if set(CENTRED) <= set(at):
        x1, y1 = at["cx"] - at["w"] / 2, at["cy"] - at["h"] / 2
    elif set(_CORNER) <= set(at):
        x1, y1 = at["x1"], at["y1"]
    else:
        raise ValueError(f"columns: {', '.join(columns)} do not define a box; expected {', '.join(XYXY)} among them")
    return np.stack([x1, y1, x1 + at["w"], y1 + at["h"]], axis=1)


def without_duplicates(found: Detections, max_overlap: float) -> Detections:
    """Non-maximum suppression within each class: of boxes that overlap more than this, the best."""
    order = np.argsort(-found.scores, kind="stable")
    labels = np.zeros(len(order)) if found.labels is None else found.labels
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        same = (iou(found.boxes[best : best + 1], found.boxes[order])[0] > max_overlap) & (
            labels[order] == labels[best]
        )
        order = order[~same]
    return Detections(found.boxes[kept], found.scores[kept], None if found.labels is None else found.labels[kept])


# Three arrays


def _three(outputs: Outputs) -> tuple[np.ndarray, np.ndarray, np.ndarray | None] | None:
    """Boxes [n, 4], scores [n], labels [n] or None, without the batch's axis; by names, else shapes; None: not so."""
    arrays = {name: array for name, array in outputs.arrays.items() if not name.lower().startswith("raw")}
    names = list(outputs.names or ())
    if not names:
        names = [n for n, a in arrays.items() if a.ndim in (2, 3) and a.shape[-1] == 4 and a.size == 4 * a.shape[-2]]
        names.sort(key=lambda n: ("box" not in n.lower(), -arrays[n].ndim))  # scores of four boxes are [1, 4] too
    if not names or names[0] not in arrays or arrays[names[0]].shape[-1:] != (4,):
        return None
    boxes = arrays[names[0]].reshape(-1, 4)
    flat = {n: a.reshape(-1) for n, a in arrays.items() if n != names[0] and a.size == len(boxes) and a.ndim < 3}
    if outputs.names:
        if len(outputs.names) < 2 or any(name not in flat for name in outputs.names[1:]):
            return None
        rest = [flat[name] for name in outputs.names[1:3]]
        return _counted(outputs, boxes, rest[0], rest[1] if len(rest) > 1 else None)
    scores = _named(flat, "score", "conf", "prob")
    labels = _named({n: a for n, a in flat.items() if n != scores}, "label", "class", "cls", "categor")
    unnamed = [n for n in flat if n not in (scores, labels) and not _is_count(n)]
    unnamed.sort(key=lambda n: flat[n].dtype.kind != "f" or _whole(flat[n]))  # fractions, then whole numbers
    if scores is None and unnamed and flat[unnamed[0]].dtype.kind == "f":
        scores = unnamed.pop(0)
    if labels is None and unnamed:
        labels = unnamed.pop(0)
    if scores is None:
        return None
    return _counted(outputs, boxes, flat[scores], None if labels is None else flat[labels])


def _named(arrays: Mapping[str, np.ndarray], *words: str) -> str | None:
    return next((n for word in words for n in arrays if word in n.lower() and not _is_count(n)), None)


def _is_count(name: str) -> bool:
    return name.lower().startswith(("num", "valid", "count"))


def _whole(array: np.ndarray) -> bool:
    return bool(np.all(array == np.round(array)))


def _counted(outputs: Outputs, *arrays: np.ndarray | None) -> tuple:
    """The rows that are filled, where an output counts them."""
    counts = [a for name, a in outputs.arrays.items() if _is_count(name) and a.size == 1]
    count = int(counts[0].reshape(-1)[0]) if counts else None
    return tuple(None if a is None else a[:count] for a in arrays)


def _of_three(columns: Sequence[str]) -> Callable[[Outputs, float, float], Detections]:
    def decode(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
        boxes, scores, labels = _three(outputs)
        return Detections(corners(boxes, outputs.columns or columns), scores.astype(np.float32), labels)

    return decode


def _tensorflow(outputs: Outputs) -> bool:
    return any(name.lower().startswith("detection_boxes") for name in outputs.arrays) and _three(outputs) is not None


def _torchvision(outputs: Outputs) -> bool:
    """Without a batch's axis, whole labels none of which is 0, one input."""
    three = _three(outputs)
    if three is None or three[2] is None or three[2].dtype.kind not in "iu" or len(outputs.inputs) > 1:
        return False
    batched = any(array.ndim == 3 and array.shape[-1] == 4 for array in outputs.arrays.values())
    return not batched and bool(np.all(three[2] != 0))


# Rows


def _table_name(outputs: Outputs) -> str | None:
    """The only output that is a table [n, 5..7] (counts, labels and masks aside)."""
    arrays = {n: a for n, a in outputs.arrays.items() if not outputs.names or n in outputs.names}
    tables = [n for n, a in arrays.items() if a.ndim in (2, 3, 4) and a.shape[-1] in _ROWS]
    tables = [n for n in tables if arrays[n].size == np.prod(arrays[n].shape[-2:])]
    # labels of five boxes are [1, 5] too
    ranks = {n: (arrays[n].dtype.kind == "f", arrays[n].ndim) for n in tables}
    tables = [n for n in tables if ranks[n] == max(ranks.values())]
    return tables[0] if len(tables) == 1 else None


def _table(outputs: Outputs) -> np.ndarray | None:
    """The table of ``_table_name``, without the batch's axis."""
    name = _table_name(outputs)
    return None if name is None else outputs.arrays[name].reshape(-1, outputs.arrays[name].shape[-1])


def _row_columns(outputs: Outputs, width: int) -> Sequence[str]:
    if outputs.columns:
        return outputs.columns
    if any(array.ndim == 4 and array.shape[-1] == 7 for array in outputs.arrays.values()):
        return _SSD_ROWS
    return _PADDLE_ROWS if width == 6 and _is_paddle(outputs) else _ROWS[width]


def _is_paddle(outputs: Outputs) -> bool:
    return "scale_factor" in outputs.inputs


def _has_rows(outputs: Outputs) -> bool:
    if any(_is_grid(outputs, array) for array in outputs.arrays.values()):
        return False
    return _table(outputs) is not None and (len(outputs.arrays) <= 2 or outputs.names is not None)


def _rows(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    table = _table(outputs)
    columns = _row_columns(outputs, table.shape[1])[: table.shape[1]]
    if "score" not in columns:
        raise ValueError(f"columns: score missing among {', '.join(columns)}")
    boxes = corners(table, columns)
    labels = table[:, columns.index("class")] if "class" in columns else None
    filled = table[:, columns.index("score")] >= 0  # PaddleDetection gives a row of -1 where there is no object
    scores = table[:, columns.index("score")].astype(np.float32)
    return Detections(boxes[filled], scores[filled], None if labels is None else labels[filled])


def _has_dets(outputs: Outputs) -> bool:
    """mmdeploy's: rows of five, and a label for each."""
    table = _table(outputs)
    return table is not None and table.shape[1] == 5 and _labels_beside(outputs, len(table)) is not None


def _labels_beside(outputs: Outputs, count: int) -> np.ndarray | None:
    others = {n: a for n, a in outputs.arrays.items() if n != _table_name(outputs)}
    flat = {n: a for n, a in others.items() if a.size == count and a.ndim in (1, 2)}
    name = _named(flat, "label", "class", "cls") or next((n for n, a in flat.items() if a.dtype.kind in "iu"), None)
    return flat[name].reshape(-1) if name is not None else None


def _dets(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    table = _table(outputs)
    scores = table[:, 4].astype(np.float32)
    filled = scores >= 0
    labels = _labels_beside(outputs, len(table))
    return Detections(corners(table, outputs.columns or _ROWS[5])[filled], scores[filled], labels[filled])


# Raw heads


def _grid_counts(size: tuple[int, int]) -> dict[int, tuple[int, ...]]:
    """Number of places -> strides, for one place per cell of the grids of a YOLO of this input."""
    counts = {}
    for strides in _STRIDES:
        counts.setdefault(sum((size[0] // s) * (size[1] // s) for s in strides), strides)
    return counts


def _is_grid(outputs: Outputs, array: np.ndarray) -> bool:
    counts = _grid_counts(outputs.size)
    return array.ndim == 3 and any(n in counts or (n % 3 == 0 and n // 3 in counts) for n in array.shape[1:])


def _raw(outputs: Outputs) -> np.ndarray | None:
    """The only output [1, a, b] besides masks [1, c, h, w]."""
    names = outputs.names[:1] if outputs.names else [n for n, a in outputs.arrays.items() if a.ndim != 4]
    arrays = [outputs.arrays[n] for n in names if n in outputs.arrays]
    fits = len(arrays) == 1 and arrays[0].ndim == 3 and arrays[0].shape[0] == 1 and min(arrays[0].shape[1:]) >= 5
    return arrays[0] if fits else None


def _has_columns(outputs: Outputs) -> bool:
    """YOLOv8's: [1, 4 + classes, places]."""
    raw = _raw(outputs)
    return raw is not None and raw.shape[1] < raw.shape[2] and _is_grid(outputs, raw)


def _has_objectness(outputs: Outputs) -> bool:
    """[1, places, 5 + classes]."""
    raw = _raw(outputs)
    if raw is None or raw.shape[1] <= raw.shape[2]:
        return False
    return _is_grid(outputs, raw) and raw.shape[2] - (outputs.num_classes or _COCO_CLASSES) != 4


def _has_offsets(outputs: Outputs) -> bool:
    """YOLOX as exported: centres relative to their cell, hence nowhere near the width of the picture."""
    raw = _raw(outputs)
    if raw is None or not _has_objectness(outputs) or raw.shape[1] not in _grid_counts(outputs.size):
        return False
    return bool(np.abs(raw[0, :, :2]).max() < 0.25 * max(outputs.size))


def _has_yolox_rows(outputs: Outputs) -> bool:
    """One place per cell, decoded, with an objectness that varies (YOLOv6's is 1)."""
    raw = _raw(outputs)
    if raw is None or not _has_objectness(outputs) or raw.shape[1] not in _grid_counts(outputs.size):
        return False
    return bool(np.any(raw[0, :, 4] != 1))


def _has_queries(outputs: Outputs) -> bool:
    """Ultralytics' RT-DETR, or a transposed YOLOv8: [1, places, 4 + classes]."""
    raw = _raw(outputs)
    if raw is None or raw.shape[1] <= raw.shape[2] or _has_objectness(outputs):
        return False
    return _is_grid(outputs, raw) or raw.shape[2] == 4 + (outputs.num_classes or _COCO_CLASSES)


def _best(table: np.ndarray, outputs: Outputs, first: int, min_score: float, max_overlap: float) -> Detections:
    """Rows [n, first + classes (+ more)] with cx, cy, w, h first; an objectness in column 4 if ``first`` is 5."""
    last = None if outputs.num_classes is None else first + outputs.num_classes
    classes = table[:, first:last]
    labels = classes.argmax(1)
    scores = classes[np.arange(len(classes)), labels] * (table[:, 4] if first == 5 else 1.0)
    sure = scores >= min_score
    boxes = corners(table[sure, :4], (outputs.columns or CENTRED)[:4])
    return without_duplicates(Detections(boxes, scores[sure].astype(np.float32), labels[sure]), max_overlap)


def _columns(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    return _best(_raw(outputs)[0].T, _without_masks(outputs), 4, min_score, max_overlap)


def _without_masks(outputs: Outputs) -> Outputs:
    """A second output [1, c, h, w] means that the last c numbers of each place are a mask's."""
    masks = [array.shape[1] for array in outputs.arrays.values() if array.ndim == 4]
    if not masks or outputs.num_classes is not None:
        return outputs
    return Outputs(**{**vars(outputs), "num_classes": min(_raw(outputs).shape[1:]) - 4 - masks[0]})


def _queries(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    return _best(_raw(outputs)[0], outputs, 4, min_score, max_overlap)


def _objectness(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    return _best(_raw(outputs)[0], outputs, 5, min_score, max_overlap)


def _offsets(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    raw, (height, width) = _raw(outputs)[0].astype(np.float32), outputs.size
    cells, sizes = [], []
    for stride in _grid_counts(outputs.size)[len(raw)]:
        ys, xs = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([xs, ys], axis=-1).reshape(-1, 2))
        sizes.append(np.full((xs.size, 1), stride, np.float32))
    cell, stride = np.concatenate(cells), np.concatenate(sizes)  # [N, 2], [N, 1]
    decoded = raw.copy()
    decoded[:, :2] = (raw[:, :2] + cell) * stride
    decoded[:, 2:4] = np.exp(np.minimum(raw[:, 2:4], 20)) * stride
    return _best(decoded, outputs, 5, min_score, max_overlap)


# Boxes and a score for every class


def _boxes_and_classes(outputs: Outputs) -> tuple[np.ndarray, np.ndarray] | None:
    """Boxes [n, 4] and scores [n, classes]; the classes may come first."""
    arrays = outputs.arrays
    if outputs.names:
        arrays = {name: arrays[name] for name in outputs.names if name in arrays}
    boxes = [n for n, a in arrays.items() if a.ndim == 3 and a.shape[0] == 1 and a.shape[2] == 4]
    boxes = [n for n in boxes if "box" in n.lower()] or boxes
    if len(boxes) != 1 or len(arrays) < 2:
        return None
    count = arrays[boxes[0]].shape[1]
    others = [a[0] for n, a in arrays.items() if n != boxes[0] and a.ndim == 3 and count in a.shape[1:] and len(a) == 1]
    if len(others) != 1:
        return None
    return arrays[boxes[0]][0], others[0] if others[0].shape[0] == count else others[0].T


def _is_detr(outputs: Outputs) -> bool:
    return _boxes_and_classes(outputs) is not None and any("logit" in name.lower() for name in outputs.arrays)


def _detr(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    """DETR's own 92 logits are a softmax with "no object" last; its successors' are sigmoids."""
    boxes, logits = _boxes_and_classes(outputs)
    logits = logits.astype(np.float64)
    if logits.shape[1] == 92:
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores = (scores / scores.sum(1, keepdims=True))[:, :-1]
    else:
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
    table = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    return _best(table, outputs, 4, min_score, max_overlap)


def _class_scores(outputs: Outputs, min_score: float, max_overlap: float) -> Detections:
    boxes, scores = _boxes_and_classes(outputs)
    columns = outputs.columns or XYXY
    table = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    return _best(table, Outputs(**{**vars(outputs), "columns": columns}), 4, min_score, max_overlap)


LAYOUTS = (
    Layout("tensorflow", "TensorFlow's boxes y1, x1, y2, x2, scores, classes", _tensorflow,
           _of_three(("y1", "x1", "y2", "x2")), person=1, mean=_PLAIN[0], std=_PLAIN[1]),
    Layout("torchvision", "torchvision's boxes, labels, scores, which counts classes from 1", _torchvision,
           _of_three(XYXY), person=1, guess="as no label is 0"),
    Layout("boxes_scores_labels", "boxes, scores, labels", lambda o: _three(o) is not None, _of_three(XYXY)),
    Layout("dets_labels", "mmdeploy's dets and labels", _has_dets, _dets, mean=_IMAGENET[0], std=_IMAGENET[1]),
    Layout("ssd", "SSD's rows of batch, class, score, x1, y1, x2, y2",
           lambda o: _has_rows(o) and _row_columns(o, 7) == _SSD_ROWS, _rows, person=1),
    Layout("rows", "rows of a box", _has_rows, _rows),
    Layout("detr", "DETR's logits and boxes", _is_detr, _detr, mean=_IMAGENET[0], std=_IMAGENET[1]),
    Layout("boxes_class_scores", "boxes and a score for every class", lambda o: _boxes_and_classes(o) is not None,
           _class_scores),
    Layout("yolox", "raw YOLOX", _has_offsets, _offsets, channels="BGR", mean=_PLAIN[0], std=_PLAIN[1]),
    Layout("yolox_decoded", "YOLOX with its decoder", _has_yolox_rows, _objectness, channels="BGR", mean=_PLAIN[0],
           std=_PLAIN[1]),
    Layout("yolov5", "raw YOLOv5", _has_objectness, _objectness),
    Layout("yolov8", "raw YOLOv8", _has_columns, _columns),
    Layout("queries", "boxes with a score for every class", _has_queries, _queries),
)  # fmt: skip
