"""Drawings of a confusion matrix: SVG for pages, pixels for tools that take pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from paddlevideo.drawing import drawable
from paddlevideo.reporting.markup import NAME_LENGTH, percent, short, text

MATRIX_CLASSES = 40  # up to so many classes the matrix shows all of them
_WORST_CLASSES = 30  # beyond that, these
_CELL = 22  # pixels
_PICTURE_CELL, _PICTURE_PX = 30, 800
_RIGHT_RGB, _WRONG_RGB = (42, 95, 196), (191, 74, 28)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def matrix_section(matrix: np.ndarray, totals: np.ndarray, name: Callable[[int], str], of: str = "") -> str:
    """All classes, or those with the most wrong clips and a column for all the others.

    Args:
        matrix: counts, int [K, K].
        totals: samples of each class, int [K].
        name: gives the label of a class.
        of: what the heading adds.
    """
    errors = totals - np.diag(matrix)
    if len(matrix) <= MATRIX_CLASSES:
        shown, heading = np.arange(len(matrix)), f"Confusion matrix{of}"
    else:
        order = np.argsort(-errors, kind="stable")[:_WORST_CLASSES]
        shown = np.sort(order[errors[order] > 0])
        heading = f"Confusion matrix{of}: the {len(shown)} classes with the most wrong clips"
    if not len(shown):
        return f"<h2>Confusion matrix{of}</h2><p>Every clip is right.</p>"
    counts = matrix[np.ix_(shown, shown)]
    columns = [name(k) for k in shown]
    for rest_name, rest in (("other classes", matrix[shown].sum(1) - counts.sum(1)),
                       ("unreadable", totals[shown] - matrix[shown].sum(1))):  # fmt: skip
        if rest.any():
            counts, columns = np.column_stack([counts, rest]), [*columns, rest_name]
    note = (
        '<p class="note">Row: the label; column: the prediction; cells: clips, shaded by their share of the row. '
        "Blue is right, orange is wrong. Rest the pointer on a cell for its names.</p>"
    )
    drawing = _svg(counts, [name(k) for k in shown], columns, totals[shown])
    return f'<h2>{heading}</h2>{note}<div class="wide">{drawing}</div>'


def _svg(counts: np.ndarray, rows: Sequence[str], columns: Sequence[str], totals: np.ndarray) -> str:
    """The heat map of counts [R, C]; the first R columns are the rows' classes."""
    left = 12 + 6.2 * min(NAME_LENGTH, max(map(len, rows)))
    top = 12 + 5.0 * min(NAME_LENGTH, max(map(len, columns)))
    right, below = left + _CELL * len(columns), top + _CELL * len(rows)
    width, height = right + top, below + 2  # slanted names lean out to the right
    cells = []
    for i, j in zip(*np.nonzero(counts)):
        share, x, y = counts[i, j] / max(1, totals[i]), left + _CELL * j, top + _CELL * i
        kind = "right" if i == j else "wrong"
        tip = f"{rows[i]} -> {columns[j]}: {counts[i, j]} of {totals[i]} ({percent(share)})"
        number = f"{counts[i, j]}" if counts[i, j] < 1000 else f"{counts[i, j] / 1000:.0f}k"
        on = ' class="on"' if share > 0.7 else ""
        cells.append(
            f'<g><title>{text(tip)}</title><rect class="{kind}" x="{x:.0f}" y="{y:.0f}" width="{_CELL}" '
            f'height="{_CELL}" fill-opacity="{0.12 + 0.88 * share:.2f}"/>'
            f'<text{on} x="{x + _CELL / 2:.0f}" y="{y + 15:.0f}" text-anchor="middle">{number}</text></g>'
        )
    names = [
        f'<text x="{left - 6:.0f}" y="{top + _CELL * i + 15:.0f}" text-anchor="end">{short(name)}</text>'
        for i, name in enumerate(rows)
    ]
    names += [
        f'<text transform="translate({left + _CELL * j + 14:.0f} {top - 6:.0f}) rotate(-45)">{short(name)}</text>'
        for j, name in enumerate(columns)
    ]
    lines = "".join(f"M{left:.0f} {top + _CELL * i:.0f}H{right:.0f}" for i in range(len(rows) + 1))
    lines += "".join(f"M{left + _CELL * j:.0f} {top:.0f}V{below:.0f}" for j in range(len(columns) + 1))
    return (
        f'<svg role="img" aria-label="confusion matrix" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">{"".join(cells)}<path class="grid" d="{lines}"/>{"".join(names)}</svg>'
    )


def matrix_picture(matrix: np.ndarray, totals: np.ndarray, names: Sequence[str] | None) -> np.ndarray:
    """The whole matrix as pixels: rows are labels, columns predictions; up to ``MATRIX_CLASSES`` with counts and names.

    Args:
        matrix: counts, int [K, K].
        totals: samples of each class, int [K].
        names: of the K classes; None: their numbers.

    Returns:
        uint8 [H, W, 3] RGB on white: blue is right, orange is wrong, by their share of the row.
    """
    share = matrix / np.maximum(totals, 1)[:, None]
    colours = np.full((*matrix.shape, 3), _WRONG_RGB, "float64")
    colours[np.arange(len(matrix)), np.arange(len(matrix))] = _RIGHT_RGB
    cells = (255 + (colours - 255) * np.where(matrix > 0, 0.12 + 0.88 * share, 0.0)[..., None]).round().astype("uint8")
    if len(matrix) > MATRIX_CLASSES:
        factor = max(1, _PICTURE_PX // len(matrix))
        return cells.repeat(factor, 0).repeat(factor, 1)
    cell = _PICTURE_CELL
    grid = cells.repeat(cell, 0).repeat(cell, 1)
    grid[::cell] = grid[:, ::cell] = 225
    titles = [drawable(str(k) if names is None else f"{k} {names[k]}")[:NAME_LENGTH] for k in range(len(matrix))]
    margin = 8 + max(cv2.getTextSize(title, _FONT, 0.4, 1)[0][0] for title in titles)
    picture = np.full((margin + len(grid), margin + len(grid), 3), 255, "uint8")
    picture[margin:, margin:] = grid
    upright = np.full((len(grid), margin, 3), 255, "uint8")  # the columns' names, turned by a quarter
    for k, title in enumerate(titles):
        cv2.putText(picture, title, (4, margin + cell * k + 20), _FONT, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
        cv2.putText(upright, title, (4, cell * k + 20), _FONT, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    # read from below, the first column leftmost
    picture[:margin, margin:] = np.flip(upright.transpose(1, 0, 2), 0)
    for i, j in zip(*np.nonzero(matrix)):
        place = (margin + cell * int(j) + 3, margin + cell * int(i) + 20)
        ink = (255, 255, 255) if share[i, j] > 0.7 else (0, 0, 0)
        cv2.putText(picture, str(matrix[i, j]), place, _FONT, 0.36, ink, 1, cv2.LINE_AA)
    return picture
